from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.cli import app as cli
from tests.support.tiny import write_model, write_text


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of four layers of 256, F16."""
    return write_model(tmp_path_factory.mktemp("model") / "tiny.gguf")


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 700 tokens."""
    return write_text(tmp_path_factory.mktemp("text") / "words.txt", 700)


@pytest.fixture(scope="session")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two chunks of 512 tokens and some."""
    return write_text(tmp_path_factory.mktemp("text") / "calibration.txt", 1200, seed=7)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that the tests of one session share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def free_choice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe that may give any tensor any of some types, of those whose tables are built in no time."""
    path = tmp_path_factory.mktemp("recipe") / "free.toml"
    path.write_text(
        'prefix = "FREE"\nbase = "Q8_0"\nsize = "4bpw"\n[[rules]]\npattern = "."\n'
        'may = ["Q2_K", "IQ3_XXS", "IQ3_S", "IQ4_XS", "Q5_K", "Q6_K"]\n'
    )
    return path


@pytest.fixture
def bench(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Run a command as the command line would, in this process; workers are real processes."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr("sys.argv", ["bench", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capfd.readouterr()
        return Outcome(end.value.code if isinstance(end.value.code, int) else 0, out, err)

    return run
