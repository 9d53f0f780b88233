"""This program's engine as a model of lm-evaluation-harness: `dynamicgate-lm-eval --model dynamicgate --model_args pretrained=FILE ...`

lm-evaluation-harness 0.4.13 looks for models in its own package only: it reads no entry points. So its command line is started here, with the model
registered; everything else is as its own. In Python: `import bench.measures.tasks.lm`, then `lm_eval.simple_evaluate(model="dynamicgate", ...)`.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.model import LM
from lm_eval.api.registry import register_model

from bench.core.errors import BenchError
from bench.core.files import cache_directory
from bench.core.progress import Reporter
from bench.measures.tasks.ask import answer_all, encoded, put_together
from bench.measures.tasks.harness import conversation, writing
from bench.measures.tasks.jobs import Continuation, Probability, Request, Whole, Written, identifying
from bench.models.sources import local_model
from bench.workbench.options import Options
from bench.workbench.work import Work

#: What a context begins with that is a conversation as JSON, which is rendered where it is encoded.
_CHAT = "\0chat\0"


@register_model("dynamicgate")
class DynamicGate(LM):  # type: ignore[misc]  # the library has no types
    """A GGUF file. pretrained: its path, or hf:owner/repo:file.gguf; threads: one for each physical core unless told; cache: where answers are kept, so that an
    interrupted evaluation goes on. Other settings of the library's models (batch_size, device) have no meaning here, and are ignored.

    Raises BenchError for what is no model.
    """

    def __init__(
        self, pretrained: str, threads: int | None = None, cache: str | None = None, **_ignored: object
    ) -> None:
        super().__init__()
        options = Options(cache=cache_directory(Path(cache) if cache else None), threads=threads, allow_quantized=True)
        self._reporter = Reporter()
        path = local_model(pretrained, options.cache, self._reporter).path
        self._work = Work(Options(**{**vars(options), "model": str(path)}), self._reporter)

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        asked = [
            Continuation(context=c.removeprefix(_CHAT), text=t, chat=c.startswith(_CHAT)) for c, t in _args(requests)
        ]
        return [(a.logarithm, a.greedy) for a in self._answers(asked) if isinstance(a, Probability)]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        texts = [text for (text,) in _args(requests)]
        asked = [Whole(text=text) for text in texts if text]
        answers = iter(self._answers(asked) if asked else ())
        # nothing is certain: an empty text has the probability 1, as with the library's own models
        return [next(answers).logarithm if text else 0.0 for text in texts]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        asked = [writing(c.removeprefix(_CHAT), settings, chat=c.startswith(_CHAT)) for c, settings in _args(requests)]
        return [a.text for a in self._answers(asked) if isinstance(a, Written)]

    def _answers(self, requests: Sequence[Request]) -> list[Any]:
        """In the order of the requests. Raises BenchError for what cannot be asked."""
        digest = hashlib.sha256()
        for request in requests:
            digest.update(identifying(request))
        asked = encoded("lm-eval", requests, digest.hexdigest(), self._work)
        with self._reporter.steps("Answers", asked.batches) as steps:
            results = answer_all(self._work, self._work.model, self._work.reference.sha256, asked, steps)
        answers = put_together(len(requests), results, asked.failed)
        for answer in answers:
            if isinstance(answer, str):
                raise BenchError(f"lm-eval: a request cannot be answered: {answer}")
        return answers

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The conversation itself, marked: it is rendered with the model's template when it is encoded."""
        return _CHAT + conversation(chat_history, add_generation_prompt)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        return self._work.reference.chat_template if chat_template else None

    @property
    def tokenizer_name(self) -> str:
        """Of caches of requests, which depend on the vocabulary and the template."""
        return f"{self._work.reference.info.vocabulary_sha256[:16]}"


def _args(requests: Sequence[Any]) -> list[Any]:
    return [r.args for r in requests]


def main() -> None:
    """The library's command line, with this model known. Errors are one line, as in this program's own."""
    from lm_eval.__main__ import cli_evaluate

    try:
        cli_evaluate()
    except BenchError as e:
        sys.exit(f"error: {e}")


if __name__ == "__main__":
    main()
