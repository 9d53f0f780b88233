"""`advise` as a user meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Outcome
from tests.support.hub_server import HubServer, hub  # noqa: F401
from tests.support.tiny import Shape, write_model

PUBLISHED = Path(__file__).parents[2] / "results" / "smollm2-135m-instruct"


def test_advice_on_sizes_of_model_in_general(bench: Callable[..., Outcome], cache: Path) -> None:
    done = bench("advise", "--memory", "16GB", "--bandwidth", "60GB/s", "--threads", 8, "--cache", cache)
    assert done.code == 0, done.err
    assert done.out.startswith("## Take a model of ")
    assert "| Q4_K_M" in done.out and "70B" in done.out and "Tokens/s are expected, not measured" in done.out


def test_advice_on_a_model_and_a_run(bench: Callable[..., Outcome], tiny: Path, cache: Path) -> None:
    on_model = bench("advise", tiny, "--context", 256, "--cache", cache, "--json")
    assert on_model.code == 0, on_model.err
    rows = {r["name"]: r for r in json.loads(on_model.out)["candidates"]}
    assert rows["Q8_0"]["bytes"] > rows["Q4_K_M"]["bytes"] and rows["Q8_0"]["fits"] == "fits"
    on_run = bench("advise", "--run", PUBLISHED, "--max-size", "80MB", "--cache", cache)
    assert on_run.code == 0 and on_run.out.startswith("## Take DG-IQ2_XS (75.5M)\n"), on_run.err


def test_a_run_may_be_named_beside_its_model(bench: Callable[..., Outcome], tiny: Path, cache: Path) -> None:
    both = [bench("advise", *a, PUBLISHED, "--model", tiny, "--cache", cache) for a in ((), ("--run",))]
    # the model is another one here, which shows that it was read
    assert both[0].code == 2 and both[0].err == both[1].err and "give the model that the run measured" in both[0].err


def test_advice_on_a_repository_downloads_no_file(
    bench: Callable[..., Outcome],
    hub: HubServer,  # noqa: F811
    tmp_path: Path,
    cache: Path,
) -> None:
    shape = Shape(width=512, feed_forward=1024)
    files: dict[str, bytes | Path] = {
        f"m-{kind}.gguf": write_model(tmp_path / f"m-{kind}.gguf", shape, weight_type=kind).read_bytes()
        for kind in ("F16", "Q8_0", "Q4_0")
    }
    hub.add_model("owner/m-GGUF", {**files, "mmproj-m.gguf": b"GGUF"})
    done = bench("advise", "hf:owner/m-GGUF", "--prefer", "quality", "--cache", cache)
    assert done.code == 0, done.err
    assert done.out.startswith("## Take Q8_0 (") and "m-Q8_0.gguf" in done.out
    assert "Nothing has measured the quality of these files" in done.out and "could not be read" not in done.out
    fetched = [r for r in hub.requests if "/resolve/" in r.path or "/cdn/" in r.path]
    assert {r.headers.get("range") for r in fetched} == {"bytes=0-65535"}
    hub.add_model("owner/none", {"README.md": b"nothing"})
    none = bench("advise", "hf:owner/none", "--cache", cache)
    assert none.code == 2 and "has no GGUF file to choose from" in none.err


def test_a_header_that_may_not_be_read_is_told(
    bench: Callable[..., Outcome],
    hub: HubServer,  # noqa: F811
    tmp_path: Path,
    cache: Path,
) -> None:
    hub.add_model("owner/m-GGUF", {"m-Q8_0.gguf": write_model(tmp_path / "m.gguf", weight_type="Q8_0").read_bytes()})
    hub.fault("*/resolve/*", status=403)
    done = bench("advise", "hf:owner/m-GGUF", "--cache", cache)
    assert done.code == 0 and "since the header of the files could not be read" in done.out, done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--run", "nowhere"], "no such record file"),
        (["--model", "nowhere.gguf"], "no such file"),
        (["nowhere.gguf"], "no such file"),
        (["8B"], "8B: no such file; for sizes of model leave the argument out"),
        (["30b-a3b"], "30b-a3b: no such file; for sizes of model leave the argument out"),
        (["owner/repo-GGUF"], "owner/repo-GGUF: no such file; for a repository of the hub write hf:owner/repo-GGUF"),
        (["https://hub.example/owner/repo/tree/main"], "for a repository of the hub write hf:owner/repo\n"),
        (["hub.example.co/owner/repo"], "for a repository of the hub write hf:owner/repo\n"),
        (["folder/nowhere.gguf"], "folder/nowhere.gguf: no such file"),
        (["--memory", "much"], "--memory much: is no number of bytes; write for instance 80MB"),
        (["--bandwidth", "fast"], "--bandwidth fast: is no number of bytes a second"),
        (["--max-size", "4bpw"], "--max-size 4bpw: is no number of bytes"),
        (["--context", "0"], "--context"),
        (["--threads", "0"], "--threads"),
        (["hf:o/r", "--run", "x"], "give either this or --model and --run, not both"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    bench: Callable[..., Outcome], arguments: list[object], said: str, cache: Path
) -> None:
    done = bench("advise", *arguments, "--cache", cache)
    assert done.code == 2 and done.out == "", done.out
    assert said in done.err and len(done.err.strip().splitlines()) == 1, done.err
