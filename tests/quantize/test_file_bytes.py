"""A file's bytes follow from model, recipe, importance matrix and engine, and from nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.core.files import file_sha256
from bench.core.progress import Reporter
from bench.quantize import imatrix_file
from bench.recipes.recipe import Recipe, find_recipe
from bench.workbench import kept
from bench.workbench.kept import Built, key
from bench.workbench.options import Options
from bench.workbench.work import Work
from tests.support.held import quiet

MATRIX = Path(__file__).parents[1] / "data" / "llama-imatrix-tiny.gguf"

#: kept.FILES, and the file that it stands for: raise the one when the other changes, and say so in the changelog.
WRITER = (2, "debb0ccaaaa0ddd275d7ceedaf622a77274ae7dd2bd4f3a082a988ca6c0414c4")


def work(model: Path, cache: Path, matrix: Path = MATRIX, threads: int = 2) -> Work:
    return Work(Options(model=str(model), imatrix=matrix, threads=threads, cache=cache), Reporter())


def built(model: Path, recipe: Recipe, cache: Path, matrix: Path = MATRIX, threads: int = 2) -> Built:
    return work(model, cache, matrix, threads).quantized(recipe, quiet)


def test_other_bytes_have_another_version(tiny: Path, tmp_path: Path) -> None:
    assert (kept.FILES, built(tiny, find_recipe("Q2_K"), tmp_path).sha256) == WRITER


def test_names_places_threads_and_the_matrix_files_own_words_are_not_in_a_file(tiny: Path, tmp_path: Path) -> None:
    recipe = find_recipe("DG-FULL-Q2_K")
    first = built(tiny, recipe, tmp_path / "one")
    renamed = replace(recipe, name="MINE", family="Mine", description="mine")
    reworded = tmp_path / "a matrix.gguf"
    imatrix_file.write(replace(imatrix_file.read(MATRIX), datasets=("of another name",)), reworded)
    for other in (
        built(tiny, recipe, tmp_path / "one thread", threads=1),
        built(tiny, renamed, tmp_path / "renamed"),
        built(tiny, recipe, tmp_path / "reworded", matrix=reworded),
    ):
        assert other.path != first.path
        assert other.sha256 == first.sha256


def test_a_file_that_an_earlier_version_wrote_is_not_taken_for_this_ones(tiny: Path, tmp_path: Path) -> None:
    """As llama_model_quantize's files were, whose tensors stood in another order, after files were assembled."""
    recipe = find_recipe("Q2_K")
    now = built(tiny, recipe, tmp_path)
    with_what = work(tiny, tmp_path)
    origin = with_what.origin(with_what.importance)
    earlier = now.path.with_name(f"{tiny.stem}-Q2_K-{key(origin, recipe.fingerprint)}.gguf")
    for path in (now.path, now.path.with_suffix(".json")):
        path.rename(earlier.with_suffix(path.suffix))
    earlier.write_bytes(earlier.read_bytes()[::-1])
    note = now.model_copy(
        update={"path": earlier, "sha256": file_sha256(earlier), "modified_ns": earlier.stat().st_mtime_ns}
    )
    earlier.with_suffix(".json").write_text(note.model_dump_json(), encoding="utf-8")
    blocks = {p: p.stat().st_ino for p in (tmp_path / "blocks").glob("*/*")}
    again = built(tiny, recipe, tmp_path)
    assert (again.path, again.sha256) == (now.path, now.sha256)
    assert {p: p.stat().st_ino for p in (tmp_path / "blocks").glob("*/*")} == blocks, "blocks stay valid"
