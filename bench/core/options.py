"""Options as fields of a dataclass: flag, help and range are declared beside the default."""

from __future__ import annotations

from dataclasses import field
from typing import Any

#: Groups of options in help, in order.
PANELS = MODEL, TEXT, QUANTIZING, MEASURING, OUTPUT = "Model", "Text", "Quantizing", "Measuring", "Output"


def option(
    default: Any, flag: str, help: str, *, panel: str = MEASURING, metavar: str | None = None, **more: Any
) -> Any:
    """A field of a dataclass that is an option of commands.

    flag: as it is typed, `--windows`. panel: its group in help. metavar: what its value is called there, `N`; None where its type says it. more: `short`, the same in a letter, `-w`; `min`, the least that is allowed; `listed`, (what is named, an example) for a tuple
    that is typed as names separated by commas; `many`, True for a tuple whose members are given one at a time.
    """
    return field(default=default, metadata={"flag": flag, "help": help, "panel": panel, "metavar": metavar, **more})
