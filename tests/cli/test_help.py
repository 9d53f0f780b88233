"""Help: options in groups, values named as people name them, as wide as the terminal."""

from __future__ import annotations

import re

import pytest
from typer.main import get_command

from bench.cli import docs
from bench.cli.app import app
from bench.core.options import PANELS


def test_the_options_of_run_stand_in_groups_in_order(bench: object) -> None:
    told = bench("run", "--help").out  # type: ignore[operator]
    titles = re.findall(r"^(\w+):$", told, re.MULTILINE)
    assert titles == [*PANELS]
    group = {t: told.partition(f"{t}:\n")[2].partition("\n\n")[0] for t in titles}
    for title, option in (
        ("Model", "-m, --model FILE"),
        ("Text", "-w, --windows N"),
        ("Quantizing", "-r, --recipes NAMES"),
        ("Measuring", "-t, --threads N"),
        ("Output", "-o, --out DIR"),
    ):
        assert f"  {option} " in group[title]


def test_no_help_names_a_type_of_python() -> None:
    for path, text in docs.helps():
        shown = re.sub(r"[`'][^`']*[`']", "", text)
        assert not re.search(r"<\w+[^>]*>|\bINTEGER\b|\bx>=", shown), path


def test_every_option_with_a_value_says_what_it_is() -> None:
    def commands(command: object) -> list[object]:
        inner = getattr(command, "commands", {}).values()
        return [c for found in inner for c in commands(found)] or [command]

    for command in commands(get_command(app)):
        for option in command.params:  # type: ignore[attr-defined]
            if option.param_type_name == "option" and not option.is_flag:
                assert re.fullmatch(r"[A-Z][A-Z/.,-]*(\[,[A-Z]+\.\.\.\])?|[a-z0-9]+(\|[a-z0-9]+)+", option.metavar), (
                    command,
                    option.name,
                )


@pytest.mark.parametrize(("terminal", "widest"), [(60, 60), (80, 80), (110, 110), (300, 120)])
def test_help_is_as_wide_as_the_terminal_up_to_what_can_be_read(
    terminal: int, widest: int, bench: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(terminal))
    lines = bench("run", "--help").out.splitlines()  # type: ignore[operator]
    assert widest - 20 <= max(map(len, lines)) <= widest
