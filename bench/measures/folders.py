"""The list of measures, by their folders. Imports nothing, so that commands can list their options at once."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.util import find_spec

from bench import measures as package


def folders() -> tuple[str, ...]:
    """Names of the folders of measures."""
    return tuple(m.name for m in pkgutil.iter_modules(package.__path__) if m.ispkg)


def module_name(folder: str, module: str) -> str | None:
    """The dotted name of a module in a measure's folder; None where it has none."""
    name = f"{package.__name__}.{folder}.{module}"
    return name if find_spec(name) is not None else None


def option_types() -> dict[str, type]:
    """What measures can be asked for: {folder: the dataclass `Asked` of its options.py}."""
    named = {folder: module_name(folder, "options") for folder in folders()}
    return {folder: import_module(name).Asked for folder, name in named.items() if name}
