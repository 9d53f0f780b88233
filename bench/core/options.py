"""Options as fields of a dataclass: what is typed, its help and its range stand beside the default."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def option(default: Any, flag: str, help: str, **more: Any) -> Any:
    """A field of a dataclass that is an option of commands.

    flag: as it is typed, `--windows`. more: `short`, the same in a letter, `-w`; `min`, the least that is allowed; `listed`, (what is named, an example) for a tuple
    that is typed as names separated by commas; `many`, True for a tuple whose members are given one at a time.
    """
    return field(default=default, metadata={"flag": flag, "help": help, **more})
