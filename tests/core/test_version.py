"""Which version and commit a run puts on record: of a checkout as it is now, of a wheel as it was built."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bench.core import version
from bench.core.version import Version, this_version

ROOT = Path(__file__).parents[2]
#: What a build reads, and little of the program.
PARTS = ("pyproject.toml", "README.md", "LICENSE", ".gitignore", ".gitattributes", ".git_archival.txt", "bench/__init__.py", "bench/core", "prompts")  # fmt: skip


def git(root: Path, *arguments: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"]  # fmt: skip
    done = subprocess.run(["git", "-C", str(root), *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of one commit without a tag, of a part of these sources."""
    root = tmp_path / "checkout"
    for part in PARTS:
        (root / part).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__", "_version.py"))
        else:
            shutil.copy(ROOT / part, root / part)
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "one")
    return root


def of(root: Path) -> Version:
    return version._of_checkout(root)


def recorded(packages: Path) -> Version:
    """What the program in a directory of packages says of itself."""
    code = "from bench.core.version import this_version; v = this_version(); print(v.version, v.commit)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(packages), "PATH": ""},
        cwd=packages,
        capture_output=True,
        text=True,
        check=True,
    )
    told, commit = done.stdout.split()
    return Version(told, None if commit == "None" else commit)


def built(root: Path, out: Path, target: str = "wheel") -> Path:
    pytest.importorskip("hatch_vcs")
    build = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(out)]
    subprocess.run(build, cwd=root, check=True, capture_output=True)
    [found] = out.iterdir()
    return found


def unpacked(wheel: Path, to: Path) -> Path:
    zipfile.ZipFile(wheel).extractall(to)
    return to


def test_a_checkout_says_its_commit_of_now_and_not_of_when_it_was_installed(checkout: Path) -> None:
    first, commit = of(checkout), git(checkout, "rev-parse", "HEAD")
    assert first == Version(f"0.1.dev1+g{commit[:9]}", commit)
    git(checkout, "commit", "--quiet", "--allow-empty", "--message", "two")
    second = of(checkout)
    assert second.commit == git(checkout, "rev-parse", "HEAD") != commit and second.version.startswith("0.1.dev2+g")
    git(checkout, "tag", "v0.2.0")
    assert of(checkout) == Version("0.2.0", second.commit)
    (checkout / "LICENSE").write_text("changed")
    changed = of(checkout)
    assert changed.commit == f"{second.commit}-dirty" and changed.version.startswith("0.2.1.dev0+")


def test_only_tags_of_releases_are_versions(checkout: Path, capfd: pytest.CaptureFixture[str]) -> None:
    git(checkout, "tag", "v0.2.0")
    git(checkout, "commit", "--quiet", "--allow-empty", "--message", "two")
    git(checkout, "tag", "results-2026-11")
    assert of(checkout).version.startswith("0.2.1.dev1+g")
    assert capfd.readouterr() == ("", "")


def test_a_checkout_that_git_does_not_tell_of_has_no_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "installed_version", lambda _: "0.2.dev3+g0123456")
    monkeypatch.setenv("PATH", "")
    assert of(checkout) == Version("0.2.dev3", None), "the commit of an old installation would be wrong"


def test_a_shallow_clone_has_its_commit_without_a_warning(checkout: Path, tmp_path: Path) -> None:
    git(checkout, "commit", "--quiet", "--allow-empty", "--message", "two")
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{checkout}", "shallow")
    assert of(tmp_path / "shallow").commit == git(checkout, "rev-parse", "HEAD")
    assert recorded(tmp_path / "shallow").version != version.UNKNOWN


def test_a_wheel_records_version_and_commit_of_its_build(checkout: Path, tmp_path: Path) -> None:
    of_build = of(checkout)
    wheel = built(checkout, tmp_path / "out")
    assert of_build.version in wheel.name
    told = recorded(unpacked(wheel, tmp_path / "installed"))
    assert told.version == of_build.version and told.commit and of_build.commit.startswith(told.commit)


def test_a_wheel_of_changed_sources_says_so(checkout: Path, tmp_path: Path) -> None:
    (checkout / "LICENSE").write_text("changed")
    told = recorded(unpacked(built(checkout, tmp_path / "out"), tmp_path / "installed"))
    assert told.commit is not None and told.commit.endswith("-dirty")


def test_a_wheel_out_of_an_sdist_has_the_commit(checkout: Path, tmp_path: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    archive = built(checkout, tmp_path / "sdist", "sdist")
    shutil.unpack_archive(archive, tmp_path / "source", filter="data")
    [source] = (tmp_path / "source").iterdir()
    told = recorded(unpacked(built(source, tmp_path / "out"), tmp_path / "installed"))
    assert told.commit and commit.startswith(told.commit) and told.version == f"0.1.dev1+g{commit[:9]}"


@pytest.mark.parametrize("tagged", [True, False], ids=["of a commit after a tag", "without tags"])
def test_a_wheel_out_of_a_git_archive_has_the_commit(checkout: Path, tmp_path: Path, tagged: bool) -> None:
    if tagged:
        git(checkout, "tag", "v0.2.0")
        git(checkout, "commit", "--quiet", "--allow-empty", "--message", "two")
    git(checkout, "archive", "--format", "tar", "--output", str(tmp_path / "a.tar"), "HEAD")
    shutil.unpack_archive(tmp_path / "a.tar", tmp_path / "source", filter="data")
    told = recorded(unpacked(built(tmp_path / "source", tmp_path / "out"), tmp_path / "installed"))
    assert told.commit and git(checkout, "rev-parse", "HEAD").startswith(told.commit)
    assert not tagged or told.version == of(checkout).version


def test_sources_without_git_build_and_know_no_commit(checkout: Path, tmp_path: Path) -> None:
    shutil.rmtree(checkout / ".git")
    told = recorded(unpacked(built(checkout, tmp_path / "out"), tmp_path / "installed"))
    assert told == Version("0.1.dev0", None)


def test_this_checkout_has_a_commit_where_it_has_git() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout")
    commit = this_version().commit
    assert commit is not None and commit.removesuffix("-dirty") == git(ROOT, "rev-parse", "HEAD")
