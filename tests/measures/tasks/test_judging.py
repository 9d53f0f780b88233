"""Judges tell right from wrong and near misses, and whatever a model writes gives figures."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from bench.core.errors import BenchError
from bench.measures.tasks import judging
from bench.measures.tasks.judging_calls import Call, tool_calls
from bench.measures.tasks.judging_checks import follows, items, lines, sentences, words

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
ANNA = {"id": "a", "schema": json.dumps(PERSON), "expected": '{"name": "Anna", "age": 31}'}
TIMER = {"id": "t", "call": json.dumps({"name": "start_timer", "arguments": {"minutes": 10}})}
TALK = {"id": "n", "call": "null"}
WORDS = {"id": "w", "checks": '[{"check": "words", "exactly": 2}]'}
RIGHT = '{"name": "start_timer", "arguments": {"minutes": 10}}'

#: What a model may write: nothing, a lot, deep, no text, no number.
HOSTILE = {
    "nothing": "",
    "space": " \n\t ",
    "brackets": "[" * 100_000,
    "both brackets": "[" * 100_000 + "]" * 100_000,
    "objects": '{"a":' * 100_000,
    "deep but read": '{"name":' * 200 + "1" + "}" * 200,
    "lone surrogate": '{"name": "\ud800", "age": 1}',
    "escaped surrogate": '{"name": "\\ud800", "age": 1}',
    "NaN": '{"name": "Anna", "age": NaN}',
    "Infinity": "-Infinity",
    "beyond a double": '{"name": "Anna", "age": 1e999}',
    "long number": "9" * 100_000,
    "zeros": "\0" * 1000,
    "huge": "!?.'\"," * 200_000 + "x",
    "one word": "a" * 1_000_000,
    "open fences": "```json\n" * 50_000,
    "open tags": "<tool_call>" * 50_000,
    "tags": '<tool_call>{"name": 1}</tool_call>' * 10_000,
    "marks": "[TOOL_CALLS]" * 50_000,
    "thoughts": "<think></think>" * 50_000,
    "argument texts": json.dumps({"name": "f", "arguments": "[" * 100_000}),
    "no name": '[{"name": null}, {"name": []}, {"function": {"function": {}}}, null, 3]',
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_whatever_a_model_writes_gives_figures_at_once(text: str) -> None:
    every = [{"check": c, "exactly": 2} for c in ("words", "sentences", "lines", "items")] + [
        {"check": "one_of", "answers": ["yes"]}, {"check": "starts_with", "text": "a"}, {"check": "ends_with", "text": "b"},
        {"check": "count", "text": ",", "exactly": 1}, {"check": "capitals"}, {"check": "small_letters"},
    ]  # fmt: skip
    began = time.monotonic()
    assert judging.process_results_instruct({"id": "e", "checks": every}, [text]) == {"followed": 0.0}
    found = judging.process_results_json(ANNA, [text])
    assert found["schema"] == found["values"] == 0.0 and found["valid"] in (0.0, 1.0)
    assert judging.process_results_tools(TIMER, [text])["name"] == 0.0
    assert set(judging.process_results_tools(TALK, [text])) == {"called", "name", "arguments"}
    assert time.monotonic() - began < 20, "time must be in proportion to the text"


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        ({"check": "words", "exactly": 3}, "Deep, blue waves!", "The sea is deep"),
        ({"check": "words", "at_least": 2, "at_most": 3}, "well-known man's bread", "one"),
        ({"check": "sentences", "exactly": 2}, 'He said "Stop!" Then he left.', "One. Two. Three"),
        ({"check": "lines", "exactly": 2}, "cat\n\ndog\n", "cat, dog"),
        ({"check": "items", "exactly": 3}, "plum, pear, and fig.", "plum, pear,"),
        ({"check": "count", "text": "blue", "exactly": 2}, "Blue, blue", "blue"),
        ({"check": "contains", "text": "river"}, "The River is wide.", "The rover is wide."),
        ({"check": "lacks", "text": "house"}, "A home.", "A House."),
        ({"check": "starts_with", "text": "Yesterday"}, '"Yesterday it rained."', "It rained yesterday."),
        ({"check": "ends_with", "text": "?"}, '"Is it late?"', "Is it late? Yes."),
        ({"check": "ends_with", "text": "garden"}, "She is in the garden.", "The gardens"),
        ({"check": "ends_with", "text": "!"}, "Cheese!", "Cheese!."),
        ({"check": "one_of", "answers": ["yes", "no"]}, " Yes.\n", "Yes, it is."),
        ({"check": "one_of", "answers": ["Good morning"]}, "good  morning", "good"),
        ({"check": "capitals"}, "WHITE, 1", "White"),
        ({"check": "capitals"}, "A", "12"),
        ({"check": "small_letters"}, "hello world", "Hello world"),
        ({"check": "starts_with", "text": '"'}, '"lamp"', "lamp"),
    ],
)
def test_a_check_passes_what_is_right_and_nothing_near_it(check: dict[str, Any], right: str, wrong: str) -> None:
    assert follows([check], right) and not follows([check], wrong)
    assert not follows([check, {"check": "contains", "text": "#"}], right), "all checks must pass"


def test_what_is_counted() -> None:
    assert (words("It's a well-known fact: 3 + 4."), words("blue,blue"), words("…")) == (6, 2, 0)
    assert (sentences("No end"), sentences("One. (Two!) “Three?”"), sentences(""), sentences("3.5 m.")) == (1, 3, 0, 1)
    assert (lines("a\n \nb"), lines(""), items("a, b ,, c"), items("")) == (2, 0, 3, 0)


@pytest.mark.parametrize(
    ("checks", "told"),
    [
        ([], "at least one"),
        ({"check": "capitals"}, "a list"),
        (["capitals"], "'capitals' is no check; one is an object"),
        ([{"check": "wrods"}], "'wrods'} is no check; .* one of words"),
        ([{"check": ["words"]}], "is no check"),
        ([{"check": "words"}], "words needs exactly"),
        ([{"check": "words", "exactly": True}], "words needs exactly"),
        ([{"check": "words", "exacty": 3}], "words has no exacty"),
        ([{"check": "count", "exactly": 3}], "count needs a text"),
        ([{"check": "contains", "text": ""}], "contains needs a text"),
        ([{"check": "one_of", "answers": "yes"}], "one_of needs answers"),
        ([{"check": "capitals"}, {"check": "lines"}], "lines needs exactly"),
    ],
)
@pytest.mark.parametrize("answer", ["", "YES", "a\nb"])
def test_what_is_no_check_is_told_with_its_item_whatever_the_answer(checks: object, told: str, answer: str) -> None:
    with pytest.raises(BenchError, match=told) as raised:
        judging.judged_instruct({"id": "instruct-7", "checks": checks}, answer)
    assert "item instruct-7: `checks`" in str(raised.value) and "\n" not in str(raised.value)


def test_instructions_are_followed_in_what_is_said_not_in_what_is_thought() -> None:
    assert judging.judged_instruct(WORDS, "<think>Let me think about it.</think>\n\nTwo words") == {"followed": 1.0}
    assert judging.judged_instruct(WORDS, "not two words") == {"followed": 0.0}


@pytest.mark.parametrize(
    ("answer", "figures"),
    [
        ('{"name": "Anna", "age": 31}', (1, 1, 1)),
        ('```json\n{"name": "Anna", "age": 31}\n```', (1, 1, 1)),
        ('```\n{"age": 31.0, "name": " anna "}```', (1, 1, 1)),
        ('<think>\n\n</think>\n{"name": "Anna", "age": 31}', (1, 1, 1)),
        ('{"name": "Anna", "age": 13}', (1, 1, 0)),
        ('{"name": "Anna", "age": "31"}', (1, 0, 0)),
        ('{"name": "Anna", "age": true}', (1, 0, 0)),
        ('{"name": "Anna"}', (1, 0, 0)),
        ('{"name": "Anna", "age": 31, "city": ""}', (1, 0, 0)),
        ('[{"name": "Anna", "age": 31}]', (1, 0, 0)),
        ("null", (1, 0, 0)),
        ("{'name': 'Anna', 'age': 31}", (0, 0, 0)),
        ('{"name": "Anna", "age": 31,}', (0, 0, 0)),
        ('Here it is: {"name": "Anna", "age": 31}', (0, 0, 0)),
        ('```json\n{"name": "Anna", "age": 31}\n```\nAnna is 31.', (0, 0, 0)),
        ('```json\n{"name": "Anna", "age": 31}', (0, 0, 0)),
        ('{"name": "Anna", "age": NaN}', (0, 0, 0)),
        ("Anna is 31 years old.", (0, 0, 0)),
    ],
)
def test_json_is_valid_fits_and_is_what_was_told(answer: str, figures: tuple[float, ...]) -> None:
    assert tuple(judging.judged_json(ANNA, answer).values()) == figures[::-1]
    assert tuple(judging.judged_json({**ANNA, "schema": PERSON}, answer).values()) == figures[::-1], (
        "objects serve as well"
    )


def test_true_is_not_one_and_order_counts_in_lists_only() -> None:
    item = {"id": "o", "schema": True, "expected": {"on": True, "list": [1, 2]}}
    assert judging.judged_json(item, '{"list": [1, 2], "on": true}')["values"] == 1
    assert judging.judged_json(item, '{"on": 1, "list": [1, 2]}')["values"] == 0
    assert judging.judged_json(item, '{"on": true, "list": [2, 1]}')["values"] == 0
    assert judging.judged_json(item, '{"on": true, "list": [1, 2, 3]}')["values"] == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema": '{"type": "objekt"}'}, "`schema` is no JSON Schema"),
        ({"schema": "[]"}, "`schema` is no JSON Schema"),
        ({"schema": '{"pattern": "("}'}, "`schema` is no JSON Schema"),
        ({"schema": "{"}, "`schema` is not JSON"),
        ({"schema": '{"allOf": [' * 400 + "true" + "]}" * 400}, "`schema`"),
        ({"schema": {"$ref": "https://example.invalid/other"}}, "`schema` refers to what it does not have"),
        ({"schema": {"$ref": "#/$defs/no"}}, "`schema` refers to what it does not have"),
        ({"schema": {"$ref": "#"}}, "`expected` does not fit"),
        ({"expected": '{"name": "Anna"}'}, "`expected` does not fit"),
        ({"expected": "Anna"}, "`expected` is not JSON"),
    ],
)
@pytest.mark.parametrize("answer", ["", "{}", '{"name": "Anna", "age": 31}'])
def test_an_item_that_cannot_be_judged_is_named_whatever_the_answer(
    change: dict[str, Any], told: str, answer: str
) -> None:
    with pytest.raises(BenchError, match=told) as raised:
        judging.judged_json({**ANNA, "id": "json-3", **change}, answer)
    assert str(raised.value).startswith("item json-3: ") and "\n" not in str(raised.value)
    assert len(str(raised.value)) < 300


def test_a_missing_field_is_told() -> None:
    with pytest.raises(BenchError, match=r"item json-4: has no field `schema`"):
        judging.judged_json({"id": "json-4"}, "{}")
    with pytest.raises(BenchError, match=r"item without id: has no field `call`"):
        judging.judged_tools({}, "{}")


def test_an_answer_deeper_than_a_schema_can_be_followed_does_not_fit() -> None:
    tree = {"type": "array", "items": {"$ref": "#"}}
    item = {"id": "d", "schema": tree, "expected": []}
    assert judging.judged_json(item, "[[[]]]") == {"valid": 1.0, "schema": 1.0, "values": 0.0}
    assert judging.judged_json(item, "[" * 600 + "]" * 600)["schema"] == 0.0


CALL = Call("start_timer", {"minutes": 10})


@pytest.mark.parametrize(
    "text",
    [
        f"<tool_call>\n{RIGHT}\n</tool_call>",
        f"I will do that.\n<tool_call>[{RIGHT}]</tool_call>",
        f"<tool_call>{RIGHT}",
        f"[TOOL_CALLS] [{RIGHT}]",
        RIGHT,
        f"[{RIGHT}]",
        f"```json\n{RIGHT}\n```",
        '<|python_tag|>{"name": "start_timer", "parameters": {"minutes": 10}}',
        '{"type": "function", "name": "start_timer", "parameters": {"minutes": 10}}',
        '{"type": "function", "function": {"name": "start_timer", "arguments": "{\\"minutes\\": 10}"}}',
        f"<think>A timer, so <tool_call>{{}}</tool_call>?</think>\n<tool_call>{RIGHT}</tool_call>",
    ],
)
def test_a_call_is_read_in_every_form(text: str) -> None:
    assert tool_calls(text) == [CALL]
    assert judging.judged_tools(TIMER, text) == {"called": 1.0, "name": 1.0, "arguments": 1.0}
    assert set(judging.judged_tools(TALK, text).values()) == {0.0}


@pytest.mark.parametrize(
    ("text", "figures"),
    [
        ('{"name": "start_timer", "arguments": {"minutes": 11}}', (1, 1, 0)),
        ('{"name": "start_timer", "arguments": {"minutes": "10"}}', (1, 1, 0)),
        ('{"name": "start_timer", "arguments": {"minutes": 10, "loud": true}}', (1, 1, 0)),
        ('{"name": "start_timer"}', (1, 1, 0)),
        ('{"name": "set_alarm", "arguments": {"minutes": 10}}', (1, 0, 0)),
        (f"[{RIGHT}, {RIGHT}]", (1, 0, 0)),
        (f"<tool_call>{RIGHT}</tool_call><tool_call>{RIGHT}</tool_call>", (1, 0, 0)),
        ('{"name": "start_timer", "arguments": [10]}', (0, 0, 0)),
        ("functions.start_timer({minutes: 10})", (0, 0, 0)),
        ("start_timer(minutes=10)", (0, 0, 0)),
        ("<tool_call>start_timer</tool_call>", (0, 0, 0)),
        ("The timer is set to 10 minutes.", (0, 0, 0)),
    ],
)
def test_a_call_has_the_right_name_and_arguments(text: str, figures: tuple[float, ...]) -> None:
    assert tuple(judging.judged_tools(TIMER, text).values()) == figures[::-1]


@pytest.mark.parametrize(
    ("text", "right"),
    [("Hello! I am fine.", 1.0), ("", 0.0), ("<tool_call>{broken", 0.0), ("[TOOL_CALLS] x", 0.0), ("[1, 2]", 1.0)],
)
def test_where_no_tool_helps_words_are_right(text: str, right: float) -> None:
    assert set(judging.judged_tools(TALK, text).values()) == {right}


@pytest.mark.parametrize("call", ['"start_timer"', '{"name": "f"}', '{"name": 1, "arguments": {}}', "{"])
def test_a_right_call_that_is_none_is_told(call: str) -> None:
    with pytest.raises(BenchError, match=r"^item tools-9: `call` is"):
        judging.judged_tools({"id": "tools-9", "call": call}, "")


def test_texts_of_arguments_are_compared_as_a_reader_does() -> None:
    item = {"id": "c", "call": {"name": "weather", "arguments": {"city": "New York"}}}
    assert judging.judged_tools(item, '{"name": "weather", "arguments": {"city": "new  york "}}')["arguments"] == 1
    assert judging.judged_tools(item, '{"name": "Weather", "arguments": {"city": "New York"}}')["name"] == 0
