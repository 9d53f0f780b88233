"""Which doctests a completed file has to pass: those of the file with the right middle, and those beside the fixed set.

They are never taken out of a completed file, which a model may have left without any.
"""

from __future__ import annotations

import ast
import doctest
import hashlib
import warnings
from functools import cache

from bench.measures.problems.sets import CODE, FIM, Infill, ProblemSet
from bench.texts import prompts

#: The part of the prompt set that holds doctests for its infill problems, by their names.
CHECKS = "fim_checks"


def doctests_of(problem: Infill, problems: ProblemSet) -> tuple[str, ...]:
    """Texts with doctests for a Python file; empty where it has none. Raises BenchError for a changed file of the prompt set."""
    found = _documented(problem.prefix + problem.middle + problem.suffix)
    return tuple(found) + (_beside(problem.name) if problems.name in (FIM, CODE) else ())


def checks_sha256() -> str:
    """Of all doctests beside the fixed set. Raises BenchError for a changed file of the prompt set."""
    digest = hashlib.sha256()
    for path, _ in prompts.listed_files(CHECKS):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _beside(name: str) -> tuple[str, ...]:
    return tuple(p.read_text(encoding="utf-8") for p, _ in prompts.listed_files(CHECKS) if p.stem == name)


def _documented(source: str) -> list[str]:
    """Doc strings of a module, and of its classes and functions, that hold examples; none of a file that is no Python."""
    try:
        with warnings.catch_warnings():  # of invalid escapes, which are not ours to mend
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, documented)]
    return [t for t in texts if t and _has_examples(t)]


def _has_examples(text: str) -> bool:
    try:
        return bool(doctest.DocTestParser().get_examples(text))
    except ValueError:  # an example that is not well formed
        return False
