"""Jobs: a question as data, the answer's type, and the name of the function that works it out.

A job is a frozen model that says what to do and to which content. Its class gives the answer's type, and names the function
that a worker process calls; that function's module, with llama.cpp and whatever else it needs, is imported there only. So
asking costs nothing, and the code that asks does not depend on the code that answers. A new kind of job is a new class: nothing lists them.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from bench.execute.content import Content, Site

Answer = TypeVar("Answer", bound=BaseModel)
#: Told the share of a job that is done, from 0 to 1.
Share = Callable[[float], None]


class Telling(Protocol):
    """A Share that also takes what is known before the whole answer is: of the answer's type."""

    def __call__(self, share: float, /) -> None: ...

    def part(self, answer: BaseModel) -> None: ...


class Frozen(BaseModel):
    """Data that crosses processes and machines: it never changes, and nothing unknown is in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Job(Frozen, Generic[Answer]):
    """A question to a worker process. Subclass `Job[AnswerType]`, at the top of a module.

    done_by: `module:function` of what works it out, called with the job, the site and whom to tell the share that is done; it
    raises BenchError, or MeasurementError for what costs this measurement only. pinned: whether it computes with all the
    threads that it is given, and so runs on the CPUs of its executor alone.
    """

    done_by: ClassVar[str]
    pinned: ClassVar[bool] = False

    def preloads(self) -> tuple[str, ...]:
        """Modules that are imported before the worker is forked, so that no job of the kind pays for them."""
        return (self.done_by.partition(":")[0],)

    def model_file(self) -> Content | None:
        """The model that the job is about, to name where llama.cpp aborts on it: its field `model`, if it has one."""
        found = getattr(self, "model", None)
        return found if isinstance(found, Content) else None

    def patience(self) -> float | None:
        """Seconds after which it is ended without an answer, since it is taken to hang; None for however long it takes."""
        return None

    def run(self, site: Site, progress: Share) -> Answer:
        """Do it, in a worker process."""
        answer: Answer = self.function()(self, site, progress)
        return answer

    @classmethod
    def function(cls) -> Callable[[Any, Site, Share], Any]:
        """What works it out."""
        module, _, name = cls.done_by.partition(":")
        found: Callable[[Any, Site, Share], Any] = getattr(import_module(module), name)
        return found

    @classmethod
    def answer_type(cls) -> type[Answer]:
        """The type of the answer, as the class statement gives it."""
        for base in cls.__mro__:
            generic: dict[str, Any] = getattr(base, "__pydantic_generic_metadata__", {})
            if generic.get("origin") is Job:
                found: type[Answer] = generic["args"][0]
                return found
        raise TypeError(f"{cls.__name__} does not say what it answers: derive it from Job[Answer]")

    @classmethod
    def type_name(cls) -> str:
        """What a worker finds the class by."""
        return f"{cls.__module__}:{cls.__qualname__}"


def job_type(name: str) -> type[Job[Any]]:
    """The class that a `type_name` stands for."""
    module, _, attribute = name.partition(":")
    found = getattr(import_module(module), attribute)
    if not (isinstance(found, type) and issubclass(found, Job)):
        raise TypeError(f"{name} is no kind of job")
    return found


class Executor(Protocol):
    """What does jobs: several at a time, from as many threads as one likes."""

    @property
    def site(self) -> Site:
        """Where content lies for the one who asks."""

    def hold(self, path: Path, sha256: str | None = None) -> Content:
        """Tell of a file that lies anywhere; returns what jobs name it by. sha256: None for a file of this machine alone."""

    def do(
        self, job: Job[Answer], progress: Share | None = None, part: Callable[[Answer], None] | None = None
    ) -> Answer:
        """Do a job and wait for its answer. part: is handed what a job tells of its answer while it is under way (Telling).

        Raises what the job raised, and MeasurementError, with signal or exit code, when the process died that did it.
        """
