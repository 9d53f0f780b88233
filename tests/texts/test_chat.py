"""Chat templates: rendered as written, in a sandbox, and bounded whatever they do."""

from __future__ import annotations

import pytest

from bench.core.errors import BenchError
from bench.texts.chat import REFACT_TEMPLATE, ChatTemplate, template_for

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MESSAGES = [("system", "Be brief."), ("user", "Hello"), ("assistant", "Hi."), ("user", "Bye"), ("assistant", "Hi.")]
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}


def test_rendered_as_the_template_says() -> None:
    assert ChatTemplate(CHATML, SPECIAL).render(MESSAGES[:2], generation=True) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    )
    assert ChatTemplate("{{ bos_token }}{{ messages | length }}{{ eos_token }}", SPECIAL).render(MESSAGES) == "<s>5</s>"


def test_the_form_of_refact() -> None:
    assert ChatTemplate(REFACT_TEMPLATE, SPECIAL).render(MESSAGES[:2], generation=True) == (
        "<empty_output>SYSTEM Be brief.\n<empty_output>USER Hello\n<empty_output>ASSISTANT"
    )
    assert ChatTemplate(REFACT_TEMPLATE, SPECIAL).render([("assistant", " Hi.\n")]) == "<empty_output>ASSISTANT Hi.\n"
    assert template_for(None, "refact") == REFACT_TEMPLATE
    assert template_for(CHATML, "refact") == CHATML and template_for(None, "llama") is None


@pytest.mark.parametrize("template", [CHATML, REFACT_TEMPLATE])
def test_answers_are_where_they_stand(template: str) -> None:
    text, spans = ChatTemplate(template, SPECIAL).answers(MESSAGES)
    assert [text[a:b] for a, b in spans] == ["Hi.", "Hi."]
    assert text[: spans[0][0]].count("Hello") == 1 and text[: spans[1][0]].count("Bye") == 1


def test_a_short_answer_is_not_looked_for_in_the_question() -> None:
    mistral = "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}</s>{% endif %}{% endfor %}"
    text, [(a, b)] = ChatTemplate(mistral, SPECIAL).answers(
        [("user", "Is 7 prime? Answer yes or no."), ("assistant", "no")]
    )
    assert text[a:b] == "no" and text[:a].endswith("[/INST] ")


def test_the_tag_around_what_the_assistant_says() -> None:
    tagged = "{% for m in messages %}{% generation %}<{{ m.content }}>{% endgeneration %}{% endfor %}"
    assert ChatTemplate(tagged, SPECIAL).render(MESSAGES[:2]) == "<Be brief.><Hello>"


def test_a_template_that_rewrites_earlier_turns_is_told() -> None:
    rewriting = "{{ messages | length }}" * 40 + CHATML
    with pytest.raises(BenchError, match=r"changes earlier turns.*--assistant-only"):
        ChatTemplate(rewriting, SPECIAL).answers(MESSAGES)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for m in messages %}", "cannot be read"),
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages[99].content }}", "failed"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe|failed"),
        ("{{ messages.append(1) }}", "failed"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "does not end within"),
        ("{{ 'x' * 10000000000 }}", "MemoryError"),
        ("{{ '%10000000000d' % 1 }}", "MemoryError"),
        ("{{ messages[0].content * 10000000000 }}", "MemoryError"),
        ("{{ 10 ** 1000000000 }}", "to the power of"),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "cannot be read"),
        ("{% for i in [1] %}" * 30 + "{% endfor %}" * 30, "cannot be read"),
        ("{% for i in range(99999) %}xxxxxxxxxx{% endfor %}", "writes more than"),
    ],
)
def test_templates_at_fault(template: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.texts.chat._SECONDS", 0.3)
    with pytest.raises(BenchError, match=said):
        ChatTemplate(template, SPECIAL).render(MESSAGES)
