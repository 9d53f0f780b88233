"""Files that are built at sites which share the coordinator's cache, each by one of them. Other sites build all of them for themselves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from bench.cluster.connection import Question
from bench.cluster.protocol import BuildRequest, UnitAnswer
from bench.cluster.sites import Member, Sites
from bench.cluster.units import spread
from bench.core.progress import Steps


def build_elsewhere(sites: Sites, recipes: Iterable[str]) -> None:
    """Have recipes' files built into the shared cache, as far as there are sites that share it. What is not built then is left to the
    coordinator, which tells what is wrong with it."""
    names = list(recipes)
    with sites.reporter.steps("Quantizing", len(names)) as steps:
        spread(sites, _Building(sites, steps), names, only=lambda site, _: site.shares, waits=False)


@dataclass(frozen=True)
class _Building:
    sites: Sites
    steps: Steps
    question: ClassVar[Question] = "build"
    answers: type[UnitAnswer] = UnitAnswer

    def request(self, unit: str) -> str:
        """unit: name of a recipe."""
        return BuildRequest(setup=self.sites.key, recipe=unit).model_dump_json()

    def take(self, unit: str, site: Member, answer: UnitAnswer) -> None:
        self.steps.name(site.name)
        self.steps.done()

    def give_up(self, unit: str, reason: str) -> None:
        self.steps.done()
