"""Judges of answers to this project's own tasks: from an item and what a model wrote to figures between 0 and 1, higher is better.

Whatever a model writes gives figures. What is wrong with an item raises BenchError, which names the item, with every answer alike.

The files of the tasks reach the last three functions by `process_results: !function bench.measures.tasks.judging.process_results_…`:
lm-evaluation-harness looks for a module beside the file first and imports it by its name otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.measures.tasks.judging_calls import tool_calls, tries_to_call
from bench.measures.tasks.judging_checks import follows
from bench.measures.tasks.judging_items import Item, field, said, same, strict_json, unfenced, wrong
from bench.measures.tasks.judging_schema import fits


def json_answer(text: str) -> Any:
    """The value of an answer in JSON: all of the answer, or all of it but a fence of Markdown around. Raises ValueError for any other."""
    return strict_json(unfenced(said(text)))


def judged_instruct(item: Item, answer: str) -> dict[str, float]:
    """followed: 1 if the answer passes every check of the item's `checks`."""
    checks = field(item, "checks")
    try:
        return {"followed": float(follows(checks, said(answer)))}
    except ValueError as e:
        raise wrong(item, f"`checks`: {e}") from e


def judged_json(item: Item, answer: str) -> dict[str, float]:
    """values: 1 if the answer is the item's `expected`; schema: 1 if it fits its `schema`; valid: 1 if it is JSON. The strictest comes first: it is the accuracy.

    Raises BenchError for a schema that is none, and for an `expected` that does not fit it.
    """
    schema, expected = field(item, "schema"), field(item, "expected")
    try:
        if not fits(schema, expected):
            raise wrong(item, "`expected` does not fit `schema`")
        try:
            value = json_answer(answer)
        except ValueError:
            return {"values": 0.0, "schema": 0.0, "valid": 0.0}
        return {"values": float(same(value, expected)), "schema": float(fits(schema, value)), "valid": 1.0}
    except ValueError as e:
        raise wrong(item, f"`schema` {e}") from e


def judged_tools(item: Item, answer: str) -> dict[str, float]:
    """arguments: 1 if there is one call, of the right tool, with the right arguments; name: of the right tool; called: 1 if there is a call at all.

    Where the item's `call` is null, all are 1 for an answer in words, and 0 for one that calls or tries to, or says nothing.
    """
    expected = field(item, "call")
    if expected is None:
        refrains = float(bool(said(answer)) and not tries_to_call(answer))
        return {"arguments": refrains, "name": refrains, "called": refrains}
    if (
        not isinstance(expected, dict)
        or not isinstance(expected.get("name"), str)
        or not isinstance(expected.get("arguments"), dict)
    ):
        raise wrong(item, "`call` is neither null nor an object with `name` and `arguments`")
    calls = tool_calls(answer)
    named = len(calls) == 1 and calls[0].name == expected["name"]
    right = named and same(calls[0].arguments, expected["arguments"])
    return {"arguments": float(right), "name": float(named), "called": float(bool(calls))}


def process_results_instruct(doc: Item, results: Sequence[str]) -> dict[str, float]:
    """`judged_instruct` as lm-evaluation-harness calls it: results holds one answer."""
    return judged_instruct(doc, results[0])


def process_results_json(doc: Item, results: Sequence[str]) -> dict[str, float]:
    """`judged_json` as lm-evaluation-harness calls it: results holds one answer."""
    return judged_json(doc, results[0])


def process_results_tools(doc: Item, results: Sequence[str]) -> dict[str, float]:
    """`judged_tools` as lm-evaluation-harness calls it: results holds one answer."""
    return judged_tools(doc, results[0])
