"""`nox -s docs`: write docs/commands.md from the commands' help, and docs/columns.md from columns.py.

Only this module writes them; a test fails when they differ from the program.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.cli.program import COMMAND
from bench.core.files import complete_or_absent
from bench.present import columns

PROGRAM = COMMAND
#: Characters in a line of help, whatever the terminal.
_WIDTH = 100


def helps() -> Iterator[tuple[str, str]]:
    """(command line, help) of the program and every command, in the order of the help."""
    import typer
    from typer.main import get_command

    from bench.cli.app import app

    def walk(command: Any, name: str, parent: typer.Context | None) -> Iterator[tuple[str, str]]:
        context = typer.Context(
            command,
            info_name=name,
            parent=parent,
            terminal_width=_WIDTH,
            max_content_width=_WIDTH,
            color=False,
            help_option_names=["-h", "--help"],
        )
        lines = (line.rstrip() for line in command.get_help(context).splitlines())
        yield context.command_path, "\n".join(lines).strip()
        for inner, found in getattr(command, "commands", {}).items():
            if not found.hidden:
                yield from walk(found, inner, context)

    yield from walk(get_command(app), PROGRAM, None)


def commands_text() -> str:
    parts = [
        "# Commands",
        "Made by `nox -s docs` from the program's own help. `nox -s bench -- COMMAND ...` runs the same commands.",
    ]
    for path, text in helps():
        parts.append(f"{'#' * max(len(path.removeprefix(PROGRAM).split()) + 1, 2)} {path}\n\n```text\n{text}\n```")
    return "\n\n".join(parts) + "\n"


def columns_text() -> str:
    return "\n".join(columns.markdown()) + "\n"


def documents() -> dict[str, str]:
    """Text of every generated page of docs/, by its name."""
    return {"commands.md": commands_text(), "columns.md": columns_text()}


def main() -> None:
    directory = Path(__file__).parents[2] / "docs"
    for name, text in documents().items():
        with complete_or_absent(directory / name) as partial:
            partial.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
