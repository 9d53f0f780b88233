"""The interface of timed work."""

from __future__ import annotations

from typing import Protocol


class Timed(Protocol):
    """Something to time. `setup` prepares a round and `teardown` uses its result; neither is timed."""

    @property
    def name(self) -> str: ...
    @property
    def rounds(self) -> int: ...
    def setup(self) -> None: ...
    def target(self) -> None: ...
    def teardown(self) -> None: ...
