"""What runs in a site's process when it is asked something: the functions that cross by name."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from pydantic import BaseModel

from bench.cluster.connection import Question
from bench.cluster.itself import default_name, report
from bench.cluster.protocol import (
    BuildRequest,
    PartRequest,
    PrepareAnswer,
    ProbeRequest,
    SearchRequest,
    Setup,
    SumsRequest,
    UnitAnswer,
)
from bench.cluster.quiet import CACHE, MODELS, NAME
from bench.cluster.site import Site
from bench.core.errors import BenchError
from bench.core.files import cache_directory
from bench.core.formats import in_one_line


@cache
def _site() -> Site:
    """The site that this process is."""
    name, models = os.environ[NAME] or default_name(), os.environ[MODELS]
    return Site(
        name,
        cache_directory(None) if not os.environ[CACHE] else Path(os.environ[CACHE]),
        Path(models) if models else None,
    )


def answer(question: Question, payload: str) -> str:
    """Answer a question of the coordinator, both as JSON. What goes wrong is part of the answer, whatever it is: a site that raised would
    look like one that is lost."""
    try:
        return _answer(question, payload).model_dump_json()
    except BenchError as e:
        reason = str(e)
    except Exception as e:
        reason = f"{type(e).__name__}: {in_one_line(str(e))}"
    if question == "prepare" or question == "report":
        return PrepareAnswer(error=reason).model_dump_json()
    return UnitAnswer(error=reason).model_dump_json()  # which every answer to a unit can be read from


def _answer(question: Question, payload: str) -> BaseModel:
    site = _site()
    if question == "measure":
        return site.measure(PartRequest.model_validate_json(payload))
    if question == "probe":
        return site.probe(ProbeRequest.model_validate_json(payload))
    if question == "search":
        return site.search(SearchRequest.model_validate_json(payload))
    if question == "build":
        return site.build(BuildRequest.model_validate_json(payload))
    if question == "sums":
        return site.sums(SumsRequest.model_validate_json(payload))
    if question == "report":
        return PrepareAnswer(report=report(site.name, site.cache, site.devices))
    return site.prepare(Setup.model_validate_json(payload))
