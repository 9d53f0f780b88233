"""From requests to tokens, in a worker process."""

from __future__ import annotations

from collections.abc import Iterator

from bench.core.files import complete_or_absent
from bench.engine.llama import Model
from bench.engine.tokenize import without_bos
from bench.engine.tree import Scored, packs
from bench.execute.content import Site
from bench.execute.job import Share
from bench.measures.tasks.jobs import (
    Continuation,
    EncodedBatch,
    EncodedSequence,
    EncodedTasks,
    EncodedWriting,
    EncodeJob,
    EncodeResult,
    Requests,
    Whole,
    Writing,
)

#: Packs of a batch: what is lost where a measurement is interrupted.
_PACKS = 8
#: Texts that are written side by side, and tokens that these may have together.
_WRITINGS, _ROOM = 16, 8192


def encode(job: EncodeJob, site: Site, progress: Share) -> EncodeResult:
    """Write the encoded requests to `job.out`."""
    asked = Requests.model_validate_json(site.path(job.requests).read_bytes()).requests
    sequences: list[EncodedSequence] = []
    writings: list[EncodedWriting] = []
    cut = 0
    with Model(site.path(job.model), vocab_only=True) as model:
        encoder = _Encoder(model, job.context)
        for n, request in enumerate(asked):
            if isinstance(request, Writing):
                writing, was_cut = encoder.writing(n, request)
                writings.append(writing)
            elif isinstance(request, Continuation):
                sequence, was_cut = encoder.continuation(n, request)
                sequences.append(sequence)
            else:
                sequences += encoder.whole(n, request)
                was_cut = False
            cut += was_cut
            progress((n + 1) / len(asked))
    batches = [*_scored(sequences), *_written(writings)]
    with complete_or_absent(site.path(job.out)) as partial:
        partial.write_text(EncodedTasks(batches=tuple(batches)).model_dump_json(), encoding="utf-8")
    return EncodeResult(weights=tuple(b.weight for b in batches), cut=cut)


def _scored(sequences: list[EncodedSequence]) -> Iterator[EncodedBatch]:
    found = packs([Scored(s.tokens, s.first) for s in sequences])
    for start in range(0, len(found), _PACKS):
        together = found[start : start + _PACKS]
        yield EncodedBatch(packs=tuple(tuple(sequences[i] for i in pack) for pack in together))


def _written(writings: list[EncodedWriting]) -> Iterator[EncodedBatch]:
    """Texts of about the same length are written side by side, since all wait for the longest."""
    together: list[EncodedWriting] = []
    for w in sorted(writings, key=lambda w: (w.limit, len(w.tokens), w.request)):
        if together and (len(together) == _WRITINGS or sum(len(t.tokens) + t.limit for t in [*together, w]) > _ROOM):
            yield EncodedBatch(writings=tuple(together))
            together = []
        together.append(w)
    if together:
        yield EncodedBatch(writings=tuple(together))


class _Encoder:
    """How lm-evaluation-harness encodes (api/model.py, models/huggingface.py): a continuation is what a text has more tokens than its context
    alone; blanks at the end of the context belong to the continuation; a text that is too long loses its beginning."""

    def __init__(self, model: Model, context: int) -> None:
        self.model, self.context = model, context
        self.start = model.start_token()

    def _tokens(self, text: str, *, special: bool) -> list[int]:
        if special:
            text = without_bos(self.model, text)
        return [int(t) for t in self.model.tokenize(text, special=special)]

    def _bare(self, text: str) -> list[int]:
        return [int(t) for t in self.model.tokenize(text, start=False)]

    def continuation(self, n: int, request: Continuation) -> tuple[EncodedSequence, bool]:
        bare = request.context.rstrip()
        text = request.context[len(bare) :] + request.text
        if bare:
            before = self._tokens(bare, special=request.special)
            whole = self._tokens(bare + text, special=request.special)
            first = min(len(before), len(whole) - 1)
        else:
            whole, first = [self.start, *self._bare(text)], 1
        if first < 1:  # a text of one token, behind which nothing stands
            whole, first = [self.start, *whole], 1
        over = max(len(whole) - 1 - self.context, 0)
        over = min(over, first - 1)
        return EncodedSequence(request=n, tokens=tuple(whole[over : over + self.context + 1]), first=first - over), (
            len(whole) - 1 > self.context
        )

    def whole(self, n: int, request: Whole) -> list[EncodedSequence]:
        """Each token is predicted once, from as many as the context holds where so many precede it."""
        tokens = [self.start, *self._bare(request.text)]
        found, predicted, size = [], 1, self.context
        while predicted < len(tokens):
            end = min(predicted + size, len(tokens))
            begin = max(end - size - 1, 0)
            found.append(EncodedSequence(request=n, tokens=tuple(tokens[begin:end]), first=predicted - begin))
            predicted = end
        return found

    def writing(self, n: int, request: Writing) -> tuple[EncodedWriting, bool]:
        tokens = self._tokens(request.context, special=request.special) or [self.start]
        limit = min(request.limit, self.context - 1)
        room = self.context - limit
        return EncodedWriting(
            request=n,
            tokens=tuple(tokens[-room:]),
            endings=tuple(u for u in request.until if u),
            limit=limit,
            temperature=request.temperature,
            seed=request.seed,
        ), len(tokens) > room
