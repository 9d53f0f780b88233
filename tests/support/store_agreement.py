"""Run llama.cpp's tools on the tiny models and store what they say, for tests/test_architectures_against_llama_cpp.py.

    python -m tests.support.store_agreement DIRECTORY_OF_THE_TOOLS

`nox -s peers` builds the tools. For every architecture, figures and digests (JSON) and the importance matrix go
to tests/data/agreement.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf

from bench.core.files import file_sha256
from tests.support import own_arithmetic
from tests.support.tiny import write_text

STORED = Path(__file__).parents[1] / "data" / "agreement"
#: What the tools and the tests are given: tokens of a window, bytes and seed of the texts, type of the quantized file.
WINDOW, TEXT, CALIBRATION, TYPE = 128, (700, 0), (1200, 7), "Q4_K_M"
_PERPLEXITY = re.compile(r"Final estimate: PPL = ([\d.]+) \+/- ([\d.]+)")


def tensors_sha256(path: Path) -> dict[str, str]:
    """Type of every tensor and the first half of the SHA-256 of its bytes."""
    return {
        t.name: f"{t.tensor_type.name} {hashlib.sha256(t.data.tobytes()).hexdigest()[:32]}"
        for t in gguf.GGUFReader(path).tensors
    }


def main(tools: Path) -> None:
    STORED.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        at = Path(scratch)

        def tool(name: str, *arguments: object) -> str:
            # in the scratch folder with names relative to it, since an importance matrix keeps the name of its text
            command = [tools.resolve() / name, *map(str, arguments)]
            done = subprocess.run(command, cwd=at, capture_output=True, text=True, check=True)
            return done.stdout + done.stderr

        text, calibration = "words.txt", "calibration.txt"
        write_text(at / text, *TEXT)
        write_text(at / calibration, *CALIBRATION)
        for write in own_arithmetic.ALL:
            name = write.__name__
            model, importance, quantized, base = (f"{name}{end}" for end in (".gguf", ".im.gguf", "-q.gguf", ".kld"))
            write(at / model)
            scoring = ("-f", text, "-c", WINDOW, "-b", WINDOW, "-t", 1)
            found = _PERPLEXITY.search(tool("llama-perplexity", "-m", model, *scoring))
            if found is None:
                raise SystemExit(f"{name}: llama-perplexity printed no estimate")
            tool("llama-perplexity", "-m", model, *scoring, "--kl-divergence-base", base)
            calibrating = ("-f", calibration, "-c", 512, "-b", 512, "-t", 1, "--no-ppl")
            tool("llama-imatrix", "-m", model, *calibrating, "-o", importance)
            tool("llama-quantize", "--imatrix", importance, model, quantized, TYPE, 1)
            printed = tool(
                "llama-perplexity", "-m", quantized, *scoring, "--kl-divergence-base", base, "--kl-divergence"
            )
            divergence = re.search(r"Mean\s+KLD:\s+(-?[\d.]+)", printed)
            stored = {
                "model_sha256": file_sha256(at / model),
                "perplexity": [float(x) for x in found.groups()],
                "mean_kl": float(divergence[1]) if divergence else None,
                "tensors": tensors_sha256(at / quantized),
            }
            (STORED / f"{name}.json").write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
            shutil.copyfile(at / importance, STORED / f"{name}-imatrix.gguf")
            print(name, stored["perplexity"], stored["mean_kl"], len(stored["tensors"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
