"""Tasks of lm-evaluation-harness: what they ask. This module, its judge (judge.py) and lm.py are all that knows the library.

Its tasks make the requests and judge the answers, filters and metrics included; what happens in between is this program's. Tasks are code that the
user chose to run: a task of `--task-path` may hold Python functions.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import BenchError, nearest
from bench.measures.tasks.jobs import (
    Chat,
    Continuation,
    Message,
    Request,
    Whole,
    Writing,
    identifying,
)
from bench.measures.tasks.judge import Judge, quiet, why
from bench.measures.tasks.questions import Answer, Judged, Task
from bench.texts.prompts import prompts_directory

#: Tokens that are written at most where a task does not say.
_LIMIT = 256


@dataclass(frozen=True)
class Choice:
    """What of the tasks is asked: see options.Asked."""

    limit: int | None = None
    shots: int | None = None
    template: bool = False


def own_folder() -> Path:
    """Where the project's own tasks lie."""
    return prompts_directory() / "tasks"


class Harness:
    """The library with its tasks. path: a directory with more of them. Raises BenchError where the library is not installed."""

    def __init__(self, path: Path | None = None) -> None:
        os.environ.setdefault("TQDM_DISABLE", "1")  # a bar of its own for each task
        try:
            import lm_eval
            from lm_eval.tasks import TaskManager
        except ImportError as e:
            raise BenchError(
                f"--tasks needs lm-evaluation-harness ({e.name} is not installed): pip install 'dynamicgate-bench[tasks]'"
            ) from e
        if path is not None and not path.is_dir():
            raise BenchError(f"--task-path {path}: is no directory; give the one with the tasks' YAML")
        for library in ("lm_eval", "huggingface_hub", "datasets"):
            logging.getLogger(library).setLevel(logging.ERROR)
        self.version = f"lm-eval {lm_eval.__version__}"
        self._path, self._manager = path, TaskManager
        self._nearby = [own_folder(), *([path] if path else [])]

    @cached_property
    def _near(self) -> Any:
        """The project's own tasks and the user's, which need no look through the thousands of the library."""
        return self._manager(include_path=list(map(str, self._nearby)), include_defaults=False)

    @cached_property
    def _all(self) -> Any:
        return self._manager(include_path=list(map(str, self._nearby)))

    def load(self, name: str, asked: Choice) -> list[Task]:
        """A task, or all of a group, under the name that was asked for. Raises BenchError for what is unknown or cannot be loaded."""
        manager = self._near if name in self._near.task_index else self._all
        if name not in manager.task_index:
            known = nearest(name, manager.all_tasks)
            raise BenchError(f"--tasks {name}: is no task of {self.version} or of --task-path{known}")
        with quiet():
            try:
                _seed()
                # an inline group is how the library takes tasks with settings of the caller's
                specs = [*self._specs(manager, name, asked)]
                loaded = manager.load([{"group": "asked", "task": specs}])["tasks"]
            except BenchError:
                raise
            except Exception as e:  # whatever reading YAML, its functions and its data set can end with
                raise BenchError(f"--tasks {name}: {why(e)}") from e
            found = [self._task(name, of, asked) for of in loaded.values()]
        entry = manager.task_index[name].cfg or {}
        return [_pooled(name, found)] if len(found) > 1 and "aggregate_metric_list" in entry else found

    def _specs(self, manager: Any, name: str, asked: Choice) -> Iterator[str | dict[str, Any]]:
        """What the library is to load: names, or with a data file that lies beside its YAML and is named relative to it, that file."""
        entry = manager.task_index[name]
        children = (entry.cfg or {}).get("task")
        shots = {} if asked.shots is None else {"num_fewshot": asked.shots}
        if entry.kind.name == "TAG":
            for child in sorted(entry.tags):
                yield from self._specs(manager, child, asked)
            return
        if isinstance(children, list) and all(c in manager.task_index for c in children if isinstance(c, str)):
            for child in children:
                if isinstance(child, str):
                    yield from self._specs(manager, child, asked)
                else:
                    yield {**child, **shots}
            return
        overrides: dict[str, Any] = {}
        config = entry.cfg or {}
        kwargs = config.get("dataset_kwargs") or {}
        if entry.yaml_path and (files := kwargs.get("data_files")):
            overrides["dataset_kwargs"] = {**kwargs, "data_files": _beside(entry.yaml_path.parent, files)}
        # a task that says 0 has no examples to give
        if not isinstance(children, list) and config.get("num_fewshot") != 0:
            overrides |= shots
        yield {"task": name, **overrides} if overrides else name

    def _task(self, name: str, task: Any, asked: Choice) -> Task:
        """Its questions as requests. Raises BenchError for a task whose questions cannot be put."""
        said = f"--tasks {task.config.task}"
        if getattr(task, "MULTIMODAL", False) or getattr(task, "UNSAFE_CODE", False):
            unfit = "asks about pictures" if getattr(task, "MULTIMODAL", False) else "runs what the model writes"
            raise BenchError(f"{said}: {unfit}, which is not supported; leave it out")
        told = task.config.metadata or {}
        own, special = bool(told.get("chat")), bool(told.get("special"))
        chat = asked.template or own
        try:
            _seed()
            task.set_fewshot_seed(_SEED)
            task.build_all_requests(
                limit=asked.limit,
                apply_chat_template=chat,
                chat_template=(_own_chat if own else conversation) if chat else None,
                tokenizer_name="",
            )
            requests = tuple(
                _request(i, chat=chat, special=special) for i in task.instances for _ in range(i.repeats or 1)
            )
        except Exception as e:
            raise BenchError(f"{said}: its questions cannot be put: {why(e)}") from e
        judge = Judge(task)
        digest = hashlib.sha256()
        for request in requests:
            digest.update(identifying(request))
        for doc in judge.documents.values():
            digest.update(json.dumps(doc, sort_keys=True, ensure_ascii=False, default=str).encode("utf-8", "replace"))
        return Task(
            name=task.config.task,
            asked=name,
            source=self.version,
            sha256=digest.hexdigest(),
            requests=requests,
            items=len(judge.documents),
            chance=judge.chance,
            settings=_settings(requests, task.config.generation_kwargs),
            judge=judge,
            judge_sha256=hashlib.sha256(f"{self.version}{judge.sha256}".encode()).hexdigest(),
        )


def _seed() -> None:
    """Examples, and what a task's own code draws, are the same every time: the library's command line seeds with these numbers too."""
    random.seed(0)
    np.random.seed(_SEED)


#: The library's seed of examples.
_SEED = 1234


def _pooled(name: str, tasks: Sequence[Task]) -> Task:
    """Tasks of a group that is a figure of its own: the questions of all of them."""
    ends = list(accumulate(len(t.requests) for t in tasks))

    def judge(answers: Sequence[Answer | str]) -> list[Judged]:
        return [j for t, end in zip(tasks, ends, strict=True) for j in t.judge(answers[end - len(t.requests) : end])]

    items = sum(t.items for t in tasks)
    known = all(t.chance is not None for t in tasks)
    return Task(
        name=name,
        asked=name,
        source=tasks[0].source,
        sha256=hashlib.sha256("".join(t.sha256 for t in tasks).encode()).hexdigest(),
        requests=tuple(r for t in tasks for r in t.requests),
        items=items,
        chance=sum((t.chance or 0) * t.items for t in tasks) / items if known else None,
        settings=next((t.settings for t in tasks if t.settings), ""),
        judge=judge,
        judge_sha256=hashlib.sha256("".join(t.judge_sha256 for t in tasks).encode()).hexdigest(),
    )


def _beside(directory: Path, files: Any) -> Any:
    """Names of data files, in whatever form `datasets` takes them, made absolute where they lie there."""
    if isinstance(files, str):
        return str(directory / files) if (directory / files).exists() else files
    if isinstance(files, Mapping):
        return {split: _beside(directory, of) for split, of in files.items()}
    return [_beside(directory, of) for of in files]


def conversation(history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
    """In place of rendering, which takes the model: the conversation itself."""
    messages = tuple(Message(role=m["role"], content=m["content"]) for m in history)
    return Chat(messages=messages, generation=add_generation_prompt).model_dump_json()


def _own_chat(history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
    """Tasks of the project's own give the conversation as JSON, so that it can have tools."""
    asked = json.loads(history[-1]["content"])
    return Chat(**{**asked, "tools": asked.get("tools") or ()}, generation=add_generation_prompt).model_dump_json()


def _request(instance: Any, *, chat: bool, special: bool) -> Request:
    if instance.request_type == "loglikelihood":
        context, text = instance.args[:2]
        return Continuation(context=context, text=text, chat=chat and context != "", special=special)
    if instance.request_type == "loglikelihood_rolling":
        return Whole(text=instance.args[0])
    return writing(*instance.args[:2], chat=chat, special=special)


def writing(context: str, settings: Mapping[str, Any] | None, *, chat: bool = False, special: bool = False) -> Writing:
    """A request for a text, from what tasks say of generation. Always the likeliest token unless it asks for sampling."""
    settings = settings or {}
    until = settings.get("until") or ()
    limit = next((settings[k] for k in ("max_gen_toks", "max_new_tokens", "max_tokens") if settings.get(k)), _LIMIT)
    temperature = settings.get("temperature")
    sampled = settings.get("do_sample", bool(temperature)) and temperature != 0
    return Writing(
        context=context,
        until=(until,) if isinstance(until, str) else tuple(until),
        limit=int(limit),
        temperature=float(temperature or 1.0) if sampled else 0.0,
        seed=int(settings.get("seed") or 0),
        chat=chat,
        special=special,
    )


#: Settings of chance that are not taken up.
_NOT_TAKEN = ("top_p", "top_k", "min_p", "repetition_penalty")


def _settings(requests: Sequence[Request], asked: Mapping[str, Any] | None) -> str:
    """How texts are written. asked: what the task says of it."""
    written = [r for r in requests if isinstance(r, Writing)]
    if not written:
        return ""
    hot = sorted({r.temperature for r in written if r.temperature})
    how = (
        f"temperature {', '.join(f'{t:g}' for t in hot)}, seed {written[0].seed}"
        if hot
        else "always the likeliest token"
    )
    left = [name for name in _NOT_TAKEN if (asked or {}).get(name) is not None] if hot else []
    without = f" (without the {', '.join(left)} that the task asks for)" if left else ""
    return f"{how}{without}, {max(r.limit for r in written)} tokens at most"
