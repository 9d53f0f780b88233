"""Content and sites: a job names its content by hash, and a site knows where that content lies on its machine.

    job: model = sha256/9f86d0…                              the same everywhere
    site: 9f86d0… is /data/my-F16.gguf                       on this machine

So a job is data that means the same on any machine, and it holds no path of one machine.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from bench.core.errors import BenchError
from bench.core.files import short_hash

#: What the names of files begin with that lie anywhere, as the site is told: by their content, or by their place.
_ANYWHERE, _HERE = "sha256/", "here/"


class Content(BaseModel):
    """A file by its content, whatever its place.

    name: either where it is, or is to be made, in the cache of any site, `tokens/0a1b….npz`: such a name carries a hash of all
    that the content follows from. Or `sha256/…`, the hash of a file that lies anywhere and that a site is told of. Or
    `here/…`, a file that nobody hashed, which means something on one machine only: for commands that look at one file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str

    @classmethod
    def of_file(cls, sha256: str) -> Content:
        """A file by the hash of its bytes."""
        return cls(name=_ANYWHERE + sha256)

    @classmethod
    def of_place(cls, path: Path) -> Content:
        """A file by where it is, its size and its time. Raises OSError where there is none."""
        stat = path.stat()
        return cls(name=_HERE + short_hash(str(path.absolute()), stat.st_size, stat.st_mtime_ns))


class Site(BaseModel):
    """Where content lies on one machine. cache: absolute directory; known: places of files outside of it, by content name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cache: Path
    known: dict[str, Path] = {}

    def path(self, content: Content) -> Path:
        """Where the content lies, or is to be made. Raises BenchError for a file that this site does not have."""
        if not content.name.startswith((_ANYWHERE, _HERE)):
            return self.cache / content.name
        found = self.known.get(content.name)
        if found is None:
            raise BenchError(f"{content.name}: no such file is known here; give its path once more")
        return found

    def optional(self, content: Content | None) -> Path | None:
        """The same for content that there may be none of."""
        return None if content is None else self.path(content)
