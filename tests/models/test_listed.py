"""Models of a repository, listed without fetching them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.models.hub import HubName, find, first_bytes
from bench.models.listed import listed
from tests.support.hub_server import HubServer, hub  # noqa: F401
from tests.support.tiny import write_model


def test_parts_of_a_split_file_are_one_model(hub: HubServer, tmp_path: Path) -> None:  # noqa: F811
    write_model(tmp_path / "m-F16.gguf", split=20)
    parts = {f"sub/{p.name}": p.read_bytes() for p in sorted(tmp_path.glob("m-F16-*.gguf"))}
    assert len(parts) > 1
    hub.add_model("owner/m", parts)
    found = listed("hf:owner/m")
    (model,) = found.models
    assert (model.name, model.path) == ("m-F16", min(parts))
    assert model.n_bytes == sum(map(len, parts.values()))
    assert found.named.startswith("hf:owner/m@") and found.n_weights is None


@pytest.mark.parametrize("ignores", [False, True])
def test_no_more_than_the_first_bytes_are_taken(hub: HubServer, ignores: bool) -> None:  # noqa: F811
    data = bytes(range(256)) * 4096
    hub.add_model("owner/m", {"m.gguf": data})
    if ignores:
        hub.fault("*/cdn/*", ignore_range=True)
    repo = find(HubName("owner/m"))
    assert first_bytes(repo, repo.files[0], 1000) == data[:1000]
