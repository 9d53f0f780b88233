"""`nox -s screenshot`: a picture of a run's page, for README.md. A headless Chromium takes it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import BenchError
from bench.core.files import complete_or_absent
from bench.present.pages.report import REPORT

if TYPE_CHECKING:
    from playwright.sync_api import Browser

#: Names of its executable, Debian's first.
NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = "no Chromium on PATH: apt-get install chromium (Debian), or have Google Chrome installed"
#: What the picture begins with, and its size in CSS pixels.
_BEGINS, _WIDTH, _HEIGHT = "#choose", 1120, 900


def find() -> str | None:
    """Path of the machine's Chromium; None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def browser() -> Iterator[Browser]:
    """The machine's Chromium without a window. Raises BenchError where there is none, or no Playwright to drive it."""
    executable = find()
    if executable is None:
        raise BenchError(MISSING)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as e:
        raise BenchError("playwright is not installed: pip install 'dynamicgate-bench[browser]'") from e
    with sync_playwright() as playwright:
        # files of this project alone are opened, and in a container the sandbox has no rights to begin with
        opened = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        try:
            yield opened
        finally:
            opened.close()


def take(report: Path, picture: Path, opened: Browser) -> None:
    """Write what a reader sees of a page as PNG: where files are chosen and compared, and what follows. Twice as fine as on a
    plain screen."""
    page = opened.new_page(viewport={"width": _WIDTH, "height": _HEIGHT}, device_scale_factor=2)
    page.goto(report.resolve().as_uri())
    page.locator(_BEGINS).evaluate("section => section.scrollIntoView()")
    with complete_or_absent(picture) as partial:
        partial.write_bytes(page.screenshot())
    page.close()


def main(directory: Path, picture: Path) -> None:
    report = directory / REPORT
    if not report.is_file():
        raise BenchError(f"{report}: is missing; make it with `report {directory}`")
    with browser() as opened:
        take(report, picture, opened)
    print(f"Picture: {picture}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: python -m bench.present.pages.screenshot RUN PICTURE.png")
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except BenchError as e:
        raise SystemExit(f"error: {e}") from e
