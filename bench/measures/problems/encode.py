"""From problems to tokens, in a worker process: infill prompts and conversations as the model was trained to read them."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.core.files import complete_or_absent
from bench.engine.llama import Model
from bench.engine.tokenize import without_bos
from bench.execute.content import Site
from bench.execute.job import Share
from bench.measures.problems.jobs import EncodedProblem, EncodedSet, EncodedStop, EncodeJob, EncodeResult
from bench.measures.problems.sets import CODE, FIM, Infill, Stop, problem_set
from bench.texts.chat import ChatTemplate
from bench.texts.conversations import Conversation

#: Scored tokens of a batch, unless one problem alone has more: as many as of a window of 2048.
_BATCH = 1024


def encode(job: EncodeJob, site: Site, progress: Share) -> EncodeResult:
    """Write the encoded set to `job.out`. Raises BenchError for a model that lacks what the kind of problem needs."""
    found = problem_set(job.problems if isinstance(job.problems, str) else str(site.path(job.problems)))
    encoded: list[EncodedProblem] = []
    left_out: dict[str, str] = {}
    with Model(site.path(job.model), vocab_only=True) as model:
        encoder: _Code | _Conversations
        if found.kind == FIM:
            encoder = _Infills(model)
        elif found.kind == CODE:
            encoder = _Beginnings(model)
        else:
            encoder = _Conversations(model, job)
        for problem in found.problems:
            try:
                tokens = encoder.encode(problem)  # type: ignore[arg-type]
            except BenchError as e:  # a template may refuse one conversation and take another
                left_out[problem.name] = str(e)
                continue
            needed = max(len(tokens.tokens), (tokens.prompt or 0) + (tokens.stop.limit if tokens.stop else 0))
            if needed > job.context:
                left_out[problem.name] = (
                    f"with its completion it takes {needed} tokens, and the context holds {job.context}"
                )
            elif not tokens.n_scored:
                left_out[problem.name] = "it has no token to score"
            else:
                encoded.append(tokens)
    if not encoded:
        raise BenchError(next(iter(left_out.values())))
    batches = _batches(encoded)
    with complete_or_absent(site.path(job.out)) as partial:
        partial.write_text(EncodedSet(batches=batches).model_dump_json(), encoding="utf-8")
    return EncodeResult(
        batches=len(batches),
        problems=len(encoded),
        rows=max(sum(p.n_scored for p in b) for b in batches),
        left_out=left_out,
    )


def _batches(problems: list[EncodedProblem]) -> tuple[tuple[EncodedProblem, ...], ...]:
    batches: list[list[EncodedProblem]] = []
    filled = _BATCH
    for problem in problems:
        if filled + problem.n_scored > _BATCH:
            batches.append([])
            filled = 0
        batches[-1].append(problem)
        filled += problem.n_scored
    return tuple(tuple(b) for b in batches)


class _Code(ABC):
    """Code with a gap: a prompt, and what belongs into the gap behind it."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.start = [] if model.bos is None else [model.bos]

    @abstractmethod
    def prompt(self, problem: Infill) -> list[int]:
        """Tokens that the model goes on from."""

    def encode(self, problem: Infill) -> EncodedProblem:
        prompt, middle = self.prompt(problem), self.model.continued(problem.middle)
        stop = Stop.of(problem)
        return EncodedProblem(
            name=problem.name,
            group=problem.group,
            tokens=tuple(prompt + middle),
            scored=((len(prompt), len(prompt) + len(middle)),),
            prompt=len(prompt),
            expected=problem.middle,
            stop=EncodedStop(
                single_line=stop.single_line, next_line=stop.next_line, limit=stop.limit, lines=stop.lines
            ),
        )

    def bare(self, text: str) -> list[int]:
        return [int(t) for t in self.model.tokenize(text, start=False)]


class _Infills(_Code):
    """[start] PRE prefix SUF suffix MID middle: the order that every model with these tokens was trained on."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        found = model.infill_tokens()
        if found is None:
            raise BenchError(
                "the model has no infill tokens (prefix, suffix, middle), so infill problems are left out for it; "
                "--kinds code has it go on with the fixed ones from their beginnings"
            )
        self.pre, self.suf, self.mid = found

    def prompt(self, problem: Infill) -> list[int]:
        suffix = self.model.continued(problem.suffix)
        return [*self.start, self.pre, *self.bare(problem.prefix), self.suf, *suffix, self.mid]


class _Beginnings(_Code):
    """[start] prefix middle: any model can go on with code, and cannot see what follows the gap."""

    def prompt(self, problem: Infill) -> list[int]:
        return [*self.start, *self.bare(problem.prefix)]


class _Conversations:
    """A conversation rendered with the template; all its tokens are scored, or the assistant's."""

    def __init__(self, model: Model, job: EncodeJob) -> None:
        if job.template is None:
            raise BenchError("the model has no chat template, so conversations are left out for it")
        self.model, self.assistant_only = model, job.assistant_only
        self.special = model.special_texts()
        self.template = ChatTemplate(job.template, self.special)

    def encode(self, conversation: Conversation) -> EncodedProblem:
        text, spans = (
            self.template.answers(conversation.messages)
            if self.assistant_only
            else (self.template.render(conversation.messages), [])
        )
        whole, text = text, without_bos(self.model, text)
        cut = len(whole) - len(text)
        spans = [(a - cut, b - cut) for a, b in spans]
        tokens = self.model.tokenize(text, special=True)
        scored = self._ranges(text, tokens, spans) if self.assistant_only else ((1, len(tokens)),)
        return EncodedProblem(
            name=conversation.name, group=conversation.group, tokens=tuple(int(t) for t in tokens), scored=scored
        )

    def _ranges(
        self, text: str, tokens: NDArray[np.int32], spans: list[tuple[int, int]]
    ) -> tuple[tuple[int, int], ...]:
        """Ranges of tokens that begin within spans of characters, the first token of all left out: nothing precedes it."""
        starts = self._starts(text.encode(), tokens)
        ranges = []
        for a, b in spans:
            low, high = (len(text[:x].encode()) for x in (a, b))
            inside = np.flatnonzero((starts >= low) & (starts < high))
            inside = inside[inside > 0]
            if len(inside):
                ranges.append((int(inside[0]), int(inside[-1]) + 1))
        return tuple(ranges)

    def _starts(self, text: bytes, tokens: NDArray[np.int32]) -> NDArray[np.int64]:
        """Where in the text each token begins, found by spelling the tokens out along it."""
        starts, at = [], 0
        for i, token in enumerate(tokens):
            starts.append(at)
            piece = self.model.piece(int(token), special=True)
            if i == 0 and token == self.model.bos:
                continue  # tokenizing put it there
            if not text.startswith(piece, at):
                piece = piece.removeprefix(b" ")  # vocabularies of the SentencePiece kind add one after special tokens
            if not text.startswith(piece, at):
                raise BenchError(
                    "the vocabulary does not give the text back, so the assistant's tokens cannot be told; leave --assistant-only out"
                )
            at += len(piece)
        return np.array(starts)
