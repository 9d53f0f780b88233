"""Uploading a model card, the files beside it and the quantized files to the hub, in one commit. No other module here sends anything."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.files import file_sha256
from bench.core.progress import Reporter
from bench.present.card import CARD
from bench.present.card_metadata import repository
from bench.present.hub_names import file_names
from bench.records.run import Run
from bench.workbench.kept import Built


def files_of(run: Run, cache: Path) -> dict[str, Path]:
    """{name in the repository: path} of every published file, found in the cache by the hash on record.

    Raises BenchError when some are no longer there as they were built.
    """
    built = {b.sha256: b.path for b in _built_files(cache)}
    names = file_names(run)
    missing = [recipe for recipe in names if run.files[recipe].sha256 not in built]
    if missing:
        raise BenchError(
            f"{cache / 'quantized'}: holds no file with the hash on record of {', '.join(missing)}; build with `bench run "
            f"--recipes {','.join(missing)}` and the other options of the run, its --model and --out among them"
        )
    return {name: built[run.files[recipe].sha256] for recipe, name in names.items()}


def _built_files(cache: Path) -> Iterator[Built]:
    """Quantized files that are as they were built, by their hashes; links are none."""
    for path in sorted((cache / "quantized").glob("*.gguf")):
        if (built := Built.noted(path, Reporter().warn)) is not None:
            yield built


def matrix_of(run: Run, cache: Path) -> Path | None:
    """The importance matrix that the published files were made with, found in the cache by the hash on record."""
    wanted = {run.files[recipe].importance_sha256 for recipe in file_names(run)} - {None}
    if len(wanted) != 1:
        return None
    return next(
        (p for p in sorted((cache / "imatrix").glob("*.gguf")) if not p.is_symlink() and file_sha256(p) in wanted), None
    )


def given_matrix(run: Run, path: Path) -> Path:
    """A matrix of the user's. Raises BenchError for one that the published files were not made with."""
    wanted = {run.files[recipe].importance_sha256 for recipe in file_names(run)}
    if not path.is_file():
        raise BenchError(f"--imatrix {path}: no such importance matrix; name the one that the files were made with")
    if file_sha256(path) not in wanted:
        raise BenchError(
            f"--imatrix {path}: the files of this run were made with another importance matrix; give that one"
        )
    return path


def to_send(card_directory: Path, beside: Iterable[str], files: Mapping[str, Path]) -> dict[str, Path]:
    """{name in the repository: path} of what an upload sends: the card, what was written beside it, the files; nothing else."""
    found = {name: card_directory / name for name in (CARD, *beside)} | dict(files)
    for path in found.values():
        if path.is_symlink() or path.parent.is_symlink():
            raise BenchError(
                f"{path}: is reached by a link, and what a link points to is not sent; put the file itself there"
            )
        if not path.is_file():
            raise BenchError(f"{path}: no such file, so nothing is uploaded; write the card again")
    return found


def listing(sent: Mapping[str, Path]) -> list[str]:
    """A line for each file with its bytes, and one with their sum."""
    sizes = {name: path.stat().st_size for name, path in sent.items()}
    return [
        *(f"{name}: {n:,} bytes" for name, n in sizes.items()),
        f"{len(sizes)} files, {sum(sizes.values()):,} bytes",
    ]


def send(
    card_directory: Path,
    beside: Iterable[str],
    files: Mapping[str, Path],
    repo: str,
    *,
    private: bool,
    reporter: Reporter,
    hashes: Mapping[str, str] | None = None,
) -> str:
    """Send a card, what was written beside it and the files ({name in the repository: path}) in one commit; returns the
    commit's address.

    hashes: SHA-256 on record by name; a file is hashed as it is opened for sending, and must have that. The hub checks the card before anything else; the repository is made where there is none. Raises BenchError without
    a token, without the right to write, when a private one is asked for and it is public, and when the network fails.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    repository(repo, "--repo")
    sent = to_send(card_directory, beside, files)
    if not (token := get_token()):
        raise BenchError(f"{repo}: uploading needs a token of the hub; log in with `hf auth login`, or set HF_TOKEN")
    # read at each call: huggingface_hub reads it when it is imported
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)
    reporter.say(f"Sending to {repo}:")
    for line in listing(sent):
        reporter.say(f"  {line}")
    with _hub_errors(repo, api.endpoint), _bars_on_terminals_only():
        _validate(api.endpoint, sent[CARD], token)
        api.create_repo(repo, private=private, exist_ok=True)
        # an existing repository keeps its visibility whatever is asked for
        if private and api.model_info(repo).private is False:
            raise BenchError(f"{repo}: exists and is public; make it private on the hub, or leave --private out")
        message = f"Model card and {len(files)} quantized file{'' if len(files) == 1 else 's'}"
        with ExitStack() as opened:
            operations = []
            for name, path in sent.items():
                file = opened.enter_context(open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb"))  # noqa: PTH123
                operation = CommitOperationAdd(path_in_repo=name, path_or_fileobj=file)  # hashes what is open here
                if (wanted := (hashes or {}).get(name)) and operation.upload_info.sha256.hex() != wanted:
                    raise BenchError(
                        f"{path}: has another hash than the one on record, so nothing is uploaded; run the same command again"
                    )
                operations.append(operation)
            return str(api.create_commit(repo, operations, commit_message=message).commit_url)


def _validate(endpoint: str, card: Path, token: str) -> None:
    """Have the hub check the card's metadata, as ModelCard.validate does, at the endpoint of the call."""
    from huggingface_hub import get_session, hf_raise_for_status
    from huggingface_hub.errors import BadRequestError

    response = get_session().post(
        f"{endpoint}/api/validate-yaml",
        json={"content": card.read_text(encoding="utf-8"), "repoType": "model"},
        headers={"Authorization": f"Bearer {token}"},
    )
    try:
        hf_raise_for_status(response)
    except BadRequestError as e:
        try:
            said = "; ".join(str(error["message"]) for error in response.json()["errors"])
        except (ValueError, KeyError, TypeError):
            said = response.text
        raise BenchError(
            f"{card}: the hub does not accept its metadata ({' '.join(said.split())}); correct --license or --base-model"
        ) from e


@contextmanager
def _bars_on_terminals_only() -> Iterator[None]:
    """Keep the library's progress bars out of files and pipes, as Reporter does with its own."""
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextmanager
def _hub_errors(repo: str, endpoint: str) -> Iterator[None]:
    """What can go wrong on the way to the hub, with its remedy."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except BenchError:
        raise
    except OfflineModeIsEnabled as e:
        raise BenchError(f"{repo}: HF_HUB_OFFLINE forbids to upload; unset it") from e
    except (httpx2.HTTPError, OSError, RuntimeError, ValueError) as e:
        # a file that fails to upload is told as a RuntimeError about what happened
        cause = e.__cause__ if isinstance(e, RuntimeError) and e.__cause__ else e
        status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else None
        if status == 401:
            what = "the hub does not accept the token; log in again with `hf auth login`"
        elif status in (403, 404):
            what = "the token may not write there; log in with one that may (`hf auth login`), or name a repository of yours"
        elif status is not None:
            what = (
                f"the hub answered with status {status}; wait a little and run again, what was sent is not sent again"
            )
        elif isinstance(cause, httpx2.HTTPError):
            what = f"{endpoint} cannot be reached ({_first_line(cause)}); check the network and run again"
        else:
            what = f"was not uploaded ({_first_line(cause)}); run again"
        raise BenchError(f"{repo}: {what}") from e


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
