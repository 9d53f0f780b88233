"""Pages from templates, and titles from texts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

#: Markup in templates/, and styles/ and scripts/ beside it, which it includes.
_SOURCES = Path(__file__).parent


def heading(path: Path) -> str:
    """The title of a Markdown file."""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("# ") if first.startswith("# ") else path.parent.name


def render(template: str, variables: Mapping[str, object]) -> str:
    """A page. template: its name in templates/."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([_SOURCES / "templates", _SOURCES], encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(variables)
