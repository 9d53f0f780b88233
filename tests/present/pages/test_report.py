"""The HTML report: it stands alone, says what the records say, and its tables sort, filter and take the keyboard."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.measures.problems.jobs import ProblemResult
from bench.measures.problems.records import ProblemRecord, ProblemSetIdentity
from bench.measures.registry import load_run
from bench.measures.samples.jobs import Completion
from bench.measures.samples.records import SampleRecord
from bench.measures.windows.tables import full_frame
from bench.present.pages.index import write_index
from bench.present.pages.inline_svg import inline_svg
from bench.present.pages.maps import type_bits, type_color, type_maps
from bench.present.pages.repeat import command
from bench.present.pages.report import REPORT, write_report
from bench.present.pages.tables import files_table, number
from bench.records.identity import TextIdentity
from bench.records.record import FileRecord
from bench.records.run import FILE_NAME, Record, Run
from tests.support import browser
from tests.support.records import file_record, run_of, window_record

RESULTS = Path(__file__).parents[3] / "results"
PUBLISHED = sorted(p.parent.name for p in RESULTS.glob(f"*/{FILE_NAME}"))
LARGEST = 3_000_000
VOID = {"meta", "input", "br", "link", "img", "hr"}


def types(q: list[str], v: list[str]) -> dict[str, str]:
    layers = {f"blk.{i}.attn_q.weight": t for i, t in enumerate(q)} | {
        f"blk.{i}.attn_v.weight": t for i, t in enumerate(v) if t
    }
    return {"token_embd.weight": "Q5_K", "output_norm.weight": "F32", "blk.0.attn_norm.weight": "F32"} | layers


def some_run() -> Run:
    """A reference, a pair, eight windows, problems, samples; texts that are markup unless they are escaped."""
    found: list[tuple[FileRecord, float]] = [
        (file_record("F16", "Reference", 400_000_000), 10.0),
        (file_record("IQ2_XXS", "Standard", 100_000_000), 40.0),
        (file_record("DG-IQ2_XXS", "DynamicGate", 110_000_000), 20.0),
    ]
    records: list[Record] = []
    for file, ppl in found:
        mixed = types(["IQ2_XXS", "IQ2_XXS", "IQ4_XS"], ["IQ4_XS", "", "IQ4_XS"])
        records.append(file.model_copy(update={"types": mixed, "description": "<b>bold</b>"}))
        records += [window_record(file.recipe, i, ppl * (1 + i / 100), 2.0 + i / 10) for i in range(8)]
        completion = Completion(tokens=(1, 2), text="a | b <script>alert(1)</script>", ended=False)
        prompts = (("prose", "Once <i>upon</i>"),)
        sample = {"recipe": file.recipe, "sha256": file.sha256, "prompts": prompts, "limit": 48}
        records.append(SampleRecord(run="r", completions=(completion,), **sample))
        results = tuple(
            ProblemResult(name=str(i), group="py" if i % 2 else "c", tokens=10, nll=ppl, correct=5) for i in range(8)
        )
        problem_set = ProblemSetIdentity(
            name="chat", problem_kind="chat", sha256="2" * 64, assistant_only=False, key="k"
        )
        records.append(
            ProblemRecord(run="r", recipe=file.recipe, sha256=file.sha256, problem_set=problem_set, batch=0, batches=1, results=results)
        )  # fmt: skip
    return run_of(records, windows=8)


def on_disk(run: Run, directory: Path) -> Path:
    directory.mkdir(parents=True)
    lines = [run.header, *run.records]
    (directory / FILE_NAME).write_text("".join(f"{r.model_dump_json()}\n" for r in lines), encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with a made-up run in them, and its report."""
    results = tmp_path_factory.mktemp("results")
    directory = on_disk(some_run(), results / "made-up")
    write_report(load_run(directory), directory)
    write_index(results)
    return results


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published results with their reports, in a copy."""
    results = tmp_path_factory.mktemp("published") / "results"
    shutil.copytree(RESULTS, results)
    for name in PUBLISHED:
        os.utime(results / name / "tables" / "tables.md")  # plots are newer than records: they are not drawn again
        write_report(load_run(results / name), results / name)
    write_index(results)
    return results


class Outline(HTMLParser):
    """Elements of a page with their attributes; ids; what is unbalanced; tables with the tags in them."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for t, attributes in self.elements if t == tag]


@pytest.fixture(scope="module")
def pages(made: Path, published: Path) -> list[Path]:
    return [*made.rglob("*.html"), *published.rglob("*.html")]


def test_pages_stand_alone(pages: list[Path]) -> None:
    assert len(pages) == 3 + len(PUBLISHED)
    for page in pages:
        outline = Outline(page)
        assert not outline.open and page.stat().st_size < LARGEST
        for tag, attributes in outline.elements:
            for name in ("src", "href", "xlink:href", "action"):
                address = attributes.get(name, "#")
                relative = tag == "a" and (page.parent / address).is_file()
                assert address.startswith(("#", "data:")) or relative or address.endswith(REPORT), (page, tag, address)
        ids = [a["id"] for _, a in outline.elements if "id" in a]
        assert len(ids) == len(set(ids))
        for tag, attributes in outline.elements:
            if (target := attributes.get("href", "")).startswith("#"):
                assert target[1:] in ids, (page, tag, target)


def test_tables_are_tables(pages: list[Path]) -> None:
    for page in pages:
        outline = Outline(page)
        tables = outline.all("table")
        assert len(tables) == len(outline.all("caption")) == len(outline.all("thead"))
        assert {a["scope"] for a in outline.all("th")} == {"col", "row"}
        assert len(outline.all("button")) == sum(a["scope"] == "col" for a in outline.all("th"))
        for plot in (a for a in outline.all("svg") if "aria-labelledby" in a):
            assert plot["role"] == "img"


def test_the_same_records_give_the_same_bytes(made: Path, tmp_path: Path) -> None:
    again = on_disk(some_run(), tmp_path / "made-up")
    (again / FILE_NAME).write_bytes((made / "made-up" / FILE_NAME).read_bytes())
    write_report(load_run(again), again)
    for path in (*write_index(tmp_path), again / REPORT):
        assert path.read_bytes() == (made / path.relative_to(tmp_path)).read_bytes()


def test_texts_of_models_and_files_are_no_markup(made: Path) -> None:
    page = (made / "made-up" / REPORT).read_text(encoding="utf-8")
    assert "<script>alert" not in page and "a | b &lt;script&gt;alert(1)" in page
    assert "Once &lt;i&gt;upon" in page and "&lt;b&gt;bold" in page
    assert page.count("<script>") == 1


def test_every_part_of_a_run_is_told(made: Path) -> None:
    page = (made / "made-up" / REPORT).read_text(encoding="utf-8")
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    assert headings == ["Comparison", "In words", "All files", "Plots", "Against Standard of the same type, paired",
                        "Conversations", "Samples", "Types by layer", "To repeat it"]  # fmt: skip
    assert "Mixed recipes against Standard of the same type, perplexity: better in 1 of 1 comparisons" in page
    for needed in ("0" * 64, "1" * 64, "0.3.36", "ubatch", "Test CPU", "dynamicgate-bench"):
        assert needed in page


def test_cells_carry_the_numbers_themselves() -> None:
    run = some_run()
    table = files_table(run)
    columns = {title: i for i, (title, _) in enumerate(table.columns)}
    raw = full_frame(run)
    for i, row in enumerate(table.rows):
        assert float(row[columns["Size"]].value or "") == raw["bytes"][i]
        assert float(row[columns["PPL"]].value or "") == pytest.approx(raw["ppl"][i], rel=1e-11)
    assert table.rows[1][columns["Size"]].text == "100.0M"
    assert table.rows[0][columns["vs reference"]].value is None  # the reference against itself: no figure
    assert table.groups == ("Reference", "Standard", "DynamicGate")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2.5G", 2.5e9),
        ("+2.7M", 2.7e6),
        ("4.73s", 4.73),
        ("-38.3% [-46.2%, -31.3%]", -0.383),
        ("9.4e-04", 9.4e-4),
        ("0.0103 (floor)", 0.0103),
        ("IQ2_XXS", None),
        ("3rd", None),
        ("–", None),
        ("inf", float("inf")),
    ],
)
def test_numbers_are_read_off_text(text: str, value: float | None) -> None:
    assert number(text) == (None if value is None else pytest.approx(value))


def test_a_map_shows_runs_of_layers() -> None:
    (reference_left_out, *_), found = some_run().files.values(), type_maps(some_run())
    assert reference_left_out.family == "Reference" and [m.recipe for m in found] == ["IQ2_XXS", "DG-IQ2_XXS"]
    assert found[0].rows == ("attn_q", "attn_v")
    # attn_q: two layers and one; attn_v: layer 1 has none, so its layers 0 and 2 are no run
    assert found[0].paths == {"IQ2_XXS": "M0 0h2v1h-2z", "IQ4_XS": "M2 0h1v1h-1zM0 1h1v1h-1zM2 1h1v1h-1z"}
    assert found[0].text == (("attn_q", "IQ2_XXS in 0–1; IQ4_XS in 2"), ("attn_v", "IQ4_XS in 0, 2"))
    assert found[0].others == (("token_embd", "Q5_K"),)


def test_more_bits_are_lighter() -> None:
    def lightness(color: str) -> float:
        red, green, blue = bytes.fromhex(color[1:])
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    names = ["IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "Q2_K", "IQ3_XXS", "Q3_K", "IQ4_XS", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "F16"]  # fmt: skip
    assert [type_bits(n) for n in ("IQ2_XXS", "Q4_K", "F16")] == [2.0625, 4.5, 16.0]
    shades = [lightness(type_color(n).color) for n in names]
    assert shades == sorted(shades) and len(set(shades)) == len(shades)


def test_a_plot_takes_the_colours_of_its_page() -> None:
    svg = (
        '<?xml version="1.0"?><svg xmlns="x" width="72pt" viewBox="0 0 72 36"><metadata>made by</metadata>'
        '<defs><style type="text/css">*{stroke-linejoin: round}</style></defs><g id="figure_1">'
        '<path id="m1" style="stroke: #000000; fill: #ffffff"/>\n<use xlink:href="#m1" style="fill: #0072b2"/>'
        "<text style=\"font: 10px 'DejaVu Sans', 'Bitstream Vera Sans', sans-serif\">A</text></g></svg>"
    )
    plot = inline_svg(svg, name="ppl", title="A < B")
    assert plot.width == 96 and "metadata" not in plot.svg and "<style" not in plot.svg and "figure_1" not in plot.svg
    assert '<path id="plot-ppl-m1" style="stroke: currentColor; fill: none"/>' in plot.svg
    assert '<use href="#plot-ppl-m1" style="fill: #0072b2"/>' in plot.svg
    assert '<title id="plot-ppl-title">A &lt; B</title>' in plot.svg and "font: 10px var(--sans)" in plot.svg


def test_the_command_asks_for_the_same_run() -> None:
    assert command(some_run()) == (
        "nox -s bench -- --model 'Test model.gguf' --recipes IQ2_XXS,DG-IQ2_XXS --no-imatrix --windows 8 --threads 2 --isa AVX2 "
        "--kinds chat --samples 48"
    )


def test_a_run_that_measured_nothing_yet(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="nothing to report; run it first"):
        write_report(run_of([]), on_disk(run_of([]), tmp_path / "empty"))
    built = run_of([r for r in some_run().records if isinstance(r, FileRecord)], windows=8)
    page = Outline(write_report(built, on_disk(built, tmp_path / "built")))
    assert not page.open and len(page.all("tr")) > 2 * len(built.files)


def test_an_index_needs_runs(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="has no run in it"):
        write_index(tmp_path)


def test_the_index_has_the_headline_tables(published: Path) -> None:
    text = (published / "README.md").read_text(encoding="utf-8")
    for name in PUBLISHED:
        assert f"## {name}\n" in text
        row = next(line for line in text.split(f"## {name}\n")[1].splitlines() if line.startswith("| IQ2_S "))
        assert row in (published / name / "tables" / "tables.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((.*?)\)", text):
        assert (published / target).is_file(), target


def test_published_pages_are_those_of_the_records(published: Path) -> None:
    for page in (published / "README.md", *published.rglob("*.html")):
        name = page.relative_to(published)
        assert page.read_bytes() == (RESULTS / name).read_bytes(), f"{name}: run `nox -s publish`"


# In a browser.


@pytest.fixture(scope="module")
def page() -> Iterator[browser.Browser]:
    if browser.find() is None:
        pytest.skip(browser.MISSING)
    with browser.browser() as opened:
        yield opened


#: Texts of the first cells of the rows that are shown of a table.
ROWS = "[...document.querySelector('{0} tbody').rows].filter(r => !r.hidden).map(r => r.cells[0].textContent)"


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_pages_load_and_fit(page: browser.Browser, pages: list[Path], width: int, dark: bool) -> None:
    for path in pages:
        page.open(path, width=width, dark=dark)
        assert page.errors == []
        assert all(address.startswith(("file:", "data:")) for address in page.requests)
        assert page.run("document.documentElement.scrollWidth") == width
        back, text = page.run("['backgroundColor', 'color'].map(p => getComputedStyle(document.body)[p])")
        assert (sum(map(int, re.findall(r"\d+", back))) < sum(map(int, re.findall(r"\d+", text)))) == dark


def test_a_browser_shows_the_numbers_of_the_records(page: browser.Browser, published: Path) -> None:
    for name in PUBLISHED:
        raw = full_frame(load_run(RESULTS / name)).set_index("recipe")
        page.open(published / name / REPORT)
        shown = page.run(
            "[...document.querySelector('#all tbody').rows].map(r => [r.cells[0].textContent, ...[2, 4].map(i => Number(r.cells[i].dataset.v)),"
            " r.cells[4].textContent])"
        )
        assert [row[0] for row in shown] == list(raw.index)
        for recipe, n_bytes, ppl, text in shown:
            assert (n_bytes, ppl) == (raw["bytes"][recipe], pytest.approx(raw["ppl"][recipe], rel=1e-11))
            assert text.startswith(f"{ppl:.2f} [{raw['ppl_low'][recipe]:.2f}, ")


def test_sorting(page: browser.Browser, published: Path) -> None:
    name = PUBLISHED[0]
    raw = full_frame(load_run(RESULTS / name)).set_index("recipe")
    page.open(published / name / REPORT)
    titles = page.run("[...document.querySelectorAll('#all thead button')].map(b => b.firstChild.textContent.trim())")
    column = titles.index("vs reference")
    head = f"document.querySelectorAll('#all thead th')[{column}]"
    assert page.run(f"{head}.getAttribute('aria-sort')") is None
    ascending = list(raw["ppl_change_vs_reference"].dropna().sort_values().index)
    for order, expected in (("ascending", ascending), ("descending", ascending[::-1])):
        page.run(f"{head}.querySelector('button').click()")
        assert page.run(f"{head}.getAttribute('aria-sort')") == order
        assert page.run(ROWS.format("#all")) == [*expected, "F16"]  # what has no figure stays last
    # by keyboard: the next header, then Enter
    page.run(f"{head}.querySelector('button').focus()")
    page.key("Tab", 9)
    page.key("Enter", 13)
    assert page.run("document.activeElement.parentElement.getAttribute('aria-sort')") == "ascending"
    assert page.run(f"[document.activeElement.parentElement.cellIndex, {head}.getAttribute('aria-sort')]") == [column + 1, None]  # fmt: skip
    # words by their numbers
    page.run("document.querySelector('#all thead button').click()")
    assert page.run(ROWS.format("#all"))[:3] == ["DG-FULL-IQ1_M", "DG-FULL-IQ1_S", "DG-FULL-IQ2_S"]


def test_filtering(page: browser.Browser, published: Path) -> None:
    name = PUBLISHED[0]
    files = load_run(RESULTS / name).files
    page.open(published / name / REPORT)
    form = "document.querySelector('form[data-table=all]')"

    def shown(text: str, family: str) -> tuple[list[str], str]:
        page.run(
            f"(() => {{ const f = {form}; f.querySelector('input').value = '{text}'; f.querySelector('select').value = '{family}';"
            " f.querySelector('input').dispatchEvent(new Event('input', {bubbles: true})); })()"
        )
        return page.run(ROWS.format("#all")), page.run(f"{form}.querySelector('output').textContent")

    assert page.run(f"{form}.hidden") is False
    assert shown("", "") == (list(files), f"{len(files)} of {len(files)} rows")
    assert shown("full iq1", "") == (["DG-FULL-IQ1_M", "DG-FULL-IQ1_S"], f"2 of {len(files)} rows")
    assert shown("", "Standard")[0] == [n for n, f in files.items() if f.family == "Standard"]
    assert shown("iq1", "DynamicGate")[0] == ["DG-IQ1_M", "DG-IQ1_S"]
    assert shown("no such", "") == ([], f"0 of {len(files)} rows")


@pytest.mark.parametrize(
    ("name", "fingerprint", "asked"),
    [
        ("WikiText (wikitext-2-raw-v1), test split", "o/w@abc:c:test:text", "--dataset o/w@abc:c:test:text"),
        ("rows.jsonl, its first 4.2 MB", "0" * 64, "--dataset rows.jsonl"),
        ("wiki.test.raw", None, "--text wiki.test.raw"),
    ],
)
def test_the_command_asks_for_the_same_text(name: str, fingerprint: str | None, asked: str) -> None:
    run = some_run()
    identity = run.identity.model_copy(update={"prompts": TextIdentity(name=name, sha256="1" * 64)})
    versions = {"dataset": fingerprint} if fingerprint else {}
    header = run.header.model_copy(update={"identity": identity, "versions": versions})
    assert f" {asked} " in command(Run(header, run.records))
