"""What the coordinator needs of a cluster, whatever carries it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, Protocol

#: What a site can be asked (answering.py).
Question = Literal["report", "prepare", "measure", "probe", "search", "build", "sums"]


class LostSiteError(Exception):
    """A site gave no answer. reason: what went wrong there, in words, None where it ended or cannot be reached any more; everywhere: whether that is
    no fault of the site's, since the connection to all of them was lost."""

    def __init__(self, reason: str | None = None, *, everywhere: bool = False) -> None:
        super().__init__(reason or "the site is lost")
        self.reason, self.everywhere = reason, everywhere


#: Takes what a site answered, as JSON, or why there is no answer.
Answered = Callable[[str | LostSiteError], None]


class Connection(Protocol):
    """Sites that can be reached, and questions to them. Its methods are called by one thread."""

    def sites(self) -> Mapping[str, str]:
        """Names of the sites that are there now, by address."""

    def ask(self, address: str, question: Question, payload: str, answered: Answered) -> None:
        """Ask a site, which does one thing at a time. answered: called once, in any thread, also where the site is lost."""

    def forget(self, address: str) -> None:
        """Expect no answer any more of a site that went."""

    def close(self) -> None:
        """Let go of the sites, which go on waiting for others."""
