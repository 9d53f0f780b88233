"""The prompt set is what the manifest says, and is cut into windows as its docstring draws it."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.texts import prompts
from bench.texts.stream import TokenStream
from bench.workbench.options import Options

KINDS = {"code", "dialogue", "encyclopedic", "letter", "mathematics", "narrative", "report", "technical"}


@pytest.mark.parametrize("part", [prompts.EVALUATION, prompts.CALIBRATION])
def test_manifest_lists_every_file_and_datasets_gives_its_bytes(part: str) -> None:
    found = prompts.fixed_set(part)
    on_disk = sorted((prompts.prompts_directory() / part).glob("*.txt"))
    assert sorted(d.name for d in found.documents) == [p.stem for p in on_disk]
    by_name = {d.name: d for d in found.documents}
    for path in on_disk:
        assert by_name[path.stem].text.encode() == path.read_bytes()
    assert set(found.kinds) == KINDS
    assert (prompts.prompts_directory() / "manifest.toml").read_text() == prompts.write_manifest()


def test_parts_share_no_run_of_eight_words() -> None:
    def runs(part: str) -> set[tuple[str, ...]]:
        words = prompts.fixed_set(part).text.split()
        return {tuple(words[i : i + 8]) for i in range(len(words) - 7)}

    assert not runs(prompts.EVALUATION) & runs(prompts.CALIBRATION)


def test_no_text_repeats_itself() -> None:
    """No loops and no filler: a run of 16 words occurs once in the whole set (shorter ones recur in code and mail headers)."""
    parts = (prompts.EVALUATION, prompts.CALIBRATION, prompts.part(["all"]))
    words = [w for part in parts for w in prompts.fixed_set(part).text.split()]
    runs = Counter(tuple(words[i : i + 16]) for i in range(len(words) - 15))
    assert [run for run, n in runs.items() if n > 1] == []


def test_languages_are_kinds_in_turn() -> None:
    """The first half of the texts has some of each, so a few windows do."""
    found = prompts.fixed_set(prompts.part(["all"]))
    codes = [d.name.partition("-")[0] for d in found.documents]
    assert len(codes) == 12 and codes[:6] == codes[6:] == sorted(prompts.LANGUAGES)
    assert found.kinds == tuple(prompts.LANGUAGES[code] for code in sorted(prompts.LANGUAGES))
    on_disk = sorted((prompts.prompts_directory() / "languages").glob("*.txt"))
    by_name = {d.name: d for d in found.documents}
    assert [by_name[p.stem].text.encode() for p in on_disk] == [p.read_bytes() for p in on_disk] and len(on_disk) == 12


def test_languages_are_named_by_code_or_name_in_any_order() -> None:
    part = prompts.part(["fr", "german"])
    assert part == prompts.part(["de", "fr"]) == "languages:de,fr"
    assert {d.kind for d in prompts.fixed_set(part).documents} == {"German", "French"}
    name, digest = prompts.identify(part)
    assert name == "fixed texts in de, fr" and prompts.languages_of(name) == ["de", "fr"]
    assert digest not in (prompts.identify(prompts.part(["de"]))[1], prompts.identify(prompts.EVALUATION)[1])
    assert prompts.part() == prompts.EVALUATION and prompts.languages_of(prompts.identify(prompts.EVALUATION)[0]) == []
    assert prompts.part(["all"]) == prompts.part(sorted(prompts.LANGUAGES))


@pytest.mark.parametrize(("named", "near"), [("it", ""), ("germany", "german"), ("de fr", ""), ("", "")])
def test_a_language_without_texts_is_refused_with_those_that_have_some(named: str, near: str) -> None:
    with pytest.raises(
        BenchError, match=r"there are no texts in it.*de \(German\), es \(Spanish\).*, and all; score"
    ) as raised:
        prompts.part(["de", named])
    assert near in str(raised.value) and "\n" not in str(raised.value)


def test_the_help_names_the_languages_that_there_are() -> None:
    told = next(f for f in fields(Options) if f.name == "languages").metadata["help"]
    assert ", ".join(prompts.LANGUAGES) in told


def test_the_texts_that_published_results_are_of_do_not_change() -> None:
    """As records in results/ have them."""
    assert prompts.identify(prompts.EVALUATION)[1] == "709c193e771cfa5680e1f7d8a2bf18bd66e36744e7539d0e7cf02080737904f6"
    assert (
        prompts.identify(prompts.CALIBRATION)[1] == "a370600247273080a89328fb4699984805e024dd3d044bab33d8e54446efb1ff"
    )


def test_changed_and_missing_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "prompts"
    shutil.copytree(prompts.prompts_directory(), copy)
    monkeypatch.setattr(prompts, "prompts_directory", lambda: copy)
    before = prompts.identify(prompts.EVALUATION)
    assert before == prompts.identify(prompts.EVALUATION)
    with (copy / "evaluation" / "letter-2.txt").open("a") as f:
        f.write("x")
    with pytest.raises(BenchError, match=r"letter-2\.txt: has changed .*git checkout"):
        prompts.fixed_set(prompts.EVALUATION)
    (copy / "calibration" / "code-cpp.txt").unlink()
    with pytest.raises(BenchError, match=r"code-cpp\.txt: is in the manifest but missing"):
        prompts.identify(prompts.CALIBRATION)


def test_a_text_of_the_users_is_read_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "dos.txt"
    path.write_bytes(b"one\r\ntwo\x0bthree\n")
    assert prompts.from_file(path).text == "one\r\ntwo\x0bthree\n"
    assert prompts.identify(path) == ("dos.txt", hashlib.sha256(path.read_bytes()).hexdigest())
    path.write_bytes(b"caf\xe9")
    with pytest.raises(BenchError, match="not UTF-8 text"):
        prompts.from_file(path)


def test_documents_know_where_they_end() -> None:
    documents = (prompts.Document("a", "x", "né\n"), prompts.Document("b", "y", "to\n"))
    found = prompts.PromptSet("p", documents)
    assert found.text == "né\n\nto\n"
    assert found.kind_ends() == [(5, "x"), (9, "y")]


def test_windows_as_drawn() -> None:
    stream = TokenStream(np.arange(18, dtype=np.int32), np.zeros(18, np.int64), ("text",), bos=99)
    assert stream.window(0, 8).tolist() == [99, 1, 2, 3, 4, 5, 6, 7]
    assert stream.window(1, 8).tolist() == [99, 9, 10, 11, 12, 13, 14, 15]
    assert stream.tokens[8] == 8, "putting BOS into a window must not change the stream"


def test_stream_round_trip(tmp_path: Path) -> None:
    for bos in (None, 1):
        stream = TokenStream(np.array([5, 6], np.int32), np.array([0, 1]), ("a", "b"), bos)
        stream.save(tmp_path / "s.npz")
        loaded = TokenStream.load(tmp_path / "s.npz")
        assert (loaded.bos, loaded.kind_names, loaded.tokens.tolist(), loaded.kinds.tolist()) == (
            bos,
            ("a", "b"),
            [5, 6],
            [0, 1],
        )
