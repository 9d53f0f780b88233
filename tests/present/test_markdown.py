"""Sections as Markdown: what comes from elsewhere stays text."""

from __future__ import annotations

import pandas as pd

from bench.measures.sections import Section, Table
from bench.present.markdown import section_text


def test_prompts_and_their_names_stay_text() -> None:
    frame = pd.DataFrame({"Recipe": ["a|b"], "Completion": ["<i>x</i>"]})
    table = Table(
        "t", "T", frame, label="<script>\x1b[2J", quote="  if a < b:\n[x](javascript:y)\u202e", text="Completion"
    )
    found = section_text(Section("S", "s", (table,), folded=True)).split("\n")
    assert found[0] == r"### \<script> [2J"
    assert found[2:4] == [">   if a < b:", r"> [x\](javascript:y)"]
    assert r"| a\|b " in found[-1] and r"\<i>x\</i>" in found[-1]
