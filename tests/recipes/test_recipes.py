"""Recipes: names, rules, and what llama.cpp makes of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.engine.quantizer import QuantizeRequest, plan
from bench.gguf_files.info import inspect
from bench.quantize import imatrix_file
from bench.quantize.build import build, planned_file
from bench.quantize.collect import collect
from bench.quantize.imatrix import ImportanceMatrix
from bench.quantize.jobs import QuantizeJob
from bench.recipes.kinds import kinds_of
from bench.recipes.recipe import apply_rules, find_recipe, find_recipes, layer_boundary
from tests.support.held import Held, quiet
from tests.support.tiny import Shape, write_model


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
    asked = apply_rules(find_recipe("DG-FULL-IQ2_XXS"), mix, 8)
    outer = {f"blk.{i}.{n}.weight" for i in (0, 1, 6, 7) for n in names}
    assert asked == dict.fromkeys(outer, "IQ4_XS") | {"token_embd.weight": "Q5_K", "output.weight": "Q5_K"}


@pytest.mark.parametrize(
    ("tensor", "kinds"),
    [
        ("blk.3.attn_v.weight", {"attention", "attention-v"}),
        ("blk.3.attn_qkv.weight", {"attention", "attention-q", "attention-k", "attention-v"}),  # phi, starcoder, refact
        ("blk.0.attn_output.weight", {"attention", "attention-output"}),
        ("blk.11.ffn_gate.weight", {"feed-forward", "feed-forward-gate"}),
        ("blk.11.ffn_up.weight", {"feed-forward", "feed-forward-up"}),
        ("blk.2.ffn_down_exps.weight", {"feed-forward", "feed-forward-down", "experts"}),
        ("blk.2.ffn_up_shexp.weight", {"feed-forward", "feed-forward-up", "shared-experts"}),
        ("blk.2.attn_q_b.weight", {"attention", "attention-q"}),  # deepseek
        ("blk.2.ssm_in.weight", {"other"}),
        ("token_embd.weight", {"embeddings"}),
        ("per_layer_token_embd.weight", {"embeddings"}),  # gemma
        ("output.weight", {"output"}),
        ("output_norm.weight", {"other"}),
    ],
)
def test_kinds_of_tensors(tensor: str, kinds: set[str]) -> None:
    assert kinds_of(tensor) == kinds


def rule_names(rule: str, tmp_path: Path) -> set[str]:
    """Short names of the tensors of an eight-layer model that a rule of a file is for."""
    path = tmp_path / "own.toml"
    path.write_text(f'prefix = "OWN"\nbase = "IQ2_XXS"\n[[rules]]\ntype = "IQ4_XS"\n{rule}\n')
    names = [f"blk.{i}.{n}.weight" for i in range(8) for n in ("attn_q", "attn_v", "ffn_up")]
    mix = dict.fromkeys([*names, "token_embd.weight", "output.weight"], "IQ2_XXS")
    return set(apply_rules(find_recipe(str(path)), mix, 8))


def test_rules_of_a_file(tmp_path: Path) -> None:
    values = {f"blk.{i}.attn_v.weight" for i in range(8)}
    assert rule_names('tensors = ["attention-v"]', tmp_path) == values
    assert rule_names('tensors = ["attention-v"]\nlayers = [1, 3]', tmp_path) == {
        "blk.1.attn_v.weight",
        "blk.2.attn_v.weight",
    }
    assert rule_names('tensors = ["attention-v", "output"]', tmp_path) == values | {"output.weight"}
    assert rule_names("layers = [0.0, 0.125]", tmp_path) == {
        f"blk.0.{n}.weight" for n in ("attn_q", "attn_v", "ffn_up")
    }
    assert rule_names('pattern = "[35].ffn_up"', tmp_path) == {"blk.3.ffn_up.weight", "blk.5.ffn_up.weight"}


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ("attn_v", {"blk.1.attn_v.weight", "blk.2.attn_v.weight"}),
        ("blk.*.attn_v.weight", {"blk.1.attn_v.weight", "blk.2.attn_v.weight"}),
        ("blk.1*.attn_v", {"blk.1.attn_v.weight"}),
        ("blk.1.attn_*", {"blk.1.attn_q.weight", "blk.1.attn_v.weight"}),
        ("attn_*", {f"blk.{i}.attn_{x}.weight" for i in (1, 2) for x in "qv"}),
        ("output", {"output.weight"}),
        ("output.weight", {"output.weight"}),
        ("token_embd", {"token_embd.weight"}),
    ],
)
def test_llama_cpps_names_of_tensors_are_kinds(named: str, found: set[str], tmp_path: Path) -> None:
    assert {n for n in rule_names(f'tensors = ["{named}"]', tmp_path) if not re.match(r"blk\.[034567]", n)} == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'prefix = "A"\nbase = "Q8_0"\n[[rules]]\ntype = "Q8_0"\ntensors = ["attn_w"]',
            "no kind 'attn_w', and no tensor of this name; did you mean",
        ),
        (
            'prefix = "A"\nbase = "Q8_0"\n[[rules]]\ntype = "Q8_0"\ntensors = ["ffn_(up|gate)"]',
            "looks like a regular expression; write it as pattern = ",
        ),
        ('prefix = "A"\nbse = "IQ2_XXS"', r"own.toml: bse: unknown key; did you mean base"),
        ('prefix = "A"\n[[rules]]\ntype = "Q8_0"\nlayer = [0, 1]', "rules.1.layer: unknown key; did you mean layers"),
        ('prefix = "A"\n[[rules]]\ntype = "Q9_0"\nlayers = [0, 1]', "no type Q9_0; did you mean"),
        ('prefix = "A"\n[[rules]]\ntype = "Q8_0"', "at least one of layers, tensors and pattern"),
        (
            'prefix = "A"\n[[rules]]\ntype = "Q8_0"\nlayers = [0, 0.5]',
            "two whole numbers .* or two numbers with a point",
        ),
        ('prefix = "A"\n[[rules]]\ntype = "Q8_0"\nlayers = [0.5, 1.5]', "shares lie between 0.0 and 1.0"),
        ('prefix = "A"\n[[rules]]\ntype = "Q8_0"\npattern = "a("', r"'a\(' is no regular expression"),
        ('prefix = "A"\nbase = "Q8_0"\n[[rules]]\ntype = "Q8_0"\ntensors = ["attn"]', "no kind 'attn'"),
        ('prefix = "A"', 'names no base; add for instance base = "IQ2_XXS"'),
        ('prefix = "A"\nbase = "IQ2_XSX"', "no format IQ2_XSX; did you mean IQ2_XS"),
        ('prefix = "a/b"\nbase = "IQ2_XS"', "prefix: "),
        ("prefix = ", "is no TOML file"),
        (
            'prefix = "A"\n[[rules]]\ntype = "Q8_0"\nlayers = ["0.0", "0.5"]',
            "two whole numbers .* or two numbers with a point",
        ),
        ('prefix = "A"\n[[rules]]\ntype = "Q8_K"\nlayers = [0, 1]', "no type Q8_K; did you mean"),
        ('prefix = "A"\npath = "x"', "own.toml: path: unknown key"),
        ('prefix = "A"\nfamily = "Standard"\nbase = "Q4_0"', "family 'Standard' is the program's own"),
        ('prefix = "F16"\nbase = "Q4_0"', "prefix 'F16' is the program's own"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(BenchError, match=said):
        find_recipe(str(tmp_path / "own.toml"))


def test_two_recipes_of_one_name_are_refused(tmp_path: Path) -> None:
    for name, base in (("a", "Q4_0"), ("b", "Q8_0")):
        (tmp_path / f"{name}.toml").write_text(f'prefix = "MINE"\nbase = "{base}"\n')
    with pytest.raises(BenchError, match="two recipes are called MINE"):
        find_recipes((str(tmp_path / "a.toml"), str(tmp_path / "b.toml")))


def test_embeddings_in_a_type_that_needs_importance_data_are_refused(tiny: Path, matrix: Path, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(
        'prefix = "OWN"\nbase = "Q4_0"\n[[rules]]\ntype = "IQ2_XXS"\ntensors = ["embeddings"]\n'
    )
    with pytest.raises(BenchError, match=r"importance data for token_embd\.weight, which .* lacks"):
        built(tiny, str(tmp_path / "own.toml"), matrix, tmp_path / "q.gguf")


def test_suites_stand_for_recipes() -> None:
    names = [r.name for r in find_recipes(("dynamicgate", "IQ2_XXS", "guide"))]
    assert names[:4] == ["IQ2_XXS", "DG-IQ2_XXS", "IQ2_XS", "DG-IQ2_XS"] and names[10:13] == ["BF16", "F16", "Q8_0"]
    assert len(names) == len(set(names)) == 19
    assert len(find_recipes(("formats",))) == 30


@pytest.mark.parametrize("prefix", ["DG-BARE", "DG-FIRST", "DG-LAST", "DG-MIDDLE"])
def test_ablations_differ_from_dynamicgate_in_what_they_are_named_for(prefix: str) -> None:
    mix = {f"blk.{i}.attn_q.weight": "IQ2_XXS" for i in range(8)} | {
        "token_embd.weight": "Q2_K",
        "output.weight": "Q4_K",
    }
    changed = apply_rules(find_recipe(f"{prefix}-IQ2_XXS"), mix, 8)
    layers = {int(n.split(".")[1]) for n in changed if n.startswith("blk")}
    expected = {"DG-BARE": {0, 1, 6, 7}, "DG-FIRST": {0, 1}, "DG-LAST": {6, 7}, "DG-MIDDLE": {2, 3, 4, 5}}
    assert layers == expected[prefix]
    assert ("output.weight" in changed) == (prefix != "DG-BARE")


@pytest.mark.parametrize("recipe", ["Q4_K_M", "IQ2_XXS", "DG-FULL-IQ1_M", "Q8_0"])
def test_the_plan_states_the_file_to_the_byte(tiny: Path, matrix: Path, tmp_path: Path, recipe: str) -> None:
    types = built(tiny, recipe, matrix, tmp_path / "q.gguf")
    found = planned_file(tiny, find_recipe(recipe), with_importance=True)
    assert found.types == types and found.n_bytes == (tmp_path / "q.gguf").stat().st_size
    assert found.bits_per_weight == inspect(tmp_path / "q.gguf").bits_per_weight


def test_a_rule_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(BenchError, match="its rule for layers 0% to 25% matches no tensor of this model of 1 layers"):
        apply_rules(find_recipe("DG-FULL-IQ2_XXS"), {"blk.0.attn_q.weight": "IQ2_XXS", "token_embd.weight": "Q5_K"}, 1)


@pytest.fixture(scope="module")
def matrix(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import numpy as np

    entries = collect(tiny, np.arange(3, 515, dtype=np.int32) % 250 + 3, threads=2, progress=lambda share: None)
    path = tmp_path_factory.mktemp("imatrix") / "m.gguf"
    imatrix_file.write(ImportanceMatrix(entries, (), 1, 512), path)
    return path


def built(model: Path, recipe: str, matrix: Path | None, out: Path) -> dict[str, str]:
    """Types in the file of a recipe, read from the file."""
    held = Held(out.parent)
    job = QuantizeJob(
        model=held(model),
        recipe=find_recipe(recipe),
        importance=matrix and held(matrix),
        threads=2,
        out=held(out),
        origin="test",
    )
    said = build(job, held.site, quiet)
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
    standard, gated = (built(model, r, matrix, tmp_path / f"{r}.gguf") for r in ("IQ2_XXS", "DG-FULL-IQ2_XXS"))
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
