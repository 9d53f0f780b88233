"""Texts, rows of datasets, kinds of prompt and chat templates that are damaged, huge, deep or code."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.stress.attack import Attack, Tried
from tests.stress.commands import run
from tests.stress.hostile import NAMES, nasty, replaced
from tests.support.tiny import Shape, write_model, write_text

ABOUT = "texts, JSON lines and chat templates that are damaged or hostile"
UNIT = "texts"
GOAL = 800

_SCORED = ("--window", 64, "--windows", 1, "--cache", "CACHE")
_RUN = ("run", "--model", "MODEL", "--recipes", "none", "--no-imatrix", "--out", "run", *_SCORED)
_ROWS: tuple[dict[str, Any], ...] = (
    {"prefix": "the old ", "suffix": " stone", "middle": "river"}, {"text": "the tide under a stone. " * 20},
    {"messages": [{"role": "user", "content": "the tide"}, {"role": "assistant", "content": "a stone " * 8}]},
    {"id": 3, "kind": "code", "prefix": "def a():\n", "suffix": "\n", "middle": "    return 1"},
)  # fmt: skip
_TEMPLATES = (
    "{{ messages }}", "{% for m in messages %}{{ m.content }}{% endfor %}", "{% for m in messages %}", "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{% for i in range(10**9) %}x{% endfor %}", "{{ 'x' * 10**12 }}", "{{ 9**9**9 }}", "{{ raise_exception('\x1b]0;no\x07') }}", "{{ 1/0 }}",
    "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "{% include '/etc/passwd' %}", "{{ messages[99].content }}", "{{ '%2000000000d' % 1 }}",
    "{" * 5000, "{{ " + "(" * 500 + "1" + ")" * 500 + " }}", "{{ cycler.__init__.__globals__.os.popen('id').read() }}", "\x1b[2J", "", "x" * 200_000,
    "{% set x = namespace(a=1) %}{% for m in messages %}{% set x.a = x.a * 10**60 %}{{ x.a }}{% endfor %}", "{{ strftime_now('%Y' * 100000) }}",
    "{{ messages | map('upper') | list | tojson }}", "{{ messages|pprint }}", "{{ lipsum(100000) }}", "{% generation %}a{% endgeneration %}{% generation %}",
)  # fmt: skip


def prepare(folder: Path) -> Attack:
    model, text = write_model(folder / "tiny.gguf", Shape(layers=2)), write_text(folder / "words.txt", 3000)
    whole = text.read_bytes()
    places: dict[str, object] = {"MODEL": model, "TEXT": text, "CACHE": folder / "cache"}

    def attack(rng: random.Random, scratch: Path) -> Tried:
        kind = rng.choice((_text, _rows, _rows, _template))
        command, given = kind(rng, scratch, whole)
        words = [{**places, **given}.get(str(w), w) for w in command]
        return Tried((run(words, scratch),))

    return attack


Made = tuple[tuple[object, ...], dict[str, object]]


def _text(rng: random.Random, scratch: Path, whole: bytes) -> Made:
    """A text to score, or one to calibrate on."""
    path = scratch / rng.choice(("t.txt", "a b.md", "t", "%s.txt", "x" * 200 + ".txt"))
    at = rng.randrange(len(whole))
    path.write_bytes(
        rng.choice((
            whole[:at] + rng.choice((b"\0", b"\xff", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x1b[2J\x1b]0;x\x07", b"\r\n", b"\x80" * 50)) + whole[at:],
            b"\xef\xbb\xbf" + whole, whole.decode().encode("utf-16"), whole.decode().encode("utf-32"), b"", b"a", b" " * 5000, b"\n" * 5000,
            b"\0" * 5000, b"x" * 300_000, rng.choice(NAMES).encode("utf-8", "surrogatepass") * 300, bytes(rng.randrange(256) for _ in range(3000)),
            "\u0300".encode() * 3000, "\U0001f9d1\u200d".encode() * 800, b"<s></s><unk><0x00><0xFF>" * 200, whole[:at],
        ))
    )  # fmt: skip
    option = rng.choice(("--text", "--text", "--dataset"))
    commands = (
        ("ppl", "MODEL", option, "DAMAGED", *_SCORED), (*_RUN, option, "DAMAGED"),
        ("imatrix", "out.gguf", "--force", "--model", "MODEL", "--calibration", "DAMAGED", "--calibration-chunks", 1, "--cache", "CACHE"),
    )  # fmt: skip
    return rng.choice(commands), {"DAMAGED": path}


def _rows(rng: random.Random, scratch: Path, _: bytes) -> Made:
    """A file of rows, given as a kind of prompt or as a dataset."""
    rows = [rng.choice(_ROWS)] * rng.choice((1, 3, 30)) if rng.random() < 0.8 else list(_ROWS)
    lines = [json.dumps(row) for row in rows]
    for _ in range(rng.randint(1, 3)):
        lines[rng.randrange(len(lines))] = rng.choice((
            lambda: json.dumps(replaced(rng, rng.choice(rows)), ensure_ascii=rng.random() < 0.5), lambda: json.dumps(nasty(rng)), lambda: lines[0][:20],
            lambda: "[" * 5000, lambda: '{"text": ' * 900 + "1" + "}" * 900, lambda: "", lambda: "null", lambda: json.dumps({"text": "x" * 10**6}),
            lambda: '{"text": "a", "text": 3}', lambda: '{"prefix": 1, "suffix": null, "middle": []}', lambda: "\ufeff" + lines[0],
            lambda: "a,b\n1,2,3", lambda: json.dumps({"messages": [{"role": rng.choice(NAMES), "content": rng.choice(NAMES)}] * 3}),
        ))()  # fmt: skip
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    if rng.random() < 0.2:
        at = rng.randrange(len(data) + 1)
        data = data[:at] + rng.choice((b"\0", b"\xff", b"\xed\xa0\x80", b"\x1b]0;x\x07")) + data[at:]
    as_kinds = rng.random() < 0.5
    path = scratch / f"rows{'.jsonl' if as_kinds else rng.choice(('.jsonl', '.jsonl', '.json', '.csv', '.parquet'))}"
    path.write_bytes(data)
    if as_kinds:
        return (*_RUN, "--text", "TEXT", "--kinds", "DAMAGED"), {"DAMAGED": path}
    named = f"{path}{rng.choice(('', '', ':text', ':prefix', ':no', ':', ':messages'))}"
    return ("ppl", "MODEL", "--dataset", "DAMAGED", *_SCORED), {"DAMAGED": named}


def _template(rng: random.Random, scratch: Path, _: bytes) -> Made:
    """A model with a chat template of its own, for conversations."""
    template = rng.choice(_TEMPLATES)
    if rng.random() < 0.3:
        at = rng.randrange(len(template) + 1)
        template = template[:at] + rng.choice(("{{", "}}", "{%", "%}", "\0", "'", "{#")) + template[at:]
    model = write_model(scratch / "m.gguf", Shape(layers=1), extra={"tokenizer.chat_template": template})
    path = scratch / "chat.jsonl"
    path.write_text(json.dumps(_ROWS[2]) + "\n", encoding="utf-8")
    commands = (
        ("info", "OWN"), ("sample", "OWN"),
        ("run", "--model", "OWN", "--recipes", "none", "--no-imatrix", "--out", "run", *_SCORED, "--text", "TEXT", "--kinds", "CHAT",
         *(("--assistant-only",) if rng.random() < 0.5 else ())),
    )  # fmt: skip
    return rng.choice(commands), {"OWN": model, "CHAT": path}


#: Makes a hostile thing in a folder, and the command that reads it.
Maker = Callable[[random.Random, Path, bytes], Made]
