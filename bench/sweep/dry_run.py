"""The plan of a run only, for `run --dry-run`."""

from __future__ import annotations

from pathlib import Path

from bench.core.progress import Reporter
from bench.measures.registry import load_run
from bench.models.reference import default_path
from bench.records.run import FILE_NAME
from bench.sweep.alone import without_recipes
from bench.sweep.outline import Outline, directories, is_here, outline, refuse, warn_of_memory
from bench.sweep.sweep import Sweep
from bench.workbench.asked import asked_recipes
from bench.workbench.checks import check_importance
from bench.workbench.options import Options
from bench.workbench.text import Text
from bench.workbench.work import Work

#: Bytes of a model whose hash, which names the run's directory, takes two seconds.
_SOON_HASHED = 1e9


def dry_run(options: Options, reporter: Reporter) -> Outline:
    """The plan of a run. Nothing is fetched or built, and nothing is written but into the cache.

    Where the models are here it has all that the run itself would tell, with what is on record already; else what is known by the
    names. Raises BenchError for what makes the run impossible, as far as that shows.
    """
    options = without_recipes(options, reporter)
    path = Path(options.model) if options.model else default_path(options.cache)
    if is_here(options) and path.stat().st_size < _SOON_HASHED:
        sweep = Sweep(options, reporter, tell=False)
        run = load_run(sweep.directory) if (sweep.directory / FILE_NAME).is_file() else None
        found = sweep.outlined(run)
        if run is None or sweep.pending(run):
            refuse(found.forecast, directories(options))
        return found
    recipes = asked_recipes(options)
    check_importance(options, recipes)
    work = Work(options, reporter)
    text = Text(Path(), options.dataset, "") if options.dataset else work.text(None)
    found = outline(options, recipes, text.name, work.threads, text.windows)
    refuse(found.forecast, directories(options))
    warn_of_memory(found.forecast, reporter)
    return found
