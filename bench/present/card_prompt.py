"""The prompt format of a model as a card shows it: its chat template, rendered with a conversation of placeholders."""

from __future__ import annotations

import re

from bench.core.errors import BenchError
from bench.gguf_files.details import ModelDetails
from bench.texts.chat import ChatTemplate

#: A format of more characters than this is not shown: it is a description of tools, and no reader types it.
_SHOWN = 2000
_USER = ("user", "{prompt}")
_SYSTEM = ("system", "{system_prompt}")


def prompt_format(details: ModelDetails) -> str | None:
    """What precedes a model's answer, in a fenced block; None for a model without a template that can be shown."""
    if details.chat_template is None:
        return None
    special = {"bos_token": details.bos_token or "", "eos_token": details.eos_token or ""}
    for messages in ((_SYSTEM, _USER), (_USER,)):  # some templates refuse a system prompt, and some leave it out
        try:
            text = ChatTemplate(details.chat_template, special).render(messages, generation=True)
        except BenchError:
            continue
        if all(content in text for _, content in messages) and len(text) <= _SHOWN:
            return fenced(text)
    return None


def fenced(text: str) -> str:
    """Text in a block that nothing in it can end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    end = "" if text.endswith("\n") else "\n"
    return f"{fence}\n{text}{end}{fence}"
