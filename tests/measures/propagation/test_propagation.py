"""Error of hidden states: the definition by hand, and measured on real tiny models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from bench.engine.settings import Settings
from bench.measures.propagation.compute import relative_error
from bench.measures.propagation.jobs import PropagationJob, PropagationResult
from bench.measures.propagation.records import PropagationRecord
from bench.measures.propagation.runs import propagation_of
from bench.measures.propagation.tables import claim, paired_propagation_table, propagation_table
from bench.measures.registry import load_run
from bench.records.run import Record, Run
from bench.texts.stream import TokenStream
from tests.conftest import Outcome
from tests.support import own_arithmetic
from tests.support.held import Held
from tests.support.records import file_record, run_of
from tests.support.tiny import Shape, write_model


def test_the_definition_by_hand() -> None:
    reference = np.array([[99, 99], [3, 4], [0, 2]], np.float32)
    states = np.array([[0, 0], [3, 5], [0, 1]], np.float32)
    # the first token is left out; 1/5 for the second, 1/2 for the third
    assert relative_error(states, reference) == pytest.approx((0.2 + 0.5) / 2)
    assert relative_error(reference, reference) == 0


def stream(tmp_path: Path) -> Path:
    tokens = (np.arange(256, dtype=np.int32) * 7) % 250 + 3
    with (tmp_path / "tokens.npz").open("wb") as f:
        TokenStream(tokens, np.zeros(256, np.int64), ("text",), 1).save(f)
    return tmp_path / "tokens.npz"


def compare(model: Path, other: Path, tmp_path: Path) -> PropagationResult:
    held = Held(tmp_path)
    tokens, states = stream(tmp_path), tmp_path / "states.npy"
    settings = Settings(window=128, batch=128, ubatch=64, threads=1)

    def job(path: Path, write: bool) -> PropagationJob:
        return PropagationJob(
            model=held(path),
            stream=held(tokens),
            window=1,
            tokens=64,
            settings=settings,
            states=held(states),
            write=write,
        )

    held.do(job(model, True))
    return held.do(job(other, False))


def test_a_model_is_no_error_away_from_itself(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf")
    found = compare(model, model, tmp_path)
    assert found.window == 1 and found.residual == (0, 0, 0, 0)
    assert found.attention == found.feed_forward == (0, 0, 0, 0)


def test_an_error_shows_from_the_layer_on_that_makes_it(tmp_path: Path) -> None:
    """The same weights with the third layer's feed-forward network scaled: nothing before it differs."""
    model = write_model(tmp_path / "m.gguf", Shape(layers=4), weight_type="F32")
    changed = tmp_path / "changed.gguf"
    changed.write_bytes(model.read_bytes())
    reader = gguf.GGUFReader(changed, "r+")
    tensor = next(t for t in reader.tensors if t.name == "blk.2.ffn_down.weight")
    tensor.data[:] *= 1.5
    tensor.data.flush()
    found = compare(model, changed, tmp_path)
    assert found.residual[:2] == (0, 0) and found.residual[2] > 0.01 and found.residual[3] > 0.001
    assert found.attention[:3] == (0, 0, 0)
    assert found.feed_forward[2] == pytest.approx(0.5, rel=1e-4), "its own part is off by what it was scaled with"


@pytest.mark.parametrize("write", own_arithmetic.ALL)
def test_other_architectures(write: Callable[[Path], Path], tmp_path: Path) -> None:
    """What goes into the third layer is the same, and its last matrix is not."""
    model, changed = write(tmp_path / f"{write.__name__}.gguf"), tmp_path / "changed.gguf"
    changed.write_bytes(model.read_bytes())
    for tensor in gguf.GGUFReader(changed, "r+").tensors:
        if tensor.name.startswith("blk.2.") and any(w in tensor.name for w in ("ffn_down", "ssm_out", "channel_mix_v")):
            # not by a factor for all, which a norm after it would take out again
            tensor.data[: len(tensor.data) // 2] *= 1.5
    found = compare(model, changed, tmp_path)
    assert found.residual[:2] == (0, 0) and min(found.residual[2:]) > 1e-4
    if write is own_arithmetic.mamba:
        assert found.attention == found.feed_forward == (None,) * 4
    else:
        assert found.attention == (0, 0, 0, pytest.approx(found.attention[3]))
        assert found.feed_forward[:2] == (0, 0) and (found.feed_forward[2] or 0) > 0.01


def run_with(factor: float) -> Run:
    """A run in which DG-IQ1_S has this share of the error of IQ1_S in every window."""
    records: list[Record] = []
    for name, family, scale in (("IQ1_S", "Standard", 1.0), ("DG-IQ1_S", "DynamicGate", factor)):
        records.append(file_record(name, family, 10))
        for w in range(6):
            residual = tuple(scale * (1 + w) * e for e in (0.1, 0.2, 0.3, 0.4))
            result = PropagationResult(
                window=w, residual=residual, attention=(None, 0.5, 0.5, 0.5), feed_forward=residual
            )
            records.append(PropagationRecord(run="r", recipe=name, sha256=name, tokens=64, result=result))
    return run_of(records, windows=6)


def test_tables_pair_by_window() -> None:
    run = run_with(0.62)
    rows = propagation_table(run).to_dict("records")
    assert [r["Recipe"] for r in rows] == ["IQ1_S", "DG-IQ1_S"]
    assert rows[0]["Error after 25 %"] == "0.350" and rows[0]["Growth [95 %]"].startswith("4.00 [4.00")
    [pair] = paired_propagation_table(run).to_dict("records")
    assert pair["Δ error, last layer [95 %]"] == "-38.0% [-38.0%, -38.0%]"
    assert pair["Verdict"] == "smaller" and pair["Δ growth [95 %]"] == "+0.0% [+0.0%, +0.0%]"


def test_the_claim_stands_beside_what_was_measured() -> None:
    assert "-39.0% for DynamicGate (1 type). A reduction beyond the claim is shown in 1 of 1." in claim(run_with(0.61))
    assert "-30.0% for DynamicGate (1 type). A reduction beyond the claim is shown in 0 of 1." in claim(run_with(0.7))
    assert claim(run_of([file_record("IQ1_S", "Standard", 1)])) == ""


def test_a_model_without_attention_has_no_such_errors() -> None:
    result = PropagationResult(window=0, residual=(0.1, 0.2), attention=(None, None), feed_forward=(None, None))
    record = PropagationRecord(run="r", recipe="IQ1_S", sha256="IQ1_S", tokens=64, result=result)
    records: list[Record] = [file_record("IQ1_S", "Standard", 10), record]
    [row] = propagation_table(run_of(records, windows=1)).to_dict("records")
    assert row["Error 50 %"] == "0.100" and row["Attention"] == row["Feed-forward"] == ""


def test_as_a_part_of_the_sweep(
    bench: Callable[..., Outcome], tiny: Path, text: Path, calibration: Path, tmp_path: Path, cache: Path
) -> None:
    arguments = ["run", "--model", tiny, "--text", text, "--calibration", calibration, "--recipes", "IQ1_S,DG-FULL-IQ1_S",
                 "--window", 64, "--windows", 2, "--generate", 0, "--cache", cache, "--out", tmp_path / "run"]  # fmt: skip
    assert bench(*arguments, "--json").code == 0
    assert not any(propagation_of(load_run(tmp_path / "run")).values())
    # asked for later, it is added to what is on record
    done = bench(*arguments, "--propagation")
    assert done.code == 0, done.err
    run = load_run(tmp_path / "run")
    assert {n: len(w) for n, w in propagation_of(run).items()} == {"F16": 0, "IQ1_S": 2, "DG-FULL-IQ1_S": 2}
    assert all(len(r.residual) == 4 and min(r.residual) > 0 for w in propagation_of(run).values() for r in w.values())
    assert "## Error propagation" in (tmp_path / "run" / "tables" / "tables.md").read_text(encoding="utf-8")
    assert (tmp_path / "run" / "plots" / "error-propagation.png").read_bytes().startswith(b"\x89PNG")
    assert not list((cache / "scratch").iterdir())
    before = (tmp_path / "run" / "records.jsonl").read_bytes()
    assert json.loads(bench(*arguments, "--propagation", "--json").out)["complete"] is True
    assert (tmp_path / "run" / "records.jsonl").read_bytes() == before
