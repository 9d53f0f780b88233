"""Plots as parts of a page: matplotlib's SVG without the parts that a page has itself, in the page's colours and typeface."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape

from bench.core.errors import BenchError
from bench.measures.named_points import POINT

#: What a plot draws in its own black, white, greys and dark blue, as the page has it in light and in dark.
_COLORS = {
    "#000000": "currentColor",
    "#ffffff": "none",
    "#666666": "var(--muted)",
    "#999999": "var(--muted)",
    "#aaaaaa": "var(--muted)",
    "#dddddd": "var(--line)",
    "#0072b2": "var(--blue)",  # names of points are written in it, which must be read on dark too
}
_FONTS = re.compile(r"'DejaVu Sans'(?:, (?:'[^']*'|sans-serif))*")
#: A point that has a name (measures/plotting.py).
_NAMED = re.compile(rf'<g id="{POINT}([^"]*)">')
_POINTS_TO_PIXELS = 96 / 72


@dataclass(frozen=True)
class InlinePlot:
    """name: of the file without suffix; width: in CSS pixels, at which its text is as large as it was drawn."""

    name: str
    title: str
    svg: str
    width: int


#: Attributes that say where something is, and numbers in them of more digits than anyone sees: the last ones depend on the CPU.
_PLACES = re.compile(r' (?:d|x|y|width|height|transform|points)="[^"]*"')
_LONG = re.compile(r"\d+\.\d{3,}")


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}"


def inline_svg(svg: str, *, name: str, title: str) -> InlinePlot:
    """An SVG that matplotlib wrote (svg.fonttype none), to stand in a page beside others.

    Ids are numbers behind the plot's name, and go where nothing refers to them; style sheets and metadata go, since they would
    hold for the whole page.
    """
    found = re.search(r'<svg[^>]*viewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*>(.*)</svg>', svg, re.DOTALL)
    if found is None:
        raise BenchError(f"{name}: is no SVG of a plot; make the plots again with `bench tables`")
    width, height, body = float(found[1]), float(found[2]), found[3]
    for element in ("metadata", "style", "script"):
        body = re.sub(rf"<{element}\b.*?</{element}>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    # matplotlib's are hashes of coordinates, whose last digits depend on the CPU
    referred = {of: str(n) for n, of in enumerate(dict.fromkeys(re.findall(r'(?:href="#|url\(#)([^")]+)', body)))}
    prefix = f"plot-{name}-"
    body, points = _NAMED.subn(r'<g class="point" role="img" aria-label="\1">', body)
    body = re.sub(r' id="([^"]+)"', lambda m: f' id="{prefix}{referred[m[1]]}"' if m[1] in referred else "", body)
    body = re.sub(r'(?:xlink:)?href="#([^"]+)', lambda m: f'href="#{prefix}{referred[m[1]]}', body)
    body = re.sub(r"url\(#([^)]+)", lambda m: f"url(#{prefix}{referred[m[1]]}", body)
    body = body.replace("xlink:href", "href")
    for ours, theirs in _COLORS.items():
        body = body.replace(ours, theirs)
    body = _FONTS.sub("var(--sans)", body)
    body = re.sub(r"\s*\n\s*", " ", body).replace("> <", "><")
    body = _PLACES.sub(lambda m: m[0] if "scale" in m[0] else _LONG.sub(_rounded, m[0]), body)
    head = (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="{"group" if points else "img"}" aria-labelledby="{prefix}title" '
        f'xmlns="http://www.w3.org/2000/svg"><title id="{prefix}title">{escape(title)}</title>'
    )
    return InlinePlot(name, title, f"{head}{body.strip()}</svg>", round(width * _POINTS_TO_PIXELS))
