"""The documentation as a site: `nox -s docs` builds it into site/, and a dead link makes that fail.

The site's source is the repository itself, with README.md as its first page. So a relative link means the same here and
where the repository is hosted: to another page, to a plot in results/, to a module. Pages hold plain Markdown only; their
order is below.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from docutils import nodes
from sphinx import addnodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx

#: Every page of the site, in the order of the navigation, with its name there where its own title would not do.
NAVIGATION = {
    "Use": {
        "docs/getting-started": "",
        "docs/models": "",
        "docs/recipes": "",
        "docs/measuring": "",
        "docs/kv-cache": "",
        "docs/traces": "",
        "docs/tasks": "",
        "docs/refact": "",
        "docs/cluster": "",
        "docs/gpu": "",
        "docs/stress": "",
        "docs/results": "",
        "docs/peers": "",
    },
    "Look up": {"docs/commands": "", "docs/columns": "", "docs/library": ""},
    "Published runs": {
        "results/README": "Overview",
        "results/smollm2-135m-instruct/tables/tables": "Standard and DynamicGate",
        "results/smollm2-135m-instruct-sizes/tables/tables": "Recipes of equal size",
        "results/smollm2-135m-instruct-default/tables/tables": "The default run",
        "results/smollm2-135m-instruct-default-amd/tables/tables": "The same on an AMD, with tasks",
        "results/smollm2-135m-instruct-tasks/tables/tables": "Right answers in tasks",
        "results/smollm2-135m-instruct-code/tables/tables": "Code completions",
        "results/smollm2-135m-instruct-caches/tables/tables": "KV cache types",
        "results/smollm2-135m-instruct-8k/tables/tables": "Windows of 8192 tokens",
        "results/smollm2-135m-instruct-all/tables/tables": "Every token scored",
        "results/smollm2-135m-instruct-traces/tables/tables": "What the model wrote itself",
        "results/smollm2-135m-sensitivity/sensitivity": "Sensitivity",
        "results/peers/peers": "Side by side with the tools",
    },
    "Work on it": {"CONTRIBUTING": "", "docs/architecture": "", "prompts/README": "", "CHANGELOG": ""},
}

project = "dynamicgate-bench"
copyright = "the dynamicgate-bench authors"
extensions = ["myst_parser"]
root_doc = "README"
include_patterns = ["README.md", "docs/*.md", *(f"{page}.md" for pages in NAVIGATION.values() for page in pages)]
exclude_patterns = [".*", "site"]
myst_heading_anchors = 4  # as the hosting page makes them
html_theme = "furo"
html_title = project
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_use_index = False


def add_navigation(_: Sphinx, page: str, source: list[str]) -> None:
    """The navigation goes into the first page as it is read: in the file it would show on the hosting page."""
    if page == root_doc:
        for caption, pages in NAVIGATION.items():
            listed = "\n".join(f"{name} </{p}>" if name else f"/{p}" for p, name in pages.items())
            source[0] += f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{listed}\n```\n"


def link_plainly(app: Sphinx, doctree: nodes.document) -> None:
    """A link to a file that is no page (CSV, HTML, a module) opens it at its own path instead of downloading it under another."""
    here = Path(app.srcdir, app.env.docname).parent
    for download in list(doctree.findall(addnodes.download_reference)):
        target = download["reftarget"]
        put(here / target, app)
        download.replace_self(nodes.reference("", "", *download.children, refuri=target, internal=True))


def put(file: Path, app: Sphinx) -> None:
    """Copy a file of the repository into the site, with the files that it links to when it is a page itself."""
    path = file.resolve().relative_to(app.srcdir)
    copy = Path(app.outdir, path)
    if copy.exists():
        return
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, copy)
    if file.suffix == ".html":
        for link in re.findall(r'href="([^"#:]+)"', file.read_text(encoding="utf-8")):
            if (linked := file.parent / unquote(link)).is_file():
                put(linked, app)


def add_first_page(app: Sphinx, failed: Exception | None) -> None:
    """What a web server shows for the site's address is index.html."""
    if failed is None:
        shutil.copyfile(Path(app.outdir, f"{root_doc}.html"), Path(app.outdir, "index.html"))


def setup(app: Sphinx) -> None:
    app.connect("source-read", add_navigation)
    app.connect("doctree-read", link_plainly, priority=400)  # before Sphinx collects downloads, at 500
    app.connect("build-finished", add_first_page)
