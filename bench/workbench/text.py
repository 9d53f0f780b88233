"""The text to score: the fixed prompts, a user's own text, that of a dataset, or what a model wrote."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.progress import Reporter
from bench.texts import prompts
from bench.texts.traces import Traces, is_traces, read_traces
from bench.workbench.options import Options

#: What a stream of tokens is made of.
Source = Path | prompts.Part | Traces


@dataclass(frozen=True)
class Text:
    """What is scored. source: a part of the fixed prompts, a file or traces; name, sha256: as results are identified by.

    fingerprint: of a dataset, with the commit that its name stood for.
    """

    source: Source
    name: str
    sha256: str
    fingerprint: str | None = None

    @property
    def windows(self) -> int | None:
        """How many windows there are of it, where that is known before it is in tokens."""
        return len(self.source.passages) if isinstance(self.source, Traces) else None

    @property
    def source_version(self) -> dict[str, str]:
        """For the record's header, beside the versions of programs."""
        return {"dataset": self.fingerprint} if self.fingerprint else {}


#: Bytes of text to take of a dataset that is read as it comes: for this many windows or fewer the same text.
_DATASET_WINDOWS, _BYTES_PER_TOKEN = 128, 16


def scored_text(options: Options, windows: int | None, reporter: Reporter) -> Text:
    """The text to score. Raises BenchError where several are asked for.

    windows: how many are to be scored, None for all of the text: of a dataset only as many rows are taken as that needs.
    """
    asked = {
        "--text": options.text,
        "--dataset": options.dataset,
        "--languages": options.languages,
        "--traces": options.traces,
    }
    given = [flag for flag, value in asked.items() if value]
    if len(given) > 1:
        raise BenchError(f"{' and '.join(given)} say what to score, each another thing; leave all but one out")
    if options.traces is not None:
        if options.score != "half":
            raise BenchError(
                "--score says which tokens of a text are scored, and of --traces it is what the model wrote; leave it out"
            )
        traces = read_traces(options.traces)
        return Text(traces, traces.name, traces.sha256)
    if options.dataset is None:
        if options.text is not None and is_traces(options.text):
            raise BenchError(
                f"--text {options.text}: holds what a model wrote, of which only that is scored; give it with --traces"
            )
        source = options.text or prompts.part(options.languages)
        return Text(source, *prompts.identify(source))
    return _of_dataset(options.dataset, options.window, windows, options.cache, reporter)


def _of_dataset(dataset: str, window: int, windows: int | None, cache: Path, reporter: Reporter) -> Text:
    from bench.texts.dataset import dataset_text

    limit = max(windows, _DATASET_WINDOWS) * window * _BYTES_PER_TOKEN if windows else None
    if re.fullmatch(r"(wikitext|wikitext-2)(@[^:]*)?(:.*)?", dataset):
        limit = None  # known as a whole, and small
    found = dataset_text(dataset, cache, limit_bytes=limit, reporter=reporter)
    name = f"{found.name}, its first {found.path.stat().st_size / 1e6:.1f} MB" if found.cut else found.name
    return Text(found.path, name, found.sha256, found.fingerprint)
