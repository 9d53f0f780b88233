"""Texts out of datasets: files for real, the hub as a server on this machine that the real libraries talk to."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import BenchError
from bench.core.progress import Reporter
from bench.texts.dataset import DatasetText, dataset_text, joined
from tests.support.hub_server import HubServer

#: Lines as WikiText has them: headings with spaces around, and a space in lines that are empty otherwise.
ORIGINAL = " \n = Valkyria = \n \n Senjō no Valkyria is a game . \n It has <unk> . \n \n = = Plot = = \n \n"


def built(original: str) -> list[str]:
    """The rows that the dataset's builder makes of the original file: its lines, and "" for those of spaces."""
    return [line if line.strip() else "" for line in io.StringIO(original, newline="\n")]


def parquet(**columns: list[Any]) -> bytes:
    import pandas

    data = io.BytesIO()
    pandas.DataFrame(columns).to_parquet(data)
    return data.getvalue()


# Joining


def test_wikitext_is_joined_to_the_original() -> None:
    assert built(ORIGINAL)[:3] == ["", " = Valkyria = \n", ""]
    assert "".join(joined(built(ORIGINAL), wikitext=True)) == ORIGINAL


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (["a", "b"], "a\n\nb"),
        (["a\n", "b\n", "c"], "a\nb\nc"),
        (["a", "b\n", "c"], "a\n\nb\nc"),
        (["a", "", None, " \n", "b"], "a\n\nb"),
        (["", None], ""),
    ],
)
def test_rows_that_end_with_a_newline_follow_one_another_and_others_get_an_empty_line(
    rows: list[str | None], text: str
) -> None:
    assert "".join(joined(rows)) == text


@pytest.mark.parametrize(("limit", "text"), [(1, "é"), (2, "é"), (3, "é\n\nb"), (5, "é\n\nb"), (6, "é\n\nb\n\nc")])
def test_rows_are_taken_whole_until_the_bytes_are_reached(limit: int, text: str) -> None:
    rows = iter(["é", "b", "c", "d"])  # 2 bytes, then 3 each with what is between
    assert "".join(joined(rows, limit_bytes=limit)) == text
    assert "d" in rows  # no row is asked for that is not needed


# Files


def read(spec: object, cache: Path, limit_bytes: int | None = None) -> DatasetText:
    return dataset_text(str(spec), cache, limit_bytes=limit_bytes, reporter=Reporter())


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def write(name: str, data: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


Write = Callable[[str, bytes], Path]


@pytest.mark.parametrize(
    ("name", "data", "column", "text"),
    [
        ("a.jsonl", b'{"text": "one", "id": "x"}\n{"text": "two", "id": "y"}\n', "", "one\n\ntwo"),
        ("a.jsonl", b'{"text": "one", "id": "x"}\n{"text": "two", "id": "y"}\n', ":id", "x\n\ny"),
        ("a.jsonl", b'{"content": "one\\n", "id": "x"}\n{"content": "two", "id": "y"}\n', "", "one\ntwo"),
        ("part [1] *.jsonl", b'{"body": "one", "n": 1}\n', "", "one"),
        ("a.json", b'[\n {"text": "one", "n": 1},\n {"text": null, "n": 2},\n {"text": "three", "n": 3}\n]', "", "one\n\nthree"),
        ("a.csv", b'id,text\n007,"NA"\n8,"a ""b""\nc"\n9,\n10,5\n', "", 'NA\n\na "b"\nc\n\n5'),
        ("a.csv", b"id,text\n007,x\n8,y\n", ":id", "007\n\n8"),
        ("a.parquet", parquet(text=["one", "two"], n=[1, 2]), "", "one\n\ntwo"),
    ],
)  # fmt: skip
def test_rows_of_files(name: str, data: bytes, column: str, text: str, write: Write, tmp_path: Path) -> None:
    path = write(name, data)
    made = read(f"{path}{column}", tmp_path / "cache")
    assert made.path.read_bytes() == text.encode()
    assert made.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert made.fingerprint == hashlib.sha256(data).hexdigest()
    assert made.name == name + column
    assert made.path.parent == tmp_path / "cache" / "texts"


@pytest.mark.parametrize("name", ["a.txt", "a.md", "A.TXT"])
def test_a_text_is_taken_whole_and_as_it_is(name: str, write: Write, tmp_path: Path) -> None:
    data = " \r\nä\u2028\n\n\n".encode()
    made = read(write(name, data), tmp_path / "cache", limit_bytes=3)
    assert made.path.read_bytes() == data
    assert made.fingerprint == made.sha256 == hashlib.sha256(data).hexdigest()


def test_a_text_is_made_once_and_again_when_anything_it_depends_on_changes(write: Write, tmp_path: Path) -> None:
    path, cache = write("a.jsonl", b'{"text": "one"}\n{"text": "two"}\n'), tmp_path / "cache"
    first = read(path, cache)
    time = first.path.stat().st_mtime_ns
    assert read(path, cache) == first
    assert first.path.stat().st_mtime_ns == time
    limited = read(path, cache, limit_bytes=1)
    assert (limited.path.read_text(), first.path.read_text()) == ("one", "one\n\ntwo")
    first.path.write_text("damaged")
    assert read(path, cache).path.read_text() == "one\n\ntwo"
    write("a.jsonl", b'{"text": "three"}\n')
    changed = read(path, cache)
    assert changed.path.read_text() == "three"
    assert changed.fingerprint != first.fingerprint
    assert first.path.read_text() == "one\n\ntwo"  # what others may still hold


@pytest.mark.parametrize(
    ("name", "data", "column", "told"),
    [
        ("a.jsonl", b'{"text": "one"}\n\n{"text": "tw\n{"text": "three"}\n', "", "a.jsonl: line 3 is not JSON"),
        ("a.json", b'[\n{"text": "a"},\n{"text": }\n]', "", "a.json: line 3 is not JSON"),
        ("a.json", b'{"text": "a"}\n{"text"}\n', "", "a.json: line 2 is not JSON"),
        ("a.jsonl", b'"a"\n"b"\n', "", "a.jsonl: line 1 is no JSON object"),
        ("a.jsonl", b'null\n{"text": "a"}\n', "", "a.jsonl: line 1 is no JSON object"),
        ("a.json", b'null\n{"text": "a"}\n', "", "a.json: line 1 is no JSON object"),
        ("a.jsonl", b'{"text": ' * 100_000, "", "a.jsonl: line 1 cannot be read (it is nested too deeply)"),
        ("a.jsonl", '{"text": "é"}'.encode("latin-1"), "", "a.jsonl: is not UTF-8 text (byte 10)"),
        ("a.csv", "text\nxé".encode("latin-1"), "", "a.csv: is not UTF-8 text (byte 6)"),
        ("a.txt", b"x\xff", "", "a.txt: is not UTF-8 text (byte 1)"),
        ("a.parquet", b"no parquet file", "", "a.parquet: cannot be read"),
        ("a.jsonl", b"", "", "a.jsonl: is empty"),
        ("a.jsonl", b'{"text": ""}\n{"text": " "}\n', "", "a.jsonl: holds no text"),
        ("a.jsonl", b'{"text": [1], "n": 1}\n', "", "a.jsonl: has no column of text, only text, n"),
        ("a.jsonl", b'{"body": "a", "n": 1}\n', ":n", "a.jsonl: column n is no text; name one of body"),
        ("a.jsonl", b'{"body": "a", "n": 1}\n', ":bodi", "a.jsonl: has no column bodi; name one of body; did you mean body?"),
        ("a.jsonl", b'{"q": "a", "r": "b", "n": 1}\n', "", "a.jsonl: has several columns; name one of q, r"),
        ("a.txt", b"x", ":text", "a.txt: is a text without columns; leave :text out"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used(
    name: str, data: bytes, column: str, told: str, write: Write, tmp_path: Path
) -> None:
    with pytest.raises(BenchError) as e:
        read(f"{write(name, data)}{column}", tmp_path / "cache")
    assert told in str(e.value)
    assert "\n" not in str(e.value)
    assert not list(tmp_path.glob("cache/texts/*.*"))


@pytest.mark.parametrize("spec", ["wikitex", "wikitext:a:b", "notes.raw", "o/n:a:b:c:d", "", ":"])
def test_names_that_are_none(spec: str, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="is neither wikitext, wikitext-2, wikitext-103 nor a dataset on the hub"):
        read(spec, tmp_path)


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"none\.jsonl: no such file; check the path"):
        read(f"{tmp_path}/none.jsonl:text", tmp_path)


def test_without_a_network_or_with_it_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(BenchError, match=r"o/n: the hub cannot be reached \(.*\); check the network and run again"):
        read("o/n", tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BenchError, match="o/n: the hub is not asked while HF_HUB_OFFLINE is set; unset it"):
        read("o/n", tmp_path)


# The hub

_CARD = """---
configs:
- config_name: wikitext-2-raw-v1
  data_files:
  - {split: train, path: wikitext-2-raw-v1/train-*}
  - {split: validation, path: wikitext-2-raw-v1/validation-*}
  - {split: test, path: wikitext-2-raw-v1/test-*}
- config_name: wikitext-103-raw-v1
  data_files:
  - {split: test, path: wikitext-103-raw-v1/test-*}
---
"""
#: datasets reads its settings when it is imported, so that another process has to ask the server.
_ASK = """
import json, sys
from pathlib import Path
from bench.texts.dataset import dataset_text
from bench.core.errors import BenchError
from bench.core.progress import Reporter, be_quiet
be_quiet()
for line in sys.stdin:
    spec, limit = json.loads(line)
    try:
        made = dataset_text(spec, Path("cache"), limit_bytes=limit, reporter=Reporter()).model_dump_json()
    except BenchError as e:
        made = json.dumps(str(e))
    print(made, flush=True)
"""


@dataclass(frozen=True)
class Hub:
    """A server with some datasets, and a process that asks it; commits: of o/plain, in order."""

    server: HubServer
    process: subprocess.Popen[str]
    commits: list[str]

    def ask(self, spec: str, limit: int | None = None) -> DatasetText | str:
        """The text or the error that a name leads to."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps([spec, limit]) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer if isinstance(answer, str) else DatasetText.model_validate(answer)

    def text(self, spec: str, limit: int | None = None) -> str:
        made = self.ask(spec, limit)
        assert isinstance(made, DatasetText), made
        assert made.sha256 == hashlib.sha256(made.path.read_bytes()).hexdigest()
        return made.path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    here = tmp_path_factory.mktemp("hub")
    (here / "o" / "plain").mkdir(parents=True)  # a directory of the same name is not what is meant
    (here / "o" / "plain" / "train.jsonl").write_text('{"text": "of this directory"}\n')
    with HubServer() as server:
        wikitext = {
            "README.md": _CARD.encode(),
            "wikitext-2-raw-v1/train-0.parquet": parquet(text=built(" = Train = \n")),
            "wikitext-2-raw-v1/validation-0.parquet": parquet(text=built(" \n = Validation = \n")),
            "wikitext-2-raw-v1/test-0.parquet": parquet(text=built(ORIGINAL)),
            "wikitext-103-raw-v1/test-0.parquet": parquet(text=built(" = Test of 103 = \n \n")),
        }
        server.add_dataset("Salesforce/wikitext", {**wikitext})
        plain = [
            server.add_dataset("o/plain", {"train.jsonl": rows}, tag=tag)
            for rows, tag in (
                (b'{"text": "one"}\n{"text": "two"}\n{"text": "three"}\n', "v1"),
                (b'{"text": "later"}\n', "v2"),
            )
        ]
        server.add_dataset("o/splits", {f"{s}.csv": f"n,body\n1,{s}\n".encode() for s in ("train", "validation")})
        server.add_dataset("o/one-split", {"README.md": _card("en"), "a.parquet": parquet(q=["a"], r=["b"], n=[1])})
        server.add_dataset("o/script", {"script.py": b"open('ran', 'w')\n", "data.csv": b"text\nb\n"})
        server.add_dataset("o/gated", {"data.csv": b"text\nb\n"}, gated=True)
        server.add_dataset("o/no-data", {"README.md": b"nothing yet"})
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("HF_")},
            "HF_ENDPOINT": server.url,
            "HF_HOME": str(here / "home"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
        }
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen([sys.executable, "-c", _ASK], **pipes, text=True, env=environment, cwd=here)
        try:
            yield Hub(server, process, plain)
            _, told = process.communicate()
            assert not told  # neither bars nor warnings of the libraries
            assert not (here / "ran").exists()  # no code of a dataset
        finally:
            process.kill()


def _card(split: str) -> bytes:
    return (
        f"---\nconfigs:\n- config_name: default\n  data_files:\n  - {{split: {split}, path: a.parquet}}\n---\n".encode()
    )


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("wikitext", ORIGINAL),
        ("wikitext-2:test", ORIGINAL),
        ("Salesforce/wikitext:wikitext-2-raw-v1", ORIGINAL),
        ("wikitext:validation", " \n = Validation = \n"),
        ("wikitext-103", " = Test of 103 = \n \n"),
        ("o/plain@v1", "one\n\ntwo\n\nthree"),
        ("hf:o/plain@v1:default:train:text", "one\n\ntwo\n\nthree"),
        ("o/splits", "validation"),
        ("o/splits::train:body", "train"),
        ("o/one-split:::r", "b"),
    ],
)
def test_datasets_on_the_hub(spec: str, text: str, asked: Hub) -> None:
    assert asked.text(spec) == text


def test_names_and_fingerprints(asked: Hub) -> None:
    made = asked.ask("o/plain@v1")
    assert isinstance(made, DatasetText)
    assert (made.name, made.fingerprint) == ("o/plain, train split", f"o/plain@{asked.commits[0]}:default:train:text")
    made = asked.ask("wikitext:train")
    assert isinstance(made, DatasetText)
    assert made.name == "WikiText (wikitext-2-raw-v1), train split"


def test_a_limit_takes_whole_rows(asked: Hub) -> None:
    assert asked.text("o/plain@v1", 4) == "one\n\ntwo"


def test_a_name_stands_for_the_commit_it_was_read_at_and_is_not_asked_for_again(asked: Hub) -> None:
    assert asked.text("o/plain") == "later"
    asked.server.add_dataset("o/plain", {"train.jsonl": b'{"text": "latest"}\n'})
    before = len(asked.server.requests)
    assert asked.text("o/plain") == "later"
    assert len(asked.server.requests) == before
    assert asked.text("o/plain@main") == "latest"
    assert asked.text(f"o/plain@{asked.commits[0]}") == "one\n\ntwo\n\nthree"


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("o/plian", "o/plian: no such dataset on the hub, or a private one; check the name, or log in with `hf auth login`; did you mean o/plain"),
        ("q/plain", "did you mean o/plain"),
        ("o/plain@v3", "o/plain: has no revision v3; name one of main, v1, v2; did you mean v"),
        ("wikitext:tes", "Salesforce/wikitext: has no split tes; name one of train, validation, test; did you mean test?"),
        ("Salesforce/wikitext", "has several configs; name one of wikitext-2-raw-v1, wikitext-103-raw-v1"),
        ("Salesforce/wikitext:wikitext-2-v1", "has no config wikitext-2-v1; name one of wikitext-2-raw-v1, wikitext-103-raw-v1; did you mean"),
        ("o/one-split", "o/one-split: has several columns; name one of q, r"),
        ("o/one-split:::n", "o/one-split: column n is no text; name one of q, r"),
        ("o/one-split:::s", "o/one-split: has no column s; name one of q, r"),
        ("o/script", "o/script: is made by code of its own, which is not run"),
        ("o/gated", "o/gated: is gated; ask for access on its page on the hub, then log in with `hf auth login`"),
        ("o/no-data", "o/no-data: has no files of rows or text that can be read"),
    ],
)  # fmt: skip
def test_datasets_that_cannot_be_used(spec: str, told: str, asked: Hub) -> None:
    error = asked.ask(spec)
    assert isinstance(error, str)
    assert told in error
    assert "\n" not in error


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(500, "wait and run again"), (429, "wait and run again"), (403, "log in with `hf auth login`")],
)
def test_a_hub_that_answers_with_an_error(status: int, remedy: str, asked: Hub) -> None:
    asked.server.fault("/api/datasets/o/splits*", status=status)
    try:
        assert str(asked.ask("o/splits", 1)).startswith(f"o/splits: the hub answered {status}; {remedy}")
    finally:
        asked.server.faults.clear()
