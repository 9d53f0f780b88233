"""Which version and commit of the program this is: of the checkout that it runs from as it is now, else of what was installed."""

from __future__ import annotations

import subprocess
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
    return _of_checkout(_ROOT) or _as_built() or Version(_installed() or UNKNOWN, None)


def _of_checkout(root: Path) -> Version | None:
    """None where there is no checkout, no git, or git does not trust the directory's owner."""
    if not (root / ".git").exists():
        return None
    try:
        described = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        commit = subprocess.run(described, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return Version(_from_git(root) or _installed() or UNKNOWN, commit) if commit else None


def _from_git(root: Path) -> str | None:
    """The version that a wheel built from the checkout would have."""
    from setuptools_scm import get_version

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a shallow clone: the commit is right, the distance from a tag is not
            return get_version(root)
    except LookupError:
        return None


def _as_built() -> Version | None:
    """What the build wrote down (pyproject.toml, version_file); None where nothing was built."""
    try:
        built = import_module("bench.core._version")
    except ModuleNotFoundError:
        return None
    version, node = str(built.version), built.commit_id
    changed = "-dirty" if ".d" in version.partition("+")[2] else ""  # its local part ends with the date of the build
    return Version(version, f"{node.removeprefix('g')}{changed}" if node else None)


def _installed() -> str | None:
    try:
        return installed_version(DISTRIBUTION)
    except PackageNotFoundError:
        return None
