"""Jobs for tasks: requests to a worker, and its answers in raw values.

What a task asks of a model are requests, of the three kinds that lm-evaluation-harness has: how probable a continuation is, how probable a whole
text is, and what the model writes; and of the one that llama-perplexity has: how probable texts are from where they differ. They are encoded once for a vocabulary, in batches; every file answers the same batches.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from bench.core.values import Amount, Count, Number, Some
from bench.execute.content import Content
from bench.execute.job import Frozen, Job


class Message(Frozen):
    """A turn of a conversation."""

    role: str
    content: str


class Chat(Frozen):
    """A conversation that the model's template renders. tools: that the model may call, as chat templates take them (OpenAI's form of a
    function); generation: whether it ends with what precedes an answer."""

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    generation: bool = True


class Continuation(Frozen):
    """How probable is a text behind another? chat: whether the context is a Chat as JSON, to be rendered with the model's template; special: whether special
    tokens that the context and the text spell are read as such, as those of a rendered conversation always are."""

    kind: Literal["continuation"] = "continuation"
    context: str
    text: str
    chat: bool = False
    special: bool = False


class Alternative(Frozen):
    """How probable is one of several texts, from where they differ? index: which; heads: what each begins with, up to the end of what differs: then only
    what follows counts, but for the last token, where more than three tokens do (llama-perplexity's --winogrande)."""

    kind: Literal["alternative"] = "alternative"
    texts: Annotated[tuple[str, ...], Field(min_length=2)]
    index: Count
    heads: tuple[str, ...] | None = None


class Whole(Frozen):
    """How probable is a text, all of it?"""

    kind: Literal["whole"] = "whole"
    text: str


class Writing(Frozen):
    """What does the model write behind a text? It ends before the first of `until`, with the model's own end, or after `limit` tokens.

    chat, special: as in Continuation; temperature: 0 for always the likeliest token; seed: of the numbers that it is drawn with otherwise.
    """

    kind: Literal["writing"] = "writing"
    context: str
    until: tuple[str, ...] = ()
    limit: Some
    temperature: Amount = 0.0
    seed: Count = 0
    chat: bool = False
    special: bool = False


Request = Annotated[Continuation | Alternative | Whole | Writing, Field(discriminator="kind")]


def identifying(request: Request) -> bytes:
    """What a request is told apart by. One that asks for no special tokens is what it was before any did, and so are its records."""
    asks = isinstance(request, Continuation | Writing) and request.special
    return request.model_dump_json(exclude=None if asks else {"special"}).encode()


class Requests(Frozen):
    """All that is asked, in a file."""

    requests: tuple[Request, ...]


class EncodedSequence(Frozen):
    """Tokens of a request, of which those from `first` on are scored. A long text is several sequences."""

    request: Count
    tokens: tuple[int, ...]
    first: Some


class EncodedWriting(Frozen):
    """A request for writing as tokens. endings: texts that it ends before; ends: tokens that end it, beside the model's own."""

    request: Count
    tokens: tuple[int, ...]
    endings: tuple[str, ...]
    ends: tuple[int, ...] = ()
    limit: Some
    temperature: Amount
    seed: Count


class EncodedBatch(Frozen):
    """What one job answers: sequences in packs that are computed together (engine/tree.py), or texts that are written side by side."""

    packs: tuple[tuple[EncodedSequence, ...], ...] = ()
    writings: tuple[EncodedWriting, ...] = ()


class EncodeResult(Frozen):
    """batches: how many there are; cut: how many requests were longer than the context holds and lost their beginning; failed: why some
    could not be encoded, by their number; side, room: most texts that are written side by side, and tokens that such a batch may have."""

    batches: Some
    cut: Count
    failed: dict[int, str] = Field(default_factory=dict)
    side: Count = 0
    room: Count = 0


class EncodeJob(Job[EncodeResult]):
    """Turn requests into tokens of a model's vocabulary. requests: a file of Requests; template: of the model's conversations; context: tokens that
    one may have; out: an EncodedBatch a line, as JSON."""

    done_by: ClassVar[str] = "bench.measures.tasks.encode:encode"

    model: Content
    requests: Content
    template: str | None
    context: int
    out: Content


class Probability(Frozen):
    """Of a continuation, or of a whole text. logarithm: of its probability, nats; tokens: of it; greedy: whether each of them is the likeliest."""

    request: Count
    logarithm: Number
    tokens: Some
    greedy: bool


class Written(Frozen):
    """What a model wrote. tokens: how many; end: of its own, at a text that it was to end before, at the limit, or where it went round in a loop: the
    last two never ended by themselves."""

    request: Count
    text: str
    tokens: Count
    end: Literal["own", "text", "limit", "loop"]


class AnswerResult(Frozen):
    probabilities: tuple[Probability, ...] = ()
    written: tuple[Written, ...] = ()


class AnswerJob(Job[AnswerResult]):
    """Answer a batch of encoded requests with a model."""

    done_by: ClassVar[str] = "bench.measures.tasks.answer:answer"
    pinned: ClassVar[bool] = True

    model: Content
    tasks: Content
    batch: int
    threads: int
