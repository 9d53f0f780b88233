"""The limits of values in a GGUF header. It comes with a download: values beyond these limits are refused when they are read, so that
no later code has to check them again.

The limits of names, dimensions, layers and experts are those of llama.cpp (GGML_MAX_NAME, GGML_MAX_DIMS, LLAMA_MAX_LAYERS,
LLAMA_MAX_EXPERTS). Values on which it aborts are refused here too. The other limits are far above any model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

MAX_DIMENSIONS = 4
_MAX_NAME = 63
_MAX_WEIGHTS = 2**46
_MAX_COUNT = 2**40
_MAX_LAYERS = _MAX_EXPERTS = 512
_MAX_ALIGNMENT = 2**20
_ARCHITECTURE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
#: Keys of an architecture, and of a split file, that state how many there are of something.
_COUNTS = (
    "block_count", "context_length", "embedding_length", "feed_forward_length", "vocab_size", "expert_count", "expert_used_count",
    "expert_feed_forward_length", "attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.value_length",
    "attention.kv_lora_rank", "attention.sliding_window", "rope.dimension_count", "ssm.inner_size", "ssm.state_size", "ssm.conv_kernel",
)  # fmt: skip
_LIMITS = {"block_count": _MAX_LAYERS, "expert_count": _MAX_EXPERTS}
_TOKENS = "tokenizer.ggml.tokens"
_SPLIT = ("split.count", "split.no", "split.tensors.count")


def check_tensor(name: str, shape: tuple[int, ...], block: int) -> None:
    """Raise ValueError for a tensor that llama.cpp would not take. block: weights of a block of its type."""
    if not 1 <= len(name.encode()) <= _MAX_NAME or not name.isprintable():
        raise ValueError(f"a tensor is called {name!r:.80}")
    if not shape or min(shape) < 1 or math.prod(shape) > _MAX_WEIGHTS:
        raise ValueError(f"{name} has the shape {shape}")
    if shape[0] % block:
        raise ValueError(f"rows of {name} have {shape[0]} weights, which are no whole blocks of {block}")


def check_metadata(metadata: Mapping[str, object]) -> None:
    """Raise ValueError for values of known keys that are none, and for numbers that are not finite anywhere."""
    for key, value in metadata.items():
        numbers = value if isinstance(value, list) else [value]
        if not all(math.isfinite(n) for n in numbers if isinstance(n, int | float)):
            raise ValueError(f"{key!r:.80} is not finite")
    architecture = metadata.get("general.architecture", "")
    if architecture and not (isinstance(architecture, str) and _ARCHITECTURE.fullmatch(architecture)):
        raise ValueError(f"general.architecture is {architecture!r:.80}")
    for key in (*_SPLIT, *(f"{architecture}.{name}" for name in _COUNTS)):
        _check_count(key, metadata.get(key), _LIMITS.get(key.removeprefix(f"{architecture}."), _MAX_COUNT))
    _check_layers(metadata, architecture)
    alignment = metadata.get("general.alignment", 1)
    if not _is_count(alignment, _MAX_ALIGNMENT) or alignment not in {2**n for n in range(21)}:
        raise ValueError(f"general.alignment is {alignment!r:.80}")


def _check_layers(metadata: Mapping[str, object], architecture: object) -> None:
    """Raise ValueError for numbers of layers and experts that do not go together. They are counts, where they are stated."""
    layers, nextn, experts, used, groups = (
        metadata.get(f"{architecture}.{name}")
        for name in ("block_count", "nextn_predict_layers", "expert_count", "expert_used_count", "expert_group_count")
    )
    if layers == 0:
        raise ValueError(f"{architecture}.block_count is 0")
    if _is_count(layers, _MAX_LAYERS) and nextn is not None and not _is_count(nextn, _most(layers) - 1):
        raise ValueError(f"{architecture}.nextn_predict_layers is {nextn!r:.80} of {layers} layers")
    if isinstance(experts, list) or isinstance(used, list):  # a number for each layer
        return
    n_experts = 0 if experts is None else _most(experts)
    if not _is_count(0 if used is None else used, n_experts) or bool(used) != bool(n_experts):
        raise ValueError(f"{architecture}.expert_used_count is {used!r:.80} of {n_experts} experts")
    if _most(groups) > 1 and n_experts % _most(groups):
        raise ValueError(f"{architecture}.expert_group_count is {groups!r:.80} of {n_experts} experts")


def check_vocabulary(arrays: Mapping[str, tuple[int, bool] | None]) -> None:
    """Raise ValueError for a vocabulary whose lists do not go together.

    arrays: length of each key's array, and whether it is of text; None for a key that is no array.
    """
    if _TOKENS not in arrays:
        return
    tokens = arrays[_TOKENS]
    if tokens is None or not tokens[1] or not tokens[0]:
        raise ValueError(f"{_TOKENS} is no list of texts")
    for key in ("tokenizer.ggml.scores", "tokenizer.ggml.token_type"):
        if key in arrays and arrays[key] != (tokens[0], False):
            raise ValueError(f"{key} is no list of {tokens[0]} numbers, one for each token")


def _check_count(key: str, value: object, most: int) -> None:
    """None is not stated; some architectures state a number for each layer, or write a whole one as a fraction."""
    for number in value if isinstance(value, list) else [] if value is None else [value]:
        if not _is_count(number, most):
            raise ValueError(f"{key} is {number!r:.80}")


def _is_count(value: object, most: int) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most and value == int(value)


def _most(value: object) -> int:
    return int(value) if isinstance(value, int | float) else 0
