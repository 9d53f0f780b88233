"""Third-party files beside the recipes, from this machine and from a hub, and what a header says of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.core.progress import Reporter
from bench.measures.registry import load_run
from bench.measures.windows.runs import windows_of
from bench.models.compared import compared_files
from bench.models.reference import Reference, describe
from tests.conftest import Outcome
from tests.support.hub_server import HubServer, hub  # noqa: F401
from tests.support.tiny import write_model


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reference and files that others made of it, or of something else."""
    folder = tmp_path_factory.mktemp("files")
    told = {"general.quantized_by": "somebody", "quantize.imatrix.file": "/home/x/tiny.dat"}
    write_model(folder / "Tiny.gguf")
    write_model(folder / "Tiny-Q8_0.gguf", weight_type="Q8_0", extra=told)
    write_model(folder / "Tiny.Q4_0.gguf", weight_type="Q4_0")
    return folder


@pytest.fixture
def reference(files: Path, tmp_path: Path) -> Reference:
    return describe(files / "Tiny.gguf", tmp_path / "cache", Reporter())


def test_beside_the_recipes(bench: Callable[..., Outcome], files: Path, text: Path, tmp_path: Path) -> None:
    done = bench("run", "--model", files / "Tiny.gguf", "--text", text, "--window", 64, "--windows", 2, "--generate", 0, "--no-imatrix",
                 "--recipes", "Q8_0", "--compare", str(files / "Tiny?Q*.gguf"), "--cache", tmp_path / "cache", "--out", tmp_path / "run")  # fmt: skip
    assert done.code == 0, done.err
    run = load_run(tmp_path / "run")
    assert list(run.files) == ["F16", "Q8_0", "file:Q8_0", "file:Q4_0"]
    ours, theirs = run.files["Q8_0"], run.files["file:Q8_0"]
    assert theirs.types == ours.types  # and the same values, so the same scores
    assert [w.by_kind for w in windows_of(run).results("file:Q8_0") or ()] == [
        w.by_kind for w in windows_of(run).results("Q8_0") or ()
    ]
    assert theirs.told == {"made by": "somebody", "importance matrix": "tiny.dat"} and theirs.base == "Q8_0"
    tables = (tmp_path / "run" / "tables" / "tables.md").read_text()
    assert "## Third-party files" in tables and "made by: somebody; importance matrix: tiny.dat" in tables
    assert "| file:Q8_0 |    Q8_0 |" in tables  # paired with the standard of the same name


def test_files_of_others_alone(bench: Callable[..., Outcome], files: Path, text: Path, tmp_path: Path) -> None:
    """Nothing is built, no importance matrix computed and no default model fetched: the largest file is the reference."""
    asked = ["--text", text, "--window", 64, "--windows", 2, "--generate", 0, "--cache", tmp_path / "cache"]
    alone = ["--recipes", "none", "--compare", str(files / "Tiny?Q*.gguf")]
    done = bench("run", *asked, *alone, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert "compared with the largest of them, " in done.err and "Tiny-Q8_0.gguf" in done.err
    run = load_run(tmp_path / "run")
    assert run.reference == "Q8_0"
    reference, other = run.files  # the other's header names another model, so it keeps the name of its file
    assert (reference, other) == ("Q8_0", "file:Tiny.Q4_0") and other in done.out
    assert [w.tokens is not None and w.tokens.kl is not None for w in windows_of(run).results(other) or ()] == [
        True
    ] * 2
    kept = {p.name for p in (tmp_path / "cache").iterdir()}
    assert not kept & {"imatrix", "quantized", "models"}
    held = bench("run", *asked, *alone, "--model", files / "Tiny.gguf", "--out", tmp_path / "held")
    assert held.code == 0, held.err
    assert list(load_run(tmp_path / "held").files) == ["F16", "file:Q8_0", "file:Q4_0"]
    nothing = bench("run", *asked, "--recipes", "none", "--out", tmp_path / "none")
    assert nothing.code == 2 and "--recipes none leaves nothing to measure" in nothing.err
    assert bench("quantize", "none", tmp_path / "q.gguf", *asked[-2:]).code == 2


def test_of_files_alone_those_that_do_not_compare_are_left_out(
    bench: Callable[..., Outcome], files: Path, text: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("Tiny-Q8_0.gguf", "Tiny.Q4_0.gguf"):
        (folder / name).write_bytes((files / name).read_bytes())
    (folder / "unsuitable.gguf").write_bytes(b"GGUF")
    asked = [
        "run",
        "--recipes",
        "none",
        "--text",
        text,
        "--window",
        64,
        "--windows",
        1,
        "--generate",
        0,
        "--cache",
        tmp_path / "cache",
    ]
    done = bench(*asked, "--compare", str(folder / "*.gguf"), "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert "left out: " in done.err and list(load_run(tmp_path / "run").files) == ["Q8_0", "file:Tiny.Q4_0"]
    named = [argument for path in sorted(folder.iterdir()) for argument in ("--compare", path)]
    refused = bench(*asked, *named, "--out", tmp_path / "named")
    assert refused.code == 2 and "unsuitable.gguf" in refused.err, "a file that is named must compare"


def test_the_reference_is_not_compared_with_itself(
    files: Path, reference: Reference, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    found = compared_files([str(files / "*.gguf")], reference, cache, Reporter())
    assert [c.name for c in found] == [
        "file:Q8_0",
        "file:Q4_0",
    ] and "the reference itself" not in capfd.readouterr().err
    assert compared_files([str(files / "Tiny.gguf")], reference, cache, Reporter()) == []
    assert "Tiny.gguf: is the reference itself, which is measured anyway" in capfd.readouterr().err


def test_the_same_file_twice_is_measured_once(
    files: Path, reference: Reference, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    named = [str(files / "Tiny-Q8_0.gguf")] * 2
    assert len(compared_files(named, reference, tmp_path / "cache", Reporter())) == 1
    assert "measured once" in capfd.readouterr().err


def test_another_vocabulary_is_refused(files: Path, reference: Reference, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other.gguf")
    data = other.read_bytes()
    place = data.index("▁".encode(), data.index(b"<0xFF>"))  # the first of the letters
    other.write_bytes(data[:place] + "▂".encode() + data[place + 3 :])
    with pytest.raises(BenchError, match=r"its vocabulary is another one .* \(token 259 is '▂' there and '▁' in"):
        compared_files([str(other)], reference, tmp_path / "cache", Reporter())


def test_of_several_the_others_are_left_out(
    files: Path, reference: Reference, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.gguf").write_bytes((files / "Tiny-Q8_0.gguf").read_bytes())
    (tmp_path / "x" / "b.gguf").write_bytes(b"GGUF")
    found = compared_files([str(tmp_path / "x" / "*.gguf")], reference, tmp_path / "cache", Reporter())
    assert [c.name for c in found] == ["file:a"]
    assert "left out" in capfd.readouterr().err


def test_a_longer_vocabulary_is_scored_for_perplexity_only(
    bench: Callable[..., Outcome], files: Path, text: Path, tmp_path: Path
) -> None:
    longer = write_model(tmp_path / "Tiny-longer.gguf", control=("<pad1>", "<pad2>"))
    done = bench("run", "--model", files / "Tiny.gguf", "--text", text, "--window", 64, "--windows", 1, "--generate", 0, "--no-imatrix",
                 "--recipes", "Q8_0", "--compare", longer, "--cache", tmp_path / "cache", "--out", tmp_path / "run")  # fmt: skip
    assert done.code == 0, done.err
    run = load_run(tmp_path / "run")
    [scored] = windows_of(run).results("file:longer") or ()
    assert scored.tokens is not None and scored.tokens.kl is None
    assert (
        "its vocabulary has 276 tokens and the reference's 274"
        in (tmp_path / "run" / "tables" / "tables.md").read_text()
    )


def test_a_publishers_repository(
    bench: Callable[..., Outcome],
    hub: HubServer,  # noqa: F811
    files: Path,
    text: Path,
    tmp_path: Path,
) -> None:
    """Reference and files from a hub, one of them split, the vision part of another model left aside."""
    parts = tmp_path / "parts"
    parts.mkdir()
    write_model(parts / "Tiny-Q4_0.gguf", weight_type="Q4_0", split=16)
    commit = hub.add_model("a/base", {"Tiny-F16.gguf": files / "Tiny.gguf"})
    hub.add_model("b/Tiny-GGUF", {"Tiny-Q8_0.gguf": files / "Tiny-Q8_0.gguf", "mmproj-x.gguf": b"GGUF", "README.md": b"# x",
                                  **{f"Q4_0/{p.name}": p for p in parts.iterdir()}})  # fmt: skip
    arguments = ["run", "--model", "hf:a/base:*F16.gguf", "--compare", "hf:b/Tiny-GGUF:*.gguf", "--text", text, "--window", 64, "--windows", 1,
                 "--generate", 0, "--no-imatrix", "--recipes", "Q8_0", "--cache", tmp_path / "cache", "--out", tmp_path / "run"]  # fmt: skip
    done = bench(*arguments)
    assert done.code == 0, done.err
    run = load_run(tmp_path / "run")
    assert set(run.files) == {"F16", "Q8_0", "b:Q8_0", "b:Q4_0"}
    assert run.files["F16"].origin == f"hf:a/base@{commit}:Tiny-F16.gguf"
    assert run.files["b:Q4_0"].origin is not None and run.files["b:Q4_0"].origin.endswith(
        "Tiny-Q4_0-00001-of-00003.gguf"
    )
    fetched = len(hub.asked("GET", "*resolve*"))
    assert bench(*arguments).code == 0
    assert len(hub.asked("GET", "*resolve*")) == fetched
    alone = bench("run", "--recipes", "none", "--compare", "hf:b/Tiny-GGUF:*.gguf", "--text", text, "--window", 64, "--windows", 1,
                  "--generate", 0, "--cache", tmp_path / "cache", "--out", tmp_path / "alone")  # fmt: skip
    assert alone.code == 0, alone.err
    reference, other = load_run(tmp_path / "alone").files.values()
    assert reference.family == "Reference" and "Tiny-Q8_0.gguf" in str(reference.origin) and "Q4_0" in str(other.origin)
    assert len(hub.asked("GET", "*resolve*")) == fetched, (
        "the parts of the split one were added up, nothing fetched twice"
    )


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("hf:a/two", "matches 2 models: one.gguf, two.gguf; name one of them after a colon"),
        ("hf:a/two:on?.gguf:x", "name another file or glob"),
        ("hf:a/none", "has no GGUF model and no checkpoint with safetensors"),
        ("hf:a", "is not OWNER/REPO"),
    ],
)
def test_which_model_is_meant(
    named: str,
    said: str,
    bench: Callable[..., Outcome],
    hub: HubServer,  # noqa: F811
    tmp_path: Path,
) -> None:
    hub.add_model("a/two", {"one.gguf": b"GGUF", "two.gguf": b"GGUF"})
    hub.add_model("a/none", {"README.md": b"x"})
    done = bench("ppl", named, "--cache", tmp_path)
    assert done.code == 2 and said in done.err, done.err


def test_no_room_is_told_before_anything_is_fetched(
    bench: Callable[..., Outcome],
    hub: HubServer,  # noqa: F811
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import shutil

    hub.add_model("a/base", {"Tiny-F16.gguf": files / "Tiny.gguf"})
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=1000))
    done = bench("run", "--model", "hf:a/base:Tiny-F16.gguf", "--cache", tmp_path / "cache", "--out", tmp_path / "run")
    assert done.code == 2 and "this run needs about" in done.err and "free some space" in done.err
    assert not hub.asked("GET", "*resolve*")


def test_files_of_one_name_keep_names_of_their_own(files: Path, reference: Reference, tmp_path: Path) -> None:
    """Three files called Q8_0.gguf, none of which may pass for the recipe Q8_0."""
    named = []
    for i in range(3):
        folder = tmp_path / str(i)
        folder.mkdir()
        named.append(str(write_model(folder / "Q8_0.gguf", weight_type="Q8_0", extra={"general.quantized_by": str(i)})))
    found = compared_files(named, reference, tmp_path / "cache", Reporter())
    assert [c.told["made by"] for c in found] == ["0", "1", "2"]
    assert len({c.name for c in found}) == 3 and all(c.name.startswith("file:Q8_0") for c in found)


def test_a_file_that_was_replaced_is_measured_anew(
    bench: Callable[..., Outcome], files: Path, text: Path, tmp_path: Path
) -> None:
    other = tmp_path / "Tiny-Q8_0.gguf"
    other.write_bytes((files / "Tiny-Q8_0.gguf").read_bytes())
    arguments = ["run", "--model", files / "Tiny.gguf", "--text", text, "--window", 64, "--windows", 1, "--generate", 0, "--no-imatrix",
                 "--recipes", "Q8_0", "--compare", other, "--cache", tmp_path / "cache", "--out", tmp_path / "run"]  # fmt: skip
    assert bench(*arguments).code == 0
    before = load_run(tmp_path / "run").files["file:Q8_0"]
    other.unlink()
    write_model(other, weight_type="Q4_0")
    done = bench(*arguments)
    assert done.code == 0 and "file:Q8_0: is another file than the one on record" in done.err
    after = load_run(tmp_path / "run")
    assert after.files["file:Q8_0"].sha256 != before.sha256 and windows_of(after).results("file:Q8_0")


def test_what_is_no_language_model_costs_itself(
    bench: Callable[..., Outcome], files: Path, text: Path, tmp_path: Path
) -> None:
    """A file that llama.cpp cannot load, found out in the first pass: the others are measured."""
    broken = write_model(tmp_path / "Tiny-broken.gguf")
    data = broken.read_bytes()
    broken.write_bytes(data.replace(b"blk.3.ffn_down", b"blk.3.xxx_down"))
    done = bench("run", "--model", files / "Tiny.gguf", "--text", text, "--window", 64, "--windows", 1, "--generate", 0, "--no-imatrix",
                 "--recipes", "Q8_0", "--compare", broken, "--cache", tmp_path / "cache", "--out", tmp_path / "run")  # fmt: skip
    assert done.code == 1 and "file:broken, window 0:" in done.err
    assert windows_of(load_run(tmp_path / "run")).results("Q8_0")
