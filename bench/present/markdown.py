"""Sections of tables as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bench.core.formats import markdown, no_markup, no_markup_in
from bench.measures.sections import Section, Table


def section_text(section: Section) -> str:
    """What stands under a section's heading: its sentences, then every table with its key."""
    said = ["\n".join(f"- {no_markup(s)}" for s in section.said)] if section.said else []
    return "\n\n".join([*said, *(p for t in section.tables for p in _parts(t, folded=section.folded))])


def headed(section: Section) -> Iterator[tuple[str, str]]:
    """(heading, text) of a section, and of each table in it that has a heading of its own."""
    own = [t for t in section.tables if t.heading]
    if len(own) < len(section.tables):
        yield section.title, section_text(section)
    for table in own:
        yield table.heading, "\n\n".join(_parts(table, folded=False))


def _parts(table: Table, *, folded: bool) -> Iterator[str]:
    if table.label:
        yield f"{'### ' if folded else ''}{no_markup(table.label)}"
    if table.quote:
        yield "\n".join(f"> {no_markup(line)}".rstrip() for line in table.quote.split("\n"))
    frame = table.frame
    if table.text is not None:  # what Markdown would take for its own
        frame = frame.assign(**{table.text: [re.sub(r"([|`<\\*_])", r"\\\1", str(x)) for x in frame[table.text]]})
    yield markdown(frame, text=table.text)
    if table.key:
        yield no_markup_in(table.key)
