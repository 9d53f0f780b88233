"""Names out of files of records are shown and written everywhere: they are one printable line."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from bench.core.values import Name


@pytest.mark.parametrize(
    ("given", "kept"),
    [("a\n# b", "a # b"), ("\x1b[2Ja\x07", "[2Ja"), ("\u202eb", "b"), ("\0", "?"), ("<b> Δ", "<b> Δ"), ("DG-IQ2_XXS", "DG-IQ2_XXS")],
)  # fmt: skip
def test_a_name_is_one_printable_line(given: str, kept: str) -> None:
    assert TypeAdapter(Name).validate_python(given) == kept
