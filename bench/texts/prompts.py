"""The fixed prompt set, and windows of tokens.

The set is the files that prompts/manifest.toml lists, in its order, joined by an empty line: one stream of text, cut
into windows without overlap. With a window of 8 tokens the stream is used like this (s marks a scored token; a token is
scored by the logits of the one before it):

    stream   a b c d e f g h | i j k l m n o p | q r         the rest after the last whole window is not used
    input    B b c d e f g h | B j k l m n o p               B: BOS where the vocabulary asks for it
    scored             s s s             s s s               from window/2 + 1 on: each has at least half a window of context

This is llama-perplexity's convention, so that figures are comparable: 1023 scored tokens for a window of 2048.
"""

from __future__ import annotations

import hashlib
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field

from bench.core.errors import BenchError, nearest

_SEPARATOR = "\n"
#: The parts of the prompt set that windows are taken of: the two below, and `languages:de,fr`, texts of these languages.
Part = Annotated[str, Field(pattern=r"^(evaluation|calibration|languages:[a-z,]+)$")]
EVALUATION: Part = "evaluation"
CALIBRATION: Part = "calibration"
_LANGUAGES = "languages"
#: Names of languages, as kinds of prompt, by what their files and `--languages` call them.
LANGUAGES = {"de": "German", "es": "Spanish", "fr": "French", "ja": "Japanese", "ru": "Russian", "zh": "Chinese"}
_LANGUAGES_TOLD = "fixed texts in "


def prompts_directory() -> Path:
    """prompts/ of the checkout, or the copy that an installed wheel carries."""
    packaged = Path(__file__).parents[1] / "_prompts"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "prompts"


@dataclass(frozen=True)
class Document:
    """A text with its kind (prose, code, ...)."""

    name: str
    kind: str
    text: str


@dataclass(frozen=True)
class PromptSet:
    """Documents in a fixed order."""

    name: str
    documents: tuple[Document, ...]

    @cached_property
    def text(self) -> str:
        return _SEPARATOR.join(d.text for d in self.documents)

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(d.kind for d in self.documents))

    def kind_ends(self) -> list[tuple[int, str]]:
        """(end, kind) of every document as byte offsets into the text, separators counted to the document before them."""
        ends, position = [], 0
        for d in self.documents:
            position += len(d.text.encode()) + len(_SEPARATOR)
            ends.append((position, d.kind))
        return ends


@dataclass(frozen=True)
class _Listed:
    path: Path
    kind: str
    sha256: str


def _manifest(part: str) -> list[_Listed]:
    """The files of a part of the prompt set. Raises BenchError for a missing or changed one, naming it."""
    root = prompts_directory()
    folder, _, codes = part.partition(":")
    try:
        entries = tomllib.loads((root / "manifest.toml").read_text(encoding="utf-8"))[folder]
    except FileNotFoundError as e:
        raise BenchError(f"{root / 'manifest.toml'}: is missing; restore it with git checkout") from e
    kinds = [LANGUAGES[code] for code in codes.split(",")] if codes else []
    wanted = [e for e in entries if not kinds or e["kind"] in kinds]
    listed = [_Listed(root / folder / e["file"], e["kind"], e["sha256"]) for e in wanted]
    for item in listed:
        if not item.path.is_file():
            raise BenchError(f"{item.path}: is in the manifest but missing; restore it with git checkout")
        if hashlib.sha256(item.path.read_bytes()).hexdigest() != item.sha256:
            raise BenchError(
                f"{item.path}: has changed since the manifest was made, so results would not compare; "
                "restore it with git checkout, or score your own text with --text"
            )
    return listed


def listed_files(part: str) -> list[tuple[Path, str]]:
    """(path, kind) of the files of a part, in order, checked against the manifest."""
    return [(item.path, item.kind) for item in _manifest(part)]


def identify(source: Path | str) -> tuple[str, str]:
    """(name, SHA-256) of what a result depends on: the manifest's entries of a part, or a text file's bytes.

    The files are checked against the manifest, but nothing is tokenized or imported for it.
    """
    if isinstance(source, Path):
        return source.name, hashlib.sha256(_text_bytes(source)).hexdigest()
    entries = "".join(f"{i.path.name} {i.kind} {i.sha256}\n" for i in _manifest(source))
    codes = source.partition(":")[2]
    usual = f"{_LANGUAGES_TOLD}{', '.join(codes.split(','))}" if codes else f"fixed {source} prompts"
    name = {"fim": "fixed infill problems", "chat": "fixed conversations", "tasks": "fixed tasks"}.get(source, usual)
    return name, hashlib.sha256(entries.encode()).hexdigest()


def part(languages: Sequence[str] = ()) -> Part:
    """The part of the prompt set that is scored: the evaluation part, or the texts of these languages, by code or name; `all` stands for all.

    Raises BenchError for a language without texts.
    """
    if not languages:
        return EVALUATION
    known = {name.lower(): code for code, name in LANGUAGES.items()} | {code: code for code in (*LANGUAGES, "all")}
    for named in languages:
        if named.lower() not in known:
            raise BenchError(
                f"--languages {named}: there are no texts in it{nearest(named.lower(), known)}; there are "
                f"{', '.join(f'{c} ({name})' for c, name in LANGUAGES.items())}, and all; score a text of your own with --text"
            )
    wanted = {known[named.lower()] for named in languages}
    chosen = [code for code in LANGUAGES if wanted & {code, "all"}]
    return f"{_LANGUAGES}:{','.join(chosen)}"


def languages_of(name: str) -> list[str]:
    """The languages of a text, by the name that results have for it; none for other texts."""
    return name.removeprefix(_LANGUAGES_TOLD).split(", ") if name.startswith(_LANGUAGES_TOLD) else []


def fixed_set(part: str) -> PromptSet:
    """A part of the prompt set, checked against the manifest."""
    listed = _manifest(part)
    texts = _read_texts([item.path for item in listed])
    return PromptSet(part, tuple(Document(i.path.stem, i.kind, t) for i, t in zip(listed, texts, strict=True)))


def from_file(path: Path, kind: str = "text") -> PromptSet:
    """A text file of the user's as a prompt set of one document.

    It is not read through `datasets`, which turns CRLF into LF: the text must be the file's, byte for byte.
    """
    try:
        text = _text_bytes(path).decode("utf-8")
    except UnicodeDecodeError as e:
        raise BenchError(f"{path}: is not UTF-8 text (byte {e.start:,}); convert it to UTF-8 first") from e
    return PromptSet(path.name, (Document(path.stem, kind, text),))


def _text_bytes(path: Path) -> bytes:
    if not path.is_file():
        raise BenchError(f"{path}: no such text file; check the path")
    try:
        data = path.read_bytes()
    except OSError as e:
        raise BenchError(f"{path}: cannot be read ({e.strerror}); check its permissions") from e
    if not data:
        raise BenchError(f"{path}: is empty; give a text of at least one window")
    return data


def _read_texts(paths: list[Path]) -> list[str]:
    """Whole files through `datasets`, in order. Streamed, so that nothing is copied into a cache."""
    from datasets import load_dataset  # takes a second to import

    rows = load_dataset("text", data_files=[str(p) for p in paths], sample_by="document", split="train", streaming=True)
    return [row["text"] for row in rows]


def write_manifest() -> str:
    """The manifest of the files in prompts/, kinds in turn so that any few windows hold a bit of everything."""
    lines = [
        "# The fixed prompt set: the files in the order in which they are read. Made by `python -m bench.texts.prompts`.",
        "# A result belongs to these exact bytes; a changed file is refused.",
    ]
    for part in (EVALUATION, CALIBRATION, _LANGUAGES):
        by_kind: dict[str, list[Path]] = {}
        for path in sorted((prompts_directory() / part).glob("*.txt")):
            kind = path.stem.split("-")[0]
            by_kind.setdefault(LANGUAGES[kind] if part == _LANGUAGES else kind, []).append(path)
        rounds = min(len(files) for files in by_kind.values())
        for i in range(rounds):
            for kind, files in by_kind.items():
                for path in files[i * len(files) // rounds : (i + 1) * len(files) // rounds]:
                    digest = hashlib.sha256(path.read_bytes()).hexdigest()
                    lines += ["", f"[[{part}]]", f'file = "{path.name}"', f'kind = "{kind}"', f'sha256 = "{digest}"']
    for folder in ("fim", "chat", "fim_checks"):
        for path in sorted(p for p in (prompts_directory() / folder).iterdir() if p.suffix in (".txt", ".toml")):
            text = path.read_text(encoding="utf-8")
            kind = tomllib.loads(text)["kind"] if path.suffix == ".toml" else path.stem.split("-")[0]
            digest = hashlib.sha256(text.encode()).hexdigest()
            lines += ["", f"[[{folder}]]", f'file = "{path.name}"', f'kind = "{kind}"', f'sha256 = "{digest}"']
    # a task is a folder of a YAML file and its items; its kind is the folder's name, or that of the list of all
    for path in sorted(p for p in (prompts_directory() / "tasks").rglob("*") if p.suffix in (".yaml", ".jsonl")):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        file = path.relative_to(prompts_directory() / "tasks").as_posix()
        kind = file.partition("/")[0].removesuffix(".yaml")
        lines += ["", "[[tasks]]", f'file = "{file}"', f'kind = "{kind}"', f'sha256 = "{digest}"']
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(write_manifest())
