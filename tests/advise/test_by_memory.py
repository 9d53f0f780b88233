"""One file for each amount of memory."""

from __future__ import annotations

from bench.advise.by_memory import best_by_memory, files_with_memory, worth_their_size
from bench.advise.measured import measured_files
from bench.advise.situation import Situation, described_memory
from bench.engine.memory import Memory, ModelShape
from bench.records.record import FileRecord
from bench.records.run import Run
from tests.support.records import file_record, run_of, window_record

SHAPE = ModelShape(kv_numbers=32 * 8 * 256, width=4096, feed_forward=14336, vocabulary=128_256)


def run(*files: tuple[str, float, float], windows: int = 6, description: str = "") -> Run:
    """A reference with a perplexity of 6, and files: (name, 10^9 bytes, perplexity)."""
    reference = file_record("F16", "Reference", 16_000_000_000)
    types = {"Q4_K_M": {"Q4_K": 9}, "Q8_0": {"Q8_0": 9}, "Q6_K": {"Q6_K": 9}}
    records: list[FileRecord] = [reference.model_copy(update={"shape": SHAPE, "description": description})]
    for name, size, _ in files:
        record = file_record(name, "Standard", round(size * 1e9))
        records.append(record.model_copy(update={"weights_by_type": types.get(name, {"IQ2_S": 9})}))
    scored = [("F16", 6.0), *((name, ppl) for name, _, ppl in files)]
    measured = [
        window_record(name, i, ppl * (1 + 0.001 * ((i * 7 + n * 3) % 5)), 1.0)
        for n, (name, ppl) in enumerate(scored)
        for i in range(windows)
    ]
    return run_of([*records, *measured], windows=windows)


def chosen(of: Run) -> list[tuple[int, str]]:
    return [(m.memory // 10**9, m.file.recipe) for m in best_by_memory(of, files_with_memory(of, 4096))]


def test_more_memory_takes_a_better_file_and_the_best_one_ends_the_list() -> None:
    of = run(("IQ2_S", 2.9, 12), ("Q4_K_M", 4.9, 7), ("Q8_0", 8.5, 6.1))
    assert chosen(of) == [(6, "IQ2_S"), (12, "Q4_K_M"), (16, "Q8_0")]


def test_need_is_file_and_cache_at_the_context() -> None:
    of = run(("Q4_K_M", 4.9, 7))
    near, far = (best_by_memory(of, files_with_memory(of, context))[0].needs for context in (4096, 8192))
    assert 4.9e9 < near < 6.5e9 and far - near == 4096 * SHAPE.kv_numbers * 2


def test_of_files_that_differ_by_less_than_is_shown_it_is_the_smallest() -> None:
    of = run(("Q4_K_M", 4.9, 7), ("Q6_K", 6.6, 6.101), ("Q8_0", 8.5, 6.1))
    assert chosen(of) == [(12, "Q6_K")]


def test_an_amount_is_the_least_on_which_advice_says_that_the_file_fits() -> None:
    of = run(("IQ2_S", 2.9, 12), ("Q4_K_M", 4.9, 7), ("Q8_0", 8.5, 6.1))
    for found in best_by_memory(of, files_with_memory(of, 4096)):
        needs = {found.file.recipe: Memory(found.needs, 0, 0, 0, 0)}
        for amount, told in ((found.memory, True), (found.memory // 2, False)):
            here = Situation((), (), described_memory(amount))
            fits = {m.recipe: m.fit == "fits" for m in measured_files(of, needs, here, same_machine=True)}
            assert fits[found.file.recipe] is told


def test_a_file_is_worth_its_size_as_advice_says() -> None:
    files = (("IQ2_S", 2.9, 12.0), ("Q4_0", 5.1, 9.0), ("Q4_K_M", 4.9, 7.0), ("Q8_0", 8.5, 7.5))
    for was, worth in (
        ("", ["IQ2_S", "Q4_K_M"]),
        ("A model, dequantized from Q4_1 to F16.", ["IQ2_S", "Q4_K_M", "Q8_0"]),
    ):
        # the reference that was once in Q4_1 cannot tell Q4_K_M from Q8_0
        of = run(*files, description=was)
        assert worth_their_size(of, files_with_memory(of, 4096)) == worth
        told = measured_files(of, {}, Situation((), (), described_memory(64 * 10**9)), same_machine=True)
        assert {m.recipe for m in told if m.beaten_by is None} == {"F16", *worth}


def test_with_too_few_windows_every_one_must_show_that_a_file_is_worse() -> None:
    # on average Q8_0 is far better, but one window of two says the opposite; what was scored later counts
    of = run(("Q4_K_M", 4.9, 7), ("Q8_0", 8.5, 7), windows=2)
    scored = [window_record("Q4_K_M", 0, 9.0, 1.0), window_record("Q4_K_M", 1, 6.9, 1.0)]
    assert chosen(run_of([*of.records, *scored], windows=2)) == [(12, "Q4_K_M")]


def test_a_file_that_the_reference_cannot_judge_is_not_recommended() -> None:
    of = run(("IQ2_S", 2.9, 12), ("Q8_0", 8.5, 6.1), description="A model, dequantized from Q4_1 to F16.")
    assert chosen(of) == [(6, "IQ2_S")]


def test_a_run_without_a_reference_recommends_nothing() -> None:
    of = run_of([file_record("Q8_0", "Standard", 10**9), window_record("Q8_0", 0, 6.0, 1.0)])
    assert chosen(of) == []
