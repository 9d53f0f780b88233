"""What the sites of a run are handed, and what they must be like."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from bench.cluster.protocol import ModelFile, Setup
from bench.cluster.sites import Required
from bench.core.files import own_tag
from bench.core.version import this_version
from bench.measures.plan import Plan
from bench.models.compared import Compared
from bench.recipes.recipe import Recipe
from bench.records.identity import Identity
from bench.texts.traces import Traces
from bench.workbench.text import Text
from bench.workbench.work import Work


def required(work: Work) -> Required:
    """What a site must be like. Memory: of the reference and a tenth; disk: of the reference and a window's logits at least."""
    info = work.reference.info
    return Required(
        version=this_version().version,
        library=work.library,
        threads=work.threads,
        memory=1.1 * info.n_bytes,
        disk=info.n_bytes + 4 * work.settings.logits * info.vocabulary,
        offload=work.offload,
    )


def setup(
    plan: Plan,
    identity: Identity,
    text: Text,
    recipes: Mapping[str, Recipe],
    compared: Mapping[str, Compared],
    scored: tuple[str, str],
    mark: str,
    *,
    early: bool,
) -> Setup:
    """All that a site needs to measure parts of a run. recipes: with their types chosen; scored: digits.py's answer here, and that of the CPU where a device scores; mark: of `marked`; early: before there is an
    importance matrix, so that sites fetch the model meanwhile, and are refused before anything was computed."""
    work, o = plan.work, plan.work.options
    matrix = None if early else work.importance
    measures = {name: asdict(asked) for name, asked in o.measures.items()}
    return Setup(
        identity=identity.model_dump(mode="json"),
        options={
            "window": o.window,
            "score": o.score,
            "threads": work.threads,
            "generate": o.generate,
            "no_speed": o.no_speed,
            "allow_quantized": o.allow_quantized,
            "widen": o.widen,
            "languages": o.languages,
        },
        measures=measures,
        attached={name: _content(Path(name)) for name in sorted(_files(measures))},
        reference=ModelFile(path=str(work.reference.path.absolute()), sha256=work.reference.sha256, asked=o.model),
        reference_name=plan.reference,
        names=plan.names,
        alone=tuple(sorted(plan.alone)),
        recipes=dict(recipes),
        compared={
            name: ModelFile(path=str(c.file.path.absolute()), sha256=c.file.sha256, asked=c.origin)
            for name, c in compared.items()
        },
        text=_content(text.source) if isinstance(text.source, Path) else None,
        traces=_content(text.source.path) if isinstance(text.source, Traces) else None,
        calibration=_content(o.calibration) if o.calibration is not None else None,
        imatrix=_content(matrix.path) if matrix is not None else None,
        sitting=plan.sitting,
        digits=scored[0],
        mark=mark,
        builds=bool(recipes),
        offload=work.offload,
        cpu_digits=scored[1],
    )


@contextmanager
def marked(cache: Path) -> Iterator[str]:
    """A file in the cache for as long as the block, by which a site sees that its cache is the same; its place in the cache."""
    name = f"cluster/mark-{own_tag()}-{uuid.uuid4().hex[:8]}"
    path = cache / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    try:
        yield name
    finally:
        path.unlink(missing_ok=True)


def _files(value: object) -> set[str]:
    """The files that options name."""
    if isinstance(value, str):
        return {value} if value and Path(value).is_file() else set()
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return {found for v in inner for found in _files(v)}


def _content(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")
