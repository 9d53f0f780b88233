"""What headers tell people: what is kept of it, and that odd headers cost nothing but what they fail to say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from bench.gguf_files.details import ModelDetails
from bench.gguf_files.info import copy_metadata, inspect, open_gguf
from bench.gguf_files.widen import widen
from bench.models.reference import Reference
from bench.records.record import FileRecord
from bench.sweep.identity import reference_record
from tests.support.records import file_record

Fill = Callable[[gguf.GGUFWriter], None]


def details(path: Path, fill: Fill) -> ModelDetails:
    """Details of a file with nothing but what `fill` puts into its header."""
    writer = gguf.GGUFWriter(path, "llama")
    fill(writer)
    writer.add_tensor("output_norm.weight", np.ones(32, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return inspect(path).details


def stated(writer: gguf.GGUFWriter) -> None:
    writer.add_license("Apache-2.0")
    writer.add_license_name("Apache License")
    writer.add_license_link("LICENSE")
    writer.add_languages(["en", "de", "en"])
    writer.add_base_model_count(2)
    writer.add_base_model_repo_url(1, "second/model")
    writer.add_base_model_repo_url(0, "https://huggingface.co/first/model")
    writer.add_base_model_url(0, "passed/over")
    writer.add_source_url("not/this")
    writer.add_source_repo_url("but/this")
    writer.add_chat_template("{{ messages }}")


def test_details_are_kept_as_the_header_states_them(tmp_path: Path) -> None:
    assert details(tmp_path / "m.gguf", stated) == ModelDetails(
        license="Apache-2.0",
        license_name="Apache License",
        license_link="LICENSE",
        languages=("en", "de"),
        converted_from="but/this",
        trained_from=("https://huggingface.co/first/model", "second/model"),
        chat_template="{{ messages }}",
    )


def test_a_header_without_details_has_none(tmp_path: Path) -> None:
    assert details(tmp_path / "m.gguf", lambda writer: None) == ModelDetails()


def odd(writer: gguf.GGUFWriter) -> None:
    writer.add_uint32("general.license", 2)
    writer.add_string("general.license.name", "two\nlines")
    writer.add_string("general.license.link", "l" * 301)
    writer.add_array("general.languages", list(range(5)))
    writer.add_array("general.source.url", ["a/b"])
    writer.add_bool("general.base_model.0.repo_url", True)
    writer.add_string("general.base_model.x.repo_url", "a/b")
    writer.add_string("tokenizer.chat_template", "t" * 100_001)


def test_what_is_odd_counts_as_not_stated(tmp_path: Path) -> None:
    assert details(tmp_path / "m.gguf", odd) == ModelDetails()


@pytest.mark.parametrize(
    ("fill", "languages"),
    [
        (lambda w: w.add_string("general.languages", "en"), ("en",)),
        (lambda w: w.add_array("general.languages", ["en"] * 41), ()),
        (lambda w: w.add_array("general.languages", ["en", "\x1b[31m", ""]), ("en",)),
    ],
)
def test_languages_are_few_plain_words(tmp_path: Path, fill: Fill, languages: tuple[str, ...]) -> None:
    assert details(tmp_path / "m.gguf", fill).languages == languages


def test_widening_keeps_the_details(tiny: Path, tmp_path: Path) -> None:
    source, writer = tmp_path / "source.gguf", gguf.GGUFWriter(tmp_path / "source.gguf", "llama")
    reader = open_gguf(tiny)
    copy_metadata(reader, writer)
    writer.add_license("mit")
    writer.add_languages(["en", "fr"])
    writer.add_chat_template("{{ messages }}")
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    widen(source, tmp_path / "wide.gguf", description="")
    found = inspect(tmp_path / "wide.gguf").details
    assert found == inspect(source).details
    assert (found.license, found.languages, found.chat_template) == ("mit", ("en", "fr"), "{{ messages }}")


def test_the_record_of_a_reference_keeps_details_and_shape(tiny: Path) -> None:
    info = inspect(tiny)
    record = reference_record("r", "F16", Reference(info=info, sha256="0"))
    kept = FileRecord.model_validate_json(record.model_dump_json())
    assert kept == record and kept.details == info.details
    assert kept.shape is not None and kept.shape.width > 0


def test_records_of_an_early_version_have_no_details() -> None:
    early = file_record("F16", "Reference", 9).model_dump(mode="json", exclude={"details", "shape"})
    assert FileRecord.model_validate(early).details is None
