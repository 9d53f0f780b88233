"""Two runs of different models: real ones with other vocabularies, against arithmetic of its own on logits and bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import gguf
import numpy as np
import pandas as pd
import pytest

import bench as library
from bench.core.errors import BenchError
from bench.core.progress import Reporter
from bench.engine.context import Context
from bench.engine.llama import Model
from bench.measures.registry import load_run
from bench.measures.windows.records import SpansRecord, WindowRecord
from bench.present import columns
from bench.present.compare_models import ModelComparison
from bench.records.run import FILE_NAME, Run
from bench.sweep.sweep import Sweep
from bench.workbench.options import Options
from tests.conftest import Outcome
from tests.support.records import text_run
from tests.support.tiny import JOINED, Shape, write_model, write_text

WINDOW = 64


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> dict[str, Options]:
    """Runs of two models by their names, one of which puts letters together."""
    folder = tmp_path_factory.mktemp("models")
    text = write_text(folder / "words.txt", 1500, seed=3)
    models = {
        "letters": write_model(folder / "letters.gguf"),
        "joined": write_model(folder / "joined.gguf", Shape(seed=2, layers=2, add_bos=False), joined=JOINED),
    }
    return {
        name: Options(
            model=str(path), text=text, recipes=("Q8_0", "Q4_0"), no_imatrix=True, window=WINDOW, windows=windows, threads=1, cache=cache,
            no_speed=True, score="all", out=folder / name,
        )
        for (name, path), windows in zip(models.items(), (20, 10), strict=True)
    }  # fmt: skip


@pytest.fixture(scope="module")
def runs(asked: dict[str, Options]) -> tuple[Run, Run]:
    for options in asked.values():
        Sweep(options, Reporter()).execute()
    first, second = (load_run(o.out or Path()) for o in asked.values())
    return first, second


def bits_by_byte(model: Path, text: bytes, windows: int) -> list[tuple[int, int, float]]:
    """(first byte, end, bits) of every scored token, by the spelling that the model's file gives each token."""
    fields = gguf.GGUFReader(model).fields["tokenizer.ggml.tokens"]
    spelled = [bytes(fields.parts[i]).decode() for i in fields.data]
    found, at = [], 0
    with (
        Model(model) as loaded,
        Context(loaded, n_ctx=WINDOW, n_batch=WINDOW, n_ubatch=WINDOW, threads=1) as context,
    ):
        tokens = loaded.tokenize(text.decode())
        for w in range(windows):
            window = tokens[w * WINDOW : (w + 1) * WINDOW]
            context.clear()
            context.prepare(window, 0)
            context.decode()
            logits = context.logits().astype(np.float64)
            for i, token in enumerate(window):
                word = spelled[token]
                special = word in ("<s>", "</s>", "<unk>")
                byte = word.startswith("<0x")
                n = 0 if special else 1 if byte else len(word.replace("▁", " ").encode())
                if at == 0 and n and word.startswith("▁"):
                    n -= 1  # the space before the text
                assert n == 0 or byte or text[at : at + n].decode() == word.replace("▁", " ")[-n:]
                if i:
                    row = logits[i - 1]
                    nll = math.log(np.exp(row - row.max()).sum()) + row.max() - row[token]
                    found.append((at, at + n, nll / math.log(2)))
                at += n
    return found


def test_bits_per_byte_are_those_of_the_text_that_both_scored(asked: dict[str, Options], runs: tuple[Run, Run]) -> None:
    text = next(iter(asked.values())).text
    assert text is not None
    a, b = (bits_by_byte(Path(str(o.model)), text.read_bytes(), o.windows or 0) for o in asked.values())
    whose: list[dict[int, int]] = [
        {x: i for i, (s, e, _) in enumerate(tokens) for x in range(s, e)} for tokens in (a, b)
    ]
    edges = [{s for s, _, _ in tokens} | {e for _, e, _ in tokens} for tokens in (a, b)]
    common = sorted(edges[0] & edges[1])
    sums, n_bytes = [0.0, 0.0], 0
    for begin, end in pairwise(common):
        if all(x in by_byte for x in range(begin, end) for by_byte in whose):
            n_bytes += end - begin
            for i, tokens in enumerate((a, b)):
                sums[i] += sum(bits for s, e, bits in tokens if begin <= s < end and e <= end)
    assert n_bytes > 300 and max(e - s for s, e, _ in b) > max(e - s for s, e, _ in a)
    row = ModelComparison(*runs).frame().set_index(["recipe_a", "recipe_b"]).loc[("F16", "F16")]
    assert row["text_bytes"] == n_bytes
    assert row["bits_per_byte_a"] == pytest.approx(sums[0] / n_bytes, rel=1e-5)
    assert row["bits_per_byte_b"] == pytest.approx(sums[1] / n_bytes, rel=1e-5)
    assert row["bits_per_byte_change"] == pytest.approx((sums[1] - sums[0]) / n_bytes, abs=1e-4)
    assert row["bits_per_byte_change_low"] < row["bits_per_byte_change"] < row["bits_per_byte_change_high"]


def test_offsets_are_of_the_run_and_small(runs: tuple[Run, Run]) -> None:
    for run in runs:
        [told] = run.of(SpansRecord)
        assert len(told.windows) == run.windows
        assert run.directory is not None
        whole = (run.directory / FILE_NAME).stat().st_size
        assert len(told.model_dump_json()) < 0.1 * whole


def test_the_command_shows_pairs_of_similar_size_and_all_of_them(
    bench: Callable[..., Outcome], runs: tuple[Run, Run]
) -> None:
    a, b = (run.directory for run in runs)
    short, whole = bench("compare", a, b), bench("compare", a, b, "--all")
    assert short.code == whole.code == 0, short.err + whole.err
    rows = [[line for line in o.out.splitlines() if line.startswith("|")][2:] for o in (short, whole)]
    assert len(rows[1]) == 9 and 3 <= len(rows[0]) < 9
    assert f"A: {a}, letters" in short.out and "more pairs" in short.out and "more pair" not in whole.out
    assert "begin elsewhere in the text" in short.out
    told = json.loads(bench("compare", a, b, "--json").out)
    assert {r["better"] for r in told} <= {"A", "B", None}
    assert len(told) == 9 and sum(r["similar_size"] for r in told) == len(rows[0])
    sizes = [r["bytes_a"] * r["bytes_b"] for r in told]
    assert sizes == sorted(sizes)


def test_the_library_gives_the_same_numbers(runs: tuple[Run, Run]) -> None:
    a, b = (run.directory or Path() for run in runs)
    found = library.compare_runs(a, b)
    assert (*found.index.names, *found.columns) == columns.table("compared-models").names
    assert found.loc[("Q8_0", "Q4_0"), "bits_per_byte_change"] == pytest.approx(
        -library.compare_runs(b, a).loc[("Q4_0", "Q8_0"), "bits_per_byte_change"]
    )


def test_a_run_of_an_early_version_is_completed_by_its_own_command(
    bench: Callable[..., Outcome], asked: dict[str, Options], runs: tuple[Run, Run], tmp_path: Path
) -> None:
    source, other = (run.directory or Path() for run in runs)
    lines = (source / FILE_NAME).read_bytes().splitlines(keepends=True)
    old = [line for line in lines if not line.startswith(b'{"kind":"spans"')]
    assert len(old) == len(lines) - 1
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / FILE_NAME).write_bytes(b"".join(old))
    refused = bench("compare", tmp_path / "old", other)
    assert refused.code != 0 and len(refused.err.strip().splitlines()) == 1
    assert "records of run A do not say where in the text its tokens are" in refused.err
    Sweep(replace(asked["letters"], out=tmp_path / "old"), Reporter()).execute()
    again = load_run(tmp_path / "old")
    assert len(again.of(WindowRecord)) == len(runs[0].of(WindowRecord))
    assert ModelComparison(again, runs[1]).frame().equals(ModelComparison(*runs).frame())


def test_what_does_not_compare_is_refused_with_both_values() -> None:
    a = text_run("A", [(0, [4, 4])], {"F16": [[1, 1]]})
    scored = {"settings": a.identity.settings.model_copy(update={"scored": "all"})}
    text = {"prompts": a.identity.prompts.model_copy(update={"sha256": "2" * 64})}
    library_built = {"library": a.identity.library.model_copy(update={"llama_cpp": "0.6.0"})}
    shorter = {"settings": a.identity.settings.model_copy(update={"window": 512})}
    for change, said in (
        (scored, "settings.scored is half in one and all in the other"),
        (text, f"prompts.sha256 is {'1' * 64} in one and {'2' * 64} in the other"),
        (library_built, "library.llama_cpp is 0.5.0 in one and 0.6.0 in the other"),
        (shorter, "settings.window is 2048 in one and 512 in the other"),
    ):
        other = text_run("B", [(0, [4, 4])], {"F16": [[1, 1]]})
        header = other.header.model_copy(update={"identity": other.identity.model_copy(update=change)})
        with pytest.raises(
            BenchError, match=r"cannot compare: .*; the bits per byte of two models compare on one text"
        ) as error:
            ModelComparison(a, Run(header, other.records))
        assert said in str(error.value) and "\n" not in str(error.value)


def test_what_no_score_depends_on_may_differ() -> None:
    a = text_run("A", [(0, [4, 4])], {"F16": [[1, 1]]})
    b = text_run("B", [(0, [4, 4]), (8, [8])], {"F16": [[1, 1], [1]]}, threads=16, cpu="Another CPU")
    named = b.identity.model_copy(update={"prompts": b.identity.prompts.model_copy(update={"name": "the same"})})
    b = Run(b.header.model_copy(update={"identity": named}), b.records)
    assert ModelComparison(a, b).frame()["text_bytes"].tolist() == [8]


def test_files_stand_beside_the_nearest_in_size_and_verdicts_hold_together() -> None:
    spans = [(4 * w, [2, 2]) for w in range(8)]

    def bits(level: float) -> list[list[float]]:
        return [[level + w, level + 0.01 * (w % 3)] for w in range(8)]

    a = text_run("A", spans, {"big": bits(3), "small": bits(5)}, sizes={"big": 3000, "small": 1000})
    b = text_run("B", spans, {"big": bits(4), "small": bits(5)}, sizes={"big": 2500, "small": 900})
    found = ModelComparison(a, b)
    assert [(p.a, p.b) for p in found.pairs if p.similar] == [("small", "small"), ("big", "big")]
    rows = found.table().to_dict("records")
    assert [(r["A"], r["B"], r["Verdict"]) for r in rows] == [
        ("small", "small", "no difference shown"),
        ("big", "big", "A better"),
    ]
    assert rows[1]["B - A [95 %]"] == "+0.5000 [+0.5000, +0.5000]"
    told = found.frame().set_index(["recipe_a", "recipe_b"])["better"]
    assert told["big", "small"] == "A" and told["small", "big"] == "B" and pd.isna(told["small", "small"])
