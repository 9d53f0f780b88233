"""The text of a window on record: token by token what was scored, of the fixed prompts only."""

from __future__ import annotations

from pathlib import Path

from bench.core.progress import Reporter
from bench.measures.windows.excerpt import excerpt, wants_excerpt
from bench.records.identity import Header, TextIdentity
from bench.records.run import Run
from bench.texts.prompts import EVALUATION, fixed_set, identify
from bench.texts.stream import TokenStream
from bench.workbench.options import Options
from bench.workbench.work import Work
from tests.support.records import identity

WINDOW = 512


def run_on(prompts: TextIdentity, windows: int) -> Run:
    found = identity(windows=windows, window=WINDOW).model_copy(update={"prompts": prompts})
    return Run(Header(id="r", identity=found, versions={}), ())


def test_the_scored_half_of_the_window_with_most_kinds_is_kept(tiny: Path, cache: Path) -> None:
    name, sha256 = identify(EVALUATION)
    run = run_on(TextIdentity(name=name, sha256=sha256), windows=20)
    assert wants_excerpt(run)
    work = Work(Options(model=str(tiny), window=WINDOW, cache=cache), Reporter())
    stream = work.stream(EVALUATION).content
    found = excerpt(run, work.executor, work.model, stream)

    tokens = TokenStream.load(work.executor.site.path(stream))
    kinds = {w: tokens.kinds[w * WINDOW + WINDOW // 2 + 1 : (w + 1) * WINDOW] for w in range(20)}
    most = max(len(set(k)) for k in kinds.values())
    assert most > 1 and found.window == next(w for w, k in kinds.items() if len(set(k)) == most)
    assert [k for k, n in found.kinds for _ in range(n)] == [tokens.kind_names[k] for k in kinds[found.window]]
    assert len(found.pieces) == WINDOW // 2 - 1
    assert "".join(found.pieces) in fixed_set(EVALUATION).text
    assert not wants_excerpt(Run(run.header, (found,)))


def test_a_text_of_the_users_is_not_kept() -> None:
    assert not wants_excerpt(run_on(TextIdentity(name="notes.txt", sha256="1" * 64), windows=1))
