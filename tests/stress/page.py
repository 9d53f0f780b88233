"""docs/stress.md: what was found is kept in results/stress/ and written into the page between comments."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bench.core.formats import markdown
from tests.stress.attack import names, subject

ROOT = Path(__file__).parents[2]
FOUND = ROOT / "results" / "stress"
ATTACKS, COVERAGE = FOUND / "attacks.json", FOUND / "coverage.json"
UNTIL, TIMING = FOUND / "until.json", FOUND / "timing.json"
PAGE = ROOT / "docs" / "stress.md"
_BLOCK = re.compile(r"(<!-- (attacks|coverage|families|until|timing): start -->\n).*?(<!-- \2: end -->)", re.DOTALL)


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def write(path: Path, found: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def attacks(found: Mapping[str, Any]) -> str:
    """What was attacked and what came of it."""
    rows = [
        {
            "Subject": name,
            "What is tried": subject(name).ABOUT,
            "Tries": f"{of['tries']:,} {subject(name).UNIT}",
            "Goal": f"{goal:,}" if (goal := subject(name).GOAL) < 10**5 else "each",
            "Commands": f"{of['commands']:,}",
            "Faults": ", ".join(f"{n} {kind}" for kind, n in of["faults"].items()) or "none",
            "Measured": f"{of['date']}, seed {of['seed']}, {of['version']}",
        }
        for name, of in found.items()
        if name in names()
    ]
    return markdown(pd.DataFrame(rows))


def coverage(found: Mapping[str, Any]) -> str:
    """Share of 95 % intervals that hold the truth, in percent."""
    held = {(c["population"], c["windows"], c["quantity"]): c["held"] for c in found["coverage"]}
    texts, windows, quantities = (list(dict.fromkeys(key[i] for key in held)) for i in range(3))
    rows = [
        {"Text": text, "Windows": str(n)} | {q: f"{100 * held[text, n, q]:.1f}" for q in quantities}
        for text in texts
        for n in windows
    ]
    return f"{_told(found, found['coverage'][0]['tries'], 'texts a row')}\n\n{markdown(pd.DataFrame(rows))}"


def families(found: Mapping[str, Any]) -> str:
    """How often a table of nothing shows a difference, and what a difference must be to be shown."""
    rows = [
        {
            "Rows": str(f["rows"]),
            "Windows": str(f["windows"]),
            "False, alone": f"{100 * f['alone']:.0f} %",
            "False, together": f"{100 * f['false']:.1f} %",
            "Change shown in 80 %, alone": f"{100 * f['needed_alone']:.1f} %",
            "Change shown in 80 %, together": f"{100 * f['needed']:.1f} %",
        }
        for f in found["families"]
    ]
    return f"{_told(found, found['families'][0]['tries'], 'tables a row')}\n\n{markdown(pd.DataFrame(rows))}"


def until(found: Mapping[str, Any]) -> str:
    """How often an interval holds at which a run stopped."""
    rows = [
        {
            "Text": s["population"],
            "Until KL": f"±{100 * s['target']:.0f} %",
            "Reached": f"{100 * s['reached']:.0f} %",
            "Windows": f"{s['windows']:.1f}",
            "Holds": f"{100 * s['held']:.1f} %",
            "Windows, if always looked at": f"{s['often_windows']:.1f}",
            "Holds, if always looked at": f"{100 * s['often_held']:.1f} %",
        }
        for s in found["until"]
    ]
    return f"{_told(found, found['until'][0]['tries'], 'texts a row')}\n\n{markdown(pd.DataFrame(rows))}"


def timing(found: Mapping[str, Any]) -> str:
    """How often intervals of time ratios held on a machine, and how wide they were."""
    rows = [
        {
            "Condition": t["condition"],
            "Ratio of": t["what"],
            "Passes": str(t["passes"]),
            "Holds": f"{100 * t['held']:.0f} %",
            "Width": f"{100 * t['width']:.1f} points",
            "One layer more": f"{t['layer']:.3f}",
            "Found": f"{100 * t['found']:.0f} %",
        }
        for t in found["timing"]
    ]
    drawn, cpu = found["timing"][0]["drawn"], found["cpu"]
    told = f"Measured {found['date']} on one machine ({cpu}), {drawn} passes a draw, by version {found['version']}."
    return f"{told}\n\n{markdown(pd.DataFrame(rows))}"


def _told(found: Mapping[str, Any], tries: int, what: str) -> str:
    return f"Simulated {found['date']} with seed {found['seed']}, {tries:,} {what}, by version {found['version']}."


def filled(page: str) -> str:
    """The page with all that was found."""
    form = {
        "attacks": (attacks, ATTACKS),
        "coverage": (coverage, COVERAGE),
        "families": (families, COVERAGE),
        "until": (until, UNTIL),
        "timing": (timing, TIMING),
    }

    def fill(block: re.Match[str]) -> str:
        text, path = form[block[2]]
        found = read(path)
        return f"{block[1]}\n{text(found) if found else 'Nothing yet.'}\n\n{block[3]}"

    return _BLOCK.sub(fill, page)


def update() -> None:
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
