"""The prompt format on a card: templates are code that came with a download, and what they write is shown to readers."""

from __future__ import annotations

import pytest

from bench.gguf_files.details import ModelDetails
from bench.present.card_prompt import fenced, prompt_format

PLAIN = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}{% endfor %}"
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + PLAIN


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        (PLAIN, "```\n<s>[system] {system_prompt}</s>[user] {prompt}</s>\n```"),
        (NO_SYSTEM, "```\n<s>[user] {prompt}</s>\n```"),
        ("{{ messages[-1].content }}", "```\n{prompt}\n```"),  # leaves the system prompt out
        ("{{ messages[0].secret.x }}", None),  # fails
        ("{% for i in range(10**9) %}{% endfor %}", None),  # is refused or does not end
        ("a fixed text", None),  # has no place for the prompt
        ("{{ messages[-1].content }}" + "x" * 2000, None),  # nothing that a reader types
        ("{% if %}", None),
        (None, None),
    ],
)
def test_a_template_is_shown_with_placeholders_or_not_at_all(template: str | None, shown: str | None) -> None:
    details = ModelDetails(chat_template=template, bos_token="<s>", eos_token="</s>")
    assert prompt_format(details) == shown


def test_nothing_in_a_template_ends_its_block() -> None:
    assert fenced("a ``` b\n") == "````\na ``` b\n````"
