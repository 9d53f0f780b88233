"""Options of infill problems and conversations."""

from __future__ import annotations

from dataclasses import dataclass

from bench.core.options import TEXT, option


@dataclass(frozen=True)
class Asked:
    """kinds: fim, code, chat or files of JSON lines; assistant_only: whether in conversations only the assistant's tokens count."""

    kinds: tuple[str, ...] = option(
        (),
        "--kinds",
        "Also score these kinds of prompt, separated by commas: fim (infill problems), code (the same for "
        "models without infill tokens), chat (conversations, with the model's template), or a file of JSON lines with prefix, suffix and middle, or with messages.",
        listed=("kind of prompt", "fim,chat"),
        panel=TEXT,
        metavar="NAMES",
    )
    assistant_only: bool = option(
        False,
        "--assistant-only",
        "In conversations score the assistant's tokens only.",
        panel=TEXT,
    )
