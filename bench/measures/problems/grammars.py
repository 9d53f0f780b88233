"""Whether a file parses, by tree-sitter's grammar of its language: packages of the extra `code`."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Parser

#: Module and function of a language's grammar.
_GRAMMARS = {
    "cpp": ("tree_sitter_cpp", "language"),
    "go": ("tree_sitter_go", "language"),
    "java": ("tree_sitter_java", "language"),
    "javascript": ("tree_sitter_javascript", "language"),
    "python": ("tree_sitter_python", "language"),
    "rust": ("tree_sitter_rust", "language"),
    "shell": ("tree_sitter_bash", "language"),
    "tsx": ("tree_sitter_typescript", "language_tsx"),
    "typescript": ("tree_sitter_typescript", "language_typescript"),
}
#: Other names that a user's file may tell a language by.
_ALSO = {
    "bash": "shell",
    "c++": "cpp",
    "golang": "go",
    "js": "javascript",
    "jsx": "javascript",
    "py": "python",
    "python3": "python",
    "rs": "rust",
    "sh": "shell",
    "ts": "typescript",
}


def language(group: str) -> str | None:
    """The language that a group of problems is of; None where it is none with a grammar."""
    name = group.strip().lower()
    name = _ALSO.get(name, name)
    return name if name in _GRAMMARS else None


def installed() -> bool:
    """Whether the extra is there."""
    return all(find_spec(module) for module in ("tree_sitter", *(m for m, _ in _GRAMMARS.values())))


def versions() -> str:
    """Of the parser and of the grammars, as they are installed."""
    modules = ("tree_sitter", *dict.fromkeys(m for m, _ in _GRAMMARS.values()))
    return ", ".join(f"{m.replace('_', '-')} {version(m)}" for m in modules)


def parses(name: str, text: str) -> bool:
    """Whether a file in a language that has a grammar is free of errors, and nothing that it needs is missing."""
    root = _parser(name).parse(text.encode("utf-8", "replace")).root_node
    return not root.has_error  # which is true of a missing node too


@cache
def _parser(name: str) -> Parser:
    from tree_sitter import Language, Parser

    module, function = _GRAMMARS[name]
    return Parser(Language(getattr(import_module(module), function)()))
