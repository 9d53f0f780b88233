"""`bench imatrix`: matrices made, merged and shown; conversations as calibration; priors; what a run says of few data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.engine.llama import Model
from bench.measures.registry import load_run
from bench.quantize import imatrix_file
from bench.quantize.collect import collect
from bench.records.options import importance_options
from bench.texts.chat import ChatTemplate
from tests.cli.test_run import Bench, assert_refused
from tests.support.architectures import mixture
from tests.support.tiny import Shape, write_model, write_text

TEMPLATE = "{% for m in messages %}<|s|>{{ m.role }}: {{ m.content }}<|e|>{% endfor %}"


@pytest.fixture(scope="module")
def experts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixture(tmp_path_factory.mktemp("model") / "experts.gguf")


def make(bench: Bench, out: Path, model: Path, text: Path, cache: Path, *more: object) -> str:
    done = bench("imatrix", "make", out, "--model", model, "--calibration", text, "--cache", cache, *more)
    assert done.code == 0, done.err
    return done.out


def test_show_tells_layers_tensors_and_experts(
    bench: Bench, experts: Path, calibration: Path, tmp_path: Path, cache: Path
) -> None:
    path = tmp_path / "m.gguf"
    said = make(bench, path, experts, calibration, cache, "--calibration-chunks", 1)
    assert said.startswith("32 tensors; 100 % of the rows of the layers' weights saw data") and "m.gguf: " in said
    shown = bench("imatrix", "show", path, "--model", experts, "--all", "--plot", tmp_path / "p.png")
    assert shown.code == 0, shown.err
    assert "1 chunks of 512 tokens of calibration.txt" in shown.out and "of experts saw data" in shown.out
    assert "ffn_up_exps" in shown.out and "Fewest rows" in shown.out
    assert (tmp_path / "p.png").stat().st_size and (tmp_path / "p.svg").stat().st_size
    told = json.loads(bench("imatrix", "show", path, "--model", experts, "--json").out)
    matrix = imatrix_file.read(path)
    counts = matrix.entries["blk.0.ffn_up_exps.weight"].counts
    assert counts.sum() == 2 * 512  # two of four experts for each token
    tensor = next(t for t in told["tensors"] if t["name"] == "blk.0.ffn_up_exps.weight")
    assert (tensor["matrices"], tensor["rows"], tensor["unseen"]) == (4, counts.min(), (counts == 0).sum())
    assert told["coverage"]["experts"] == 3 * len(told["layers"]) * 4
    every = [matrix.entries[n].counts for n in matrix.entries if "_exps." in n]
    assert told["coverage"]["seen"] == sum(int((c > 0).sum()) for c in every)


def test_merge_adds_up(bench: Bench, tiny: Path, calibration: Path, tmp_path: Path, cache: Path) -> None:
    other = write_text(tmp_path / "other.txt", 600, seed=11)
    a, b, out = (tmp_path / f"{n}.gguf" for n in "abc")
    make(bench, a, tiny, calibration, cache)
    make(bench, b, tiny, other, cache)
    assert bench("imatrix", "merge", out, a, b).code == 0
    whole = imatrix_file.read(out)
    assert whole.chunks == 3 and whole.datasets == ("calibration.txt", "other.txt")
    both = [imatrix_file.read(p).entries["blk.0.attn_q.weight"] for p in (a, b)]
    np.testing.assert_allclose(whole.entries["blk.0.attn_q.weight"].sums, both[0].sums + both[1].sums, rtol=1e-6)
    assert bench("imatrix", "merge", out, a, b, "--prior-weight", 8, "--force").code == 0
    assert imatrix_file.read(out).entries["blk.0.attn_q.weight"].counts.tolist() == [1536 + 8]
    assert_refused(bench("imatrix", "merge", out, a, b), "c.gguf: is there already")
    assert_refused(bench("imatrix", "merge", tmp_path / "d.gguf", a), "nothing to merge it with")
    assert_refused(bench("imatrix", "merge", tmp_path / "d.gguf", a, a), "a.gguf: is named twice")
    assert_refused(bench("imatrix", "merge", a, a, b, "--force"), "a.gguf: is what is read from")
    assert_refused(bench("imatrix", "merge", tmp_path / "d.gguf", a, tiny), "tiny.gguf: holds no importance data")


def test_matrix_of_another_model_is_refused(
    bench: Bench, tiny: Path, experts: Path, calibration: Path, tmp_path: Path, cache: Path
) -> None:
    a, b = tmp_path / "a.gguf", tmp_path / "b.gguf"
    make(bench, a, tiny, calibration, cache)
    make(bench, b, experts, calibration, cache)
    assert_refused(bench("imatrix", "merge", tmp_path / "c.gguf", a, b), "b.gguf", "belongs to another model")
    deeper = write_model(tmp_path / "deeper.gguf", Shape(layers=5))
    assert_refused(bench("imatrix", "show", a, "--model", deeper), "a.gguf", "belongs to another model")
    # names and widths in common: what has no data is told
    assert "no data for: blk.0.ffn_" in bench("imatrix", "show", a, "--model", experts).out
    assert_refused(bench("imatrix", "show", a, "--plot", "picture"), "--plot picture: give a file that ends in .png")


def test_a_run_says_what_saw_few_data_and_repeats_its_prior(
    bench: Bench, experts: Path, calibration: Path, text: Path, tmp_path: Path, cache: Path
) -> None:
    arguments = ["--model", experts, "--calibration", calibration, "--calibration-chunks", 1, "--cache", cache]
    measured = ["--text", text, "--window", 64, "--windows", 2, "--no-speed", "--recipes", "Q2_K", "--json"]
    said = []
    for name, more in (("plain", []), ("prior", ["--prior-weight", 300])):
        done = bench("run", *arguments, *measured, "--out", tmp_path / name, *more)
        assert done.code == 0, done.err
        said.append([n for n in json.loads(done.out)["notes"] if n.startswith("Importance matrix")])
    plain, prior = (load_run(tmp_path / n) for n in ("plain", "prior"))
    assert plain.importance is not None and plain.importance.thin
    worst = max(plain.importance.thin, key=lambda t: t.few / t.matrices)
    assert (
        said[0][0].startswith("Importance matrix: 100 % of the rows")
        and f"{worst.few} of 4 experts saw less than 200" in said[0][0]
    )
    # a prior is other data for the quantizer, and none for the text's rows
    assert plain.header.id != prior.header.id and prior.importance is not None
    assert prior.importance.thin == plain.importance.thin
    assert plain.files["Q2_K"].sha256 != prior.files["Q2_K"].sha256
    assert importance_options(prior)[-2:] == ["--prior-weight", "300"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--prior-weight", "-1"], "--prior-weight"),
        (["--prior-weight", "nan"], "--prior-weight"),
        (["--prior-weight", "1e9"], "--prior-weight 1e+09: is out of range"),
    ],
)
def test_priors_out_of_range_are_refused(
    bench: Bench, tiny: Path, tmp_path: Path, cache: Path, options: list[str], said: str
) -> None:
    assert_refused(bench("imatrix", tmp_path / "m.gguf", "--model", tiny, "--cache", cache, *options), said)
    assert_refused(bench("quantize", "Q4_0", tmp_path / "q.gguf", "--model", tiny, "--cache", cache, *options), said)
    both = ("--no-imatrix", "--prior-weight", 1)
    done = bench("quantize", "Q4_0", tmp_path / "q.gguf", "--model", tiny, "--cache", cache, *both)
    assert_refused(done, "--no-imatrix declines it")


def test_conversations_are_calibration_as_the_model_reads_them(bench: Bench, tmp_path: Path, cache: Path) -> None:
    model = write_model(tmp_path / "chat.gguf", control=("<|s|>", "<|e|>"), extra={"tokenizer.chat_template": TEMPLATE})
    said = [[("user", f"the tinier a tutor {i}"), ("assistant", "as it is, no other " * 6)] for i in range(6)]
    lines = [json.dumps({"messages": [{"role": r, "content": c} for r, c in m]}) for m in said]
    text = tmp_path / "talks.jsonl"
    text.write_text("\n".join(lines))
    make(bench, tmp_path / "m.gguf", model, text, cache)
    with Model(model, vocab_only=True) as vocabulary:
        special = vocabulary.special_texts()
        chat = ChatTemplate(TEMPLATE, special)
        rendered = [vocabulary.tokenize(chat.render(m), special=True) for m in said]
        markers = {int(vocabulary.tokenize(t, start=False, special=True)[-1]) for t in ("<|s|>", "<|e|>")}
    tokens = np.concatenate(rendered)
    assert len(tokens) >= 512 and markers <= set(tokens.tolist())
    expected = collect(model, tokens[: len(tokens) // 512 * 512], threads=1, progress=lambda share: None)
    found = imatrix_file.read(tmp_path / "m.gguf").entries
    for name, entry in expected.items():
        np.testing.assert_allclose(found[name].sums, entry.sums, rtol=1e-4)


def test_conversations_that_cannot_be_read_are_refused(bench: Bench, tiny: Path, tmp_path: Path, cache: Path) -> None:
    text = tmp_path / "talks.jsonl"
    message = json.dumps({"messages": [{"role": "user", "content": "a"}]})
    out = tmp_path / "m.gguf"
    text.write_text(message)
    done = bench("imatrix", out, "--model", tiny, "--calibration", text, "--cache", cache)
    assert_refused(done, "talks.jsonl: holds conversations, and tiny has no chat template")
    model = write_model(tmp_path / "chat.gguf", extra={"tokenizer.chat_template": TEMPLATE})
    for second, said in (
        ("{", "talks.jsonl:2: is not JSON"),
        ('{"messages": [{"role": "me"}]}', "talks.jsonl:2: a message needs"),
    ):
        text.write_text(f"{message}\n{second}")
        assert_refused(bench("imatrix", out, "--model", model, "--calibration", text, "--cache", cache), said)
