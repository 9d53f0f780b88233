"""Conversations rendered with a model's own chat template, in a sandbox: a template is code that came with a download."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, NoReturn

import psutil

from bench.core.errors import BenchError

#: Refact's files name no template. The form that its makers give, a turn a line, with what is said stripped of blanks, as their server does.
REFACT_TEMPLATE = (
    "{% for m in messages %}<empty_output>{{ m.role | upper }} {{ m.content | trim }}\n{% endfor %}"
    "{% if add_generation_prompt %}<empty_output>ASSISTANT{% endif %}"
)
#: What begins a turn of it. No token of its own ends one: its makers' server takes any special token for the end of an answer.
_REFACT_MARK = "<empty_output>"
#: A template that takes longer than this for one conversation does not end.
_SECONDS = 5
_EXPONENT = 64
#: And may take this many bytes.
_MEMORY = 500_000_000
#: A template that makes more of a conversation than this many characters for each of its own is at fault.
_GROWTH, _FIXED = 20, 100_000

Messages = Sequence[tuple[str, str]]


def template_for(embedded: str | None, architecture: str) -> str | None:
    """The template to render with: the model's own, or that of an architecture whose files have none."""
    return embedded or (REFACT_TEMPLATE if architecture == "refact" else None)


def turn_mark(template: str) -> str | None:
    """What begins the next turn, and so ends an answer, in a form that has no token for its end; None where the model has one."""
    return _REFACT_MARK if template == REFACT_TEMPLATE else None


class ChatTemplate:
    """A compiled template. special: `bos_token` and `eos_token`, as spelled. Raises BenchError for one that cannot be read.

    For the main thread of a process: time is limited by a signal.
    """

    def __init__(self, source: str, special: dict[str, str]) -> None:
        from jinja2.ext import Extension, loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        class Sandbox(ImmutableSandboxedEnvironment):
            intercepted_binops = frozenset(["**"])  # no signal ends the power of large numbers

            def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
                if abs(right) > _EXPONENT:
                    raise _TemplateFaultError(f"it raises to the power of {right}")
                return super().call_binop(context, operator, left, right)

        class Generation(Extension):
            """The tag around what the assistant says, which other programs read; here its content stands as it is."""

            tags = {"generation"}  # noqa: RUF012  as jinja2 has it

            def parse(self, parser: Any) -> Any:
                next(parser.stream)
                return parser.parse_statements(("name:endgeneration",), drop_needle=True)

        environment = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation])
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = lambda form: _NOW.strftime(form)
        self._special = special
        try:
            with _limits():  # reading a template works out its constant expressions
                self._template = environment.from_string(source)
        except (Exception, _TemplateFaultError) as e:  # a parser's own recursion among them
            said = " ".join(str(e).split()) or type(e).__name__
            raise BenchError(f"the model's chat template cannot be read ({said[:200]})") from e

    def render(self, messages: Messages, *, generation: bool = False, tools: Sequence[Mapping[str, Any]] = ()) -> str:
        """The conversation as the model reads it. generation: end with what precedes an answer; tools: that it may call, in OpenAI's form.

        Raises BenchError when the template refuses the messages, fails, does not end or makes far too much of them.
        """
        data = [{"role": role, "content": content} for role, content in messages]
        limit = _FIXED + _GROWTH * (sum(len(content) for _, content in messages) + len(str(tools)))
        more = {**self._special, "tools": list(tools)} if tools else self._special
        try:
            with _limits():
                parts, length = [], 0
                for part in self._template.generate(messages=data, add_generation_prompt=generation, **more):
                    parts.append(part)
                    length += len(part)
                    if length > limit:
                        raise _TemplateFaultError(f"it writes more than {limit:,} characters")
                return "".join(parts)
        except (Exception, _TemplateFaultError) as e:  # whatever a template's code does, down to a division by zero
            said = " ".join(str(e).split()) or type(e).__name__
            raise BenchError(f"the model's chat template failed ({said[:200]})") from e

    def answers(self, messages: Messages) -> tuple[str, list[tuple[int, int]]]:
        """The rendered conversation, and where in it (characters) the assistant's answers stand.

        Raises BenchError for a template that renders the beginning of a conversation otherwise than on its own.
        """
        text, spans = self.render(messages), []
        for i, (role, content) in enumerate(messages):
            if role != "assistant":
                continue
            before = self.render(messages[:i], generation=True)
            common = next(
                (n for n, (a, b) in enumerate(zip(before, text, strict=False)) if a != b), min(len(before), len(text))
            )
            start = text.find(content.strip(), common)
            if start < 0 or common < len(before) - _SLACK:
                raise BenchError(
                    "the model's chat template changes earlier turns as a conversation goes on, so the assistant's tokens cannot be "
                    "told; leave --assistant-only out"
                )
            spans.append((start, start + len(content.strip())))
        return text, spans


#: Characters by which the end of a generation prompt may differ from how the turn then begins (a space, a thinking mark).
_SLACK = 32
#: Templates may tell the model the date: the same one in every run.
_NOW = datetime(2025, 1, 1)


class _TemplateFaultError(BaseException):
    """Something a template did. No Exception: jinja passes over those where it works out constants."""


def _raise(message: str) -> NoReturn:
    raise _TemplateFaultError(message)


@contextmanager
def _limits() -> Iterator[None]:
    """Time by a signal; memory, which one multiplication of a text can ask for by the terabyte, by a limit of the process."""

    def stop(*_: Any) -> NoReturn:
        raise _TemplateFaultError(f"it does not end within {_SECONDS} seconds")

    previous = signal.signal(signal.SIGALRM, stop)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(ValueError, OSError):  # where the system has no such limit, or a lower one
        resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + _MEMORY, hard))
    signal.setitimer(signal.ITIMER_REAL, _SECONDS, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
