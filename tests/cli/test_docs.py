"""Documentation says what the program does: generated pages, every column, every example."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

from bench.api.importance import imatrix_statistics
from bench.api.runs import RunFrames, compare_runs, load_run
from bench.choose.additivity import ALL, Together
from bench.cli import docs
from bench.measures.problems.jobs import ProblemResult
from bench.measures.problems.records import ProblemRecord, ProblemSetIdentity
from bench.measures.samples.jobs import Completion
from bench.measures.samples.records import SampleRecord
from bench.measures.windows.tables import PUBLISHED_COLUMNS
from bench.present import columns
from bench.present.sensitivity import additivity_frame
from bench.records.run import Run
from tests.stress.page import PAGE, filled
from tests.support.records import counted, file_record, run_of, text_run, window_record
from tests.support.tiny import write_model

ROOT = Path(__file__).parents[2]
#: Pages that people write.
PAGES = [ROOT / n for n in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "prompts/README.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)
PUBLISHED = [ROOT / "results" / name for name in ("smollm2-135m-instruct", "smollm2-135m-instruct-sizes")]


@pytest.mark.parametrize("name", ["commands.md", "columns.md"])
def test_generated_pages_are_up_to_date(name: str) -> None:
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == docs.documents()[name], "run `nox -s docs`"


def test_the_help_of_every_command_is_there(bench: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the command line prints it, line breaks aside: those depend on the terminal."""
    told = dict(docs.helps())
    monkeypatch.setenv("BENCH_PROGRAM", docs.PROGRAM)
    assert {docs.PROGRAM, f"{docs.PROGRAM} run", f"{docs.PROGRAM} recipe show"} <= told.keys()
    for path, text in told.items():
        printed = bench(*path.removeprefix(docs.PROGRAM).split(), "--help").out  # type: ignore[operator]
        assert "".join(printed.split()) == "".join(text.split()), path


def test_help_does_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = docs.commands_text()
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert docs.commands_text() == wide
    assert max(map(len, wide.splitlines())) <= 120 and "\x1b" not in wide


def with_problems_and_samples() -> RunFrames:
    """One file with an infill problem, and what it wrote."""
    asked = ProblemSetIdentity(name="fim", problem_kind="fim", sha256="0", assistant_only=False, key="k")
    solved = ProblemResult(
        name="p", group="Python", tokens=2, nll=1.0, correct=1, kl=0.5, same_top=1, completion="a", expected="a"
    )
    wrote = Completion(tokens=(1, 2), text="so", ended=False)
    return RunFrames(
        run_of(
            [
                file_record("F16", "Reference", 8).model_copy(update={"types": {"blk.0.attn_q.weight": "F16"}}),
                window_record("F16", 0, 10, 1),
                ProblemRecord(
                    run="r", recipe="F16", sha256="F16", problem_set=asked, batch=0, batches=1, results=(solved,)
                ),
                SampleRecord(
                    run="r", recipe="F16", sha256="F16", prompts=(("prose", "And"),), limit=2, completions=(wrote,)
                ),
            ]
        )
    )


def beside_a_counter() -> RunFrames:
    """A run on a machine that lets energy be read, which that of the published one does not."""
    files = [file_record("F16", "Reference", 384_000_000), file_record("IQ1_S", "Standard", 60_000_000)]
    passes = [counted(f.recipe, i, 2048.0, seconds=50) for f in files for i in range(6)]
    return RunFrames(run_of([*files, *passes], windows=6))


def of_one_text(model: str) -> Run:
    return text_run(model, [(0, [4, 4])], {"F16": [[1, 1]]})


def actual_columns(name: str) -> list[str]:
    """Columns of a table as the library gives it, with its index."""
    run = load_run(PUBLISHED[0])
    if name == "comparison":
        return PUBLISHED_COLUMNS
    if name == "sensitivity":
        csv = ROOT / "results" / "smollm2-135m-sensitivity" / "sensitivity.csv"
        return csv.read_text(encoding="utf-8").partition("\n")[0].split(",")
    if name == "recipe":  # test_api.py has the frame itself
        return [c for c in run.types.reset_index() if c not in ("recipe", "family")]
    if name == "additivity":
        return list(additivity_frame([Together("Q4_0", ALL, 2, np.ones(2), np.ones(2))]))
    frames = {
        "importance": lambda: imatrix_statistics(ROOT / "tests" / "data" / "llama-imatrix-tiny.gguf"),
        "tokens": lambda: run.tokens("IQ1_S"),
        "paired": run.paired,
        "equal-size": load_run(PUBLISHED[1]).equal_size,
        "compared": lambda: compare_runs(run, run),
        "compared-models": lambda: compare_runs(*(RunFrames(of_one_text(model)) for model in "AB")),
        "problems": lambda: with_problems_and_samples().problems,
        "samples": lambda: with_problems_and_samples().samples,
        "files": lambda: pd.concat([run.files, beside_a_counter().files]),
    }
    frame = frames.get(name, lambda: getattr(run, name))()
    return [*frame.index.names, *frame.columns]


@pytest.mark.parametrize("table", columns.tables(), ids=lambda t: t.name)
def test_every_column_is_documented_and_every_documented_one_is_there(table: columns.Table) -> None:
    found = actual_columns(table.name)
    assert sorted(table.names) == sorted(found) and tuple(found[: len(table.index)]) == table.index
    assert all(c.meaning for c in table.columns)


def test_csv_files_have_the_documented_columns() -> None:
    for directory in PUBLISHED:
        for csv, name in (("full.csv", "files"), ("comparison.csv", "comparison")):
            header = (directory / "tables" / csv).read_text(encoding="utf-8").partition("\n")[0]
            assert set(header.split(",")) <= set(columns.table(name).names), f"{directory.name}/{csv}"


def test_the_examples_of_the_library_page_run(
    tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("smollm2-135m-instruct", "before", "after"):
        shutil.copytree(PUBLISHED[0], tmp_path / "results" / name)
    for name in ("smollm2-135m-instruct-sizes", "other"):
        shutil.copytree(PUBLISHED[1], tmp_path / "results" / name)
    write_model(tmp_path / "model.gguf")
    shutil.copy(text, tmp_path / "text.txt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    blocks = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs" / "library.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert len(blocks) >= 16
    names: dict[str, object] = {}
    for number, block in enumerate(blocks, 1):
        capsys.readouterr()
        exec(compile(block, f"docs/library.md, example {number}", "exec"), names)
        assert capsys.readouterr().out.strip(), f"example {number} prints what it is about"


def test_the_page_of_attacks_tells_what_is_published() -> None:
    assert PAGE.read_text(encoding="utf-8") == filled(PAGE.read_text(encoding="utf-8")), (
        "run `python -c 'from tests.stress import page; page.update()'`"
    )


def test_the_readme_fits_a_screen_or_two() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def prose(page: Path) -> str:
    """A page without its code and comments."""
    text = re.sub(r"<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"^```.*?^```|^    .*?$|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What a heading is linked by, as hosting pages and the site make it."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_local_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = page.parent / path if path else page
        assert target.resolve().is_relative_to(ROOT) and target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    """Read without Sphinx, which only `nox -s docs` installs."""
    tree = ast.parse((ROOT / "docs" / "conf.py").read_text(encoding="utf-8"))
    [value] = [n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "NAVIGATION"]
    listed = [page for pages in ast.literal_eval(value).values() for page in pages]
    assert len(set(listed)) == len(listed)
    assert {str(p.relative_to(ROOT).with_suffix("")) for p in PAGES} - {"README"} <= set(listed)
    assert [page for page in listed if not (ROOT / f"{page}.md").is_file()] == []


def told_commands() -> Iterator[tuple[str, list[str]]]:
    """(page, arguments) of every command that a page tells to run."""
    for page in PAGES:
        if page.name != "commands.md":
            text = page.read_text(encoding="utf-8")
            for line in re.findall(
                r"(?:nox -s bench --|python -m bench|dynamicgate-bench) ((?:--)?[a-z][^`\n]*)", text
            ):
                yield page.name, shlex.split(line, comments=True)


def test_every_command_that_a_page_tells_is_one_with_these_options() -> None:
    told, found = dict(docs.helps()), list(told_commands())
    assert len(found) > 30
    for page, arguments in found:
        names = (f"{docs.PROGRAM} {' '.join(arguments[:n])}" for n in (2, 1))
        known = next((told[n] for n in names if n in told), None)
        if known is None:  # options alone are those of the program, or go to `run`
            assert arguments[0].startswith("--"), f"{page}: {' '.join(arguments)}"
            known = told[docs.PROGRAM] + told[f"{docs.PROGRAM} run"]
        for option in (a for a in arguments if a.startswith("--")):
            assert re.search(rf"{option}\b", known), f"{page}: {' '.join(arguments)}"
