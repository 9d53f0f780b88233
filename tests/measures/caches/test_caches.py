"""KV cache types: scored with real tiny models, and the statistics by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import pytest

from bench.core.progress import Reporter
from bench.engine.settings import CACHE_TYPES, PLAIN, Cache
from bench.measures.caches import statistics as stats
from bench.measures.caches.frames import caches, positions
from bench.measures.caches.jobs import CacheResult, Distance, Sums
from bench.measures.caches.options import GRID, Asked, caches_of
from bench.measures.caches.records import CacheRecord
from bench.measures.caches.runs import caches_in, results
from bench.measures.caches.tables import caches_table, positions_table
from bench.measures.registry import load_run
from bench.measures.windows.runs import windows_of
from bench.present.notes import notes
from bench.present.output import summarize
from bench.records.run import FILE_NAME, Record, Run
from bench.sweep.sweep import Sweep
from bench.workbench.options import Options
from tests.conftest import Outcome
from tests.support.records import file_record, run_of
from tests.support.tiny import Shape, write_model

Q8, MIXED, NO_FLASH = Cache(k="q8_0", v="q8_0"), Cache(k="q8_0", v="q4_0"), Cache(flash=False)


def test_types_have_the_numbers_of_ggml() -> None:
    assert {t: gguf.GGMLQuantizationType[t.upper()].value for t in CACHE_TYPES} == CACHE_TYPES


def test_what_is_asked_for_comes_after_f16_and_its_control() -> None:
    assert caches_of(Asked()) == []
    assert caches_of(Asked(types=("Q8_0", "f16", "q8_0/q4_0"))) == [PLAIN, NO_FLASH, Q8, MIXED]
    assert len(caches_of(Asked(types=("grid",)))) == len(GRID) ** 2 + 1
    without = caches_of(Asked(types=("q8_0",), no_rotation=True))
    assert [c.name for c in without] == ["f16", "f16, no flash attention", "q8_0", "q8_0, no rotation"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cache-types", "q8"], "--cache-types q8: llama.cpp has no cache type 'q8'; did you mean q8_0"),
        (["--cache-types", "q8_0/q9"], "--cache-types q8_0/q9: llama.cpp has no cache type 'q9'"),
        (["--no-rotation"], "--no-rotation says how cache types are measured; give --cache-types too"),
    ],
)
def test_what_is_no_cache_is_refused_before_anything_is_computed(
    bench: Callable[..., Outcome], tiny: Path, text: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    outcome = bench(
        "run", "--model", tiny, "--text", text, "--recipes", "Q8_0", "--no-imatrix", "--window", 64, "--out", tmp_path / "out",
        "--cache", tmp_path / "cache", *arguments,
    )  # fmt: skip
    assert outcome.code == 2 and said in outcome.err and "Traceback" not in outcome.err
    assert not (tmp_path / "out" / FILE_NAME).exists()


@pytest.fixture(scope="module")
def options(tiny: Path, text: Path, cache: Path) -> Options:
    return Options(
        model=str(tiny), text=text, recipes=("Q4_0",), no_imatrix=True, window=64, windows=6, threads=1, cache=cache, no_speed=True,
        measures={"caches": Asked(types=("q8_0", "q8_0/q4_0", "q4_0"), no_rotation=True)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(options: Options, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("caches")
    Sweep(replace(options, out=out), Reporter()).execute()
    return load_run(out)


def test_a_cache_in_f16_gives_the_digits_of_the_windows(run: Run) -> None:
    for name in ("F16", "Q4_0"):
        found, windows = results(run, name, PLAIN), windows_of(run).results(name)
        assert found is not None and windows is not None
        for cached, window in zip(found, windows, strict=True):
            assert {k: (s.tokens, s.nll) for k, s in cached.by_kind.items()} == {
                k: (s.tokens, s.nll) for k, s in window.by_kind.items()
            }
            assert sum(s.tokens for s in cached.by_position) == 31


def test_fewer_bits_cost_more(run: Run) -> None:
    def kl(name: str, cache: Cache) -> float:
        m = stats.measured(run, name, cache)
        found = m and m.kl(stats.own)
        assert found is not None
        return found.value

    for name in ("F16", "Q4_0"):
        assert kl(name, NO_FLASH) < kl(name, Q8) < kl(name, MIXED) < kl(name, Cache(k="q4_0", v="q4_0"))
        # of random weights it helps nobody, and is seen to be computed otherwise
        assert kl(name, Cache(k="q4_0", v="q4_0")) != kl(name, Cache(k="q4_0", v="q4_0", rotation=False))


def test_the_size_of_a_cache_is_that_of_its_blocks(run: Run) -> None:
    """4 layers of 2 heads of 64 keys and as many values, for each of 256 cells."""
    frame = caches(run).set_index(["recipe", "k", "v", "flash", "rotation"])
    assert frame.loc[("F16", "f16", "f16", True, True), "bytes_per_token"] == 4 * 2 * 64 * 2 * 2
    mixed = frame.loc[("F16", "q8_0", "q4_0", True, True)]
    # as llama.cpp prints it: two digits of a MiB
    assert mixed.cache_bytes == pytest.approx(256 * 4 * 2 * 64 / 32 * (34 + 18), abs=0.02 * 2**20)
    assert mixed.rotated == "KV" and frame.loc[("F16", "q8_0", "q4_0", True, False), "rotated"] == ""
    assert math.isnan(frame.loc[("F16", "f16", "f16", True, True), "kl_own"])
    parts = positions(run)
    first = parts[(parts.recipe == "Q4_0") & (parts.k == "q8_0") & (parts.v == "q8_0") & parts.rotation]
    assert first["first"].iloc[0] == 33 and first["last"].iloc[-1] == 63 and len(first) == 8


def test_what_is_shown(run: Run) -> None:
    text = summarize(run).markdown
    assert "## KV cache types" in text and "Along the window:" in text
    table = caches_table(run)
    assert list(table["Cache"][:5]) == ["f16", "f16, no flash attention", "q8_0", "q8_0/q4_0", "q4_0"]
    assert set(table.loc[table["Cache"].str.startswith("f16"), "Verdict"]) == {"–"}
    assert "33-36" in positions_table(run)
    from bench.measures.caches.plots import draw

    assert set(draw(run)) == {"cache-positions"}, "keys and values were not varied apart"


def test_a_run_goes_on_with_what_is_missing(options: Options, run: Run, tmp_path: Path) -> None:
    """Stopped in the middle of a window: what is on record stays, and the rest comes out the same."""
    assert run.directory is not None
    lines = (run.directory / FILE_NAME).read_text().splitlines(keepends=True)
    last = [i for i, line in enumerate(lines) if '"kind":"cache"' in line][20]
    (tmp_path / FILE_NAME).write_text("".join(lines[: last + 1]))
    Sweep(replace(options, out=tmp_path), Reporter()).execute()
    again = load_run(tmp_path)
    assert caches_in(again) == caches_in(run)
    assert len(again.of(CacheRecord)) == len(run.of(CacheRecord))


def test_what_llama_cpp_refuses_is_told_and_not_tried_again(tmp_path: Path, options: Options) -> None:
    """Heads of 48 numbers are no whole blocks of 32."""
    model = write_model(tmp_path / "m.gguf", Shape(width=256, heads=4, kv_heads=2, head=48))
    asked = replace(options, model=str(model), recipes=("F16",), windows=1, out=tmp_path / "out", measures={"caches": Asked(types=("q8_0",))})  # fmt: skip
    sweep = Sweep(asked, Reporter())
    sweep.execute()
    found = load_run(tmp_path / "out")
    [note] = [n for n in notes(found) if "q8_0" in n]
    assert note.startswith(
        "F16 with a cache of q8_0: llama.cpp cannot make a context of 64 tokens with a cache of q8_0 ("
    )
    assert not Sweep(asked, Reporter()).pending(found)


def cached(window: int, cache: Cache, nll: float, own: float | None, reference: float | None = None) -> CacheRecord:
    def distance(kl: float | None) -> Distance | None:
        return None if kl is None else Distance(kl=10 * kl, p_change_squares=0.1, same_top=9)

    sums = Sums(tokens=10, nll=10 * nll, own=distance(own), reference=distance(reference))
    return CacheRecord(
        run="r",
        recipe="F16",
        sha256="F16",
        window=window,
        cache=cache,
        result=CacheResult(by_kind={"text": sums}, by_position=(sums,)),
    )


def by_hand(change: float, control: float) -> Run:
    records: list[Record] = [file_record("F16", "Reference", 384)]
    for w in range(6):
        noise = 0.001 * w
        records += [
            cached(w, PLAIN, 2 + w, None),
            cached(w, NO_FLASH, 2 + w + control, 1e-5),
            cached(w, Q8, 2 + w + change + noise, 0.02 + noise),
        ]
    return run_of(records, windows=6)


def test_figures_by_hand() -> None:
    found = stats.measured(by_hand(0.05, 0.0), "F16", Q8)
    assert found is not None
    kl, change = found.kl(stats.own), found.ppl_change()
    assert kl is not None and kl.value == pytest.approx(0.0225)
    assert change.value == pytest.approx(math.exp(0.0525) - 1)
    assert found.kl(stats.reference) is None and found.kl_change() is None
    assert [e.value for e in found.kl_by_position(stats.own)] == pytest.approx([0.0225])


@pytest.mark.parametrize(
    ("change", "control", "verdict"),
    [(0.05, 0.0, "worse"), (0.05, 0.2, "within the measurement floor"), (-0.0025, 0.0, "no difference shown")],
)
def test_a_verdict_is_none_below_what_another_kernel_does(change: float, control: float, verdict: str) -> None:
    rows = caches_table(by_hand(change, control)).set_index("Cache")
    assert rows.loc["q8_0", "Verdict"] == verdict and rows.loc["f16, no flash attention", "Verdict"] == "–"


def test_a_cache_with_missing_windows_has_no_figures() -> None:
    run = run_of([file_record("F16", "Reference", 384), cached(0, PLAIN, 2, None), cached(0, Q8, 2, 0.1)], windows=6)
    assert caches_table(run).empty and caches(run).empty
