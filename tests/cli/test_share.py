"""`card` as a user meets them; a checkpoint of the hub through the whole of a command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from bench.measures.registry import load_run
from tests.conftest import Outcome
from tests.support.hub_server import HubServer, hub  # noqa: F401

PUBLISHED = Path(__file__).parents[2] / "results" / "smollm2-135m-instruct"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["card", PUBLISHED, "--language", "english"], "give ISO 639 codes"),
        (["card", PUBLISHED, "--imatrix", "nowhere"], "no such importance matrix"),
        (
            ["card", PUBLISHED, "--base-model", "a/b", "--license", "mit", "--upload"],
            "which repository? name it with --repo",
        ),
        (
            ["card", PUBLISHED, "--base-model", "a/b", "--license", "mit", "--upload", "--repo", "tester/x"],
            "holds no file with the hash on record",
        ),
    ],
)
def test_what_is_missing_is_told(
    bench: Callable[..., Outcome], arguments: list[object], said: str, tmp_path: Path
) -> None:
    out = ["--out", tmp_path / "card"] if arguments[0] == "card" else []
    done = bench(*arguments, *out, "--cache", tmp_path)
    assert done.code == 2 and done.out == ""
    assert said in done.err and len(done.err.strip().splitlines()) == 1, done.err


def test_a_card_is_written_and_nothing_sent(
    bench: Callable[..., Outcome],
    hub: HubServer,  # noqa: F811
    tmp_path: Path,
) -> None:
    early = PUBLISHED.with_name("smollm2-135m-instruct-sizes")  # whose records do not tell the model's languages
    done = bench("card", early, "--base-model", "a/b", "--license", "apache-2.0", "--out", tmp_path / "card")
    assert done.code == 0, done.err
    assert "base_model: a/b" in (tmp_path / "card" / "README.md").read_text(encoding="utf-8")
    assert "Beside it: report.html, plots/, recipes/" in done.out
    assert "warning: the card lacks the languages: give --language" in done.err
    assert not hub.requests


def test_a_run_becomes_a_repository(
    bench: Callable[..., Outcome],
    hub: HubServer,  # noqa: F811
    tiny: Path,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From a model to a card and its files on a hub: what was sent is what was built."""
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    where = ["--cache", tmp_path / "cache"]
    ran = bench("run", "--model", tiny, "--text", text, "--window", 64, "--windows", 2, "--generate", 2, "--no-imatrix", "--recipes", "Q8_0",
                "--out", tmp_path / "run", *where)  # fmt: skip
    assert ran.code == 0, ran.err
    done = bench(
        "card",
        tmp_path / "run",
        "--base-model",
        "a/b",
        "--license",
        "mit",
        "--repo",
        "tester/tiny-GGUF",
        "--upload",
        *where,
    )
    assert done.code == 0, done.err
    [commit] = hub.committed
    built = next((tmp_path / "cache" / "quantized").glob("*Q8_0*.gguf"))
    assert commit.files["tiny-Q8_0.gguf"] == built.read_bytes()
    assert {"README.md", "report.html", "recipes/quantize.sh"} <= commit.files.keys() and "tiny-Q8_0.gguf" in done.out


def test_nothing_is_sent_without_a_base_model(
    bench: Callable[..., Outcome],
    hub: HubServer,  # noqa: F811
    tiny: Path,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    where = ["--cache", tmp_path / "cache"]
    ran = bench("run", "--model", tiny, "--text", text, "--window", 64, "--windows", 1, "--generate", 0, "--no-imatrix", "--recipes", "Q8_0",
                "--out", tmp_path / "run", *where)  # fmt: skip
    assert ran.code == 0, ran.err
    done = bench("card", tmp_path / "run", "--repo", "tester/tiny-GGUF", "--upload", *where)
    assert done.code == 2 and "give --base-model OWNER/NAME" in done.err and not hub.committed


def test_a_checkpoint_of_the_hub(
    bench: Callable[..., Outcome],
    hub: HubServer,  # noqa: F811
    tiny: Path,
    text: Path,
    tmp_path: Path,
) -> None:
    """What is fetched is what a converter reads; what it writes is the model. The converter here only copies."""
    home = tmp_path / "cache" / "converter" / version("llama-cpp-python")
    (home / "env" / "bin").mkdir(parents=True)
    (home / "source").mkdir()
    (home / "env" / "bin" / "python").symlink_to(sys.executable)
    (home / "complete").touch()
    (home / "source" / "convert_hf_to_gguf.py").write_text(
        "import sys, pathlib, shutil; d = pathlib.Path(sys.argv[1])\n"
        "assert {p.name for p in d.iterdir()} == {'README.md', 'config.json', 'tokenizer.json', 'model.safetensors'}\n"
        "shutil.copy(d / 'model.safetensors', sys.argv[sys.argv.index('--outfile') + 1])\n"
    )
    commit = hub.add_model(
        "a/Tiny",
        {
            "README.md": b"---\nlicense: mit\n---\n",
            "config.json": b"{}",
            "tokenizer.json": b"[]",
            "model.safetensors": tiny,
            "x.png": b"x",
            "onnx/model.onnx": b"x",
        },
    )
    done = bench("run", "--model", "hf:a/Tiny", "--text", text, "--window", 64, "--windows", 1, "--generate", 0, "--no-imatrix", "--recipes", "Q8_0",
                 "--out", tmp_path / "run", "--cache", tmp_path / "cache")  # fmt: skip
    assert done.code == 0, done.err
    assert f"Fetched from: hf:a/Tiny@{commit}" in done.out
    assert {r.path.rpartition("/")[2] for r in hub.asked("GET", "*resolve*")} == {
        "README.md",
        "config.json",
        "tokenizer.json",
        "model.safetensors",
    }
    record = next(r for r in load_run(tmp_path / "run").files.values() if r.family == "Reference")
    assert record.details is not None and record.details.converted_from == "a/Tiny"
