"""Files of one process in the cache: a folder of its own, which also shows other processes that it is at work."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.files import own_tag, owner_of

#: Where in the cache such folders lie, each named by the tag of its process.
SCRATCH = "scratch"

#: How many blocks of this process hold a folder.
_blocks: Counter[Path] = Counter()


def owner(folder: Path) -> int | None:
    """The process that a scratch folder belongs to, if it is still there and no later one has its number."""
    return owner_of(folder.name, folder)


@contextmanager
def scratch_folder(scratch: Path, clean: Callable[[], None]) -> Iterator[None]:
    """This process's folder below `scratch`, gone after the block; so is what killed processes left behind.

    clean: called once before the outermost block, to remove what they left behind elsewhere. Blocks may be nested: the folder stays until the outermost one ends. Raises BenchError where it cannot be made.
    """
    own = scratch / own_tag()
    if not _blocks[own]:
        for left_behind in scratch.glob("*"):
            if owner(left_behind) is None:
                shutil.rmtree(left_behind, ignore_errors=True)
        clean()
    try:
        own.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise BenchError(f"{own}: cannot be written ({e.strerror}); choose another directory with --cache") from e
    _blocks[own] += 1
    try:
        yield
    finally:
        _blocks[own] -= 1
        if not _blocks[own]:
            shutil.rmtree(own, ignore_errors=True)
