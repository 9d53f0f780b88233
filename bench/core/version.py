"""Version and commit of the running program: those of the checkout that it runs from, as it is now, otherwise of the installed package."""

from __future__ import annotations

import subprocess
import tomllib
import warnings
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path

DISTRIBUTION = "dynamicgate-bench"
#: Of sources that were neither built nor come from git.
UNKNOWN = "0+unknown"
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Version:
    """version: by PEP 440, `0.2.dev3+g0123456789`; commit: hexadecimal, `-dirty` behind it when the sources were changed since, None where
    it is not known."""

    version: str
    commit: str | None


def this_version() -> Version:
    """Of the checkout, asked of git now, since an editable installation stays the same while commits come; else as it was built."""
    if (_ROOT / ".git").exists():
        return _of_checkout(_ROOT)
    return _as_built() or Version(_installed(), None)


def _of_checkout(root: Path) -> Version:
    """Without a commit where git is missing, or does not trust the owner of the directory: the one of the installation is old."""
    described = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        commit = subprocess.run(described, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
        return Version(_from_git(root), commit or None)
    except (OSError, subprocess.SubprocessError, LookupError):
        return Version(_installed().partition("+")[0], None)


def _from_git(root: Path) -> str:
    """The version that a wheel built from the checkout would have. LookupError where git does not tell."""
    from setuptools_scm import get_version

    asked = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["version"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a shallow clone: the commit is right, the distance from a tag is not
        return get_version(root, fallback_version=asked["fallback-version"], scm=asked["raw-options"]["scm"])


def _as_built() -> Version | None:
    """What the build wrote down (pyproject.toml, version_file); None where nothing was built."""
    try:
        built = import_module("bench.core._version")
    except ModuleNotFoundError:
        return None
    version, node = str(built.version), built.commit_id
    changed = "-dirty" if ".d" in version.partition("+")[2] else ""  # its local part ends with the date of the build
    return Version(version, f"{node.removeprefix('g')}{changed}" if node else None)


def _installed() -> str:
    try:
        return installed_version(DISTRIBUTION)
    except PackageNotFoundError:
        return UNKNOWN
