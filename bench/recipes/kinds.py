"""Names of tensors in rules: kinds, which every architecture has, and llama.cpp's own names, with * for any characters.

attention-v              a kind: the value matrices, whatever an architecture calls them
attn_v, ffn_down         these matrices of every layer
blk.*.attn_v.weight      the same in full
blk.0.ffn_*, token_embd  those of one layer; one outside of the layers
"""

from __future__ import annotations

import re
from collections.abc import Collection
from fnmatch import fnmatchcase
from functools import cache

import gguf

from bench.core.errors import BenchError, nearest

LAYER = re.compile(r"^blk\.(\d+)\.(.*)$")
_SUFFIX = ".weight"

#: Kinds of tensor that a rule can name, beside `embeddings`, `output` and `other`, by what a name in a layer holds.
_KINDS: tuple[tuple[str, str], ...] = (
    ("attention", r"^attn_"),
    ("attention-q", r"^attn_q(kv)?(_a|_b)?\."),
    ("attention-k", r"^attn_(k|qkv|kv_a_mqa|kv_b|k_b)\."),
    ("attention-v", r"^attn_(v|qkv|kv_a_mqa|kv_b|v_b)\."),
    ("attention-output", r"^attn_out(put)?\."),
    ("feed-forward", r"^ffn_"),
    ("feed-forward-gate", r"^ffn_gate(_up)?(_exps|_shexp)?\."),
    ("feed-forward-up", r"^ffn_(gate_)?up(_exps|_shexp)?\."),
    ("feed-forward-down", r"^ffn_down(_exps|_shexp)?\."),
    ("experts", r"_exps\."),
    ("shared-experts", r"_shexp\."),
)
KINDS = (*(name for name, _ in _KINDS), "embeddings", "output", "other")


@cache
def kinds_of(tensor: str) -> frozenset[str]:
    """The kinds a tensor is of: a fused query-key-value matrix is of all three, an expert's gate is one of both."""
    if layer := LAYER.match(tensor):
        return frozenset(kind for kind, pattern in _KINDS if re.search(pattern, layer[2])) or frozenset({"other"})
    if tensor.endswith("token_embd.weight"):
        return frozenset({"embeddings"})
    return frozenset({"output" if tensor == "output.weight" else "other"})


def kind_of(tensor: str) -> str:
    """The most special kind that a tensor is of."""
    return max(sorted(kinds_of(tensor)), key=len)


def is_one_of(tensor: str, wanted: Collection[str]) -> bool:
    """Whether a tensor is of one of these kinds or names."""
    return not kinds_of(tensor).isdisjoint(wanted) or any(_is_called(tensor, name) for name in wanted)


def _is_called(tensor: str, name: str) -> bool:
    """Whether a name stands for a tensor: its own, with or without its layer and `.weight`."""
    full, short = tensor.removesuffix(_SUFFIX), LAYER.sub(r"\2", tensor).removesuffix(_SUFFIX)
    return any(fnmatchcase(own, name.removesuffix(_SUFFIX)) for own in (full, short))


@cache
def _names() -> frozenset[str]:
    """llama.cpp's names of tensors in any architecture, without their layer: attn_v, token_embd."""
    return frozenset(name.removeprefix("blk.{bid}.") for name in gguf.TENSOR_NAMES.values())


_ANY_LAYER = re.compile(r"^blk\.[\d*?]+\.")


def check_kind(name: str, where: str) -> None:
    """Raise BenchError for what is neither a kind nor llama.cpp's name of a tensor. where: what the error begins with."""
    short = _ANY_LAYER.sub("", name).removesuffix(_SUFFIX)
    if name in KINDS or any(fnmatchcase(known, short) for known in _names()):
        return
    if re.search(r"[][\\()|^$+]", name):
        raise BenchError(f"{where}: {name!r} looks like a regular expression; write it as pattern = {name!r}")
    raise BenchError(
        f"{where}: there is no kind {name!r}, and no tensor of this name{nearest(short, [*KINDS, *_names()])}"
    )
