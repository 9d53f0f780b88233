"""The HTML report: it stands alone, says what the records say, and its tables sort, filter and take the keyboard."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.measures.registry import load_run
from bench.measures.windows.tables import full_frame
from bench.present.pages.index import write_index
from bench.present.pages.inline_svg import inline_svg
from bench.present.pages.maps import type_maps
from bench.present.pages.repeat import command
from bench.present.pages.report import REPORT, write_report
from bench.present.pages.tables import files_table, number
from bench.present.type_colors import type_bits, type_color
from bench.records.identity import TextIdentity
from bench.records.record import FileRecord
from bench.records.run import FILE_NAME, Run
from tests.support.pages import PUBLISHED, RESULTS, on_disk, some_run
from tests.support.records import file_record, run_of, window_record

LARGEST = 1_000_000
VOID = {"meta", "input", "br", "link", "img", "hr"}


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


def page_ids(outline: Outline) -> set[str]:
    return {a["id"] for _, a in outline.elements if "id" in a}


def test_tables_are_tables(pages: list[Path]) -> None:
    for page in pages:
        outline = Outline(page)
        tables = outline.all("table")
        assert len(tables) == len(outline.all("caption")) == len(outline.all("thead"))
        assert {a["scope"] for a in outline.all("th")} == {"col", "row"}
        sorted_by = [a for a in outline.all("th") if "data-title" in a]
        assert len(sorted_by) == sum(a["scope"] == "col" for a in outline.all("th")) - 3 * ("pair" in page_ids(outline))
        for plot in (a for a in outline.all("svg") if "aria-labelledby" in a):
            assert plot["role"] in ("img", "group")  # a group of points that have names


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
    assert headings == ["Comparison", "In words", "Choose and compare", "All files", "Plots", "Against Standard of the same type, paired",
                        "Conversations", "Samples", "Where in a text it differs", "Types by layer", "To repeat it"]  # fmt: skip
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
    assert '<path id="plot-ppl-0" style="stroke: currentColor; fill: none"/>' in plot.svg
    assert '<use href="#plot-ppl-0" style="fill: var(--blue)"/>' in plot.svg
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


def test_a_reference_that_was_quantized_before_is_said_above_everything_else(tmp_path: Path) -> None:
    run = some_run()
    told = "A model, dequantized from Q4_1 to F16."
    reference = run.files["F16"].model_copy(update={"description": told})
    others = [r for r in run.records if not (isinstance(r, FileRecord) and r.recipe == "F16")]
    of = Run(run.header, (reference, *others))
    page = write_report(of, on_disk(of, tmp_path / "run")).read_text(encoding="utf-8")
    assert "The reference of this run had already been quantized, to Q4_1" in page.partition("<nav")[0]


def test_the_index_has_the_headline_tables(published: Path) -> None:
    text = (published / "README.md").read_text(encoding="utf-8")
    for name in PUBLISHED:
        assert f"## {name}\n" in text
        section = text.split(f"## {name}\n")[1].partition("\n## ")[0]
        rows = [line for line in section.splitlines() if line.startswith("| IQ2_S ")]
        assert bool(rows) == ("DG-IQ2_S" in load_run(published / name).files)
        for row in rows[:1]:
            assert row in (published / name / "tables" / "tables.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((.*?)\)", text):
        assert (published / target).is_file(), target


def test_published_pages_are_those_of_the_records(published: Path) -> None:
    for page in (published / "README.md", *published.rglob("*.html")):
        name = page.relative_to(published)
        assert page.read_bytes() == (RESULTS / name).read_bytes(), f"{name}: run `nox -s publish`"


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


def test_a_run_that_is_not_complete_says_so_on_top(tmp_path: Path) -> None:
    run = run_of([file_record("F16", "Reference", 400), window_record("F16", 0, 10, 1)], windows=2)
    page = write_report(run, tmp_path).read_text(encoding="utf-8")
    assert page.index("This run is not complete. F16: 1 of 2 windows measured") < page.index("<h2")
