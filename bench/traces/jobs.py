"""The job of one conversation: request to a worker, and its answer."""

from __future__ import annotations

from typing import ClassVar

from bench.execute.content import Content
from bench.execute.job import Job
from bench.texts.traces import Message, Talk


class TalkJob(Job[Talk]):
    """Have a model answer the turns of a conversation.

    messages: of which answers of the assistant are replaced by the model's own; seed: all draws of the conversation follow from it and from its
    name; temperature: see engine/sampling.py; turns: answers at most, 0 for all; tokens: of an answer at most; window: tokens of a passage at
    most; the others as in texts/traces.py.
    """

    done_by: ClassVar[str] = "bench.traces.talk:talk"
    pinned: ClassVar[bool] = True

    model: Content
    template: str
    name: str
    group: str
    messages: tuple[Message, ...]
    seed: int
    temperature: float
    turns: int
    tokens: int
    window: int
    threads: int
