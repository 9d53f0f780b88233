"""JSON and TOML from elsewhere are read or refused, whatever is in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.core.parsed import json_lines, json_value, toml_table


def test_what_is_well_formed_is_read() -> None:
    assert json_value('{"a": ["ü", 1]}') == {"a": ["ü", 1]} and toml_table("a = 1") == {"a": 1}


@pytest.mark.parametrize("text", ["[" * 5000, '{"a": ' * 5000, r'["\ud800"]', "", "nothing"])
def test_json_that_cannot_be_used_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        json_value(text)


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "a = " + "{a = " * 5000, "a"])
def test_toml_that_cannot_be_used_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        toml_table(text)


def test_a_line_of_json_ends_where_a_line_feed_is(tmp_path: Path) -> None:
    """Python ends lines at more characters than that, and JSON's strings may hold them. Editors on Windows begin a file with a mark."""
    (tmp_path / "a.jsonl").write_bytes('\ufeff["a\u2028b\u0085"]\r\n\n[2]\n'.encode())
    assert list(json_lines(tmp_path / "a.jsonl", "one thing")) == [(1, ["a\u2028b\u0085"]), (3, [2])]
    (tmp_path / "b.jsonl").write_text("[1]\n[\n")
    with pytest.raises(BenchError, match=r"b\.jsonl:2: is not JSON .*; each line holds one thing"):
        list(json_lines(tmp_path / "b.jsonl", "one thing"))
