"""One more kind of measurement is one folder: a toy goes through the whole chain without a line changed in bench/."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import bench as library
from bench.measures.registry import load_run, registered
from bench.records.run import FILE_NAME
from tests.conftest import Outcome
from tests.measures import toy

ROOT = Path(__file__).parents[2]
KILLED = "from bench.cli.app import main; from bench.measures.registry import registered; from tests.measures.toy import TOY\n"


def test_the_toy_is_small() -> None:
    lines = (ROOT / "tests" / "measures" / "toy.py").read_text(encoding="utf-8").splitlines()
    written = [line for line in lines if line.strip() and not line.startswith(("from ", "import ", '"""'))]
    assert len(written) <= 60


def test_the_whole_chain(bench: Callable[..., Outcome], tiny: Path, text: Path, cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    asked = ["run", "--model", tiny, "--recipes", "Q8_0,Q4_0", "--text", text, "--window", 64, "--windows", 1,
             "--generate", 0, "--no-imatrix", "--out", out, "--cache", cache]  # fmt: skip
    arguments = [str(a) for a in asked]

    # job and record; killed once the first is written
    code = KILLED + "with registered(TOY): main()"
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=ROOT, start_new_session=True)
    records = out / FILE_NAME
    while process.poll() is None and not (records.is_file() and '"kind":"likeliest"' in records.read_text("utf-8")):
        time.sleep(0.005)
    assert process.poll() is None, "it ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()

    with registered(toy.TOY):
        before = load_run(out).of(toy.LikeliestRecord)
        done = bench(*arguments)
        assert done.code == 0, done.err
        run = load_run(out)
        found = run.of(toy.LikeliestRecord)
        assert [r.recipe for r in found] == ["F16", "Q8_0", "Q4_0"]
        assert found[: len(before)] == before and before, "what is on record is not measured again"
        assert bench(*arguments).code == 0 and len(load_run(out).records) == len(run.records)

        assert "## Likeliest token\n\n| recipe | token |" in (out / "tables" / "tables.md").read_text("utf-8")
        assert bench("report", out).code == 0
        assert '<h2 id="toy">Likeliest token</h2>' in (out / "report.html").read_text("utf-8")
        exported = bench("export", out, "--table", "likeliest", "--format", "csv")
        assert exported.out.splitlines() == ["recipe,token", *(f"{r.recipe},{r.token}" for r in found)]
        frame = library.load_run(out).likeliest
        assert frame["token"].tolist() == [r.token for r in found]

    without = load_run(out)
    assert [d.is_unknown for d in without.damaged] == [True] * len(found)
