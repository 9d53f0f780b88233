"""Model cards: what they say, that the records say it, and what is sent when."""

from __future__ import annotations

import math
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from huggingface_hub import ModelCard

from bench.advise.guide import guide_table
from bench.core.errors import BenchError
from bench.core.files import file_sha256
from bench.core.formats import markdown
from bench.core.progress import Reporter
from bench.gguf_files.info import ModelInfo, copy_metadata, inspect, open_gguf
from bench.measures.problems.jobs import ProblemResult
from bench.measures.problems.records import ProblemRecord, ProblemSetIdentity
from bench.measures.registry import load_run
from bench.measures.windows import tables
from bench.measures.windows.runs import windows_of
from bench.present.card import base_model_of, write_card
from bench.present.card_upload import files_of, listing, send, to_send
from bench.present.hub_names import file_names
from bench.quantize.jobs import QuantizeResult
from bench.records.run import Run
from bench.workbench.kept import Built
from tests.support.hub_server import HubServer, hub  # noqa: F401
from tests.support.records import file_record, run_of, window_record

PUBLISHED = Path(__file__).parents[2] / "results" / "smollm2-135m-instruct"
NAME = "SmolLM2-135M-Instruct"


def header_only(path: Path, layers: int = 30, **keys: str) -> ModelInfo:
    """A llama of so many layers as far as its header tells."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(NAME)
    writer.add_block_count(layers)
    for key, value in keys.items():
        writer.add_string(key.replace("__", "."), value)
    writer.add_tensor("output_norm.weight", np.ones(32, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return inspect(path)


def write(run: Run, out: Path, **options: Any) -> Path:
    given = {"model": None, "base_model": "owner/base", "quantized_by": None, "license": None, "repo": None} | options
    return write_card(run, PUBLISHED, out, **given)


@pytest.fixture(scope="module")
def published() -> Run:
    return load_run(PUBLISHED)


@pytest.fixture(scope="module")
def card(published: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The card of the published run for a repository; no connection is made while it is written."""
    directory = tmp_path_factory.mktemp("card")
    model = header_only(
        directory / "model.gguf",
        general__license="Apache-2.0",
        general__source__repo_url="https://hf.co/HuggingFaceTB/SmolLM2-135M-Instruct",
        tokenizer__chat_template="{{ messages }}",
    )

    def refuse(*address: object) -> None:
        raise AssertionError(f"a connection to {address[1:]}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        patch.setattr(socket.socket, "connect", refuse)
        return write(published, directory / "out", model=model, base_model=None, repo="tester/smol-GGUF")


def perplexity(run: Run, recipe: str) -> float:
    """exp(sum of NLL / tokens), straight from the records."""
    kinds = [k for w in windows_of(run).by_file[recipe].values() for k in w.result.by_kind.values()]
    return math.exp(sum(k.nll for k in kinds) / sum(k.tokens for k in kinds))


def test_metadata_parse_and_say_what_the_header_says(card: Path) -> None:
    data = ModelCard.load(card).data
    assert data.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert (data.license, data.quantized_by, data.base_model_relation) == ("apache-2.0", "tester", "quantized")
    assert data.model_name == NAME and data.pipeline_tag == "text-generation"
    assert {"gguf", "imatrix", "dynamicgate"} <= set(data.tags)


def test_evaluation_results_are_the_records(card: Path, published: Run) -> None:
    found = {r.metric_name: r for r in ModelCard.load(card).data.eval_results}
    expected = {f"Perplexity of {n}": perplexity(published, r) for r, n in file_names(published).items()}
    assert len(expected) == len(published.files) - 1
    assert {name: r.metric_value for name, r in found.items()} == {n: round(v, 4) for n, v in expected.items()}
    one = found[f"Perplexity of {NAME}-IQ2_S_DG.gguf"]
    assert one.dataset_name == "fixed evaluation prompts" and one.metric_type == "perplexity"
    assert one.dataset_args == {"sha256": published.identity.prompts.sha256, "windows": 8, "window": 2048}


def test_tables_are_those_of_the_run(card: Path, published: Run) -> None:
    text = card.read_text()
    for table in (tables.published_table, tables.full_table, tables.paired_table, tables.reference_table):
        assert markdown(table(published)) in text
    assert guide_table() in text
    for recipe, name in file_names(published).items():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| {name} ")]
        cells = [cell.strip() for cell in row.split("|")]
        assert cells[2] == f"{published.files[recipe].n_bytes / 1e6:.1f}M"
        assert cells[4].startswith(f"{perplexity(published, recipe):.2f} [")
        assert f"{published.files[recipe].sha256}  {name}\n" in text


def test_plots_are_beside_the_card(card: Path) -> None:
    shown = re.findall(r"\]\((plots/[\w-]+\.png)\)", card.read_text())
    assert shown[:2] == ["plots/ppl-size.png", "plots/kl-size.png"] and len(shown) == 5
    assert all((card.parent / name).read_bytes().startswith(b"\x89PNG") for name in shown)
    assert {str(p.relative_to(card.parent)) for p in card.parent.rglob("*.*")} == {"README.md", *shown}


def test_every_file_has_its_command(card: Path, published: Run) -> None:
    text = card.read_text()
    for name in file_names(published).values():
        assert f"llama-cli -m {name} -c 2048 " in text
    best = f"{NAME}-IQ2_S_DGFULL.gguf"  # of the lowest perplexity
    assert f"hf download tester/smol-GGUF {best} " in text
    assert f"llama-server --hf-repo tester/smol-GGUF --hf-file {best} -c 2048" in text
    assert f'Llama.from_pretrained(repo_id="tester/smol-GGUF", filename="{best}", n_ctx=2048' in text
    assert "create_chat_completion" in text and "/infill" not in text
    assert "{{" not in text and "{%" not in text and "None" not in text


def small_run() -> Run:
    records: list[Any] = []
    for recipe, family, n_bytes, ppl in (
        ("F16", "Reference", 9_000_000, 10),
        ("IQ2_S", "Standard", 3_000_000, 30),
        ("auto@IQ2_S", "Automatic", 2_999_000, 20),
        ("auto@IQ2_S#1", "Automatic, random", 2_999_500, 40),
    ):
        records += [file_record(recipe, family, n_bytes), window_record(recipe, 0, ppl, 1)]
    return run_of(records, model="Tiny model", window=256)


def test_files_are_named_by_model_and_recipe_smallest_first() -> None:
    expected = {"auto@IQ2_S": "Tiny-model-IQ2_S_AUTO.gguf", "IQ2_S": "Tiny-model-IQ2_S.gguf"}
    assert list(file_names(small_run()).items()) == list(expected.items())


def with_infill_tokens(source: Path, out: Path) -> Path:
    reader, writer = open_gguf(source), gguf.GGUFWriter(out, "llama")
    ids = {f"tokenizer.ggml.fim_{part}_token_id": 260 + i for i, part in enumerate(("pre", "suf", "mid"))}
    copy_metadata(reader, writer, replace=dict(ids))
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def with_infill(run: Run) -> Run:
    """A run that scored infill problems, which its model therefore can."""
    asked = ProblemSetIdentity(name="fim", problem_kind="fim", sha256="0", assistant_only=False, key="f")
    solved = ProblemResult(name="a", group="python", tokens=2, nll=1.0, correct=1)
    record = ProblemRecord(
        run="r", recipe="F16", sha256="F16", problem_set=asked, batch=0, batches=1, results=(solved,)
    )
    return Run(run.header, (*run.records, record))


def test_the_snippets_run(tiny: Path, tmp_path: Path) -> None:
    text = write(with_infill(small_run()), tmp_path / "card").read_text()
    with_infill_tokens(tiny, tmp_path / "Tiny-model-IQ2_S_AUTO.gguf")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2 and "llama_vocab_fim_mid" in blocks[1]
    script = "\n".join([*blocks, 'print("prompt", prompt[0], prompt[-1])'])
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("prompt 260 262\n")
    assert "curl http://localhost:8080/infill" in text and "not among the files" in text


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        (
            {"general.source.repo_url": "https://huggingface.co/a/chat", "general.base_model.0.repo_url": "a/raw"},
            "a/chat",
        ),
        ({"general.source.huggingface.repository": "a/b.1"}, "a/b.1"),
        ({"general.base_model.count": 1, "general.base_model.0.repo_url": "https://hf.co/a/b/tree/main"}, "a/b"),
        ({"general.base_model.count": 2, "general.base_model.0.repo_url": "https://hf.co/a/b"}, None),
        ({"general.source.url": "https://example.org/a/b"}, None),
        ({"general.source.url": "https://hf.co/papers"}, None),
        ({}, None),
    ],
)
def test_base_model_out_of_a_header(metadata: dict[str, object], found: str | None) -> None:
    assert base_model_of(metadata) == found


def test_a_license_of_its_own_keeps_name_and_link(tmp_path: Path) -> None:
    model = header_only(
        tmp_path / "m.gguf",
        layers=32,
        general__license="other",
        general__license__name="tiny-1",
        general__license__link="LICENSE",
    )
    data = ModelCard.load(write(small_run(), tmp_path / "a", model=model)).data
    assert (data.license, data.license_name, data.license_link) == ("other", "tiny-1", "LICENSE")
    given = ModelCard.load(write(small_run(), tmp_path / "b", model=model, license="MIT", quantized_by="me")).data
    assert (given.license, given.get("license_name"), given.quantized_by) == ("mit", None, "me")


def test_what_cannot_be_written_is_told(published: Run, tmp_path: Path) -> None:
    with pytest.raises(
        BenchError, match="which model of the hub it was made from; name it with --base-model owner/name"
    ):
        write(published, tmp_path, base_model=None)
    with pytest.raises(BenchError, match="--base-model base: is no repository of the hub; write it as owner/name"):
        write(published, tmp_path, base_model="base")
    with pytest.raises(BenchError, match="is a llama of 3 layers and the run's model a llama of 30"):
        write(published, tmp_path, model=header_only(tmp_path / "m.gguf", layers=3))
    with pytest.raises(BenchError, match="has no quantized file on record"):
        write(run_of([file_record("F16", "Reference", 9)]), tmp_path)
    assert not (tmp_path / "README.md").exists()


def keep(cache: Path, recipe: str, content: bytes) -> str:
    """A file in the cache with its note, as building leaves it; returns its hash."""
    path = cache / "quantized" / f"model-{recipe}-0123456789abcdef.gguf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    result = QuantizeResult(types={}, replaced={}, seconds=1, peak_memory_bytes=1)
    built = Built(
        path=path,
        sha256=file_sha256(path),
        n_bytes=len(content),
        modified_ns=path.stat().st_mtime_ns,
        bits_per_weight=2,
        weights_by_type={},
        importance_sha256=None,
        result=result,
    )
    path.with_suffix(".json").write_text(built.model_dump_json())
    return built.sha256


def test_files_are_found_by_the_hash_on_record(tmp_path: Path) -> None:
    digests = {recipe: keep(tmp_path, recipe, recipe.encode()) for recipe in ("IQ2_S", "auto@IQ2_S")}
    keep(tmp_path, "IQ2_S-other", b"of another model")
    records = [r.model_copy(update={"sha256": digests.get(r.recipe, "0")}) for r in small_run().files.values()]
    run = run_of(list(records), model="Tiny model")
    found = files_of(run, tmp_path)
    assert {name: path.read_bytes() for name, path in found.items()} == {
        "Tiny-model-IQ2_S_AUTO.gguf": b"auto@IQ2_S",
        "Tiny-model-IQ2_S.gguf": b"IQ2_S",
    }
    found["Tiny-model-IQ2_S.gguf"].write_bytes(b"changed since")
    with pytest.raises(BenchError, match="the hash on record of IQ2_S; build with `bench run --recipes IQ2_S`"):
        files_of(run, tmp_path)


# Uploading


class Heard(Reporter):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def ready(tmp_path: Path) -> tuple[Path, dict[str, Path]]:
    """A card with a plot and something that it does not show, and a quantized file."""
    directory, file = tmp_path / "card", tmp_path / "built.gguf"
    (directory / "plots").mkdir(parents=True)
    (directory / "README.md").write_text("---\nlicense: mit\n---\n\n![A plot](plots/a.png) ![](https://e.org/x.png)\n")
    (directory / "plots" / "a.png").write_bytes(b"\x89PNG a")
    (directory / "plots" / "old.png").write_bytes(b"\x89PNG of an earlier card")
    (directory / "private.txt").write_text("secret")
    file.write_bytes(b"GGUF" + bytes(2000))
    return directory, {"Tiny-IQ2_S.gguf": file}


def test_what_is_sent_is_listed_and_nothing_else(ready: tuple[Path, dict[str, Path]]) -> None:
    sent = to_send(*ready)
    assert list(sent) == ["README.md", "plots/a.png", "Tiny-IQ2_S.gguf"]
    n = sent["README.md"].stat().st_size
    assert listing(sent) == [
        f"README.md: {n} bytes",
        "plots/a.png: 6 bytes",
        "Tiny-IQ2_S.gguf: 2,004 bytes",
        f"3 files, {n + 2010:,} bytes",
    ]
    shutil.rmtree(ready[0] / "plots")
    with pytest.raises(BenchError, match=r"a\.png: no such file, so nothing is uploaded"):
        to_send(*ready)


def test_upload_is_one_commit(
    hub: HubServer,  # noqa: F811
    ready: tuple[Path, dict[str, Path]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    reporter = Heard()
    address = send(*ready, "tester/tiny-GGUF", private=True, reporter=reporter)
    assert capfd.readouterr().err == ""
    (commit,) = hub.committed
    assert commit.files == {name: path.read_bytes() for name, path in to_send(*ready).items()}
    assert address == f"{hub.url}/tester/tiny-GGUF/commit/{commit.commit}"
    assert hub.repos["models", "tester/tiny-GGUF"].private
    assert reporter.said == ["Sending to tester/tiny-GGUF:", *(f"  {x}" for x in listing(to_send(*ready)))]
    asked = [r.path for r in hub.requests]
    assert asked.index("/api/validate-yaml") < asked.index("/api/repos/create")
    send(*ready, "tester/tiny-GGUF", private=True, reporter=reporter)  # again, into the repository that is there


def test_a_public_repository_is_not_taken_for_a_private_one(
    hub: HubServer,  # noqa: F811
    ready: tuple[Path, dict[str, Path]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    hub.add_model("tester/tiny-GGUF", {"README.md": b"before"})
    with pytest.raises(BenchError, match="tester/tiny-GGUF: exists and is public; make it private"):
        send(*ready, "tester/tiny-GGUF", private=True, reporter=Heard())
    assert not hub.committed and not hub.asked("PUT")


@pytest.mark.parametrize(
    ("token", "repo", "fault", "said"),
    [
        (None, "tester/a", {}, "needs a token of the hub; log in with `hf auth login`, or set HF_TOKEN"),
        ("hf_test", "tiny", {}, "--upload tiny: is no repository of the hub; write it as owner/name"),
        ("hf_old", "tester/a", {}, "does not accept the token; log in again with `hf auth login`"),
        ("hf_test", "someone/a", {}, "the token may not write there"),
        (
            "hf_test",
            "tester/a",
            {"path": "/api/validate-yaml", "status": 503},
            "answered with status 503; wait a little",
        ),
        ("hf_test", "tester/a", {"path": "/lfs/*", "status": 400}, "answered with status 400"),
    ],
)
def test_what_stands_in_the_way_is_told(
    hub: HubServer,  # noqa: F811
    ready: tuple[Path, dict[str, Path]],
    monkeypatch: pytest.MonkeyPatch,
    token: str | None,
    repo: str,
    fault: dict[str, Any],
    said: str,
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    if fault:
        hub.fault(**fault)
    with pytest.raises(BenchError) as error:
        send(*ready, repo, private=False, reporter=Heard())
    assert said in str(error.value) and "\n" not in str(error.value)
    assert not hub.committed
    if token is None:
        assert not hub.requests


def test_a_card_that_the_hub_refuses_creates_nothing(
    hub: HubServer,  # noqa: F811
    ready: tuple[Path, dict[str, Path]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    (ready[0] / "README.md").write_text("---\n- no\n- mapping\n---\n")
    with pytest.raises(BenchError, match=r"does not accept its metadata \(the metadata is no mapping\); correct"):
        send(*ready, "tester/a", private=False, reporter=Heard())
    assert not hub.repos


def test_no_network_is_told(ready: tuple[Path, dict[str, Path]], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(
        "huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1"
    )  # not what is asked, nor the real one
    with pytest.raises(BenchError, match=rf"http://127.0.0.1:{port} cannot be reached \(.+\); check the network"):
        send(*ready, "tester/a", private=False, reporter=Heard())


def test_a_path_in_a_quoted_text_is_not_sent(tmp_path: Path) -> None:
    """A description that came with a download may hold a picture of any file."""
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "ppl-size.png").write_bytes(b"x")
    secret = tmp_path / "secret"
    secret.write_text("token")
    for shown in (secret, "../secret", "plots/../secret", "logo.png"):
        (tmp_path / "README.md").write_text(f"![a]({shown}) ![p](plots/ppl-size.png)")
        assert to_send(tmp_path, {}).keys() == {"README.md", "plots/ppl-size.png"}


def test_files_of_others_are_not_published() -> None:
    run = small_run()
    theirs = file_record("somebody:Q4_K_M", "Published", 900)
    with_theirs = run_of([*run.records, theirs, window_record("somebody:Q4_K_M", 0, 20.0, 1.0)])
    assert file_names(with_theirs).keys() == file_names(run).keys()
