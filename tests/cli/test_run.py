"""What a user meets first: help, small commands, and one clear line for every kind of bad input."""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import gguf
import numpy as np
import pytest

from bench.cli import app as cli
from bench.core.version import this_version
from bench.engine.context import Context
from bench.engine.llama import Model
from bench.quantize import imatrix_file
from bench.quantize.imatrix import Entry, ImportanceMatrix
from tests.conftest import Outcome
from tests.support.tiny import Shape, write_model

Bench = Callable[..., Outcome]


def assert_refused(outcome: Outcome, *said: str) -> None:
    """One line with all of `said`, exit code 2, nothing on standard output."""
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    *progress, error = outcome.err.strip().splitlines()
    assert error.startswith("error: ") and all(re.match(r"\d\d:\d\d:\d\d ", line) for line in progress), outcome.err
    for part in said:
        assert part in error


# --- files that are no models ---------------------------------------------------------------------------------------


@pytest.fixture
def bad_file(request: pytest.FixtureRequest, tiny: Path, tmp_path: Path) -> Path:
    whole = tiny.read_bytes()
    contents = {
        "empty": b"",
        "text": b"this is no model at all",
        "header only": whole[:200],
        "cut in the vocabulary": whole[:3000],
        "cut in the weights": whole[:-100_000],
    }
    path = tmp_path / "bad.gguf"
    if request.param == "directory":
        path.mkdir()
    elif request.param != "missing":
        path.write_bytes(contents[request.param])
    return path


BAD_FILES = [
    ("missing", "no such file"),
    ("empty", "is empty"),
    ("text", "not a GGUF file"),
    ("header only", "damaged or cut short"),
    ("cut in the vocabulary", "damaged or cut short"),
    ("cut in the weights", "is cut short"),
    ("directory", "is a directory"),
]


@pytest.mark.parametrize(("bad_file", "said"), BAD_FILES, indirect=["bad_file"])
def test_info_refuses(bench: Bench, bad_file: Path, said: str) -> None:
    assert_refused(bench("info", bad_file), "bad.gguf", said)


@pytest.mark.parametrize(("bad_file", "said"), BAD_FILES, indirect=["bad_file"])
def test_run_and_ppl_refuse_and_leave_nothing_behind(bench: Bench, bad_file: Path, said: str, tmp_path: Path) -> None:
    assert_refused(
        bench("run", "--model", bad_file, "--out", tmp_path / "out", "--cache", tmp_path / "cache"), "bad.gguf", said
    )
    assert_refused(bench("ppl", bad_file, "--cache", tmp_path / "cache"), "bad.gguf", said)
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "cache").rglob("*.json"))


def test_an_architecture_that_llama_cpp_does_not_know(bench: Bench, tmp_path: Path, text: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "odd.gguf", "nonesuch")
    writer.add_context_length(512)
    writer.add_tensor("token_embd.weight", np.zeros((8, 32), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert_refused(
        bench("ppl", tmp_path / "odd.gguf", "--text", text, "--window", 64, "--cache", tmp_path / "c"),
        "odd.gguf",
        "unknown model architecture: 'nonesuch'",
    )


def test_a_quantized_reference_must_be_asked_for(bench: Bench, tmp_path: Path, text: Path) -> None:
    model = write_model(tmp_path / "q8.gguf", weight_type="Q8_0")
    arguments = [
        "run",
        "--model",
        model,
        "--text",
        text,
        "--window",
        64,
        "--windows",
        1,
        "--recipes",
        "Q4_0",
        "--no-imatrix",
        "--out",
        tmp_path / "o",
        "--cache",
        tmp_path / "c",
    ]
    assert_refused(bench(*arguments), "q8.gguf", "is already quantized", "--allow-quantized")
    assert bench(*arguments, "--allow-quantized").code == 0


# --- requests that cannot be met -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--threads", "0"], "Invalid value for '--threads' / '-t': Input should be greater than or equal to 1"),
        (["ppl", "x.gguf", "--threads", "-3"], "'--threads' / '-t'"),
        (["run", "-w", "0"], "'--windows' / '-w'"),
        (["ppl", "x.gguf", "--window", "0"], "'--window'"),
        (["time", "x.gguf", "--rounds", "0"], "'--rounds' / '-r'"),
        (["run", "--threads", "many"], "valid integer"),
        (["run", "--nothing"], "No such option: --nothing"),
        (["pplx"], "No such command 'pplx'. Did you mean 'ppl'?"),
        (["ppl"], "Missing argument 'MODEL...'; see dynamicgate-bench ppl --help"),
        (["recipe"], "Missing command; see dynamicgate-bench recipe --help"),
    ],
)
def test_what_cannot_be_understood_is_refused_in_one_line(bench: Bench, arguments: list[str], said: str) -> None:
    done = bench(*arguments)
    assert done.code == 2 and done.out == ""
    [line] = done.err.splitlines()
    assert line.startswith("error: ") and said in line and "--help" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--window", "1024"], ["--window 1024", "context of 512 tokens"]),
        (["--window", "7"], ["must be an even number"]),
        (["--window", "64", "--windows", "99"], ["--windows 99", "windows of 64 tokens"]),
        (["--window", "64", "--threads", "9999"], ["--threads 9999"]),
        (["--window", "64", "--isa", "AVX9000"], ["--isa AVX9000", "was built for", "nox -s bench"]),
        (["--window", "64", "--recipes", "IQ2_XXS,IQ9_Z"], ["'IQ9_Z'", "did you mean"]),
        (
            ["--window", "64", "--recipes", "IQ1_S", "--no-imatrix"],
            ["IQ1_S needs an importance matrix", "--imatrix FILE"],
        ),
        (["--window", "64", "--imatrix", "a.gguf", "--no-imatrix"], ["--no-imatrix contradicts"]),
        (
            ["--window", "64", "--imatrix", "a.gguf", "--calibration", "b.txt", "--recipes", "Q4_0"],
            ["--calibration would do nothing"],
        ),
        (["--window", "64", "--imatrix", "nowhere.gguf"], ["nowhere.gguf: no such importance matrix"]),
        (["--window", "64", "--text", "nowhere.txt"], ["nowhere.txt: no such text file"]),
        (["--window", "64", "--recipes", " ,"], ["no recipe is named", "IQ2_XXS"]),
        (["--window", "64", "--calibration-chunks", "2", "--no-imatrix"], ["--calibration-chunks", "leave it out"]),
        (["--window", "64", "--recipes", "IQ3_XS", "--no-imatrix"], ["IQ3_XS needs an importance matrix"]),
    ],
)
def test_run_refuses(
    bench: Bench, tiny: Path, text: Path, tmp_path: Path, cache: Path, arguments: list[str], said: list[str]
) -> None:
    given = [] if "--text" in arguments else ["--text", text]
    assert_refused(bench("run", "--model", tiny, *given, "--out", tmp_path / "o", "--cache", cache, *arguments), *said)
    assert not (tmp_path / "o").exists()


def test_a_text_shorter_than_a_window(bench: Bench, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("Too short.")
    assert_refused(
        bench("ppl", tiny, "--text", tmp_path / "short.txt", "--window", 512, "--cache", tmp_path / "c"),
        "short.txt",
        "fewer than one window of 512",
    )
    (tmp_path / "empty.txt").write_text("")
    assert_refused(
        bench("ppl", tiny, "--text", tmp_path / "empty.txt", "--window", 64, "--cache", tmp_path / "c"),
        "empty.txt",
        "is empty",
    )


@pytest.fixture
def wrong_matrix(request: pytest.FixtureRequest, tiny: Path, tmp_path: Path) -> Path:
    """What is no importance matrix of the tiny model, which has four layers of width 256."""

    def of(layers: int, columns: int = 256, name: str = "attn_q") -> bytes:
        entry = Entry(np.ones((1, columns), np.float32), np.ones(1, np.float32))
        entries = {f"blk.{i}.{name}.weight": entry for i in range(layers)}
        imatrix_file.write(ImportanceMatrix(entries, (), 1, 512), tmp_path / "m.gguf")
        return (tmp_path / "m.gguf").read_bytes()

    contents = {
        "another width": lambda: of(4, 64),
        "another architecture": lambda: of(4, 256, "ssm_in"),
        "fewer layers": lambda: of(3),
        "more layers": lambda: of(5),
        "a model": tiny.read_bytes,
        "a text": lambda: b"hello, world, this is text",
        "cut short": lambda: of(4)[:-2000],
    }
    path = tmp_path / "wrong.gguf"
    path.write_bytes(contents[request.param]())
    return path


WRONG_MATRICES = [
    ("another width", "64 columns here and 256"),
    ("another architecture", "none of its tensors are in tiny.gguf"),
    ("fewer layers", "is of 3 layers and tiny.gguf has 4"),
    ("more layers", "is of 5 layers and tiny.gguf has 4"),
    ("a model", "holds no importance data"),
    ("a text", "is no usable importance matrix"),
    ("cut short", "is cut short"),
]


@pytest.mark.parametrize(("wrong_matrix", "said"), WRONG_MATRICES, indirect=["wrong_matrix"])
def test_a_wrong_importance_matrix_is_refused_before_anything_is_computed(
    bench: Bench, wrong_matrix: Path, said: str, tiny: Path, text: Path, tmp_path: Path
) -> None:
    given = ("--model", tiny, "--imatrix", wrong_matrix, "--cache", tmp_path / "c")
    scored = ("--text", text, "--window", 64, "--out", tmp_path / "out")
    commands: list[tuple[object, ...]] = [
        ("quantize", "IQ1_S", tmp_path / "q.gguf"),
        ("recipe", "show", "Q4_K_M"),
        ("recipe", "diff", "Q4_K_M", "auto@4bpw"),
        ("sensitivity", "--out", tmp_path / "out"),
        ("run", "--recipes", "Q4_K_M", *scored),
        ("sample", "--recipes", "Q4_K_M", *scored),
    ]
    for command in commands:
        assert_refused(bench(*command, *given), "wrong.gguf", said)
    assert not (tmp_path / "q.gguf").exists() and not (tmp_path / "out").exists()
    assert not {p.name for p in (tmp_path / "c").glob("*")} & {"quantized", "blocks", "sensitivity", "imatrix"}


def test_directories_that_cannot_be_written(bench: Bench, tiny: Path, text: Path, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    common = [
        "run",
        "--model",
        tiny,
        "--text",
        text,
        "--window",
        64,
        "--windows",
        1,
        "--recipes",
        "Q4_0",
        "--no-imatrix",
    ]
    assert_refused(
        bench(*common, "--out", tmp_path / "out", "--cache", tmp_path / "file" / "cache"),
        "file/cache",
        "cannot be written",
        "another directory",
    )
    assert_refused(
        bench(*common, "--out", tmp_path / "file" / "out", "--cache", cache), "file/out", "cannot be written", "--out"
    )
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_disk_that_is_full(tiny: Path, tmp_path: Path) -> None:
    """The system's limit on the size of a file stands in for the disk's end: the write fails in the middle all the same."""
    limit = 2_000_000
    command = [
        sys.executable,
        "-m",
        "bench",
        "quantize",
        "Q8_0",
        str(tmp_path / "q.gguf"),
        "--model",
        str(tiny),
        "--no-imatrix",
        "--cache",
        str(tmp_path / "c"),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert "cannot be written" in done.stderr and "free some space" in done.stderr
    assert not (tmp_path / "q.gguf").exists()
    assert not list((tmp_path / "c" / "quantized").glob("*")), "no half-written file stays in the cache"


def test_debug_shows_the_traceback(bench: Bench) -> None:
    assert "Traceback" in bench("--debug", "info", "nowhere.gguf").err
    assert "Traceback" in bench("info", "nowhere.gguf", "--debug").err


# --- what works ---------------------------------------------------------------------------------------------------


def test_help_lists_the_commands(bench: Bench) -> None:
    shown = bench("--help").out
    for command in ("run", "quantize", "ppl", "time", "tables", "info"):
        assert f"  {command} " in shown
    for option in ("--model", "--recipes", "--imatrix", "--quick", "--isa", "--json"):
        assert option in bench("run", "--help").out


def test_info(bench: Bench, tiny: Path) -> None:
    found = json.loads(bench("info", tiny, "--json").out)
    assert (found["architecture"], found["layers"], found["context"], found["vocabulary"]) == ("llama", 4, 512, 274)
    assert found["bytes"] == tiny.stat().st_size
    text = bench("info", tiny).out
    assert re.search(r"^architecture +llama$", text, re.MULTILINE) and re.search(
        r"^sha256 +[0-9a-f]{64}$", text, re.MULTILINE
    )
    assert found["sha256"] == hashlib.sha256(tiny.read_bytes()).hexdigest() and found["chat_template"] == "none"
    assert found["heads"] == 4 and found["memory_at_512_tokens"] > found["bytes"]
    short = json.loads(bench("info", tiny, "--context", 64, "--json").out)
    assert found["bytes"] < short["memory_at_64_tokens"] < found["memory_at_512_tokens"]


def test_ppl_equals_its_definition(bench: Bench, tiny: Path, text: Path, cache: Path) -> None:
    found = json.loads(
        bench(
            "ppl", tiny, "--text", text, "--window", 128, "--windows", 3, "--threads", 1, "--cache", cache, "--json"
        ).out
    )
    nll = []
    with Model(tiny) as model, Context(model, n_ctx=128, n_batch=128, n_ubatch=128, threads=1) as context:
        tokens = model.tokenize(text.read_text())
        for start in (0, 128, 256):
            window = tokens[start : start + 128]
            context.clear()
            context.prepare(np.array([1, *window[1:]], np.int32), 0)
            context.decode()
            logits = context.logits().astype(np.float64)
            log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
            nll += [-log_p[i, window[i + 1]] for i in range(64, 127)]
    mean, n = np.mean(nll), len(nll)
    assert (found["windows"], found["tokens"]) == (3, n) == (3, 3 * 63)
    assert found["ppl"] == pytest.approx(np.exp(mean), rel=1e-6)
    assert found["se"] == pytest.approx(np.exp(mean) * np.std(nll) / np.sqrt(n - 1), rel=1e-6)


def test_several_files_are_compared_window_by_window(
    bench: Bench, tiny: Path, text: Path, cache: Path, tmp_path: Path
) -> None:
    other = write_model(tmp_path / "other.gguf", values_of="Q4_0")
    asked = ("--text", text, "--window", 64, "--windows", 8, "--threads", 1, "--cache", cache)
    base, found = json.loads(bench("ppl", tiny, other, *asked, "--json").out)
    assert base["change"] is None and found["against"] == str(tiny)
    ratios = [(a - b) / 31 for a, b in zip(found["nll"], base["nll"], strict=True)]
    assert found["change"]["value"] == pytest.approx(np.expm1(np.mean(ratios)), rel=1e-6)
    assert found["change"]["low"] < found["change"]["value"] < found["change"]["high"]
    assert len(set(ratios)) == 8, "each window has its own difference"
    text_table = bench("ppl", other, "--against", tiny, *asked).out
    first, second = [line for line in text_table.splitlines() if ".gguf" in line and line.startswith("|")]
    assert first.split()[1] == "tiny.gguf" and second.split()[1] == "other.gguf"
    assert f"{100 * found['change']['value']:+.1f}%" in second


def test_divergence_from_the_first_file_equals_its_definition(
    bench: Bench, tiny: Path, text: Path, cache: Path, tmp_path: Path
) -> None:
    """KL of the first window's scored tokens in float64, and the share of equal top tokens."""
    other = write_model(tmp_path / "other.gguf", values_of="Q4_0")
    asked = ("--text", text, "--window", 64, "--windows", 1, "--threads", 1, "--cache", cache)
    base, found = json.loads(bench("ppl", other, "--against", tiny, *asked, "--json").out)
    log_p = []
    for path in (tiny, other):
        with Model(path) as model, Context(model, n_ctx=64, n_batch=64, n_ubatch=64, threads=1) as context:
            window = model.tokenize(text.read_text())[:64]
            context.prepare(np.array([1, *window[1:]], np.int32), 32)
            context.decode()
            logits = context.logits()[:-1].astype(np.float64)
            log_p.append(logits - np.log(np.exp(logits).sum(1, keepdims=True)))
    kl = (np.exp(log_p[0]) * (log_p[0] - log_p[1])).sum(1)
    assert len(kl) == 31 and found["kl"]["value"] == pytest.approx(kl.mean(), rel=1e-4) and kl.mean() > 0
    same = log_p[0].argmax(1) == log_p[1].argmax(1)
    assert found["same_top"]["value"] == pytest.approx(same.mean()) and base["kl"] is None
    assert found["kl"]["low"] is None, "one window supports no interval"
    assert not list(cache.glob("scratch/*")), "the logits are gone"


def test_a_file_against_its_copy_is_equal(bench: Bench, tiny: Path, text: Path, cache: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(tiny.read_bytes())
    asked = ("--text", text, "--window", 64, "--windows", 2, "--threads", 1, "--cache", cache)
    assert "equal to the last digit" in bench("ppl", tiny, copy, *asked).out
    _, found = json.loads(bench("ppl", tiny, copy, *asked, "--json").out)
    assert found["kl"]["value"] == pytest.approx(0, abs=1e-7) and found["same_top"]["value"] == 1


def test_files_with_other_tokens_are_not_compared(
    bench: Bench, tiny: Path, text: Path, cache: Path, tmp_path: Path
) -> None:
    other = write_model(tmp_path / "other.gguf", shape=Shape(add_bos=False))
    done = bench("ppl", tiny, other, "--text", text, "--window", 64, "--windows", 2, "--threads", 1, "--cache", cache)
    assert "other tokens, not comparable" in done.out


def test_nan_logits_are_an_error(bench: Bench, text: Path, tmp_path: Path) -> None:
    path = write_model(tmp_path / "nan.gguf", weight_type="F32")
    tensor = next(t for t in gguf.GGUFReader(path, "r+").tensors if t.name == "blk.2.ffn_norm.weight")
    tensor.data[5] = np.nan
    tensor.data.flush()
    assert_refused(bench("ppl", path, "--text", text, "--window", 64, "--cache", tmp_path / "c"), "NaN or Inf")


def test_time_tells_what_llama_bench_tells(bench: Bench, tiny: Path, cache: Path) -> None:
    asked = ("time", tiny, "-p", "64,128", "-n", "4", "-r", "3", "--threads", 1, "--cache", cache)
    found = json.loads(bench(*asked, "-o", "json").out)
    assert [(r["n_prompt"], r["n_gen"]) for r in found] == [(64, 0), (128, 0), (0, 4)]
    for row in found:
        ns, n = row["samples_ns"], row["n_prompt"] + row["n_gen"]
        assert len(ns) == 3 and min(ns) > 0
        assert row["samples_ts"] == pytest.approx([1e9 * n / x for x in ns], rel=1e-5)
        assert row["avg_ns"] == int(np.mean(ns)) and row["stddev_ns"] == int(np.std(ns, ddof=1))
        assert row["avg_ts"] == pytest.approx(np.mean(row["samples_ts"]))
        assert row["stddev_ts"] == pytest.approx(np.std(row["samples_ts"], ddof=1))
    tensors = gguf.GGUFReader(tiny).tensors
    assert found[0]["model_n_params"] == sum(t.n_elements for t in tensors)
    assert found[0]["model_size"] == sum(t.n_bytes for t in tensors)
    assert found[0]["peak_memory_bytes"] > 10_000_000 and found[0]["time_ratio"] is None


def test_time_compares_several_files_round_by_round(bench: Bench, tiny: Path, cache: Path, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other.gguf", weight_type="Q8_0")
    asked = ("time", tiny, other, "-p", "32", "-n", "2", "--threads", 1, "--cache", cache)
    rows = [json.loads(line) for line in bench(*asked, "-o", "jsonl").out.splitlines()]
    for base, found in zip(rows[:2], rows[2:], strict=True):
        ratios = [b / a for a, b in zip(base["samples_ns"], found["samples_ns"], strict=True)]
        assert len(ratios) == 6 and 0.3 * min(ratios) < found["time_ratio"] < 3 * max(ratios)
        assert found["time_ratio_low"] <= found["time_ratio"] <= found["time_ratio_high"]
    table = bench(*asked, "-r", 1, "--quiet")
    assert table.err == "", "quiet means quiet"
    assert "pp32" in table.out and "tg2" in table.out and "too few passes for an interval" in table.out
    header, *lines = bench(*asked, "-r", 1, "-o", "csv").out.splitlines()
    assert "avg_ts,stddev_ts" in header and "samples_ns" not in header and len(lines) == 4


def test_a_prompt_longer_than_a_batch_is_processed_in_batches(
    bench: Bench, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.measures.windows.throughput.BATCH", 32)
    model = write_model(tmp_path / "m.gguf")
    done = bench("time", model, "-p", "100", "-n", "0", "-r", 1, "--threads", 1, "--cache", cache, "--json")
    assert done.code == 0, done.err
    assert [r["n_prompt"] for r in json.loads(done.out)] == [100]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-p", "many"], "--prompt many: 'many' is no number of tokens"),
        (["-p", "512,,1"], "is no number of tokens"),
        (["-n", "-3"], "--generate -3: '-3' is no number"),
        (["-p", "0", "-n", "0"], "nothing is to be timed"),
        (["-p", "513"], "--prompt 513: tiny was trained for a context of 512 tokens"),
        (["-p", "64", "-n", "1000"], "--generate 1000"),
    ],
)
def test_time_refuses(bench: Bench, tiny: Path, cache: Path, arguments: list[str], said: str) -> None:
    assert_refused(bench("time", tiny, *arguments, "--cache", cache), said)


def test_quantize_writes_the_file(bench: Bench, tiny: Path, calibration: Path, tmp_path: Path, cache: Path) -> None:
    out = tmp_path / "sub" / "q.gguf"
    said = json.loads(
        bench("quantize", "IQ1_S", out, "--model", tiny, "--calibration", calibration, "--cache", cache, "--json").out
    )
    assert out.stat().st_size == said["bytes"]
    info = json.loads(bench("info", out, "--json").out)
    assert info["weights_by_type"] == said["weights_by_type"]
    assert info["weights_by_type"]["IQ1_S"] > 0


def test_what_is_there_is_overwritten_only_when_asked(bench: Bench, tiny: Path, tmp_path: Path, cache: Path) -> None:
    out = tmp_path / "q.gguf"
    out.write_text("mine")
    arguments = ["quantize", "Q4_0", out, "--no-imatrix", "--model", tiny, "--cache", cache]
    assert_refused(bench(*arguments), "q.gguf: is there already", "--force")
    assert out.read_text() == "mine"
    assert bench(*arguments, "--force").code == 0 and out.stat().st_size > 1000
    assert_refused(bench("imatrix", out, "--model", tiny, "--cache", cache), "is there already")


def test_quantize_writes_several_files_at_once(bench: Bench, tiny: Path, tmp_path: Path, cache: Path) -> None:
    arguments = ["--model", tiny, "--no-imatrix", "--cache", cache]
    done = bench("quantize", "Q4_0,Q8_0", tmp_path / "files", *arguments, "--json")
    assert done.code == 0, done.err
    built = json.loads(done.out)
    assert [Path(b["path"]).name for b in built] == ["Q4_0.gguf", "Q8_0.gguf"]
    assert [Path(b["path"]).stat().st_size for b in built] == [b["bytes"] for b in built]
    assert_refused(bench("quantize", "Q4_0", tmp_path, *arguments), "is a directory; give the name of the file")
    assert_refused(bench("quantize", "Q4_0,Q8_0", built[0]["path"], *arguments), "is a file; give a directory")


def test_what_is_read_is_never_written_over(bench: Bench, tmp_path: Path, cache: Path) -> None:
    model = write_model(tmp_path / "mine.gguf")
    before = model.read_bytes()
    for command in (["quantize", "Q4_0", model, "--no-imatrix"], ["imatrix", model]):
        assert_refused(bench(*command, "--model", model, "--cache", cache), "mine.gguf: is what is read from")
    named = write_model(tmp_path / "Q8_0.gguf")
    arguments = ["quantize", "Q4_0,Q8_0", tmp_path, "--no-imatrix", "--model", named, "--cache", cache]
    assert_refused(bench(*arguments), "Q8_0.gguf: is what is read from")
    assert model.read_bytes() == before


def test_imatrix_writes_what_the_sweep_uses(
    bench: Bench, tiny: Path, calibration: Path, tmp_path: Path, cache: Path
) -> None:
    done = bench("imatrix", tmp_path / "m.gguf", "--model", tiny, "--calibration", calibration, "--cache", cache)
    assert done.code == 0, done.err
    matrix = imatrix_file.read(tmp_path / "m.gguf")
    assert matrix.chunks == 2 and "blk.0.attn_q.weight" in matrix.entries


def test_recipe_show_and_list(bench: Bench, tiny: Path, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "own.toml").write_text(
        'prefix = "OWN"\nbase = "Q4_0"\n[[rules]]\ntype = "Q8_0"\ntensors = ["attention-v"]\n'
    )
    arguments = [tmp_path / "own.toml", "--model", tiny, "--no-imatrix", "--cache", cache]
    shown = bench("recipe", "show", *arguments, "--json")
    assert shown.code == 0, shown.err
    said = json.loads(shown.out)
    assert said["types"]["blk.2.attn_v.weight"] == "Q8_0" and said["types"]["blk.2.attn_q.weight"] == "Q4_0"
    built = bench("quantize", tmp_path / "own.toml", tmp_path / "q.gguf", *arguments[1:])
    assert built.code == 0, built.err
    assert (tmp_path / "q.gguf").stat().st_size == said["bytes"]
    words = bench("recipe", "show", *arguments).out
    assert "OWN of tiny" in words and "attn_v       Q8_0 in 0–3\n" in words and "blk." not in words
    assert re.search(r"^blk\.2\.attn_v\.weight +Q8_0$", bench("recipe", "show", *arguments, "--all").out, re.MULTILINE)


def test_recipes_are_listed_by_bits_with_the_sizes_of_their_files(
    bench: Bench, tiny: Path, tmp_path: Path, cache: Path
) -> None:
    found = json.loads(bench("recipe", "list", "--model", tiny, "--cache", cache, "--json").out)
    formats = {f["name"]: f for f in found["formats"]}
    assert (formats["IQ2_XXS"]["bits"], formats["BF16"]["bits"], formats["Q4_K_M"]["bits"]) == (2, 16, 4)
    assert [f["bits"] for f in found["formats"]] == sorted(f["bits"] for f in found["formats"])
    shown = json.loads(bench("recipe", "show", "Q4_K_M", "--model", tiny, "--cache", cache, "--json").out)
    assert formats["Q4_K_M"]["n_bytes"] == shown["bytes"]
    assert formats["Q4_K_M"]["bits_per_weight"] == pytest.approx(shown["bits_per_weight"])
    mixed = {m["name"]: m for m in found["mixed"]}
    assert mixed["DG"]["at_most"] and mixed["DG"]["n_bytes"] == round(formats["IQ2_XXS"]["n_bytes"] * 1.04)
    assert mixed["auto"]["n_bytes"] is None
    text = bench("recipe", "list", "--model", tiny, "--cache", cache).out
    assert "files of tiny" in text and "Bits per weight" in text
    without = bench("recipe", "list", "--cache", tmp_path / "empty").out
    assert "DG-MIDDLE" in without and "guide" in without and "name one with --model" in without
    assert re.search(r"^\| +\| +IQ1_M +\| +needed \|$", without, re.MULTILINE)


def test_recipe_diff_and_check(bench: Bench, tiny: Path, tmp_path: Path, cache: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        'prefix = "OWN"\nbase = "Q4_0"\n[[rules]]\ntype = "Q8_0"\nlayers = [1, 3]\ntensors = ["attention-v"]\n'
    )
    model = ["--model", tiny, "--no-imatrix", "--cache", cache]
    differ = bench("recipe", "diff", "Q4_0", own, *model)
    assert differ.code == 1, differ.err
    assert "attn_v  Q4_0 in 0–3\n        → Q4_0 in 0, 3; Q8_0 in 1–2\n" in differ.out
    assert "2 of " in differ.out and differ.out.count("bits per weight") == 2
    same = bench("recipe", "diff", "Q4_0", "Q4_0", *model, "--json")
    assert same.code == 0 and json.loads(same.out)["tensors"] == {}
    assert bench("recipe", "check", own).out == f"{own}: a recipe with the prefix OWN on Q4_0, 1 rules\n"
    own.write_text(own.read_text().replace("attention-v", "attention-w"))
    assert_refused(bench("recipe", "check", own), "own.toml", "attention-w")


def test_help_does_not_load_the_engine() -> None:
    code = "import sys; sys.argv = ['bench', '--help']\ntry:\n    import bench.cli; bench.cli.main()\nfinally:\n    print([m for m in ('llama_cpp', 'numpy', 'pandas', 'datasets', 'matplotlib', 'gguf') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.stdout.strip().endswith("[]")


@pytest.mark.parametrize("module", ["bench.choose.on_request", "bench.sweep.sweep"])
def test_what_only_some_commands_need_is_not_imported_by_all(module: str) -> None:
    """Each of these takes a third of a second or more, which `ppl` and a finished run would pay for nothing."""
    heavy = ("pandas", "scipy.stats", "scipy.optimize", "matplotlib", "datasets", "huggingface_hub", "jinja2")
    found = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", found], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_version_says_which_build_of_the_engine_is_in_use(bench: Callable[..., Outcome]) -> None:
    done = bench("--version")
    assert done.code == 0, done.err
    program, engine = done.out.splitlines()
    assert program == f"dynamicgate-bench {this_version().version}"
    assert engine.startswith(f"engine: llama-cpp-python {version('llama-cpp-python')} (llama.cpp ")
    assert re.search(r", built for [A-Z]\S+$", engine)


@pytest.mark.parametrize("called", ["dynamicgate-bench", "__main__.py", "by nox"])
def test_help_has_one_name_for_the_program_but_for_nox_in_a_checkout(
    called: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [f"/somewhere/{called}", "recipe", "list", "--help"])
    if called == "by nox":
        monkeypatch.setenv("BENCH_PROGRAM", "nox -s bench --")
    with pytest.raises(SystemExit):
        cli.main()
    name = "nox -s bench --" if called == "by nox" else "dynamicgate-bench"
    assert capfd.readouterr().out.strip().startswith(f"Usage: {name} recipe list")
