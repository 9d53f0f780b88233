"""Recipes: names, rules, and what llama.cpp makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import imatrix
from bench.build import build
from bench.errors import BenchError
from bench.gguf_header import read_header
from bench.gguf_io import inspect
from bench.jobs import QuantizeJob
from bench.quantizer import QuantizeRequest, plan
from bench.recipes import apply_rules, find_recipe, layer_boundary
from tests.tiny import Shape, write_model


@pytest.mark.parametrize(
    ("n_layers", "first_quarter_ends", "last_quarter_begins"),
    [(32, 8, 24), (30, 8, 22), (28, 7, 21), (22, 6, 16), (5, 1, 4), (3, 1, 2), (2, 1, 1), (1, 0, 1)],
)
def test_quarters_are_mirror_images(n_layers: int, first_quarter_ends: int, last_quarter_begins: int) -> None:
    assert (layer_boundary(0.25, n_layers), layer_boundary(0.75, n_layers)) == (first_quarter_ends, last_quarter_begins)


def test_names() -> None:
    assert find_recipe("iq2_xxs").family == "Standard"
    gated = find_recipe("dg-iq2_xxs")
    assert (gated.name, gated.family, gated.base) == ("DG-IQ2_XXS", "DynamicGate", "IQ2_XXS")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("IQ2_XSS", "did you mean IQ2_XS"),
        ("DG-IQ2XXS", "did you mean DG-IQ2_XXS"),
        ("nonsense", "no recipe or type is called 'nonsense'"),
    ],
)
def test_unknown_names_bring_the_nearest(name: str, said: str) -> None:
    with pytest.raises(BenchError, match=said):
        find_recipe(name)


def test_an_unquantized_base_is_refused() -> None:
    with pytest.raises(BenchError, match="F16 is not one; try DG-IQ2_XXS"):
        find_recipe("DG-F16")


@pytest.mark.parametrize(
    "names",
    [
        ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"],  # llama, qwen, gemma
        ["attn_qkv", "attn_output", "ffn_up", "ffn_down"],  # phi, starcoder
        [
            "attn_q",
            "attn_k",
            "attn_v",
            "attn_output",
            "ffn_gate_exps",
            "ffn_up_exps",
            "ffn_down_exps",
        ],  # mixture of experts
    ],
)
def test_dynamicgate_goes_by_layer_not_by_name(names: list[str]) -> None:
    mix = {f"blk.{i}.{n}.weight": "IQ2_XXS" for i in range(8) for n in names}
    mix |= {
        "blk.0.attn_norm.weight": "F32",
        "blk.0.ffn_gate_inp.weight": "F32",
        "token_embd.weight": "Q2_K",
        "output.weight": "Q5_K",
    }
    asked = apply_rules(find_recipe("DG-IQ2_XXS"), mix, 8)
    outer = {f"blk.{i}.{n}.weight" for i in (0, 1, 6, 7) for n in names}
    assert asked == dict.fromkeys(outer, "IQ4_XS") | {"token_embd.weight": "Q5_K", "output.weight": "Q5_K"}


def test_a_rule_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(BenchError, match="its rule for layers 0% to 25% matches no tensor of this model of 1 layers"):
        apply_rules(find_recipe("DG-IQ2_XXS"), {"blk.0.attn_q.weight": "IQ2_XXS", "token_embd.weight": "Q5_K"}, 1)


@pytest.fixture(scope="module")
def matrix(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import numpy as np

    entries = imatrix.collect(tiny, np.arange(3, 515, dtype=np.int32) % 250 + 3, threads=2, progress=lambda share: None)
    path = tmp_path_factory.mktemp("imatrix") / "m.gguf"
    imatrix.write(imatrix.ImportanceMatrix(entries, (), 1, 512), path)
    return path


def built(model: Path, recipe: str, matrix: Path | None, out: Path) -> dict[str, str]:
    """Types in the file of a recipe, read from the file."""
    said = build(QuantizeJob(model=model, recipe=recipe, importance=matrix, threads=2, out=out), lambda share: None)
    stored = {t.name: t.type for t in inspect(out).tensors}
    assert stored == said.types, "the plan must be what is stored"
    return stored


def test_standard_is_llama_cpps_own_mix(tiny: Path, matrix: Path, tmp_path: Path) -> None:
    types = built(tiny, "IQ2_XXS", matrix, tmp_path / "q.gguf")
    assert types["blk.1.attn_q.weight"] == "IQ2_XXS"
    assert types["blk.1.attn_v.weight"] == "Q2_K"
    assert types["token_embd.weight"] == "Q5_K", "tied: llama.cpp treats it as the output"
    assert types["blk.1.attn_norm.weight"] == "F32"


@pytest.mark.parametrize("tied", [True, False])
def test_dynamicgate_differs_from_standard_exactly_where_its_rules_apply(
    matrix: Path, tmp_path: Path, tied: bool
) -> None:
    model = write_model(tmp_path / "m.gguf", Shape(tied=tied, layers=4))
    standard, gated = (built(model, r, matrix, tmp_path / f"{r}.gguf") for r in ("IQ2_XXS", "DG-IQ2_XXS"))
    for name, kind in gated.items():
        outer = name.startswith(("blk.0.", "blk.3."))
        if name.endswith("norm.weight"):
            assert kind == "F32"
        elif outer:
            assert kind == "IQ4_XS", name
        elif name in ("token_embd.weight", "output.weight"):
            assert kind == "Q5_K", name
        else:
            assert kind == standard[name], name
    if not tied:
        assert standard["token_embd.weight"] == "Q2_K", "so the protection of embeddings is the recipe's doing"


def test_donors_change_nothing_but_the_work(tiny: Path, matrix: Path, tmp_path: Path) -> None:
    """A file built with other files' tensors is the file built without, byte for byte; of other types nothing is taken."""

    def job(recipe: str, name: str, donors: tuple[Path, ...] = ()) -> Path:
        out = tmp_path / name
        build(
            QuantizeJob(model=tiny, recipe=recipe, importance=matrix, threads=2, out=out, donors=donors),
            lambda share: None,
        )
        return out

    standard, other = job("IQ2_XXS", "standard.gguf"), job("Q4_K_M", "other.gguf")
    alone = job("DG-IQ2_XXS", "alone.gguf")
    helped = job("DG-IQ2_XXS", "helped.gguf", (standard, other))
    assert helped.read_bytes() == alone.read_bytes()
    assert job("IQ2_XXS", "again.gguf", (alone, other)).read_bytes() == standard.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "again.gguf",
        "alone.gguf",
        "helped.gguf",
        "other.gguf",
        "standard.gguf",
    ]
    # and the middle layers really were taken over: a change in the donor shows in the file
    data = bytearray(standard.read_bytes())
    tensor = next(t for t in read_header(standard).tensors if t.name == "blk.1.ffn_up.weight")
    data[tensor.start + 8] ^= 1
    (tmp_path / "changed.gguf").write_bytes(data)
    assert job("DG-IQ2_XXS", "differs.gguf", (tmp_path / "changed.gguf",)).read_bytes() != alone.read_bytes()


def test_replaced_types_are_told(tmp_path: Path) -> None:
    model = write_model(tmp_path / "narrow.gguf", Shape(width=96, heads=3, kv_heads=1, head=32, feed_forward=256))
    found = plan(QuantizeRequest(model, "IQ2_XXS", {}, {}))
    assert found.replaced["blk.0.attn_q.weight"] == ("IQ2_XXS", "IQ4_NL")
    assert found.types["blk.0.attn_q.weight"] == "IQ4_NL"
    assert "blk.1.ffn_down.weight" not in found.replaced


def test_low_bits_without_importance_data_are_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="IQ1_S needs an importance matrix: pass --imatrix FILE"):
        built(tiny, "IQ1_S", None, tmp_path / "q.gguf")
    assert list(tmp_path.iterdir()) == []


def test_what_needs_none_is_built_without(tiny: Path, tmp_path: Path) -> None:
    assert built(tiny, "Q4_K_M", None, tmp_path / "q.gguf")["blk.0.attn_q.weight"] == "Q4_K"
