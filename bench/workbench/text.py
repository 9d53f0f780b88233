"""The text to score: the fixed prompts, a user's own text, or that of a dataset."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.progress import Reporter
from bench.texts import prompts


@dataclass(frozen=True)
class Text:
    """What is scored. source: a part of the fixed prompts or a file; name, sha256: as results are identified by.

    fingerprint: of a dataset, with the commit that its name stood for.
    """

    source: Path | prompts.Part
    name: str
    sha256: str
    fingerprint: str | None = None

    @property
    def source_version(self) -> dict[str, str]:
        """For the record's header, beside the versions of programs."""
        return {"dataset": self.fingerprint} if self.fingerprint else {}


#: Bytes of text to take of a dataset that is read as it comes: for this many windows or fewer the same text.
_DATASET_WINDOWS, _BYTES_PER_TOKEN = 128, 16


def scored_text(
    text: Path | None, dataset: str | None, window: int, windows: int | None, cache: Path, reporter: Reporter
) -> Text:
    """The text to score: the fixed prompts, a file's or a dataset's. Raises BenchError for both of the latter.

    windows: how many are to be scored, None for all of the text: of a dataset only as many rows are taken as that needs.
    """
    if text is not None and dataset is not None:
        raise BenchError("--text and --dataset both say what to score; leave one of them out")
    if dataset is None:
        return Text(text or prompts.EVALUATION, *prompts.identify(text or prompts.EVALUATION))
    from bench.texts.dataset import dataset_text

    limit = max(windows, _DATASET_WINDOWS) * window * _BYTES_PER_TOKEN if windows else None
    if re.fullmatch(r"(wikitext|wikitext-2)(@[^:]*)?(:.*)?", dataset):
        limit = None  # known as a whole, and small
    found = dataset_text(dataset, cache, limit_bytes=limit, reporter=reporter)
    name = f"{found.name}, its first {found.path.stat().st_size / 1e6:.1f} MB" if found.cut else found.name
    return Text(found.path, name, found.sha256, found.fingerprint)
