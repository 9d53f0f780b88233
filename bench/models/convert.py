"""From checkpoints to GGUF, by llama.cpp's own converter, from the source distribution of the engine in use.

The converter needs torch and transformers, which nothing else here does: it gets an environment of its own in the cache,
made when it is first needed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import venv
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

from bench.core.checked import made_file
from bench.core.errors import BenchError
from bench.core.files import complete_or_absent
from bench.core.progress import Reporter

_ENGINE = "llama-cpp-python"
#: What of the engine's source the converter consists of.
_PARTS = ("convert_hf_to_gguf.py", "conversion/", "gguf-py/", "requirements/")
_SCRIPT = "convert_hf_to_gguf.py"
_REQUIREMENTS = "requirements/requirements-convert_hf_to_gguf.txt"
#: Room for the environment: torch may come with libraries for graphics cards, which are most of it.
_ENVIRONMENT_BYTES = 8e9


def is_checkpoint(directory: Path) -> bool:
    """Whether a directory holds a model as it was trained: its configuration and safetensors."""
    return (directory / "config.json").is_file() and any(directory.glob("*.safetensors"))


def convert(
    checkpoint: Path, name: str, cache: Path, reporter: Reporter, *, key: str | None = None
) -> tuple[Path, str]:
    """A checkpoint's GGUF in the cache, in the 16-bit type that the converter finds closest to its weights, and its SHA-256.

    name: of the model. key: what names the checkpoint's content, where that is known; its files' names, sizes and times otherwise.
    Raises BenchError with the converter's last words when it fails, and when there is no room.
    """
    files = (p for p in checkpoint.iterdir() if p.is_file())
    content = key or repr(sorted((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files))
    digest = hashlib.sha256(f"{version(_ENGINE)} {content}".encode()).hexdigest()[:12]
    target = cache / "models" / f"{name}-{digest}.gguf"
    return target, made_file(target, lambda: _make(checkpoint, name, target, cache, reporter), reporter.warn)


def _make(checkpoint: Path, name: str, target: Path, cache: Path, reporter: Reporter) -> None:
    weights = sum(p.stat().st_size for p in checkpoint.glob("*.safetensors"))
    _check_room(cache, weights, f"{checkpoint} as GGUF")
    python, source = _environment(cache, reporter)
    reporter.say(f"Converting {name} to GGUF")
    with complete_or_absent(target) as partial:
        _run(
            # the name, since a checkpoint of the hub lies in a directory that is named after a commit
            [
                *map(str, (python, source / _SCRIPT, checkpoint)),
                "--outfile",
                str(partial),
                "--outtype",
                "auto",
                "--model-name",
                name,
            ],
            f"{checkpoint}: llama.cpp's converter failed",
            "check that the checkpoint is complete and of an architecture that llama.cpp knows",
            # the converter reads the hub's settings, and has no business there: all files are here
            environment={"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""},
        )
        if not partial.is_file():
            raise BenchError(
                f"{checkpoint}: llama.cpp's converter wrote no file; check that the checkpoint is complete"
            )


def _environment(cache: Path, reporter: Reporter) -> tuple[Path, Path]:
    """The converter's Python and its source, made when they are not there."""
    home = cache / "converter" / version(_ENGINE)
    python, source = home / "env" / ("Scripts" if os.name == "nt" else "bin") / "python", home / "source"
    if (home / "complete").exists():
        return python, source
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(home.with_name(f"{home.name}.lock")):
        if not (home / "complete").exists():
            _install(home, python, source, reporter)
    return python, source


def _install(home: Path, python: Path, source: Path, reporter: Reporter) -> None:
    _check_room(home.parent, _ENVIRONMENT_BYTES, "the converter's environment with torch")
    reporter.say(f"Installing llama.cpp's converter in {home} (torch and what it needs: some minutes, once)")
    shutil.rmtree(home, ignore_errors=True)  # of an installation that was interrupted
    home.mkdir(parents=True)
    venv.create(home / "env", with_pip=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    failed, remedy = (
        "llama.cpp's converter could not be installed",
        "check the network, or convert the model yourself and give the GGUF file",
    )
    with tempfile.TemporaryDirectory(dir=home) as scratch:
        # what reads the name and version of the source, without an isolated build that would fetch a compiler's tools too
        _run([*pip, "install", "scikit-build-core[pyproject]"], failed, remedy)
        fetch = ["download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--dest", scratch]
        _run([*pip, *fetch, f"{_ENGINE}=={version(_ENGINE)}"], failed, remedy)
        [archive] = Path(scratch).glob("*.tar.gz")
        _extract(archive, source)
    _run([*pip, "install", "--requirement", str(source / _REQUIREMENTS)], failed, remedy)
    (home / "complete").touch()


def _extract(archive: Path, target: Path) -> None:
    """The converter out of the engine's source distribution."""
    with tarfile.open(archive) as tar:
        for member in tar:
            _, found, inner = member.name.partition("/vendor/llama.cpp/")
            if found and inner.startswith(_PARTS):
                member.name = inner
                tar.extract(member, target, filter="data")


def _run(command: list[str], failed: str, remedy: str, *, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | (environment or {}))
    if done.returncode != 0:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["nothing"]
        errors = [line for line in said if "error" in line.lower()]
        raise BenchError(f"{failed} ({(errors or said)[-1][:300]}); {remedy}")


def _check_room(directory: Path, needed: float, what: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(directory).free) < needed:
        raise BenchError(
            f"{directory}: {what} needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; free some space or choose another "
            "directory with --cache"
        )
