"""Classes of tensors that may have a budget of their own, and tensors that kernels fuse.

What a class holds is told by the names of tensors alone, biases and norms included, since names are what programs place tensors by
(`-ot exps=CPU` of llama.cpp keeps experts in RAM). The rest is what no class that has a budget holds, and the header of the file.

Kernels fuse the matrices up and gate of a layer only where both have one type: the CUDA kernels of llama.cpp in experts and in dense
layers alike (its pull requests 16630 and 16715), -fmoe of ik_llama.cpp in experts (its pull requests 229 and 495). Queries, keys
and values are no such group: only ik_llama.cpp merges them, when it is asked to (-mqkv, 878), and queries and keys without the
values where those have another type (892).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from bench.recipes.kinds import kinds_of

REST = "rest"
#: In the order in which a tensor is looked for in them: an expert is also of a feed-forward network.
CLASSES = ("experts", "shared-experts", "attention", "feed-forward", "embeddings", "output", REST)

_UP, _GATE = ".ffn_up", ".ffn_gate"


def class_of(tensor: str, named: Collection[str]) -> str:
    """The class that a tensor counts for where those that are named have budgets."""
    kinds = kinds_of(tensor)
    return next((c for c in CLASSES if c in named and c in kinds), REST)


def classes_worth_telling(tensors: Iterable[str]) -> tuple[str, ...]:
    """The classes that a file's bytes are told by where nothing else is asked for: experts, which people keep in another memory than the
    rest. None for a model without them."""
    return ("experts", REST) if any(class_of(name, ("experts",)) != REST for name in tensors) else ()


def fused(tensors: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The (up, gate) of each layer that kernels fuse, of the tensors that there are."""
    there = set(tensors)
    pairs = ((name, name.replace(_UP, _GATE, 1)) for name in sorted(there) if _UP in name)
    return tuple(pair for pair in pairs if pair[1] in there)
