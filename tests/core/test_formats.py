"""Text from elsewhere in Markdown: it stays text."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from bench.core.formats import markdown, no_markup


@pytest.mark.parametrize("name", ["a|b", r"a\|b", r"a\\|b", "|||", "a\n| b |", "a\r\nb", "`|`"])
def test_a_name_never_adds_a_cell_or_a_line(name: str) -> None:
    lines = markdown(pd.DataFrame({name: [name], "Size": ["1M"]})).split("\n")
    assert [len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines] == [3, 3, 3]


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "</a>", "<!--", "[x](javascript:a)", "![x](http://a)", r"\\<b>"]
)
def test_a_name_is_no_element_and_no_link(name: str) -> None:
    assert not re.search(r"(?<!\\)(?:\\\\)*(<[a-zA-Z/!?]|\]\()", no_markup(name))


def test_what_no_reader_takes_for_markup_stays_as_it_is() -> None:
    for text in ("KL < 0.01 [1, 2]", "IQ2_XXS * 2 \\< 3", "Δ PPL [95 %]"):
        assert no_markup(text) == text
