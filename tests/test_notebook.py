"""The notebook: kept without outputs, and running from top to bottom on any run."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from bench.records.run import FILE_NAME, Record, Run
from tests.support.records import file_record, published_run, run_of, window_record

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "explore.ipynb"
#: For a cell; the whole takes half a minute on two busy cores.
TIMEOUT = 600


def cells(kind: str) -> list[dict[str, Any]]:
    found = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (found["nbformat"], found["nbformat_minor"] >= 5) == (4, True)
    return [c for c in found["cells"] if c["cell_type"] == kind]


def test_outputs_are_stripped() -> None:
    assert len(cells("code")) > 5
    for cell in cells("code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None, f"{cell['id']}: clear the outputs"


def test_cells_are_valid() -> None:
    for cell in cells("code"):
        lines = "".join(cell["source"]).splitlines()
        ast.parse("\n".join(line for line in lines if not line.startswith("%")))
    ids = [c["id"] for c in cells("code") + cells("markdown")]
    assert len(ids) == len(set(ids))
    nbformat = pytest.importorskip("nbformat")
    nbformat.validate(nbformat.read(NOTEBOOK, as_version=4))


def test_runs_are_named_in_one_place() -> None:
    assert sum("RUN = " in "".join(c["source"]) for c in cells("code")) == 1


def test_it_uses_nothing_but_the_public_library() -> None:
    code = "\n".join("".join(c["source"]) for c in cells("code"))
    tree = ast.parse("\n".join(line for line in code.splitlines() if not line.startswith("%")))
    imported = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in imported if name.startswith("bench")} == {"bench"}
    named = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    assert "run" not in named and not {n for n in named if n.startswith("_")}, "no records, nothing private"


def written(run: Run, directory: Path) -> Path:
    lines = [run.header.model_dump_json(), *(r.model_dump_json() for r in run.records)]
    (directory / FILE_NAME).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return directory


def one_file_of_its_own() -> Run:
    """No reference, no pair, no single tokens, one window."""
    records: list[Record] = [file_record("MINE", "Mine", 10_000_000), window_record("MINE", 0, 9, 1)]
    return run_of(records)


@pytest.mark.parametrize(
    ("made", "least"),
    [(None, 6), (published_run, 2), (one_file_of_its_own, 1)],
    ids=["as it is", "few records", "one file"],
)
def test_it_runs_from_top_to_bottom(made: Any, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    if made is None:
        monkeypatch.delenv("BENCH_RUN", raising=False)
    else:
        monkeypatch.setenv("BENCH_RUN", str(written(made(), tmp_path)))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    nbclient.NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3", resources=resources).execute()
    outputs = [o for c in notebook.cells for o in c.get("outputs", [])]
    shown = "".join(str(o.get("data", {}).get("text/plain", "")) for o in outputs)
    assert (tmp_path.name in shown) == (made is not None), "the run that is named is the one that is explored"
    plots = sum("image/png" in o.get("data", {}) for o in outputs)
    assert plots >= least
    assert not [o for o in outputs if o.output_type == "stream"], "warnings and prints are not for readers"
