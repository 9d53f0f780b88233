"""Names of recipes in file names, so that the hub keeps different recipes apart.

The hub, `llama-cli -hf`, Ollama and LM Studio offer the files of a repository by a label that they read from the name: the
last type in it, with letters that follow an underscore (packages/tasks/src/gguf.ts of huggingface.js). To them
DG-IQ2_XXS and IQ2_XXS are the same. So a recipe that is not llama.cpp's own mix says so after its type: IQ2_XXS_DG.
"""

from __future__ import annotations

import re

import gguf

from bench.recipes.recipe import standard_formats
from bench.recipes.sizes import TOGETHER

#: Types that a label may begin with: llama.cpp's formats, and those that only names have.
_TYPES = [t.name.removeprefix("MOSTLY_").removeprefix("ALL_") for t in gguf.LlamaFileType if t.name != "GUESSED"]
_LABEL = re.compile(rf"(?:UD-)?(?:{'|'.join([*_TYPES, *(f'Q{n}_K_XL' for n in range(2, 9))])})(?:_[A-Z]+)?")
#: Formats, the longest names first: Q4_K_M ends no other.
_BY_LENGTH = sorted(standard_formats(), key=len, reverse=True)


def hub_label(name: str) -> str | None:
    """What the hub offers a file as; None for a name without a type."""
    found = _LABEL.findall(name.upper())
    return found[-1] if found else None


def file_label(recipe: str, base: str, against: str | None = None) -> str:
    """IQ2_XXS for llama.cpp's own mix; IQ2_XXS_DG, IQ2_S_AUTO, IQ2_S_AUTODG for others, by the type that they start from or
    have the size of.

    recipe: its name; base: the format that it starts from; against: the recipe whose size it has, if any.
    """
    if recipe in _BY_LENGTH:
        return recipe
    other = against or base
    kept = next((f for f in _BY_LENGTH if other == f or other.endswith(f"-{f}")), base)
    prefix = recipe.partition("@")[0].removesuffix(kept)
    kind = re.sub(r"[^A-Z]", "", (prefix + other.removesuffix(kept)).upper())
    return f"{kept}_{kind}" if kind else plain(recipe)


def is_bound(recipe: str) -> bool:
    """Whether a recipe's name tells of budgets or of tensors that are kept together, which no label does."""
    size = recipe.partition("@")[2]
    return "=" in size or f"+{TOGETHER}" in size


def plain(name: str) -> str:
    """A name that needs no quoting in a shell or an address: auto@IQ2_S becomes auto-IQ2_S."""
    return re.sub(r"[^A-Za-z0-9._+]+", "-", name).strip("-")
