"""Two small tasks in the form of lm-evaluation-harness: one to choose, one to write."""

from __future__ import annotations

import json
from pathlib import Path

CHOICE = """\
task: tiny_choice
dataset_path: json
dataset_kwargs:
  data_files:
    test: choice.jsonl
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{right}}"
metric_list:
  - metric: acc
  - metric: acc_norm
"""
WRITING = """\
task: tiny_writing
dataset_path: json
dataset_kwargs:
  data_files:
    test: writing.jsonl
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs:
  until: ["zzz"]
  max_gen_toks: 5
metric_list:
  - metric: exact_match
"""
GROUP = """\
group: tiny
task: [tiny_choice, tiny_writing]
"""


def write_tasks(directory: Path) -> Path:
    """The tasks tiny_choice and tiny_writing, and their group tiny."""
    for name, text in {"choice": CHOICE, "writing": WRITING, "group": GROUP}.items():
        (directory / f"{name}.yaml").write_text(text)
    words = ["tree", "river", "stone", "cloud", "lamp"]
    choices = [
        {"question": f"the {a} and the {b} of a", "choices": [a, b, "a long horse"], "right": i % 3}
        for i, (a, b) in enumerate((a, b) for a in words for b in words if a != b)
    ]
    (directory / "choice.jsonl").write_text("".join(json.dumps(c) + "\n" for c in choices))
    written = [{"question": f"{w} is", "answer": w} for w in words]
    (directory / "writing.jsonl").write_text("".join(json.dumps(c) + "\n" for c in written))
    return directory
