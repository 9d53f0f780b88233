"""The tasks of prompts/tasks: every item is complete, has one right answer, and does not give it away. Nothing here needs lm_eval."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from importlib import import_module
from typing import Any

import pytest
import yaml

from bench.core.parsed import json_lines
from bench.measures.tasks import judging
from bench.texts import prompts

ROOT = prompts.prompts_directory() / "tasks"
FIELDS = {
    "own_cloze": {"context": str, "choices": list, "target": int},
    "own_choice": {"question": str, "choices": list, "target": int},
    "own_arithmetic": {"question": str, "sum": str, "answer": str},
    "own_copy": {"distance": str, "passage": str, "question": str, "answer": str},
    "own_instruct": {"prompt": str, "checks": str},
    "own_json": {"prompt": str, "schema": str, "expected": str},
    "own_tools": {"prompt": str, "tools": str, "call": str},
}
COUNTS = {
    "own_cloze": 80, "own_choice": 120, "own_arithmetic": 32, "own_copy": 32, "own_instruct": 32, "own_json": 22, "own_tools": 20,
}  # fmt: skip
WITH_CHOICES = ("own_cloze", "own_choice")
CHAT = ("own_instruct", "own_json", "own_tools")

#: An answer to each instruction, in order, that passes.
INSTRUCTED = [
    "Deep blue waves.", "Dog", "Snow falls on cold fields.", "A hot bright star.", "Yes.", "No", "4", "Elephant", "Green.", "blue, blue, blue, blue",
    "hello hello", "stop, stop, stop", "The kettle is on the stove.", "Is it late?", "I love cheese!", "She sat in the garden.",
    "Yesterday it rained.", "Well, rain is falling water.", "WHITE", "APPLE", "THE BREAD IS FRESH", "The river is wide.", "The cat drinks milk.",
    "A home with walls and a roof.", "apple, pear, plum", "1, 2, 3, 4, 5", "cat\ndog\ncow", "Saturday\nSunday", "Dogs bark. They run.",
    "A bridge carries a road across a river.", "A boat sailed. A storm came. It sank.", "\"lamp\"",
]  # fmt: skip


@cache
def items(task: str) -> list[dict[str, Any]]:
    return [item for _, item in json_lines(ROOT / task / f"{task}.jsonl", "one item")]


@cache
def config(name: str) -> dict[str, Any]:
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))
    return yaml.load((ROOT / name).read_text(encoding="utf-8"), Loader=Loader)


def runs_of_eight(text: str) -> set[tuple[str, ...]]:
    found = re.findall(r"\w+", text.casefold())
    return {tuple(found[i : i + 8]) for i in range(len(found) - 7)}


@pytest.mark.parametrize("task", FIELDS)
def test_every_item_has_its_fields_and_a_name_of_its_own(task: str) -> None:
    found = items(task)
    assert len(found) == COUNTS[task]
    assert [i["id"] for i in found] == [f"{task.removeprefix('own_')}-{n:03}" for n in range(1, len(found) + 1)]
    for item in found:
        assert {key: type(value) for key, value in item.items()} == {"id": str, "kind": str, **FIELDS[task]}, item["id"]
        assert all(text.strip() == text and text for text in item.values() if isinstance(text, str)), item["id"]
    texts = [json.dumps([v for k, v in i.items() if k != "id"]) for i in found]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("task", FIELDS)
def test_the_file_of_a_task_says_where_its_items_are_and_what_judges_them(task: str) -> None:
    told = config(f"{task}/{task}.yaml")
    assert told["task"] == task and told["dataset_path"] == "json" and told["test_split"] == "test"
    assert told["dataset_kwargs"] == {"data_files": {"test": f"{task}.jsonl"}}
    assert "fewshot_split" not in told and bool(told["metadata"].get("chat")) == (task in CHAT)
    assert all(m["aggregation"] == "mean" and m["higher_is_better"] is True for m in told["metric_list"])
    if task in CHAT:
        module, _, name = told["process_results"].rpartition(".")
        figures = getattr(import_module(module), name)(items(task)[0], ["words"])
        assert list(figures) == [m["metric"] for m in told["metric_list"]]


def test_the_group_is_all_tasks_and_the_manifest_lists_every_file() -> None:
    assert config("own.yaml")["group"] == "own" and sorted(config("own.yaml")["task"]) == sorted(FIELDS)
    listed = {path.relative_to(ROOT).as_posix(): kind for path, kind in prompts.listed_files("tasks")}
    wanted = {f"{task}/{task}.{end}": task for task in FIELDS for end in ("yaml", "jsonl")}
    assert listed == {"own.yaml": "own", **wanted}
    assert {p.relative_to(ROOT).as_posix() for p in ROOT.rglob("*") if p.is_file()} == set(listed)
    assert prompts.identify("tasks")[0] == "fixed tasks"


@pytest.mark.parametrize("task", WITH_CHOICES)
def test_four_different_choices_one_of_them_right_in_every_place_alike(task: str) -> None:
    for item in items(task):
        choices = item["choices"]
        assert len(choices) == len({c.casefold() for c in choices}) == 4 and item["target"] in range(4), item["id"]
        assert all(isinstance(c, str) and c.strip() == c and c for c in choices), item["id"]
    places = Counter(i["target"] for i in items(task))
    assert set(places.values()) == {COUNTS[task] // 4}
    assert set(Counter(i["kind"] for i in items(task)).values()) == {10}


@pytest.mark.parametrize("task", WITH_CHOICES)
def test_length_does_not_tell_the_right_answer(task: str) -> None:
    longest = shortest = 0
    right, wrong = [], []
    for item in items(task):
        lengths = [len(c) for c in item["choices"]]
        mine = lengths.pop(item["target"])
        longest += mine > max(lengths)
        shortest += mine < min(lengths)
        right.append(mine)
        wrong += lengths
    assert longest <= 0.3 * len(right) and shortest <= 0.3 * len(right)
    assert 0.8 < (sum(right) / len(right)) / (sum(wrong) / len(wrong)) < 1.25


def test_sums_are_right_and_small() -> None:
    for item in items("own_arithmetic"):
        assert re.fullmatch(r"\d+( [-+*/] \d+)+", item["sum"]), item["id"]
        value = eval(item["sum"])
        assert value == int(value) and item["answer"] == str(int(value)) and 0 < value < 60, item["id"]
        digits = re.findall(r"\d+", item["question"])
        assert all(d in item["sum"].split() for d in digits), f"{item['id']}: every number of the question is needed"
    text = config("own_arithmetic/own_arithmetic.yaml")["doc_to_text"]
    assert re.findall(r"\nAnswer: (\d+)\n\n", text) == ["5", "6", "8"] and text.endswith(
        "Question: {{question}}\nAnswer:"
    )
    assert not runs_of_eight(text) & runs_of_eight(" ".join(i["question"] for i in items("own_arithmetic")))


@pytest.mark.parametrize("task", ["own_arithmetic", "own_copy"])
def test_the_filter_finds_the_right_answer_where_it_stands(task: str) -> None:
    pattern = re.compile(config(f"{task}/{task}.yaml")["filter_list"][0]["filter"][0]["regex_pattern"])
    for item in items(task):
        assert pattern.findall(f" {item['answer']}. That is 3 more.")[0] == item["answer"], item["id"]


def test_what_is_to_be_copied_stands_in_the_passage_once_and_as_far_back_as_told() -> None:
    within = {"near": (20, 40), "middle": (100, 190), "far": (400, 500)}
    for item in items("own_copy"):
        found = re.findall(rf"\b{item['answer']}\b", item["passage"])
        assert found == [item["answer"]], item["id"]
        assert not re.search(rf"\b{item['answer']}\b", item["question"]), item["id"]
        low, high = within[item["distance"]]
        assert low < len(item["passage"].split()) < high, item["id"]
        assert item["passage"].index(item["answer"]) < 320, f"{item['id']}: what is asked for stands first"
        lead = item["question"].partition("? ")[2] or item["question"].partition(": ")[2]
        assert lead.lower() in item["passage"].lower(), f"{item['id']}: the lead is word for word"
    assert Counter(i["distance"] for i in items("own_copy")) == {"near": 12, "middle": 13, "far": 7}


def test_every_instruction_can_be_followed_and_is_not_by_anything() -> None:
    assert len(INSTRUCTED) == len(items("own_instruct"))
    for item, answer in zip(items("own_instruct"), INSTRUCTED, strict=True):
        assert judging.judged_instruct(item, answer) == {"followed": 1.0}, item["id"]
        for other in ("", "I am sorry. I do not know, but here is a longer text; it has\nlines\nand more\nlines."):
            assert judging.judged_instruct(item, other) == {"followed": 0.0}, item["id"]


def test_what_is_expected_as_json_is_right_and_named_in_the_prompt() -> None:
    for item in items("own_json"):
        every = {"valid": 1.0, "schema": 1.0, "values": 1.0}
        assert judging.judged_json(item, item["expected"]) == every, item["id"]
        assert judging.judged_json(item, f"```json\n{item['expected']}\n```") == every, item["id"]
        assert judging.judged_json(item, "{}")["schema"] == 0.0, item["id"]
        for key in keys(json.loads(item["expected"])):
            assert re.search(rf"\b{key}\b", item["prompt"]), item["id"]
    assert {"nested", "array"} < {i["kind"] for i in items("own_json")}


def keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*(keys(v) for v in value.values()))
    return set().union(*(keys(v) for v in value)) if isinstance(value, list) else set()


def test_the_right_call_fits_its_tool_and_none_other_has_its_name() -> None:
    from jsonschema import Draft202012Validator

    places = []
    for item in items("own_tools"):
        tools, call = json.loads(item["tools"]), json.loads(item["call"])
        named = {t["function"]["name"]: t["function"]["parameters"] for t in tools}
        assert 1 <= len(tools) <= 4 and len(named) == len(tools), item["id"]
        for tool in tools:
            assert tool["type"] == "function" and tool["function"]["description"], item["id"]
            Draft202012Validator.check_schema(tool["function"]["parameters"])
        if call is None:
            assert item["kind"] == "no call"
            assert set(judging.judged_tools(item, "Hello, I am well.").values()) == {1.0}
            continue
        assert Draft202012Validator(named[call["name"]]).is_valid(call["arguments"]), item["id"]
        assert call["arguments"].keys() <= named[call["name"]]["properties"].keys(), item["id"]
        answer = f"<tool_call>\n{item['call']}\n</tool_call>"
        assert judging.judged_tools(item, answer) == {"called": 1.0, "name": 1.0, "arguments": 1.0}, item["id"]
        if len(tools) > 1:
            places.append(list(named).index(call["name"]))
    without = sum(json.loads(i["call"]) is None for i in items("own_tools"))
    assert without / len(items("own_tools")) == config("own_tools/own_tools.yaml")["metadata"]["chance"]
    assert max(places.count(n) for n in range(4)) < len(places) / 2, "the first tool is not always the right one"


def test_no_item_shares_a_run_of_eight_words_with_the_prompts() -> None:
    scored = set().union(
        *(runs_of_eight(prompts.fixed_set(part).text) for part in (prompts.EVALUATION, prompts.CALIBRATION))
    )
    texts = ("context", "question", "prompt", "passage")
    for task in FIELDS:
        for item in items(task):
            assert not runs_of_eight("\n".join(item[t] for t in texts if t in item)) & scored, item["id"]
