"""What a file of traces holds, in words, as a table and for programs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bench.texts.traces import Traces

if TYPE_CHECKING:
    import pandas as pd

_STOPS = {"ended": "ended by the model", "limit": "cut at --tokens", "full": "cut where the window was full"}


def answers_frame(traces: Traces) -> pd.DataFrame:
    """One row an answer. Columns: conversation, group, turn, tokens, stop, text."""
    import pandas as pd

    rows = []
    for talk in traces.talks:
        said = [m.content for m in talk.messages if m.role == "assistant"]
        for turn, (answer, text) in enumerate(zip(talk.answers, said, strict=True), 1):
            row = {"conversation": talk.name, "group": talk.group, "turn": turn, "tokens": answer.tokens}
            rows.append(row | {"stop": answer.stop, "text": text})
    return pd.DataFrame(rows)


def in_words(traces: Traces) -> str:
    """How much was written, why it stopped, and how it is scored."""
    stops = Counter(a.stop for t in traces.talks for a in t.answers)
    n, passages = len(traces.talks), len(traces.passages)
    written = sum(p.n_written for _, p in traces.passages)
    longest = -(-traces.longest // 256) * 256
    parts = f", in {passages} passages, since the chat template changes earlier turns" if passages > n else ""
    return (
        f"{traces.path}: {n} conversation{'s' * (n != 1)}{parts}, {written:,} tokens written in {stops.total()} answers "
        f"({', '.join(f'{count} {_STOPS[stop]}' for stop, count in stops.most_common())})\n"
        f"SHA-256 {traces.sha256}\n"
        f"Score them: run --traces {traces.path} --window {longest}"
    )


def as_json(traces: Traces) -> dict[str, object]:
    """The file's header, its hash, and every answer."""
    return {
        "path": str(traces.path),
        "sha256": traces.sha256,
        "header": traces.header.model_dump(mode="json"),
        "conversations": len(traces.talks),
        "passages": len(traces.passages),
        "longest": traces.longest,
        "answers": answers_frame(traces).to_dict("records"),
    }
