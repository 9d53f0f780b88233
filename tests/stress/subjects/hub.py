"""A model hub that lies: answers changed by structure, refusals, slowness, broken connections, other bytes than it promised."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path

from bench.models import download, exchange
from tests.stress.attack import Attack, Fault, Tried
from tests.stress.commands import Ended, run
from tests.stress.lying_hub import REPO, Hub, of_structure, on_the_wire, serving
from tests.support.tiny import Shape, write_model, write_text

ABOUT = "a model hub that lies, breaks off or never ends"
UNIT = "lying hubs"
GOAL = 500

_TEXT = ("--text", "TEXT", "--window", 64, "--windows", 1, "--cache", "CACHE")
#: What asks a hub, each with what shows afterwards that an honest one is served; the cheap ones come more often. ONE: a model of the
#: repository; SPLIT: one in parts; ALL: a glob of several.
_ADVISE = ("advise", "REPO", "--memory", "8GB", "--bandwidth", "50GB")
_INFO, _SPLIT = ("info", "ONE"), ("info", "SPLIT", "--json")
_COMMANDS = (
    *[(_INFO, _INFO), (_SPLIT, _SPLIT)] * 4, (_ADVISE, _INFO), ((*_ADVISE, "--json"), _INFO),
    (("recipe", "show", "Q4_K_M", "--model", "ONE"), _INFO), (("ppl", "ONE", *_TEXT), _INFO), (("ppl", "SPLIT", *_TEXT), _SPLIT),
    (("run", "--dry-run", "--model", "ONE", "--recipes", "Q4_K_M", *_TEXT), _INFO),
    (("run", "--dry-run", "--model", "WHOLE", "--compare", "ALL", "--recipes", "none", *_TEXT), _INFO),
)  # fmt: skip
#: When to give up, so that a try takes seconds.
_SOON = exchange.Patience(silence=0.7, answer=1.2, suggestion=0.7, slow=0.7)
#: What a try may leave in its folder.
_OURS = {".out", ".err", ".asked", "hub", "cache", "run", "home"}


def prepare(folder: Path) -> Attack:
    import httpx2  # noqa: F401
    import huggingface_hub.utils  # noqa: F401  # for all forks

    tiny = Shape(layers=1)
    whole = write_model(folder / "whole.gguf", tiny)
    text = write_text(folder / "words.txt", 300)
    parts = folder / "parts"
    parts.mkdir()
    write_model(parts / "tiny-F32.gguf", tiny, split=6, weight_type="F32")
    files = {f"parts/{p.name}": p.read_bytes() for p in sorted(parts.glob("*.gguf"))}
    for kind in ("F16", "Q8_0"):
        files[f"tiny-{kind}.gguf"] = write_model(folder / f"tiny-{kind}.gguf", tiny, weight_type=kind).read_bytes()
    files |= {"README.md": b"---\nlicense: mit\n---\n", "config.json": b"{}"}
    assert sum(name.startswith("parts/") for name in files) > 1
    places = {
        "WHOLE": whole, "TEXT": text, "REPO": f"hf:{REPO}", "ONE": f"hf:{REPO}:tiny-F16.gguf", "ALL": f"hf:{REPO}:tiny-*.gguf",
        "SPLIT": f"hf:{REPO}:{min(n for n in files if n.startswith('parts/'))}",
    }  # fmt: skip

    def attack(rng: random.Random, scratch: Path) -> Tried:
        command, after = (
            [{**places, "CACHE": scratch / "cache"}.get(str(word), word) for word in words]
            for words in rng.choice(_COMMANDS)
        )
        path = rng.choice(("/api/*", "*/resolve/*", "/cdn/*", "/cdn/*", "*"))
        structure = rng.random() < 0.5
        lie = of_structure(rng) if structure else on_the_wire(rng, path, files["tiny-F16.gguf"])
        with serving(files, [lie], scratch / ".asked") as hub:
            lied = _run(command, scratch, hub, folder, _SOON)
        faults = list(_wrong(scratch))
        kept = _kept(scratch, files)
        # What it lied about must not stay: an honest hub is served by the same cache.
        with serving(files, [], scratch / ".asked") as hub:
            honest = _run(after, scratch, hub, folder, exchange.Patience())
        faults += _wrong(scratch)
        if honest.code != 0:
            faults.append(Fault("fails with an honest hub after a lying one", f"{lie}\n{honest.err[-2000:]}"))
        for digest, n_bytes in kept.items():
            parts_asked = [part for where, part in hub.requests if where == f"/cdn/{digest}"]
            if parts_asked and parts_asked[0] != f"bytes={n_bytes}-":
                faults.append(
                    Fault("download does not go on", f"{lie}\n{n_bytes} bytes of {digest}, then {parts_asked}")
                )
        return Tried((lied, honest), tuple(faults))

    return attack


def _run(command: list[object], scratch: Path, hub: Hub, shared: Path, patience: exchange.Patience) -> Ended:
    exchange.PATIENCE, download._PAUSE = patience, 0.02  # of what is forked from here; this process asks no hub
    home = scratch / "home"
    env = {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(scratch / "hub"), "HF_HOME": str(home), "HF_TOKEN": "", "NO_PROXY": "127.0.0.1",
           "HF_HUB_DISABLE_XET": "1", "XDG_CACHE_HOME": str(shared)}  # fmt: skip
    return run(command, scratch, env=env)


def _wrong(scratch: Path) -> Iterator[Fault]:
    """Files of the hub's cache that are not what their names say, links that leave it, and files elsewhere."""
    hub = scratch / "hub"
    for blob in hub.glob("models--*/blobs/*"):
        data = blob.read_bytes() if not blob.name.endswith(".incomplete") else None
        if data is not None and blob.name not in (hashlib.sha256(data).hexdigest(), _git_name(data)):
            yield Fault("wrong file in the hub's cache", str(blob))
    for folder, _, names in os.walk(hub):
        for name in names:
            if not (Path(folder) / name).resolve().is_relative_to(hub.resolve()):
                yield Fault("link out of the hub's cache", str(Path(folder) / name))
    if strange := {p.name for p in scratch.iterdir()} - _OURS:
        yield Fault("file outside of the caches", ", ".join(sorted(strange)))


def _kept(scratch: Path, files: dict[str, bytes]) -> dict[str, int]:
    """{SHA-256: bytes} of files that broke off and are right as far as they go."""
    by_digest = {hashlib.sha256(data).hexdigest(): data for data in files.values()}
    kept = {}
    for partial in (scratch / "hub").glob("models--*/blobs/*.incomplete"):
        data = by_digest.get(partial.name.removesuffix(".incomplete"), b"")
        if 0 < (n_bytes := partial.stat().st_size) < len(data) and data.startswith(partial.read_bytes()):
            kept[partial.name.removesuffix(".incomplete")] = n_bytes
    return kept


def _git_name(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
