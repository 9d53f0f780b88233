"""A conversation in which a model writes the answers, in a worker process."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.core.errors import BenchError
from bench.engine.context import Context
from bench.engine.llama import Model
from bench.engine.sampling import sampled
from bench.execute.content import Site
from bench.execute.job import Share
from bench.texts.chat import ChatTemplate, turn_mark
from bench.texts.traces import Answer, Message, Passage, Talk
from bench.traces.jobs import TalkJob

#: Tokens that are computed at once.
_UBATCH = 512
_ASSISTANT = "assistant"


def talk(job: TalkJob, site: Site, progress: Share) -> Talk:
    """Raises BenchError for a template that refuses the conversation, and where nothing fits into the window."""
    turns = sum(role == _ASSISTANT for role, _ in script(job.messages))
    turns = min(turns, job.turns) if job.turns else turns
    with Model(site.path(job.model)) as model:
        ubatch = min(_UBATCH, job.window)
        with Context(model, n_ctx=job.window, n_batch=job.window, n_ubatch=ubatch, threads=job.threads) as context:
            speaker = _Speaker(job, context)
            for role, content in script(job.messages):
                if role != _ASSISTANT:
                    speaker.messages.append((role, content))
                    continue
                done = len(speaker.answers)
                if done == turns or not speaker.answer(lambda share, done=done: progress((done + share) / turns)):  # type: ignore[misc]
                    break
    return speaker.result()


def script(messages: Sequence[Message]) -> Iterator[tuple[str, str]]:
    """What is said in turn; nothing for the assistant, whose turn it is. What an assistant says without being asked is left out."""
    asked = False
    for message in messages:
        if message.role == _ASSISTANT and asked:
            asked = False
            yield _ASSISTANT, ""
        elif message.role != _ASSISTANT:
            asked = asked or message.role != "system"
            yield message.role, message.content
    if asked:
        yield _ASSISTANT, ""


@dataclass
class _Open:
    """A passage as far as it goes. text: what its tokens spell, with special tokens."""

    text: str
    tokens: list[int]
    written: list[tuple[int, int]] = field(default_factory=list)


class _Speaker:
    """A model in a conversation. messages: said so far; answers: that it gave."""

    def __init__(self, job: TalkJob, context: Context) -> None:
        self.messages: list[tuple[str, str]] = []
        self.answers: list[Answer] = []
        self._job, self._context, self._model = job, context, context.model
        self._special = context.model.special_texts()
        self._template = ChatTemplate(job.template, self._special)
        self._ends = context.model.mark(turn_mark(job.template))
        self._passages: list[_Open] = []
        # Python promises that these are the same in every version
        self._chance = random.Random(f"{job.seed}/{job.name}").random

    def answer(self, progress: Share) -> bool:
        """Have the model answer; whether there was room to do so."""
        job, passage = self._job, self._passage()
        room = job.window - len(passage.tokens)
        if room <= 0:
            return False
        limit, first = min(job.tokens, room), len(passage.tokens)
        past = self._context.n_past
        self._context.prepare(np.array(passage.tokens[past:], np.int32), first - past - 1)
        self._context.decode()
        for token in sampled(self._context, limit, job.temperature, self._chance, self._ends):
            passage.tokens.append(token)
            progress((len(passage.tokens) - first) / limit)
        if not passage.written:
            self._passages.append(passage)
        written = passage.tokens[first:]
        passage.written.append((first, len(passage.tokens)))
        ended = self._model.is_end(written[-1]) or written[-1] in self._ends
        said = self._spelled(written[:-1] if ended else written)
        passage.text += said + (self._spelled(written[-1:]) if ended else "")
        self.messages.append((_ASSISTANT, said))
        stop = "ended" if ended else "limit" if limit == job.tokens else "full"
        self.answers.append(Answer(tokens=len(written), stop=stop))  # type: ignore[arg-type]
        return stop != "full"

    def _passage(self) -> _Open:
        """What the model goes on from: its last passage, or a new one where the template renders that otherwise by now."""
        text = self._template.render(self.messages, generation=True)
        bos = self._special["bos_token"]
        if self._model.bos is not None and bos and text.startswith(bos):  # which tokenizing puts there itself
            text = text[len(bos) :]
        last = self._passages[-1] if self._passages else None
        if last is not None and text.startswith(last.text):
            last.tokens += self._model.continued(text[len(last.text) :], special=True)
            last.text = text
            return last
        self._context.clear()
        return _Open(text, [int(t) for t in self._model.tokenize(text, special=True)])

    def _spelled(self, tokens: Sequence[int]) -> str:
        return b"".join(self._model.piece(t, special=True) for t in tokens).decode("utf-8", "replace")

    def result(self) -> Talk:
        if not self.answers:
            raise BenchError(
                f"{self._job.name}: its first question leaves no room for an answer; give a larger --window"
            )
        return Talk(
            name=self._job.name,
            group=self._job.group,
            messages=tuple(Message(role=role, content=content) for role, content in self.messages),
            # what was read after the last answer is in no window
            passages=tuple(
                Passage(tokens=tuple(p.tokens[: p.written[-1][1]]), written=tuple(p.written)) for p in self._passages
            ),
            answers=tuple(self.answers),
        )
