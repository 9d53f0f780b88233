"""The layout of help: options in groups, named values, lines as wide as the terminal.

typer groups options in its boxes made with rich, which take a moment to import and cut text that does not fit into 80 columns. Its
plain help is kept instead, and gets the groups.
"""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperOption

from bench.core.options import MEASURING, MODEL, OUTPUT, PANELS, QUANTIZING
from bench.measures.folders import option_types
from bench.workbench.options import Options

#: Characters of the widest lines of help.
WIDEST = 120
#: Groups of options that several commands have and that no field of Options describes.
_PANELS = {
    "--json": OUTPUT, "--force": OUTPUT, "--format": OUTPUT, "--intervals": OUTPUT, "--dry-run": OUTPUT, "--all": OUTPUT,
    "--help": OUTPUT, "--repo": OUTPUT, "--upload": OUTPUT, "--private": OUTPUT, "--base-model": MODEL, "--prompt": MEASURING,
    "--quick": MEASURING, "--types": QUANTIZING,
}  # fmt: skip
#: Where an option stands that none of this says.
_OTHER = "Options"
_METAVARS = {"--base-model": "OWNER/NAME", "--repo": "OWNER/NAME", "--quantized-by": "NAME", "--recipe": "NAMES"}


class Command(TyperCommand):
    """A command whose help is grouped. An option says its group and the name of its value (`rich_help_panel`, `metavar`), has
    them from the field of Options with the same flag, or has a name of its value by its type."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        told = _described()
        for parameter in self.params:
            if isinstance(parameter, TyperArgument):
                parameter.metavar = parameter.metavar or parameter.name.upper()
            elif isinstance(parameter, TyperOption):
                flag = parameter.opts[0]
                known = told.get(flag, {})
                parameter.metavar = (
                    parameter.metavar or known.get("metavar") or _METAVARS.get(flag) or _value(parameter)
                )
                counted = MEASURING if parameter.metavar == "N" else _OTHER
                parameter.rich_help_panel = (
                    parameter.rich_help_panel or known.get("panel") or _PANELS.get(flag, counted)
                )

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, then options group by group."""
        groups: dict[str, list[tuple[str, str]]] = {title: [] for title in ("Arguments", _OTHER, *PANELS)}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            if isinstance(parameter, TyperOption):
                groups.setdefault(parameter.rich_help_panel or OUTPUT, []).append((record[0], _in_words(record[1])))
            else:  # its name says what it is, and typer adds the type
                groups["Arguments"].append((re.sub(r" <.*>$", "", record[0]), _in_words(record[1])))
        for title, records in groups.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def _described() -> dict[str, Any]:
    """What is told of every option that is a field of Options or of a measure, by its flag."""
    of_all = (Options, *option_types().values())
    return {f.metadata["flag"]: f.metadata for kind in of_all for f in fields(kind) if "flag" in f.metadata}


def _value(option: TyperOption) -> str | None:
    """`N`, `DIR`, `FILE`, or the option's own name in capitals; None for a flag, which has no value."""
    if option.is_flag:
        return None
    kind, choices = option.bare_type(), option.type_descriptor.choices
    if choices:
        return "|".join(str(getattr(c, "value", c)) for c in choices)
    if "int" in kind:
        return "N"
    if "float" in kind:
        return "X"
    if "path" in kind.lower():
        return "DIR" if (option.help or "").startswith("Directory") else "FILE"
    return option.opts[0].removeprefix("--").upper()


def _in_words(help: str) -> str:
    """A range as people say it; that a count is not negative goes without saying."""
    return re.sub(r"x>=(\d+)(?=[\];])", r"at least \1", re.sub(r"; x>=0(?=\])|\s*\[x>=0\]", "", help))
