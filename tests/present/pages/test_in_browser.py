"""Pages in a real browser: they fit, ask nothing of the network, compute what the program computes, and keep what was chosen."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from bench.measures.registry import load_run
from bench.measures.windows import statistics as stats
from bench.measures.windows.agreement import kl_change, mean_kl
from bench.measures.windows.frames import tokens
from bench.measures.windows.records import ExcerptRecord
from bench.measures.windows.runs import windows_of
from bench.measures.windows.tables import full_frame, paired_table
from bench.present.pages import screenshot
from bench.present.pages.report import REPORT, write_report
from bench.present.pages.text import LIMITS, coded
from bench.records.resolution import resolution
from bench.records.run import FILE_NAME, Run
from bench.statistics.verdicts import verdicts
from tests.support.axe import violations
from tests.support.pages import PUBLISHED, RESULTS

SIZES = "smollm2-135m-instruct-sizes"
SMALL = "smollm2-135m-instruct-default"
WIDTHS = (390, 830, 1280)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if screenshot.find() is None:
        pytest.skip(screenshot.MISSING)
    with screenshot.browser() as opened:
        yield opened


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    opened = browser.new_context(viewport={"width": 1280, "height": 900})
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.fixture(scope="module")
def with_text(tmp_path_factory: pytest.TempPathFactory, published: Path) -> Path:
    """A published run with the text of a window on record: words stand for its tokens."""
    copied = tmp_path_factory.mktemp("text")
    for part in (published / SMALL).iterdir():
        if part.name not in (FILE_NAME, REPORT):
            (copied / part.name).symlink_to(part)
    run = load_run(published / SMALL)
    n = len(tokens(run, "IQ2_S").query("window == 1"))
    text = ExcerptRecord(
        run=run.header.id, window=1, pieces=tuple(f" word{i}" for i in range(n)), kinds=(("prose", 3), ("code", n - 3))
    )
    lines = (published / SMALL / FILE_NAME).read_text(encoding="utf-8")
    (copied / FILE_NAME).write_text(f"{lines}{text.model_dump_json()}\n", encoding="utf-8")
    return write_report(load_run(copied), copied)


def opened(page: Page, path: Path, state: str = "") -> Page:
    page.goto(f"{path.resolve().as_uri()}{state}")
    return page


def shown(page: Page, table: str = "#all") -> list[str]:
    """Names in the rows of a table that are shown, in their order."""
    rows = f"[...document.querySelector('{table} tbody').rows].filter(r => !r.hidden).map(r => r.cells[0].dataset.name)"
    return list(page.evaluate(rows))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_pages_load_fit_and_ask_nothing(
    browser: Browser, pages: list[Path], with_text: Path, width: int, dark: bool
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
    page = context.new_page()
    complaints: list[str] = []
    asked: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("request", lambda request: asked.append(request.url))
    for path in (*pages, with_text):
        assert path.stat().st_size < 1_000_000
        opened(page, path)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        back, text = page.evaluate("['backgroundColor', 'color'].map(p => getComputedStyle(document.body)[p])")
        assert (sum(map(int, re.findall(r"\d+", back))) < sum(map(int, re.findall(r"\d+", text)))) == dark
    assert complaints == []
    assert asked == [p.resolve().as_uri() for p in (*pages, with_text)]
    context.close()


def everything_open(page: Page, path: Path) -> Page:
    opened(page, path).evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
    return page


@pytest.mark.parametrize(("width", "dark"), [(390, True), (830, False), (1280, False), (1280, True)])
def test_axe_finds_nothing(browser: Browser, made: Path, with_text: Path, width: int, dark: bool) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
    page = context.new_page()
    for path in (made / "index.html", made / "made-up" / REPORT, with_text):
        assert violations(everything_open(page, path)) == []
    context.close()


def test_axe_finds_nothing_on_the_largest_page(page: Page, published: Path) -> None:
    assert violations(everything_open(page, published / SIZES / REPORT)) == []


def test_a_browser_shows_the_numbers_of_the_records(page: Page, published: Path) -> None:
    for name in PUBLISHED:
        raw = full_frame(load_run(RESULTS / name)).set_index("recipe")
        opened(page, published / name / REPORT)
        found = page.evaluate(
            "[...document.querySelector('#all tbody').rows].map(r => [r.cells[0].dataset.name, ...[2, 4].map(i => Number(r.cells[i].dataset.v)),"
            " r.cells[4].textContent])"
        )
        assert [row[0] for row in found] == list(raw.index)
        for recipe, n_bytes, ppl, text in found:
            assert (n_bytes, ppl) == (raw["bytes"][recipe], pytest.approx(raw["ppl"][recipe], rel=1e-11))
            assert text.startswith(f"{ppl:.2f} [{raw['ppl_low'][recipe]:.2f}, ")


def test_two_files_are_compared_as_the_tables_compare_them(page: Page, published: Path) -> None:
    compared = 0
    for name in PUBLISHED:
        run = load_run(published / name)
        opened(page, published / name / REPORT)
        for row in paired_table(run).to_dict("records"):
            page.select_option("#pair-before", row["Against"])
            page.select_option("#pair-after", row["Recipe"])
            cells = page.evaluate(
                "[...byId('pair').tBodies[0].rows].map(r => [r.cells[1].textContent, r.cells[2].textContent])"
            )
            assert cells[0][0] == row["Δ Size"]
            std, mixed = (windows_of(run).results(row[c]) for c in ("Against", "Recipe"))
            change = stats.perplexity_change(std or [], mixed or [])
            # a comparison of two files is judged alone, a table as a whole
            assert cells[1] == [row["Δ PPL [95 %]"], verdicts([change], "better", "worse")[0]]
            assert cells[2][0] == row["Δ KL [95 %]"]
            if "Time ratio [95 %]" in row:  # of a run that measured speeds
                assert cells[3][0] == row["Time ratio [95 %]"]
            compared += 1
    assert compared > 25


def test_intervals_in_the_page_are_those_of_the_program_to_nine_digits(page: Page, published: Path) -> None:
    run = load_run(published / SIZES)
    measured = {n: w for n in run.files if (w := windows_of(run).results(n)) and mean_kl(w) is not None}
    opened(page, published / SIZES / REPORT)
    for before, after in list(permutations(measured, 2))[::97]:
        found = page.evaluate(
            "names => { const [a, b] = names.map(n => DATA.files.find(f => f.name === n));"
            " return ['perplexity', 'divergence', 'time'].map(what => statistics[what](a, b)); }",
            [before, after],
        )
        expected = [
            stats.perplexity_change(measured[before], measured[after]),
            kl_change(measured[before], measured[after]),
            stats.time_ratio(*windows_of(run).same_sitting(before, after)),
        ]
        for there, here in zip(found, expected, strict=True):
            assert here is not None
            assert [there["value"], there["low"], there["high"]] == [
                None if x is None else pytest.approx(x, rel=1e-9, abs=1e-10, nan_ok=True)
                for x in (here.value, here.low, here.high)
            ]


def best_up_to(run: Run, limit: float) -> tuple[str, set[str]]:
    """The file up to a size with the least divergence, and those from which no difference is shown."""
    files = {
        n: w
        for n, f in run.files.items()
        if f.n_bytes <= limit and f.family != "Reference" and "random" not in f.family
        and n not in resolution(run).beyond and (w := windows_of(run).results(n))
    }  # fmt: skip
    kl = {n: float(np.mean(found)) for n, w in files.items() if (found := mean_kl(w)) is not None}
    first = min(kl, key=lambda n: kl[n])
    changes = {n: kl_change(files[first], files[n]) for n in kl if n != first}
    level = 0.05 / len(changes) if changes else 0.05
    return first, {n for n, change in changes.items() if change is not None and (change.p_value(0) or 0) > level}


def test_the_slider_names_the_best_file_up_to_a_size(page: Page, published: Path) -> None:
    run = load_run(published / SIZES)
    assert resolution(run).beyond  # the run has files that must not be recommended
    opened(page, published / SIZES / REPORT)
    assert page.locator("#budget-text").inner_text().endswith(" MB")
    for megabytes in (70, 80, 90, 100, int(page.get_attribute("#budget", "max") or 0)):
        page.locator("#budget").fill(str(megabytes))
        first, others = best_up_to(run, megabytes * 1e6)
        text = page.locator("#best").inner_text()
        assert text.startswith(f"{first} (")
        told = re.search(r"No difference is shown from (.*?)[;.] ?", text)
        assert set(re.split(", | and ", told[1]) if told else []) == others, text
    page.locator("#budget").press("Home")
    assert page.locator("#budget-text").inner_text() == f"{page.get_attribute('#budget', 'min')}.0 MB"
    assert page.locator("#best").inner_text()


def test_files_that_the_reference_cannot_judge_are_dimmed_and_marked(page: Page, published: Path) -> None:
    beyond = resolution(load_run(published / SIZES)).beyond
    opened(page, published / SIZES / REPORT)
    rows = page.evaluate("[...document.querySelectorAll('#all .untold th')].map(h => [h.dataset.name, h.textContent])")
    assert {name for name, _ in rows} == beyond and all("†" in text for _, text in rows)
    page.select_option("#pair-after", min(beyond))
    page.select_option("#pair-before", "IQ3_S")
    assert page.locator("#pair tbody tr").nth(1).locator("td").nth(1).inner_text() == "cannot be told †"
    assert "† The reference was once stored in" in page.locator("#pair-said").inner_text()


def test_sorting(page: Page, published: Path) -> None:
    name = PUBLISHED[0]
    raw = full_frame(load_run(RESULTS / name)).set_index("recipe")
    opened(page, published / name / REPORT)
    head = page.locator("#all thead th[data-title='vs reference']")
    assert head.get_attribute("aria-sort") is None
    ascending = list(raw["ppl_change_vs_reference"].dropna().sort_values().index)
    for order, expected in (("ascending", ascending), ("descending", ascending[::-1])):
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == order
        assert shown(page) == [*expected, "F16"]  # what has no figure stays last
    # by keyboard: the next header, then Enter
    head.locator("button").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.parentElement.getAttribute('aria-sort')") == "ascending"
    assert head.get_attribute("aria-sort") is None
    # words by their numbers
    page.locator("#all thead button").first.click()
    assert shown(page)[:3] == ["DG-FULL-IQ1_M", "DG-FULL-IQ1_S", "DG-FULL-IQ2_S"]


def test_filtering_by_name_and_several_families(page: Page, published: Path) -> None:
    name = PUBLISHED[0]
    files = load_run(RESULTS / name).files
    opened(page, published / name / REPORT)
    form = page.locator("form[data-table=all]")
    search, count = form.locator("input[type=search]"), form.locator("output")
    assert shown(page) == list(files) and count.inner_text() == f"{len(files)} of {len(files)} rows"
    search.fill("full iq1")
    assert shown(page) == ["DG-FULL-IQ1_M", "DG-FULL-IQ1_S"] and count.inner_text() == f"2 of {len(files)} rows"
    search.fill("")
    form.get_by_label("Standard", exact=True).check()
    form.get_by_label("DynamicGate, full", exact=True).check()
    assert shown(page) == [n for n, f in files.items() if f.family in ("Standard", "DynamicGate, full")]
    search.fill("iq1")
    assert shown(page) == ["IQ1_M", "IQ1_S", "DG-FULL-IQ1_M", "DG-FULL-IQ1_S"]
    form.get_by_role("button", name="Show all").click()
    assert shown(page) == list(files) and search.input_value() == ""


def test_what_is_chosen_stands_in_the_address(page: Page, published: Path) -> None:
    path = published / SIZES / REPORT
    opened(page, path)
    form = page.locator("form[data-table=all]")
    form.get_by_label("DynamicGate, full", exact=True).check()
    form.get_by_label("Automatic", exact=True).check()
    form.locator("summary").click()
    form.get_by_label("Memory", exact=True).uncheck()
    page.locator("#all thead th[data-title=Size] button").click()
    page.locator("#all thead th[data-title=Size] button").click()
    page.select_option("#pair-after", "auto@IQ2_S")
    page.locator("#budget").fill("77")
    before = shown(page), page.locator("#best").inner_text(), page.locator("#pair").inner_text()
    # a link within the page goes there and keeps it
    page.locator("nav a[href='#plots']").click()
    page.wait_for_url(re.compile(r"#plots\?"))  # the page hears of the link after the click
    address = page.evaluate("location.hash")
    assert address.startswith("#plots?")
    page.goto("about:blank")
    opened(page, path, address)
    assert (shown(page), page.locator("#best").inner_text(), page.locator("#pair").inner_text()) == before
    assert page.locator("#all thead th[data-title=Memory]").is_hidden()
    assert page.locator("#all thead th[data-title=Size]").get_attribute("aria-sort") == "descending"
    assert form.get_by_label("Automatic", exact=True).is_checked()
    assert page.evaluate("Math.abs(document.getElementById('plots').getBoundingClientRect().top) < 200")
    # an address that names what the run does not have is no error
    opened(page, path, f"#all?pair=none&pair=none&tokens=none&all.family=none&all.sort={quote('none~up')}&budget=x")
    assert page.locator("#best").inner_text()


def test_points_of_plots_have_names_for_pointer_and_keyboard(page: Page, made: Path) -> None:
    opened(page, made / "made-up" / REPORT)
    points = page.locator(".plot svg").first.locator(".point")
    names = points.evaluate_all("all => all.map(p => p.getAttribute('aria-label'))")
    assert [n.partition(":")[0] for n in names] == ["IQ2_XXS", "DG-IQ2_XXS"]
    assert names[0].startswith("IQ2_XXS: 100.0M, ")
    tip = page.locator("#tip")
    points.nth(1).hover()
    assert tip.inner_text() == names[1]
    points.nth(0).focus()
    assert tip.inner_text() == names[0]
    page.keyboard.press("ArrowRight")
    assert tip.inner_text() == names[1]
    page.keyboard.press("Escape")
    assert tip.is_hidden()


def test_bars_and_lines_of_plots_have_names(page: Page, published: Path) -> None:
    opened(page, published / "smollm2-135m-instruct" / REPORT)
    tip = page.locator("#tip")
    for plot, name in (("ppl-change", r"^DG-\S+: [+-]\d+\.\d% \["), ("error-propagation", r" after the last layer$")):
        named = page.locator(f".plot svg[aria-labelledby=plot-{plot}-title] .point")
        assert named.count()
        named.first.focus()
        assert re.search(name, tip.inner_text()), plot


def test_cells_have_names(page: Page, made: Path) -> None:
    opened(page, made / "made-up" / REPORT)
    tip = page.locator("#tip")
    page.locator("#all tbody tr").nth(1).locator("td").nth(3).hover()
    assert tip.inner_text() == "IQ2_XXS, PPL"
    page.locator("#maps ~ details summary").first.click()
    page.locator(".map svg").first.focus()
    assert tip.inner_text() == "attn_q, layer 0: IQ2_XXS"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert tip.inner_text() == "attn_v, layer 1: no such tensor"
    page.keyboard.press("ArrowRight")
    assert tip.inner_text() == "attn_v, layer 2: IQ4_XS"


def test_a_text_is_marked_by_divergence(page: Page, with_text: Path) -> None:
    opened(page, with_text)
    kl = tokens(load_run(RESULTS / SMALL), "IQ2_S").query("window == 1")["kl"].to_numpy()
    page.select_option("#token-file", "IQ2_S")
    classes = page.evaluate("[...byId('token-text').children].map(s => s.className)")
    # values are rounded to 6 %, so that one beside a limit may get the neighbour's mark
    sure = np.all([np.abs(np.log(np.maximum(kl, 1e-9) / limit)) > 0.04 for limit in LIMITS], axis=0)
    expected = np.searchsorted(LIMITS, kl, side="right")
    assert sure.mean() > 0.9 and [c for c, s in zip(classes, sure, strict=True) if s] == [
        f"d{e}" for e in expected[sure]
    ]
    counts = page.evaluate("[...byId('token-legend').querySelectorAll('output')].map(o => Number(o.textContent))")
    assert sum(counts) == len(kl) and counts == [classes.count(f"d{i}") for i in range(len(LIMITS) + 1)]
    # each mark differs without colour
    marks = page.evaluate(
        "[...byId('token-legend').querySelectorAll('span')].map(s => getComputedStyle(s).textDecorationLine + getComputedStyle(s).textDecorationStyle)"
    )
    assert len(set(marks)) == len(LIMITS) + 1
    page.locator("#token-text").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.locator("#tip", has_text="word1").wait_for(state="visible")  # it is moved with the next frame
    text = page.locator("#tip").inner_text()
    assert text.startswith('" word1": KL about ') and text.endswith("(prose)")
    assert float(text.split()[4]) == pytest.approx(kl[1], rel=0.1)


def test_divergences_are_told_within_three_percent() -> None:
    values = np.geomspace(2e-4, 20, 500).astype(np.float32)
    codes = coded(np.array([0, 1e-6, *values, 1e4], np.float32))
    assert codes[:2].tolist() == [0, 0] and codes[-1] == 255
    assert np.abs(1e-4 * 1.06 ** (codes[2:-1].astype(float) - 1) / values - 1).max() < 0.031


def test_a_run_without_its_text_says_so(page: Page, made: Path) -> None:
    opened(page, made / "made-up" / REPORT)
    section = page.locator("section[aria-labelledby=text]")
    assert "so no text is coloured here" in section.inner_text()
    assert page.locator("#tokens").count() == 0


def test_figures_are_saved_from_the_page(page: Page, published: Path) -> None:
    opened(page, published / SIZES / REPORT)
    for link in page.locator(".take a").all():
        assert (published / SIZES / (link.get_attribute("href") or "")).is_file()
    page.locator("form[data-table=all]").get_by_label("Standard", exact=True).check()
    with page.expect_download() as download:
        page.locator("#save-csv").click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8"))))
    raw = full_frame(load_run(RESULTS / SIZES)).set_index("recipe")
    assert [r["Recipe"] for r in rows] == list(raw[raw["family"] == "Standard"].index)
    for row in rows:
        assert float(row["PPL"]) == pytest.approx(raw["ppl"][row["Recipe"]], rel=1e-11)
    with page.expect_download() as download:
        page.locator("#save-json").click()
    data = json.loads(download.value.path().read_text(encoding="utf-8"))
    assert [f["name"] for f in data["files"]] == list(raw.index)


def test_a_page_elsewhere_links_no_files(page: Page, published: Path, tmp_path: Path) -> None:
    run = load_run(published / PUBLISHED[0])
    opened(page, write_report(run, published / PUBLISHED[0], out=tmp_path / "elsewhere.html"))
    assert page.locator(".take a").count() == 0
    assert page.locator("#save-csv").is_visible() and page.locator("#save-json").is_visible()


def test_names_and_commands_are_copied(context: BrowserContext, made: Path) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = opened(context.new_page(), made / "made-up" / REPORT)
    page.get_by_role("button", name="Copy DG-IQ2_XXS").click()
    assert page.evaluate("navigator.clipboard.readText()") == "DG-IQ2_XXS"
    page.get_by_role("button", name="Copy the command").click()
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("pre").inner_text().strip()


def test_paper_has_everything(page: Page, with_text: Path) -> None:
    page.set_viewport_size({"width": 1047, "height": 718})  # A4 across, less its margins
    opened(page, with_text)
    folded = page.locator("details:not([open])").count()
    assert folded
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") == 1047
    cut = page.evaluate(
        "[...document.querySelectorAll('table, svg, pre, #token-text')].filter(e => e.getBoundingClientRect().right > innerWidth + 1"
        " || e.parentElement.scrollWidth > e.parentElement.clientWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    )
    assert cut == []
    assert page.evaluate(
        "[...document.querySelectorAll('.scroll')].every(e => getComputedStyle(e).overflow === 'visible')"
    )
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() == folded
    page.emulate_media(media="screen")
    paper = page.pdf(prefer_css_page_size=True)
    [(width, height)] = set(re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", paper))
    assert float(width) > float(height)


def test_the_index_names_runs_newest_first(page: Page, published: Path) -> None:
    runs = {name: load_run(RESULTS / name) for name in PUBLISHED}
    opened(page, published / "index.html")
    links = page.locator(".runs a[href$='report.html']")
    assert links.all_inner_texts() == sorted(runs, key=lambda n: runs[n].header.started, reverse=True)
    links.first.click()
    assert page.locator("h1").inner_text().startswith("Quantizations of ")


def test_a_picture_is_taken_of_a_page(browser: Browser, made: Path, tmp_path: Path) -> None:
    from PIL import Image

    picture = tmp_path / "report.png"
    screenshot.take(made / "made-up" / REPORT, picture, browser)
    with Image.open(picture) as image:
        assert image.size == (2240, 1800)
