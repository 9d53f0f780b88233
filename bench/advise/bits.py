"""The contents of files in the guide's formats: the share of weights in each type, as llama.cpp's quantizer plans it.

`python -m bench.advise.bits` makes bits.json anew, for a new llama.cpp or a new row of the guide. It writes a header of every
model of the guide, with the shapes of all tensors and no weights, and asks llama.cpp for its plan.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path

import gguf
import numpy as np
from pydantic import BaseModel

from bench.advise.guide import Guide, GuideModel, guide
from bench.core.errors import BenchError
from bench.core.files import complete_or_absent
from bench.execute.job import Executor
from bench.quantize.jobs import PlanJob
from bench.recipes.recipe import find_recipe
from bench.recipes.sizes import parse_size

#: What `main` writes and `stored` reads.
BITS = Path(__file__).with_suffix(".json")

#: A matrix of weights that are looked up, a row for each token, and not read otherwise.
_EMBEDDINGS = "token_embd.weight"


@dataclass(frozen=True)
class Stored:
    """What a format's file of a model holds. weights: of the model; bits: per weight; read: weights that generating a token
    reads, by type."""

    weights: int
    bits: float
    read: dict[str, float]

    @property
    def n_bytes(self) -> int:
        return round(self.weights * self.bits / 8)


class _Plan(BaseModel):
    """bits: per weight; read: share of the model's weights that generating a token reads, by type."""

    bits: float
    read: dict[str, float]


class _Plans(BaseModel):
    """models: plans by model and recipe; llama_cpp: that they were made with."""

    llama_cpp: str
    models: dict[str, dict[str, _Plan]]


def stored(recipe: str, model: str) -> Stored:
    """Of a recipe and a model of the guide. A choice takes all that its size allows. Raises BenchError for another."""
    found, plans = find_recipe(recipe), _plans().models.get(model, {})
    plan = plans.get(found.base if found.size else recipe)
    if plan is None:
        raise BenchError(f"{BITS}: has no {recipe} of {model}; make it anew with python -m bench.advise.bits")
    over = parse_size(found.size).over if found.size else None
    weights = n_weights(next(m for m in guide().models if m.name == model))
    return Stored(weights, plan.bits * (1 + (over or 0)), {t: s * weights for t, s in plan.read.items()})


@cache
def _plans() -> _Plans:
    return _Plans.model_validate_json(BITS.read_text(encoding="utf-8"))


def tensors(model: GuideModel) -> dict[str, tuple[int, ...]]:
    """Shapes of a model's tensors, columns first, by name."""
    m, found = model, {_EMBEDDINGS: (model.width, model.vocabulary), "output_norm.weight": (model.width,)}
    if not m.tied:
        found["output.weight"] = (m.width, m.vocabulary)
    queries, keys = m.heads * m.head, m.kv_heads * m.head
    layer: dict[str, tuple[int, ...]] = {
        "attn_norm": (m.width,),
        "attn_q": (m.width, queries),
        "attn_k": (m.width, keys),
        "attn_v": (m.width, keys),
        "attn_output": (queries, m.width),
        "ffn_norm": (m.width,),
    }
    if m.experts:
        layer["ffn_gate_inp"] = (m.width, m.experts)
    of, each = ("_exps", (m.experts,)) if m.experts else ("", ())
    layer |= {f"ffn_{kind}{of}": (m.width, m.feed_forward, *each) for kind in ("gate", "up")}
    layer[f"ffn_down{of}"] = (m.feed_forward, m.width, *each)
    return found | {f"blk.{i}.{name}.weight": shape for i in range(m.layers) for name, shape in layer.items()}


def n_weights(model: GuideModel) -> int:
    return sum(map(prod, tensors(model).values()))


def read_for_a_token(shapes: dict[str, tuple[int, ...]], types: dict[str, str], used: float) -> dict[str, float]:
    """Weights that generating a token reads, by type. used: share of the experts that work on a token.

    The embeddings are read where they serve as the output too, and else a single row of them, which counts for nothing.
    """
    read: dict[str, float] = {}
    for name, shape in shapes.items():
        if name == _EMBEDDINGS and "output.weight" in shapes:
            continue
        n = prod(shape) * (used if "_exps." in name else 1)
        read[types[name]] = read.get(types[name], 0) + n
    return read


def write_header(model: GuideModel, path: Path) -> None:
    """A GGUF file with a model's header and a hole where its weights would be."""
    writer = gguf.GGUFWriter(path, "qwen3moe" if model.experts else "llama")
    writer.add_name(model.name)
    writer.add_block_count(model.layers)
    writer.add_context_length(8192)
    writer.add_embedding_length(model.width)
    writer.add_feed_forward_length(model.feed_forward)
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.kv_heads)
    writer.add_key_length(model.head)
    writer.add_value_length(model.head)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(model.vocabulary)
    if model.experts:
        writer.add_expert_count(model.experts)
        writer.add_expert_used_count(model.experts_used)
        writer.add_expert_feed_forward_length(model.feed_forward)
    end = 0
    for name, shape in tensors(model).items():
        # what llama.cpp leaves in F32: norms, and the router of experts
        dtype = np.dtype(np.float32 if len(shape) == 1 or "gate_inp" in name else np.float16)
        n_bytes = prod(shape) * dtype.itemsize
        writer.add_tensor_info(name, list(reversed(shape)), dtype, n_bytes)
        end += -(-n_bytes // gguf.GGUF_DEFAULT_ALIGNMENT) * gguf.GGUF_DEFAULT_ALIGNMENT
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    os.truncate(path, path.stat().st_size + gguf.GGUF_DEFAULT_ALIGNMENT + end)


def plan_model(model: GuideModel, executor: Executor, recipes: list[str] | None = None) -> dict[str, dict[str, object]]:
    """{recipe: bits per weight, and shares of the model's weights that a token reads, by type}, of all recipes of the guide."""
    shapes, found = tensors(model), {}
    total, used = n_weights(model), model.experts_used / model.experts if model.experts else 1.0
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        path = Path(directory, f"{model.name}.gguf")
        write_header(model, path)
        for name in _planned(guide()) if recipes is None else recipes:
            plan = executor.do(PlanJob(model=executor.hold(path), recipe=find_recipe(name), with_importance=True))
            read = read_for_a_token(shapes, plan.types, used)
            shares = {t: round(n / total, 6) for t, n in sorted(read.items(), key=lambda x: -x[1])}
            found[name] = {"bits": round(plan.bits_per_weight, 4), "read": shares}
    return found


def _planned(of: Guide) -> list[str]:
    """Recipes of the guide that leave nothing to choose, and the bases of those that do."""
    found = (find_recipe(name) for row in of.formats for name in row.recipes)
    return list(dict.fromkeys(r.base if r.size else r.name for r in found))


def main() -> None:
    from bench.core.files import cache_directory
    from bench.engine.jobs import LibraryJob
    from bench.execute.local import LocalExecutor

    executor = LocalExecutor(cache_directory(None))
    made = {
        "llama_cpp": executor.do(LibraryJob()).llama_cpp,
        "models": {m.name: plan_model(m, executor) for m in guide().models},
    }
    with complete_or_absent(BITS) as partial:
        partial.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
