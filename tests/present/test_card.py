"""Model cards: what they say, that the records say it, and what is sent when."""

from __future__ import annotations

import math
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pandas as pd
import pytest
from huggingface_hub import ModelCard

from bench.core.errors import BenchError
from bench.core.files import file_sha256
from bench.core.progress import Reporter
from bench.engine.memory import ModelShape
from bench.gguf_files.details import ModelDetails
from bench.gguf_files.info import ModelInfo, copy_metadata, inspect, open_gguf
from bench.measures.problems.jobs import ProblemResult
from bench.measures.problems.records import ProblemRecord, ProblemSetIdentity
from bench.measures.registry import load_run
from bench.measures.windows import tables
from bench.measures.windows.runs import windows_of
from bench.models.reference import DEFAULT
from bench.present.card import MOST, Given, write_card
from bench.present.card_metadata import base_model_of, given_languages
from bench.present.card_upload import files_of, given_matrix, listing, matrix_of, send, to_send
from bench.present.hub_names import file_names
from bench.quantize.jobs import QuantizeResult
from bench.records.record import FileRecord
from bench.records.run import Run
from bench.workbench.kept import Built
from tests.support.hub_server import HubServer, hub  # noqa: F401
from tests.support.records import file_record, run_of, window_record

RESULTS = Path(__file__).parents[2] / "results"
PUBLISHED = RESULTS / "smollm2-135m-instruct"
DEFAULT_RUN = RESULTS / "smollm2-135m-instruct-default"
NAME = "SmolLM2-135M-Instruct"
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
#: What the default model's header tells, with what the program knows of it.
DETAILS = ModelDetails(
    license="Apache-2.0",
    languages=("en",),
    converted_from=DEFAULT.repository,
    chat_template=CHATML,
    bos_token="<|im_start|>",
    eos_token="<|im_end|>",
    context=8192,
)
SHAPE = ModelShape(kv_numbers=30 * 4 * 128, width=768, feed_forward=1536, vocabulary=49152)


def recorded(run: Run, details: ModelDetails | None = DETAILS, shape: ModelShape | None = SHAPE) -> Run:
    """The run as it would have been recorded with what the reference's header tells."""
    told = {"details": details, "shape": shape}
    records = [
        r.model_copy(update=told) if isinstance(r, FileRecord) and r.family == "Reference" else r for r in run.records
    ]
    return Run(run.header, tuple(records), run.directory)


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


def write(run: Run, out: Path, **given: Any) -> str:
    """The text of a run's card."""
    options = {"base_model": "owner/base"} | given
    return write_card(run, run.directory or PUBLISHED, out, Given(**options)).path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def published() -> Run:
    return recorded(load_run(PUBLISHED))


@pytest.fixture(scope="module")
def card_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Text of the card of a published run, by the run's directory, each written once."""

    @cache
    def text(name: str) -> str:
        repo = "somebody/SmolLM2-135M-Instruct-GGUF"
        return write(recorded(load_run(RESULTS / name)), tmp_path_factory.mktemp(name), repo=repo)

    return text


@pytest.fixture(scope="module")
def card(published: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The card of the published run for a repository; no connection is made while it is written."""
    directory = tmp_path_factory.mktemp("card")
    matrix = directory / "kept.gguf"
    matrix.write_bytes(b"a matrix")

    def refuse(*address: object) -> None:
        raise AssertionError(f"a connection to {address[1:]}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        patch.setattr(socket.socket, "connect", refuse)
        given = Given(repo="tester/smol-GGUF", matrix=matrix)
        written = write_card(published, PUBLISHED, directory / "out", given)
    assert not written.lacks
    return written.path


def perplexity(run: Run, recipe: str) -> float:
    """exp(sum of NLL / tokens), straight from the records."""
    kinds = [k for w in windows_of(run).by_file[recipe].values() for k in w.result.by_kind.values()]
    return math.exp(sum(k.nll for k in kinds) / sum(k.tokens for k in kinds))


def test_metadata_come_from_the_record(card: Path) -> None:
    data = ModelCard.load(card).data
    assert data.base_model == DEFAULT.repository and data.language == ["en"] and data.library_name == "gguf"
    assert (data.license, data.quantized_by, data.base_model_relation) == ("apache-2.0", "tester", "quantized")
    assert data.model_name == NAME and data.pipeline_tag == "text-generation"
    assert {"gguf", "imatrix", "dynamicgate", "conversational"} <= set(data.tags)


def test_evaluation_results_are_those_of_the_files_to_take(card: Path, published: Run) -> None:
    [found] = ModelCard.load(card).data.eval_results
    assert found.metric_name == f"Perplexity of {NAME}-IQ2_S_DGFULL.gguf"
    assert found.metric_value == round(perplexity(published, "DG-FULL-IQ2_S"), 4)
    assert found.dataset_name == "fixed evaluation prompts" and found.metric_type == "perplexity"
    assert found.dataset_args == {"sha256": published.identity.prompts.sha256, "windows": 8, "window": 2048}


def test_one_table_has_every_file_with_link_size_bits_quality_and_speed(card: Path, published: Run) -> None:
    text = card.read_text()
    full = {str(row["recipe"]): row for row in tables.full_frame(published).to_dict("records")}
    assert "| File | Size | BPW | pp | Tasks | tg | KL [95 %] | vs reference |" in text
    for recipe, name in file_names(published).items():
        [row] = [line for line in text.partition("## Files")[2].splitlines() if f"]({name}) |" in line]
        cells = [cell.strip() for cell in row.split("|")]
        assert cells[2] == f"{published.files[recipe].n_bytes / 1e6:.1f}M"
        assert cells[7].startswith(f"{full[recipe]['kl']:.4f} [") and "–" not in (cells[5], cells[6])


def test_a_run_without_a_measured_file_has_no_card(tmp_path: Path) -> None:
    run = run_of([file_record("F16", "Reference", 400), file_record("IQ2_XXS", "Standard", 100)])
    with pytest.raises(BenchError, match="none of its files has all its windows measured"):
        write_card(run, tmp_path, tmp_path / "card", Given())


def test_a_card_is_made_where_the_outputs_of_the_run_are_old_or_missing(tmp_path: Path) -> None:
    for name in ("records.jsonl", "tokens.parquet"):
        shutil.copy(DEFAULT_RUN / name, tmp_path / name)
    written = write_card(load_run(tmp_path), tmp_path, tmp_path / "card", Given(base_model="a/b"))
    text = written.path.read_text()
    assert (tmp_path / "card" / "report.html").is_file() and (tmp_path / "card" / "plots" / "ppl-size.png").is_file()
    published = pd.read_csv(DEFAULT_RUN / "tables" / "full.csv")
    least = 100 * published["ppl_change_vs_reference"].min()
    assert f"Even the best of these files has +{least:.1f}% perplexity" in text
    assert "IQ1_S_DG is DG-IQ1_S there" in text and "Perplexity of the reference on this text: 29.74" in text


def test_what_lies_beside_the_card_is_linked_from_it(card: Path) -> None:
    text, directory = card.read_text(), card.parent
    linked = set(re.findall(r"\]\(([\w./-]+)\)", text)) - set(re.findall(r"\]\(([\w.-]+\.gguf)\)", text))
    assert linked == {"report.html", "recipes/quantize.sh", "plots/ppl-size.png"}
    assert all((directory / name).is_file() for name in linked)
    assert f"[{NAME}-imatrix.gguf]({NAME}-imatrix.gguf)" in text
    assert (directory / f"{NAME}-imatrix.gguf").read_bytes() == b"a matrix"
    report = (directory / "report.html").read_text()
    assert report.startswith("<!doctype html>")
    addresses = re.findall(r'href="(?!#|https?:|data:)([^"#]+)"', report)
    assert not addresses, "the run's files do not lie beside the card"
    assert (directory / "plots" / "ppl-size.png").read_bytes().startswith(b"\x89PNG")


def test_a_program_is_given_the_full_name_of_the_file(card: Path) -> None:
    text = card.read_text()
    best = f"{NAME}-IQ2_S_DGFULL.gguf"
    for command in (
        f"llama-cli -hf tester/smol-GGUF --hf-file {best} -c 4096\n",
        f"llama-server -hf tester/smol-GGUF --hf-file {best} -c 4096\n",
        f"ollama run hf.co/tester/smol-GGUF:{best}\n",
        f"hf download tester/smol-GGUF {best} --local-dir .\nlms import {best} --user-repo tester/smol-GGUF\n",
        f'Llama.from_pretrained(repo_id="tester/smol-GGUF", filename="{best}", n_ctx=4096',
    ):
        assert command in text
    assert "create_chat_completion" in text and "/infill" not in text
    assert "{{" not in text and "{%" not in text and "None" not in text


def test_the_prompt_format_is_the_rendered_template(card: Path) -> None:
    expected = (
        "```\n<|im_start|>system\n{system_prompt}<|im_end|>\n<|im_start|>user\n{prompt}<|im_end|>\n"
        "<|im_start|>assistant\n```\n"
    )
    assert f"## Prompt format\n\n{expected}" in card.read_text()


def test_a_reference_that_was_widened_and_once_quantized_is_said_before_anything_else(card: Path) -> None:
    top, _, _ = card.read_text().partition("\n## ")
    assert "> The reference of this run had already been quantized, to Q4_1 and Q8_0, and was widened" in top


@pytest.mark.parametrize("name", sorted(p.parent.name for p in RESULTS.glob("*/records.jsonl")))
def test_no_card_is_larger_than_12_kb(name: str, card_of: Callable[[str], str]) -> None:
    text, run = card_of(name), load_run(RESULTS / name)
    assert len(text.encode()) <= MOST == 12_000
    rows = re.findall(r"^\| \[.+gguf\)", text.partition("## Files")[2], re.MULTILINE)
    left_out = re.search(r"^- More files in the repository, which the report has: (\d+)", text, re.MULTILINE)
    assert len(rows) + (int(left_out[1]) if left_out else 0) == len(file_names(run))
    assert len(rows) > 8 or left_out is None


def test_files_that_the_reference_cannot_judge_are_marked_and_not_recommended(card_of: Callable[[str], str]) -> None:
    which, _, files = card_of("smollm2-135m-instruct-sizes").partition("## Files")
    assert "Q8_0" not in which.partition("## Which file")[2] and "Files marked † are not among the choices" in which
    [row] = [line for line in files.splitlines() if "Q8_0_AUTO.gguf) |" in line]
    assert row.count("†") == 2 and "\n- †: The reference was once stored in" in files


def small_run(details: ModelDetails | None = None) -> Run:
    records: list[Any] = []
    for recipe, family, n_bytes, ppl in (
        ("F16", "Reference", 9_000_000, 10),
        ("IQ2_S", "Standard", 3_000_000, 30),
        ("auto@IQ2_S", "Automatic", 2_999_000, 20),
        ("auto@IQ2_S#1", "Automatic, random", 2_999_500, 40),
    ):
        records += [file_record(recipe, family, n_bytes), window_record(recipe, 0, ppl, 1)]
    return recorded(run_of(records, model="Tiny model", window=256), details, None)


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
    text = write(with_infill(small_run(ModelDetails(license="mit", context=256))), tmp_path / "card")
    with_infill_tokens(tiny, tmp_path / "Tiny-model-IQ2_S_AUTO.gguf")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2 and "llama_vocab_fim_mid" in blocks[1]
    script = "\n".join([*blocks, 'print("prompt", prompt[0], prompt[-1])'])
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("prompt 260 262\n")
    assert "curl http://localhost:8080/infill" in text


def test_a_model_without_a_template_is_given_a_raw_prompt_and_an_unknown_one_is_not(tmp_path: Path) -> None:
    without = write(small_run(ModelDetails(license="mit")), tmp_path / "a")
    assert "llama-completion -m Tiny-model-IQ2_S_AUTO.gguf" in without and "Prompt format" not in without
    unknown = write(small_run(), tmp_path / "b", license="mit")
    assert "llama-cli -m Tiny-model-IQ2_S_AUTO.gguf" in unknown and "create_chat_completion" in unknown


def test_a_template_that_cannot_be_shown_is_said(tmp_path: Path) -> None:
    text = write(small_run(ModelDetails(chat_template="{{ messages[9].content.x }}")), tmp_path)
    assert "## Prompt format\n\nThe chat template in these files cannot be shown as a short text." in text
    assert "llama-cli -m" in text


@pytest.mark.parametrize(
    ("details", "found"),
    [
        ({"converted_from": "https://huggingface.co/a/chat", "trained_from": ("a/raw",)}, "a/chat"),
        ({"converted_from": "a/b.1"}, "a/b.1"),
        ({"trained_from": ("https://hf.co/a/Tiny_Model-Instruct/tree/main",)}, "a/Tiny_Model-Instruct"),
        ({"trained_from": ("https://hf.co/a/b", "c/Tiny-Model-instruct")}, "c/Tiny-Model-instruct"),
        ({"trained_from": ("https://hf.co/a/Tiny-Model",)}, None),  # the model was trained from it and is another
        ({"converted_from": "https://example.org/a/b"}, None),
        ({"converted_from": "https://hf.co/papers"}, None),
        ({"converted_from": "https://[a/b"}, None),
        ({}, None),
    ],
)
def test_base_model_out_of_a_header(details: dict[str, Any], found: str | None) -> None:
    assert base_model_of(ModelDetails(**details), "Tiny model Instruct") == found


def test_a_license_of_its_own_keeps_name_and_link(tmp_path: Path) -> None:
    own = ModelDetails(license="other", license_name="tiny-1", license_link="LICENSE")
    write(small_run(own), tmp_path / "a")
    data = ModelCard.load(tmp_path / "a" / "README.md").data
    assert (data.license, data.license_name, data.license_link) == ("other", "tiny-1", "LICENSE")
    write(small_run(ModelDetails(license="Tiny Community License")), tmp_path / "b")
    data = ModelCard.load(tmp_path / "b" / "README.md").data
    assert (data.license, data.license_name) == ("other", "Tiny Community License")
    write(small_run(own), tmp_path / "c", license="MIT", quantized_by="me")
    data = ModelCard.load(tmp_path / "c" / "README.md").data
    assert (data.license, data.get("license_name"), data.quantized_by) == ("mit", None, "me")


def test_the_header_of_a_model_tells_what_an_early_run_did_not_record(tmp_path: Path) -> None:
    keys = {"general__license": "mit", "general__source__repo_url": "https://hf.co/a/b", "general__languages": "de"}
    model = header_only(tmp_path / "m.gguf", layers=32, **keys, tokenizer__chat_template=CHATML)
    text = write(small_run(), tmp_path / "card", model=model, base_model=None)
    data = ModelCard.load(tmp_path / "card" / "README.md").data
    assert (data.license, data.base_model, data.language) == ("mit", "a/b", ["de"])
    assert "{system_prompt}" in text


def test_what_nothing_tells_is_named_with_its_remedy(tmp_path: Path) -> None:
    early = RESULTS / "smollm2-135m-instruct-sizes"  # whose records do not tell what the header of the model says
    written = write_card(load_run(early), early, tmp_path, Given())
    assert written.base_model is None
    remedies = [re.search(r"give (--[\w-]+)", lacking) for lacking in written.lacks]
    options = [found[1] for found in remedies if found]
    assert options == ["--base-model", "--license", "--language", "--model", "--imatrix"]
    data = ModelCard.load(written.path).data
    assert data.base_model is None and data.get("base_model_relation") is None and data.license is None


def test_what_the_model_was_trained_from_is_told_and_not_taken_for_what_was_quantized(tmp_path: Path) -> None:
    run = small_run(ModelDetails(trained_from=("https://huggingface.co/a/Raw",)))
    written = write_card(run, PUBLISHED, tmp_path, Given())
    assert written.base_model is None
    assert written.lacks[0].endswith("(it was trained from a/Raw): give --base-model OWNER/NAME")


def test_languages_are_codes_that_the_hub_takes() -> None:
    assert given_languages("EN, de,code") == ("en", "de", "code")
    with pytest.raises(BenchError, match="--language english: 'english' is no language of the hub; give ISO 639 codes"):
        given_languages("english")


def test_what_cannot_be_written_is_told(published: Run, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="--base-model base: is no repository of the hub; write it as owner/name"):
        write(published, tmp_path, base_model="base")
    with pytest.raises(BenchError, match="--repo tiny: is no repository of the hub; write it as owner/name"):
        write(published, tmp_path, repo="tiny")
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
        bits_per_weight=2,
        weights_by_type={},
        importance_sha256=None,
        result=result,
    )
    built.write_note()
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
    path = found["Tiny-model-IQ2_S.gguf"]
    stat = path.stat()
    path.write_bytes(b"IQ2_T")  # as large, and of the same time
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(BenchError, match="the hash on record of IQ2_S; build with `bench run --recipes IQ2_S`"):
        files_of(run, tmp_path)


#: A card's directory, what belongs to it, files.
Ready = tuple[Path, tuple[str, ...], dict[str, Path]]

# Uploading


class Heard(Reporter):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def ready(tmp_path: Path) -> Ready:
    """A card with a plot and something that is not its own, and a quantized file."""
    directory, file = tmp_path / "card", tmp_path / "built.gguf"
    (directory / "plots").mkdir(parents=True)
    (directory / "README.md").write_text("---\nlicense: mit\n---\n\n![A plot](plots/a.png) ![](https://e.org/x.png)\n")
    (directory / "plots" / "a.png").write_bytes(b"\x89PNG a")
    (directory / "plots" / "old.png").write_bytes(b"\x89PNG of an earlier card")
    (directory / "private.txt").write_text("secret")
    file.write_bytes(b"GGUF" + bytes(2000))
    return directory, ("plots/a.png",), {"Tiny-IQ2_S.gguf": file}


def test_what_is_sent_is_listed_and_nothing_else(ready: Ready) -> None:
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
    ready: Ready,
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


def test_only_what_is_on_record_is_sent_and_no_link(
    hub: HubServer,  # noqa: F811
    ready: Ready,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    with pytest.raises(BenchError, match="another hash than the one on record, so nothing is uploaded"):
        send(*ready, "tester/a", private=False, reporter=Heard(), hashes={"Tiny-IQ2_S.gguf": "0" * 64})
    plot = ready[0] / "plots" / "a.png"
    plot.unlink()
    plot.symlink_to(ready[0] / "private.txt")
    with pytest.raises(BenchError, match="what a link points to is not sent"):
        send(*ready, "tester/a", private=False, reporter=Heard())
    assert not hub.committed and not hub.asked("PUT")


def test_a_public_repository_is_not_taken_for_a_private_one(
    hub: HubServer,  # noqa: F811
    ready: Ready,
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
        ("hf_test", "tiny", {}, "--repo tiny: is no repository of the hub; write it as owner/name"),
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
    ready: Ready,
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
    ready: Ready,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    (ready[0] / "README.md").write_text("---\n- no\n- mapping\n---\n")
    with pytest.raises(BenchError, match=r"does not accept its metadata \(the metadata is no mapping\); correct"):
        send(*ready, "tester/a", private=False, reporter=Heard())
    assert not hub.repos


def test_no_network_is_told(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_files_of_others_are_not_published() -> None:
    run = small_run()
    theirs = file_record("somebody:Q4_K_M", "Published", 900)
    with_theirs = run_of([*run.records, theirs, window_record("somebody:Q4_K_M", 0, 20.0, 1.0)])
    assert file_names(with_theirs).keys() == file_names(run).keys()


def with_matrix(digest: str) -> Run:
    run = small_run()
    records = [
        r.model_copy(update={"importance_sha256": digest})
        if isinstance(r, FileRecord) and r.family != "Reference"
        else r
        for r in run.records
    ]
    return Run(run.header, tuple(records))


def test_the_importance_matrix_is_found_by_the_hash_on_record(tmp_path: Path) -> None:
    (tmp_path / "imatrix").mkdir()
    for name in ("one", "other"):
        (tmp_path / "imatrix" / f"{name}.gguf").write_text(name)
    other = tmp_path / "imatrix" / "other.gguf"
    run = with_matrix(file_sha256(other))
    assert matrix_of(run, tmp_path) == other == given_matrix(run, other)
    assert matrix_of(small_run(), tmp_path) is None and matrix_of(with_matrix("0"), tmp_path) is None
    with pytest.raises(BenchError, match="were made with another importance matrix; give that one"):
        given_matrix(run, tmp_path / "imatrix" / "one.gguf")
