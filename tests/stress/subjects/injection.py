"""Names and texts that are HTML, Markdown, LaTeX or terminal sequences, and what pages, tables and the terminal make of them."""

from __future__ import annotations

import json
import random
import re
import unicodedata
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from bench.records.run import FILE_NAME
from tests.stress.attack import Attack, Fault, Tried
from tests.stress.commands import Ended, run
from tests.support.pages import on_disk, some_run
from tests.support.tiny import Shape, write_model

ABOUT = "names and texts that are markup or steer a terminal"
UNIT = "sets of names"
GOAL = 200

_HTML = (
    "<injx>", '"><injx injattr=1>', "' injattr=1 '", '" injattr="1', "</script><injx>", "</style><injx>", "</title><injx>", "<!--injx", "</svg><injx>",
    "<![CDATA[<injx>]]>", "&lt;injx&gt;", "{{ 7*7 }}{% injx %}", "javascript:injx", "</textarea><injx>", "<injx/onload=injx()>", "${injx}`<injx>`",
)  # fmt: skip
_MARKDOWN = (
    "a|b",
    "|||",
    "a\n\n# injx\n",
    "a\r\n| x | y |",
    "[injx](javascript:injx)",
    "![injx](http://injx)",
    "`|`",
    "\\|",
    "**",
    "<injx>\n<injx>",
    "---",
)
_LATEX = ("\\injx{a}", "$x_{$", "a & b", "100%", "#1", "a_b^c~d", "}{", "\\", "$$\\injx$$", "\\\\ \\hline")
_TERMINAL = (
    "\x1b[2J",
    "\x1b]0;injx\x07",
    "\x9b31m",
    "\u202einjx",
    "a\rb",
    "a\bb",
    "\x1b]8;;http://injx\x1b\\x",
    "\x00",
    "\x7f",
    "\u2028x",
    "[bold]injx[/bold]",
)
_READERS = (
    ("tables", "RUN"), ("report", "RUN"), ("card", "RUN"), ("compare", "RUN", "RUN"), ("check", "RUN", "--against", "RUN"), ("history", "RUN"),
    ("advise", "--run", "RUN", "--memory", "8GB"), ("export", "RUN", "--table", "files", "--out", "t.tex"), ("export", "RUN", "--table", "files", "--out", "t.md"),
    ("export", "RUN", "--table", "samples", "--out", "t.tex"), ("export", "RUN", "--table", "files", "--format", "latex"),
)  # fmt: skip
#: Keys of records that hold a name or a text.
_KEYS = (
    "name",
    "description",
    "recipe",
    "family",
    "base",
    "cpu",
    "system",
    "text",
    "group",
    "prompts",
    "architecture",
    "origin",
)


def prepare(folder: Path) -> Attack:
    lines = (on_disk(some_run(), folder / "run") / FILE_NAME).read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    names = sorted(set(_texts(records)))

    def attack(rng: random.Random, scratch: Path) -> Tried:
        if rng.random() < 0.25:
            return _of_a_model(rng, scratch)
        taken = {name: _hostile(rng, name) for name in rng.sample(names, rng.randint(1, 4))}
        directory = scratch / "run"
        directory.mkdir()
        text = "".join(json.dumps(_renamed(r, taken)) + "\n" for r in records)
        (directory / FILE_NAME).write_text(text, encoding="utf-8")
        ended = [run([{"RUN": directory}.get(w, w) for w in reader], scratch) for reader in rng.sample(_READERS, 2)]
        return Tried(tuple(ended), (*_shown(ended), *_written(scratch)))

    return attack


def _hostile(rng: random.Random, name: str) -> str:
    value = rng.choice(rng.choice((_HTML, _MARKDOWN, _LATEX, _TERMINAL)))
    return rng.choice((value, f"{name}{value}", f"{value}{name}"))


def _texts(value: Any, key: str = "") -> Iterator[str]:
    """Names and texts anywhere in records."""
    if isinstance(value, dict):
        for k, inner in value.items():
            yield from _texts(inner, k)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, key)
    elif isinstance(value, str) and key in _KEYS:
        yield value


def _renamed(value: Any, taken: dict[str, str], key: str = "") -> Any:
    """The same records with names replaced, everywhere alike."""
    if isinstance(value, dict):
        return {k: _renamed(inner, taken, k) for k, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner, taken, key) for inner in value]
    return taken.get(value, value) if isinstance(value, str) and key in _KEYS else value


def _of_a_model(rng: random.Random, scratch: Path) -> Tried:
    """A model whose header and file are called so."""
    keys = {
        k: _hostile(rng, "x").replace("\0", "")
        for k in ("general.description", "general.license", "general.quantized_by", "general.size_label")
    }
    name = re.sub(r"[/\0]", "", _hostile(rng, "m"))[:80] + ".gguf"
    path = write_model(scratch / "plain.gguf", Shape(layers=1), extra=keys).rename(scratch / name)
    commands = (("info", f"./{name}"), ("info", f"./{name}", "--json"), ("advise", f"./{name}", "--memory", "8GB"), ("info", f"./{name}x"),
                ("quantize", "Q4_0", "./out.gguf", "--model", f"./{name}", "--no-imatrix", "--cache", "cache"))  # fmt: skip
    assert path.exists()
    ended = [run(rng.choice(commands), scratch)]
    return Tried(tuple(ended), tuple(_shown(ended)))


def _shown(ended: list[Ended]) -> Iterator[Fault]:
    """Characters that steer a terminal, or turn the direction of writing, on standard output or error."""
    for command in ended:
        for said in (command.out, command.err):
            odd = {c for c in said if c not in "\n\t" and not c.isprintable() and unicodedata.category(c) != "Zs"}
            if odd:
                yield Fault(
                    "control character shown", f"{' '.join(command.arguments)}: {sorted(odd)!r}\n{said!r:.3000}"
                )


def _written(scratch: Path) -> Iterator[Fault]:
    for path in sorted(scratch.rglob("*")):
        if path.suffix in (".html", ".svg", ".md", ".tex"):
            text = path.read_text(encoding="utf-8")
            found = {".md": _in_markdown, ".tex": _in_latex}.get(path.suffix, _in_html)(text)
            if found:
                yield Fault(f"markup out of a name in {path.suffix}", f"{path.name}: {found}")


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found, self.ended = "", False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name.startswith("injattr") or (
                name in ("href", "src") and (value or "").strip().startswith("javascript:")
            ):
                self.found = f"{self.get_starttag_text()}"
        if tag.startswith("injx"):
            self.found = f"{self.get_starttag_text()}"

    def handle_endtag(self, tag: str) -> None:
        self.ended |= tag in ("html", "svg")


def _in_html(text: str) -> str:
    page = _Page()
    page.feed(text)
    return page.found or ("" if page.ended else "its end is part of a comment or a script")


def _in_markdown(text: str) -> str:
    bare = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for block in re.findall(r"(?:^\|.*\n?)+", bare, flags=re.MULTILINE):
        rows = [len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in block.strip("\n").split("\n")]
        if len(set(rows)) > 1:
            return f"a table whose rows have {sorted(set(rows))} bars: {block[:2000]}"
    without_code = re.sub(r"`[^`\n]*`", "", bare)
    if found := re.search(r"(?<!\\)<injx.{0,100}|^# injx.*|(?<!\\)\]\(javascript:.{0,50}", without_code, re.MULTILINE):
        return f"{text[max(found.start() - 200, 0) :][:600]!r}"
    return ""


def _in_latex(text: str) -> str:
    for line in text.splitlines()[2:]:
        plain = re.sub(r"\\(?:text\w+\{\}|[%_&#${}])", "", line)
        if "injx" in plain and re.search(r"\\injx", plain):
            return line
        if plain.count("$") % 2 or plain.count("{") != plain.count("}") or "#" in plain or "%" in plain:
            return line
    rows = {len(re.findall(r"(?<!\\)&", line)) for line in text.splitlines() if line.endswith("\\\\")}
    return f"rows of {sorted(rows)} columns" if len(rows) > 1 else ""
