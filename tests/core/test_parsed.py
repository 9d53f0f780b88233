"""JSON and TOML from elsewhere are read or refused, whatever is in them."""

from __future__ import annotations

import pytest

from bench.core.parsed import json_value, toml_table


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
