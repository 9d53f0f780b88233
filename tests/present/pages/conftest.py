"""Pages for tests: of a made-up run, and of the published ones in a copy."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from bench.measures.registry import load_run
from bench.present.pages.index import write_index
from bench.present.pages.report import write_report
from tests.support.pages import PUBLISHED, RESULTS, on_disk, some_run


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with a made-up run in them, and its report."""
    results = tmp_path_factory.mktemp("results")
    directory = on_disk(some_run(), results / "made-up")
    write_report(load_run(directory), directory)
    write_index(results)
    return results


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published results with their reports, in a copy."""
    results = tmp_path_factory.mktemp("published") / "results"
    shutil.copytree(RESULTS, results)
    for name in PUBLISHED:
        os.utime(results / name / "tables" / "tables.md")  # plots are newer than records: they are not drawn again
        write_report(load_run(results / name), results / name)
    write_index(results)
    return results


@pytest.fixture(scope="session")
def pages(made: Path, published: Path) -> list[Path]:
    return [*made.rglob("*.html"), *published.rglob("*.html")]
