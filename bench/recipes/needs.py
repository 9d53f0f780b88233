"""Requirements of a type on a tensor: importance data, and rows of whole blocks."""

from __future__ import annotations

import gguf

#: Formats that llama.cpp refuses to write without importance data, for the types in their mixes.
_FORMATS = frozenset(
    {"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS", "Q2_K_S"},
)  # fmt: skip
#: Types whose blocks cannot be chosen well without importance data; llama.cpp refuses to write them without it.
_TYPES = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS"})
#: Types whose kernels end the process without importance data.
_KERNELS = frozenset({"IQ1_S", "IQ2_XXS", "IQ2_XS"})


def format_needs_importance(name: str) -> bool:
    return name in _FORMATS


def type_needs_importance(tensor: str, name: str) -> bool:
    """Embeddings and output never have importance data; there, what only makes for worse blocks is let through."""
    return name in (_TYPES if tensor.startswith("blk.") else _KERNELS)


def fits(columns: int, name: str) -> bool:
    """Whether rows of so many columns are whole blocks of a type."""
    block, _ = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    return bool(columns % block == 0)
