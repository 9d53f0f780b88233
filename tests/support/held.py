"""Jobs of tests: files by their paths as content, done in this process (`site`) or in a worker (`do`)."""

from __future__ import annotations

from pathlib import Path

from bench.core.files import short_hash
from bench.execute.content import Content, Site
from bench.execute.job import Answer, Job, Share
from bench.execute.local import LocalExecutor


class Held:
    """A site whose files lie anywhere. cache: of what jobs keep."""

    def __init__(self, cache: Path) -> None:
        self._cache, self._known = cache.absolute(), dict[str, Path]()

    def __call__(self, path: Path) -> Content:
        """What a job names the file by, whether it is there or is to be made."""
        content = Content(name=f"here/{short_hash(str(path))}")
        self._known[content.name] = path.absolute()
        return content

    @property
    def site(self) -> Site:
        return Site(cache=self._cache, known=self._known)

    def do(self, job: Job[Answer], progress: Share | None = None) -> Answer:
        return LocalExecutor(self._cache, known=self._known).do(job, progress)


def quiet(share: float) -> None:
    """Progress that nobody is told of."""
