"""The inputs of a run as one value, made once from the options; each part is made when it is first needed.

Commands, the sweep, choices and measures get a Work and take the parts that they need. A Work does not change while it is used,
and nothing is fetched, computed or refused before something asks for the part that it belongs to.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Literal, Self

from bench.core.checked import FileNote, keep_file, kept_file, tell_damage
from bench.core.errors import BenchError
from bench.core.files import complete_or_absent, file_sha256, own_tag
from bench.core.machine import cpu_quota, cpus_for
from bench.core.progress import Reporter
from bench.engine.jobs import LibraryJob, TokenizeJob
from bench.engine.reference_logits import ReferenceLogits
from bench.engine.settings import LibraryInfo, Offload, Settings
from bench.execute.content import Content
from bench.execute.job import Answer, Executor, Job, Share
from bench.execute.local import LocalExecutor
from bench.gguf_files.header import tokens_sha256
from bench.gguf_files.info import ModelInfo, inspect
from bench.models.reference import Reference, reference
from bench.quantize.imatrix import CHUNK_TOKENS, ImportanceMatrix
from bench.quantize.imatrix_file import read, write
from bench.quantize.jobs import ImportanceJob, QuantizeJob
from bench.quantize.sums import Sums
from bench.recipes.recipe import Recipe
from bench.texts import prompts
from bench.texts.conversations import holds_conversations
from bench.texts.traces import Traces
from bench.workbench.cache import remove_unfinished
from bench.workbench.checks import check_library, check_threads
from bench.workbench.devices import offload_asked
from bench.workbench.kept import FILES, Built, Matrix, Stream, key, read_count, write_count
from bench.workbench.options import Options
from bench.workbench.scratch import SCRATCH, scratch_folder
from bench.workbench.text import Source, Text, scored_text

#: Tokens that llama.cpp computes at once.
_UBATCH = 512


class Work:
    """What a run works with. options: what was asked for; reporter: who is told what goes on."""

    def __init__(self, options: Options, reporter: Reporter) -> None:
        self.options, self.reporter = options, reporter

    def with_recipes(self, recipes: tuple[str, ...]) -> Self:
        """The same for other recipes: what was made already is not made again."""
        other = copy.copy(self)
        other.options = replace(self.options, recipes=recipes)
        return other

    # --- the machine and the engine -----------------------------------------------------------------------------------

    @cached_property
    def threads(self) -> int:
        """Raises BenchError for more than this process may use. More than a container's quota are told: they wait for each other."""
        threads, quota = check_threads(self.options.threads), cpu_quota()
        if quota is not None and threads > quota:
            self.reporter.warn(
                f"--threads {threads}: this container gets the time of {quota} {'CPU' if quota == 1 else 'CPUs'}, so threads are stopped again and "
                f"again and speeds say little; give --threads {quota}"
            )
        return threads

    @cached_property
    def cpus(self) -> tuple[int, ...]:
        """What pinned jobs run on: a CPU for each thread."""
        return tuple(cpus_for(self.threads))

    @cached_property
    def executor(self) -> Executor:
        """What does jobs."""
        return LocalExecutor(self.options.cache, self.cpus)

    @cached_property
    def library(self) -> LibraryInfo:
        """The engine as it reports itself. Raises BenchError when it was not built for what is required."""
        found = self.executor.do(LibraryJob())
        check_library(found, self.options.isa)
        return found

    @cached_property
    def settings(self) -> Settings:
        """How windows are processed."""
        o = self.options
        return Settings(
            window=o.window,
            batch=o.window,
            ubatch=min(_UBATCH, o.window),
            threads=self.threads,
            generate=0 if o.no_speed else min(o.generate, o.window),
            scored="written" if o.traces is not None else _scored(o.score),
            offload=self.offload,
        )

    @cached_property
    def offload(self) -> Offload | None:
        """The device that scores are computed on, None for the CPU. Raises BenchError where there is none, or not room for what is asked."""
        return offload_asked(
            self.options, self.executor, lambda: (self.reference.info, self.model), self.threads, self.reporter
        )

    # --- the model and the text ---------------------------------------------------------------------------------------

    @cached_property
    def reference(self) -> Reference:
        """The model that every recipe starts from; fetched, hashed and widened when it has to be."""
        o = self.options
        return reference(
            o.model, o.cache, allow_quantized=o.allow_quantized, widen_to_256=o.widen, reporter=self.reporter
        )

    @cached_property
    def model(self) -> Content:
        """The reference's file, as jobs name it."""
        return self.executor.hold(self.reference.path, self.reference.sha256)

    def text(self, windows: int | None) -> Text:
        """What is scored. windows: how many of it, None for all."""
        return scored_text(self.options, windows, self.reporter)

    def stream(
        self,
        source: Source,
        model: ModelInfo | None = None,
        content: Content | None = None,
        template: str | None = None,
    ) -> Stream:
        """Tokens of a part of the prompt set, a text file or traces, under the vocabulary of a model: the reference unless told.

        template: of a chat, for a file of conversations. Raises BenchError for traces of another vocabulary.
        """
        info, model_content = model or self.reference.info, content or self.model
        if isinstance(source, Traces):
            if model is None and source.header.model.sha256 != self.reference.sha256:
                self.reporter.warn(
                    f"{source.path}: was written by {source.header.model.name}, another model than the reference {info.name}: so figures are about what that one says"
                )
            return self._passages(source, info)
        name, digest = prompts.identify(source)
        asked = [info.vocabulary_sha256, digest, version("llama-cpp-python")]
        text = self.executor.hold(source, digest) if isinstance(source, Path) else source
        stream = Stream(name, key(*asked, template) if template else key(*asked), text)
        path = self.executor.site.path(stream.content)
        count = read_count(path, self.reporter.warn)
        if count is None:
            job = TokenizeJob(model=model_content, source=text, out=stream.content, template=template)
            count = self.executor.do(job).tokens
            write_count(path, count)
        return replace(stream, tokens=count)

    def _passages(self, traces: Traces, info: ModelInfo) -> Stream:
        """What a model wrote, as windows: its tokens are in the file."""
        writer, window = traces.header.model, self.options.window
        if writer.tokens_sha256 != tokens_sha256(info.path):
            raise BenchError(
                f"{traces.path}: was written by {writer.name}, and {info.name} has another vocabulary, in which its tokens mean other things; "
                f"make traces of a model that has it with `traces`"
            )
        stream = Stream(traces.name, key("traces", traces.sha256, window), None)
        path = self.executor.site.path(stream.content)
        count = read_count(path, self.reporter.warn)
        if count is None:
            made = traces.stream(window)
            with complete_or_absent(path) as partial, partial.open("wb") as f:
                made.save(f)
            write_count(path, count := len(made.tokens))
        return replace(stream, tokens=count)

    @cached_property
    def calibration(self) -> Stream:
        """Tokens of the text that importance and sensitivities are measured on; conversations stand in it as the model reads them.

        Raises BenchError for conversations that the model has no template for.
        """
        path = self.options.calibration
        if path is None or not path.is_file() or not holds_conversations(path):
            return self.stream(path or prompts.CALIBRATION)
        template = self.reference.chat_template
        if template is None:
            raise BenchError(
                f"{path}: holds conversations, and {self.reference.info.name} has no chat template to render them with; give a text"
            )
        return self.stream(path, template=template)

    # --- what lies in the cache for the time being ---------------------------------------------------------------------

    def scratch(self, name: str) -> Content:
        """A file of this process alone: the same run may be under way elsewhere."""
        return Content(name=f"{SCRATCH}/{own_tag()}/{name}")

    @contextmanager
    def scratch_files(self) -> Iterator[None]:
        """Room for such files, which are gone after the outermost block. Meanwhile nobody clears the cache."""
        folder = self.executor.site.path(self.scratch("any")).parent.parent
        with scratch_folder(folder, lambda: remove_unfinished(folder.parent)):
            yield

    def do_compared(
        self, job: Job[Answer], logits: Content | None, again: Callable[[], object], share: Share | None = None
    ) -> Answer:
        """Do a job that compares with the reference's logits; once more where it fails because they are not as they were kept.

        logits: None for a job that compares with none; again: makes them again. Raises what the job raises.
        """
        try:
            return self.executor.do(job, share)
        except BenchError:
            if logits is None:
                raise
            kept = ReferenceLogits(self.executor.site.path(logits), self.reference.info.vocabulary)
            if kept.intact():
                raise
            tell_damage(kept.path, self.reporter.warn)
        again()
        return self.executor.do(job, share)

    # --- what files are made with -------------------------------------------------------------------------------------

    @cached_property
    def importance(self) -> Matrix | None:
        """The importance matrix to quantize with: the user's, one computed from the calibration text, or none; with a prior, if one is asked for.

        Raises BenchError for a file that is no matrix of this model.
        """
        o = self.options
        if o.no_imatrix:
            return None
        data = Matrix.of_file(o.imatrix, self.reference.info, self.executor) if o.imatrix else self._collected
        if not o.prior_weight:
            return data
        content = Content(name=f"imatrix/{self.reference.path.stem}-{key(data.sha256, o.prior_weight)}.gguf")
        path = self.executor.site.path(content)
        note = kept_file(path, FileNote, self.reporter.warn)
        if note is None:
            write(read(data.path).with_prior(o.prior_weight, data.path), path)
            note = keep_file(path)
        return Matrix(path, content, note.sha256)

    @cached_property
    def _collected(self) -> Matrix:
        """The importance matrix of the calibration text, out of the cache or computed."""
        o = self.options
        content = self._importance_content
        path = self.executor.site.path(content)
        with self.reporter.steps("Importance matrix", 1) as steps:
            note = kept_file(path, FileNote, self.reporter.warn)
            if note is None:
                job = ImportanceJob(
                    model=self.model,
                    stream=self.calibration.content,
                    dataset=self.calibration.name,
                    chunks=o.calibration_chunks,
                    threads=self.threads,
                    out=content,
                    offload=self.offload,
                )
                self.executor.do(job, steps.share)
                note = keep_file(path)
        return Matrix(path, content, note.sha256)

    @property
    def _importance_content(self) -> Content:
        """Where a matrix of the calibration text is kept."""
        named = key(
            self.reference.sha256,
            self.calibration.key,
            self.options.calibration_chunks,
            self.library.binding,
            self.library.isa,
            *([] if self.offload is None else [self.offload.model_dump_json()]),
        )
        return Content(name=f"imatrix/{self.reference.path.stem}-{named}.gguf")

    @property
    def chunks_to_sum(self) -> int:
        """Chunks of the calibration text whose sums make the importance matrix; 0 where there is one, or none is wanted."""
        o = self.options
        path = None if o.no_imatrix or o.imatrix else self.executor.site.path(self._importance_content)
        if path is None or kept_file(path, FileNote, lambda _: None) is not None:
            return 0
        chunks = self.calibration.tokens // CHUNK_TOKENS
        return min(chunks, o.calibration_chunks or chunks)

    def keep_importance(self, total: Sums, chunks: int) -> None:
        """Keep the matrix that sums of so many chunks make. Raises BenchError for sums that are not finite."""
        path = self.executor.site.path(self._importance_content)
        entries = total.entries(str(self.reference.path))
        write(ImportanceMatrix(entries, (self.calibration.name,), chunks, CHUNK_TOKENS), path)
        keep_file(path)

    def origin(self, matrix: Matrix | None) -> str:
        """Names what quantized tensors depend on, beside tensor and type."""
        return key(self.reference.sha256, matrix.sha256 if matrix else None, self.library.binding, self.library.isa)

    def quantized(self, recipe: Recipe, share: Share) -> Built:
        """A recipe's file, out of the cache or made. Its key holds all that it depends on: model, recipe, importance,
        engine, and what writes it.

        Raises BenchError for a recipe that cannot be made of the model.
        """
        assert recipe.size is None, f"{recipe.name}: its choices are to be made before it is built (chooser.py)"
        matrix = None if recipe.plain else self.importance
        origin = self.origin(matrix)
        name = f"{self.reference.path.stem}-{recipe.name}-{key(FILES, origin, recipe.fingerprint)}.gguf"
        content = Content(name=f"quantized/{name}")
        path = self.executor.site.path(content)
        if (found := Built.noted(path, self.reporter.warn, share)) is not None:
            return found
        job = QuantizeJob(
            model=self.model,
            recipe=recipe,
            importance=matrix.content if matrix else None,
            threads=self.threads,
            out=content,
            origin=origin,
        )
        result = self.executor.do(job, share)
        info = inspect(path)
        built = Built(
            path=path,
            sha256=file_sha256(path),
            n_bytes=info.n_bytes,
            bits_per_weight=info.bits_per_weight,
            weights_by_type=info.weights_by_type,
            importance_sha256=matrix.sha256 if matrix else None,
            result=result,
        )
        built.write_note()
        self.tell_damaged(result.damaged)
        return built

    def tell_damaged(self, things: Iterable[str]) -> None:
        """Tell of tensors whose blocks in the cache were damaged, and of other things a worker found so."""
        for thing in things:
            self.reporter.warn(f"{thing}: its data in the cache were damaged and have been made anew")


def _scored(asked: str) -> Literal["half", "all"]:
    """Raises BenchError for what is neither."""
    if asked not in ("half", "all"):
        raise BenchError(f"--score {asked}: is not known; give half (the second half of each window) or all")
    return "all" if asked == "all" else "half"
