"""Checks of an answer's form: how many words, how it ends, what it repeats.

A check is an object with `check`, its name, and what the check needs:

    words, sentences, lines, items      exactly, or at_least and at_most; items are what stands between commas
    count                               text, and exactly, or at_least and at_most: how often the text occurs
    contains, lacks                     text
    starts_with, ends_with              text
    one_of                              answers, a list of texts: the answer is one of them and nothing else
    capitals, small_letters             nothing more; there is at least one letter

Capital letters count for the last two only. Every check takes time in proportion to the answer, whatever it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_QUOTES = "\"'“”‘’«»`*"
_ENDS = ".!?…"
_BOUNDS = frozenset({"exactly", "at_least", "at_most"})


def follows(checks: object, answer: str) -> bool:
    """Whether an answer passes every check of a list. Raises ValueError for what is no list of checks, whatever the answer is."""
    if not isinstance(checks, list) or not checks:
        raise ValueError("checks are a list with at least one")
    passed = [_passes(check, answer.strip()) for check in checks]  # all of them, so that a wrong check is always told
    return all(passed)


def _passes(check: Any, answer: str) -> bool:
    match check:
        case {"check": str(name)} if name in _CHECKS:
            needs, function = _CHECKS[name]
        case _:
            raise ValueError(f"{check!r} is no check; one is an object whose `check` is one of {', '.join(_CHECKS)}")
    if odd := check.keys() - {"check"} - needs:
        raise ValueError(f"the check {name} has no {', '.join(sorted(odd))}")
    return function(check, answer)


def words(answer: str) -> int:
    """How many words and numbers. Two with a hyphen or an apostrophe between them are one."""
    return sum(1 for _ in _WORD.finditer(answer))


def sentences(answer: str) -> int:
    """How many stretches end with a full stop, a question mark or an exclamation mark before a space, and one more where the last does not."""
    ends = [word.rstrip(_QUOTES + ")")[-1:] in tuple(_ENDS) for word in answer.split()]
    return sum(ends) + (bool(ends) and not ends[-1])


def lines(answer: str) -> int:
    """How many lines that are not blank."""
    return sum(1 for line in answer.split("\n") if line.strip())


def items(answer: str) -> int:
    """How many of the parts between commas have a word."""
    return sum(1 for part in answer.split(",") if _WORD.search(part))


def _within(check: Mapping[str, Any], n: int) -> bool:
    bounds: dict[str, int] = {key: check[key] for key in _BOUNDS & check.keys()}
    if not bounds or any(type(value) is not int or value < 0 for value in bounds.values()):
        raise ValueError(f"the check {check['check']} needs exactly, at_least or at_most, each a number from 0")
    return bounds.get("exactly", n) == n and bounds.get("at_least", n) <= n <= bounds.get("at_most", n)


def _text(check: Mapping[str, Any]) -> str:
    text = check.get("text")
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"the check {check['check']} needs a text")
    return text.casefold()


def _counted(count: Callable[[str], int]) -> Callable[[Mapping[str, Any], str], bool]:
    return lambda check, answer: _within(check, count(answer))


def _starts(check: Mapping[str, Any], answer: str) -> bool:
    wanted = _text(check)
    return answer.casefold().lstrip(_loose(wanted[0], "")).startswith(wanted)


def _ends(check: Mapping[str, Any], answer: str) -> bool:
    """A word at the end may have a full stop behind it, and everything a closing quotation mark."""
    wanted = _text(check)
    return answer.casefold().rstrip(_loose(wanted[-1], _ENDS)).endswith(wanted)


def _loose(beside: str, marks: str) -> str:
    """Characters that may stand outside a wanted text that has `beside` at its edge."""
    return "" if beside in _QUOTES else _QUOTES + (marks if beside.isalnum() else "")


def _one_of(check: Mapping[str, Any], answer: str) -> bool:
    answers = check.get("answers")
    if not isinstance(answers, list) or not answers or not all(isinstance(a, str) and a.strip() for a in answers):
        raise ValueError("the check one_of needs answers, a list of texts")
    return _plain(answer) in [_plain(a) for a in answers]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).strip(_QUOTES + _ENDS)


#: {name: (what it may have beside its name, whether an answer passes it)}
_CHECKS: dict[str, tuple[frozenset[str], Callable[[Mapping[str, Any], str], bool]]] = {
    "words": (_BOUNDS, _counted(words)),
    "sentences": (_BOUNDS, _counted(sentences)),
    "lines": (_BOUNDS, _counted(lines)),
    "items": (_BOUNDS, _counted(items)),
    "count": (_BOUNDS | {"text"}, lambda check, answer: _within(check, answer.casefold().count(_text(check)))),
    "contains": (frozenset({"text"}), lambda check, answer: _text(check) in answer.casefold()),
    "lacks": (frozenset({"text"}), lambda check, answer: _text(check) not in answer.casefold()),
    "starts_with": (frozenset({"text"}), _starts),
    "ends_with": (frozenset({"text"}), _ends),
    "one_of": (frozenset({"answers"}), _one_of),
    "capitals": (frozenset(), lambda check, answer: answer.isupper()),
    "small_letters": (frozenset(), lambda check, answer: answer.islower()),
}
