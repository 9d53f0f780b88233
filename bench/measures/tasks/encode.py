"""From requests to tokens, in a worker process."""

from __future__ import annotations

import json
from collections.abc import Iterator

from bench.core.errors import BenchError
from bench.core.files import complete_or_absent
from bench.engine.llama import Model
from bench.engine.tokenize import without_bos
from bench.engine.tree import Scored, packs, shared_tokens
from bench.execute.content import Site
from bench.execute.job import Share
from bench.measures.tasks.jobs import (
    Alternative,
    Chat,
    Continuation,
    EncodedBatch,
    EncodedSequence,
    EncodedWriting,
    EncodeJob,
    EncodeResult,
    Requests,
    Whole,
    Writing,
)
from bench.texts.chat import ChatTemplate, turn_mark

#: What a model is told of tools where its template does not tell it.
_TOOLS = """You can call these functions:
{tools}
To call one, answer with nothing but <tool_call>{{"name": NAME, "arguments": {{...}}}}</tool_call>."""

#: More tokens than these must follow what differs for that itself not to count.
_TRAILING = 3
#: Packs of a batch: what is lost where a measurement is interrupted.
_PACKS = 8
#: Texts that are written side by side, and tokens that these may have together.
_WRITINGS, _ROOM = 32, 8192


def encode(job: EncodeJob, site: Site, progress: Share) -> EncodeResult:
    """Write the encoded requests to `job.out`."""
    asked = Requests.model_validate_json(site.path(job.requests).read_bytes()).requests
    sequences: list[EncodedSequence] = []
    writings: list[EncodedWriting] = []
    cut = 0
    failed: dict[int, str] = {}
    with Model(site.path(job.model), vocab_only=True) as model:
        encoder = _Encoder(model, job.context, job.template)
        for n, request in enumerate(asked):
            try:
                if isinstance(request, Writing):
                    writing, was_cut = encoder.writing(n, request)
                    writings.append(writing)
                elif isinstance(request, Continuation):
                    sequence, was_cut = encoder.continuation(n, request)
                    sequences.append(sequence)
                elif isinstance(request, Alternative):
                    sequence, was_cut = encoder.alternative(n, request)
                    sequences.append(sequence)
                else:
                    sequences += encoder.whole(n, request)
                    was_cut = False
                cut += was_cut
            except BenchError as e:  # a template may refuse one conversation and take another
                failed[n] = str(e)
            progress((n + 1) / len(asked))
    if not sequences and not writings:
        raise BenchError(next(iter(failed.values()), "the tasks ask nothing"))
    batches = [*_scored(sequences), *_written(writings)]
    with complete_or_absent(site.path(job.out)) as partial:
        partial.write_text("".join(f"{b.model_dump_json()}\n" for b in batches), encoding="utf-8")
    return EncodeResult(
        batches=len(batches),
        cut=cut,
        failed=failed,
        side=max(len(b.writings) for b in batches),
        room=max(sum(len(w.tokens) + w.limit for w in b.writings) for b in batches),
    )


def _scored(sequences: list[EncodedSequence]) -> Iterator[EncodedBatch]:
    found = packs([Scored(s.tokens, s.first) for s in sequences])
    for start in range(0, len(found), _PACKS):
        together = found[start : start + _PACKS]
        yield EncodedBatch(packs=tuple(tuple(sequences[i] for i in pack) for pack in together))


def _written(writings: list[EncodedWriting]) -> Iterator[EncodedBatch]:
    """Texts of one limit are written side by side, since all wait for the longest; those that begin alike too, since that is read once."""
    together: list[EncodedWriting] = []
    for w in sorted(writings, key=lambda w: (w.limit, w.tokens, w.request)):
        if together and (len(together) == _WRITINGS or sum(len(t.tokens) + t.limit for t in [*together, w]) > _ROOM):
            yield EncodedBatch(writings=tuple(together))
            together = []
        together.append(w)
    if together:
        yield EncodedBatch(writings=tuple(together))


class _Encoder:
    """How lm-evaluation-harness encodes (api/model.py, models/huggingface.py): a continuation is what a text has more tokens than its context
    alone; blanks at the end of the context belong to the continuation; a text that is too long loses its beginning."""

    def __init__(self, model: Model, context: int, template: str | None) -> None:
        self.model, self.context = model, context
        self.start, self.end = model.start_token(), model.added_end()
        self.template = None if template is None else ChatTemplate(template, model.special_texts())
        self.turn = () if template is None else model.mark(turn_mark(template))
        self.infill = model.infill_tokens() or ()

    def _context(self, request: Continuation | Writing) -> str:
        """The context as a text."""
        if not request.chat:
            return request.context
        if self.template is None:
            raise BenchError("the model has no chat template")
        chat = Chat.model_validate_json(request.context)
        messages = [(m.role, m.content) for m in chat.messages]
        # an answer whose beginning is given is not ended by the template: the model goes on from there
        begun = messages.pop()[1] if not chat.generation and messages and messages[-1][0] == "assistant" else ""
        generation = chat.generation or bool(begun)
        text = self.template.render(messages, generation=generation, tools=chat.tools)
        if chat.tools and text == self.template.render(messages, generation=generation):
            # a template that does not know of tools: the model is told of them in words
            told = _TOOLS.format(tools="\n".join(json.dumps(t, ensure_ascii=False) for t in chat.tools))
            messages = [("system", told), *messages]
            text = self.template.render(messages, generation=generation)
        return without_bos(self.model, text + begun)

    def _tokens(self, text: str, *, special: bool) -> list[int]:
        """Tokens of a text that more follows: without the end that some vocabularies add."""
        tokens = [int(t) for t in self.model.tokenize(text, special=special)]
        return tokens[:-1] if len(tokens) > 1 and tokens[-1] == self.end else tokens

    def _bare(self, text: str, *, special: bool) -> list[int]:
        return [int(t) for t in self.model.tokenize(text, start=False, special=special)]

    def _ends(self, request: Writing) -> tuple[int, ...]:
        """Tokens that end a text beside the model's own end: the mark of the next turn, and those of infill prompts, as in `--kinds fim`."""
        return (*(self.turn if request.chat else ()), *(self.infill if request.special else ()))

    def continuation(self, n: int, request: Continuation) -> tuple[EncodedSequence, bool]:
        if not request.text:
            raise BenchError("its answer is empty, so there is nothing to score")
        context, special = self._context(request), request.chat or request.special
        bare = context if request.chat else context.rstrip()
        text = context[len(bare) :] + request.text
        if bare:
            before = self._tokens(bare, special=special)
            whole = self._tokens(bare + text, special=special)
            first = min(len(before), len(whole) - 1)
        else:
            whole, first = [self.start, *self._bare(text, special=special)], 1
        if first < 1:  # a text of one token, behind which nothing stands
            whole, first = [self.start, *whole], 1
        over = max(len(whole) - 1 - self.context, 0)
        over = min(over, first - 1)
        return EncodedSequence(request=n, tokens=tuple(whole[over : over + self.context + 1]), first=first - over), (
            len(whole) - 1 > self.context
        )

    def alternative(self, n: int, request: Alternative) -> tuple[EncodedSequence, bool]:
        """As llama-perplexity scores its tasks."""
        all_tokens = [self._tokens(text, special=False) for text in request.texts]
        shared = min(shared_tokens(all_tokens[0], t) for t in all_tokens[1:])
        tokens, first, end = all_tokens[request.index], shared, len(all_tokens[request.index])
        if request.heads is not None:
            if all(len(t) - shared > _TRAILING for t in all_tokens):
                first = len(self._tokens(request.heads[request.index], special=False))
            end -= len(tokens) - first > 1
        if first == 0:  # a vocabulary that puts nothing at the start of a text
            tokens, first, end = [self.start, *tokens], 1, end + 1
        if first >= end:
            raise BenchError("the texts that are to be told apart do not differ")
        if end - 1 > self.context:
            raise BenchError(f"it takes {end} tokens, and the context holds {self.context}")
        return EncodedSequence(request=n, tokens=tuple(tokens[:end]), first=first), False

    def whole(self, n: int, request: Whole) -> list[EncodedSequence]:
        """Each token is predicted once, from as many as the context holds where so many precede it."""
        tokens = [self.start, *self._bare(request.text, special=False)]
        if len(tokens) == 1:
            raise BenchError("its text is empty, so there is nothing to score")
        found, predicted, size = [], 1, self.context
        while predicted < len(tokens):
            end = min(predicted + size, len(tokens))
            begin = max(end - size - 1, 0)
            found.append(EncodedSequence(request=n, tokens=tuple(tokens[begin:end]), first=predicted - begin))
            predicted = end
        return found

    def writing(self, n: int, request: Writing) -> tuple[EncodedWriting, bool]:
        special = request.chat or request.special
        tokens = self._tokens(self._context(request), special=special) or [self.start]
        # a prompt that fits is never cut: a limit beyond the context is
        limit = max(min(request.limit, self.context - len(tokens)), min(request.limit, self.context // 4))
        room = self.context - limit
        return EncodedWriting(
            request=n,
            tokens=tuple(tokens[-room:]),
            endings=tuple(u for u in request.until if u),
            ends=self._ends(request),
            limit=limit,
            temperature=request.temperature,
            seed=request.seed,
        ), len(tokens) > room
