"""Choosing by the guide: what to take of files of unmeasured quality."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from bench.advise.advice import about, on_model, on_repository
from bench.advise.bits import n_weights
from bench.advise.by_size import on_sizes
from bench.advise.candidates import Candidate, format_of, of_model, of_repository, of_size, plan_guide
from bench.advise.choice import READING, by_guide
from bench.advise.cpu import instruction_sets
from bench.advise.guide import guide
from bench.advise.situation import Situation, Wishes, bandwidth_of, bytes_of, described_memory, fit
from bench.advise.speed import Limits, Reach
from bench.core.errors import BenchError
from bench.engine.memory import MachineMemory, shape_of
from bench.execute.local import LocalExecutor
from bench.gguf_files.info import inspect
from bench.models.listed import Listed, ListedModel
from bench.quantize.jobs import PlanJob, PlanResult
from tests.advise.test_cpu import GRAVITON, HASWELL
from tests.support.tiny import write_model

G = 1_000_000_000
#: What programs are told of every candidate, whatever it is.
COMMON = {"name", "bytes", "memory", "tokens_per_second", "fits"}
KERNELS = dict.fromkeys(("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL",
                         "IQ4_XS", "Q3_K", "IQ3_S", "IQ3_XXS", "Q2_K", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_S", "IQ1_M",
                         "MXFP4"), 20e9)  # fmt: skip


def laptop(memory: int = 16, bandwidth: float = 60e9, **wishes: object) -> Situation:
    return Situation(
        ("AVX2", "F16C"),
        ("AVX2",),
        described_memory(memory * G),
        Limits(8, bandwidth, KERNELS, Reach(0.7, 0.9, "files of a test")),
        Wishes(**wishes),  # type: ignore[arg-type]
        described=True,
        memory_described=True,
    )


def eight(here: Situation) -> tuple[Candidate, ...]:
    return of_size(next(m for m in guide().models if m.name == "8B"), here)


def taken(here: Situation) -> tuple[str | None, str | None, str | None]:
    found = by_guide(eight(here), here)
    picks = (found.take, found.smaller, found.better)
    return tuple(p.name if p else None for p in picks)  # type: ignore[return-value]


def test_headroom_decides_what_fits() -> None:
    machine = MachineMemory(total=20 * G, available=10 * G)  # 5 % of each is left alone: 0.5 and 1 GB
    assert [fit(int(x * G), machine) for x in (9.5, 9.6, 19.0, 19.1)] == ["fits", "tight", "tight", "does not fit"]
    assert fit(2 * G, MachineMemory(2 * G, 2 * G)) == "does not fit"  # at least 0.5 GB


def test_a_laptop_of_16_gb_gets_one_answer_and_two_others() -> None:
    # 8.03e9 weights of 6.56 bits are 6.6 GB, which 60 GB/s read 9 times a second, and 0.7 to 0.9 of that is expected
    assert taken(laptop()) == ("Q6_K", "Q5_K_M", "Q8_0")
    assert taken(laptop(bandwidth=30e9))[0] == "IQ4_XS"  # Q6_K is slower than one reads
    assert taken(laptop(prefer="quality")) == ("Q8_0", "Q6_K", None)
    assert taken(laptop(prefer="speed"))[0] == "IQ4_XS"


def test_fewer_bits_are_no_price_for_speed() -> None:
    found = by_guide(eight(laptop(bandwidth=5e9)), laptop(bandwidth=5e9))
    assert found.take and found.take.name == "Q4_K_M"
    assert found.take.why == (
        f"No format of 4 bits and more generates as fast as one reads ({READING:.0f} tokens/s or more in the middle of the "
        "expected range). This one is the usual compromise between size and quality."
    )


@pytest.mark.parametrize(
    ("names", "wish", "name", "why"),
    [
        (("F16", "Q8_0"), "balance", "Q8_0", "of the quantized files that fit and generate as fast as one reads"),
        (("F16", "Q8_0"), "quality", "Q8_0", "It has the best quality of the quantized files that fit."),
        (("F16",), "quality", "F16", "It has the best quality that fits."),
        (("F16",), "balance", "F16", "It has the best quality that fits and generates as fast as one reads"),
        (
            ("F16", "Q8_0", "Q6_K"),
            "balance",
            "Q6_K",
            "It has the best quality of at most 6 bits that fits and generates",
        ),
        (("Q8_0", "Q2_K"), "balance", "Q8_0", "It has the best quality of the quantized files that fit and generate"),
    ],
)
def test_more_bits_than_usual_are_taken_where_there_is_nothing_else(
    names: tuple[str, ...], wish: Literal["balance", "quality"], name: str, why: str
) -> None:
    here = laptop(memory=64, bandwidth=200e9, prefer=wish)
    found = by_guide([c for c in eight(here) if c.name in names], here)
    assert found.take and found.take.name == name and why in found.take.why


def test_the_usual_balance_is_said_of_usual_formats_only() -> None:
    here = laptop(memory=64, bandwidth=5e9)
    found = by_guide([c for c in eight(here) if c.name in ("F16", "Q8_0")], here)
    assert found.take and found.take.name == "Q8_0"
    assert found.take.why.endswith("This one is the smallest file of 4 bits and more.")


def test_only_memory_that_was_told_is_taken_to_be_in_use() -> None:
    told = laptop()
    assert "25 % of it are taken to be in use" in about(told)[0]
    here = about(replace(told, memory_described=False))[0]
    assert here == "The memory is this machine's: 12.0G available of 16.0G; --memory tells another."


def test_sizes_that_are_not_allowed_are_not_taken() -> None:
    take, smaller, better = taken(laptop(max_size=5 * G))
    assert take == "Q4_K_M" and better is None and smaller == "IQ4_XS"
    none = by_guide(eight(laptop(max_size=G)), laptop(max_size=G))
    assert none.take is None and none.because[0].startswith("No file has at most 1.0G: the smallest is ")


def test_where_nothing_fits_the_least_need_is_told() -> None:
    none = by_guide(eight(laptop(memory=2)), laptop(memory=2))
    assert none.take is None
    assert "needs" in none.because[0] and none.because[0].endswith("Take a smaller model or a shorter --context.")


def test_a_longer_context_needs_more_memory() -> None:
    short, long = (next(c for c in eight(laptop(context=n)) if c.name == "Q4_K_M") for n in (4096, 32768))
    # 32 layers x 8 heads x 2 x 128 numbers of 2 bytes
    assert long.memory.kv_cache - short.memory.kv_cache == 32 * 8 * 2 * 128 * 2 * (32768 - 4096)
    assert long.speed and short.speed and long.speed.low < short.speed.low and long.speed.high == short.speed.high


def test_only_few_bits_that_fit_are_taken_with_a_warning() -> None:
    here = laptop(max_size=3 * G)
    found = by_guide(eight(here), here)
    assert found.take and found.take.name == "Q2_K_S"
    assert "nothing of 4 bits and more does" in found.take.why and "make answers wrong" in found.because[0]


def test_q4_0_is_for_arm(tiny: Path) -> None:
    executor, info, shape = LocalExecutor(tiny.parent), inspect(tiny), shape_of(tiny)
    plans = plan_guide(executor.hold(tiny), executor)

    def chosen(text: str) -> str | None:
        wish = Wishes(max_size=plans["Q4_0"].n_bytes)
        here = Situation(instruction_sets(text), (), MachineMemory(64 * G, 60 * G), wishes=wish, stored="F16")
        found = by_guide(of_model(info, shape, plans, None, here), here)
        return found.take.name if found.take else None

    assert (chosen(GRAVITON), chosen(HASWELL)) == ("Q4_0", "IQ4_XS")


def test_formats_of_a_model_have_the_sizes_of_their_plans(tiny: Path, tmp_path: Path) -> None:
    executor, here = LocalExecutor(tmp_path), laptop(context=512)
    plans = plan_guide(executor.hold(tiny), executor)
    rows = {c.name: c for c in of_model(inspect(tiny), shape_of(tiny), plans, None, here)}
    assert rows["Q6_K"].n_bytes == plans["Q6_K"].n_bytes
    assert rows["DG-IQ2_S"].n_bytes == round(plans["IQ2_S"].n_bytes * 1.07)  # a choice takes all that its size allows
    # 4 layers x 2 heads x 2 x 64, 2 bytes, 512 tokens
    assert rows["Q6_K"].memory.kv_cache == 4 * 2 * 2 * 64 * 2 * 512
    assert "MXFP4_MOE" not in rows  # a format for experts, and the model has none


class Refusing:
    """An executor on which llama.cpp refuses all recipes but some."""

    def __init__(self, executor: LocalExecutor, *but: str) -> None:
        self._executor, self._but = executor, but

    def do(self, job: PlanJob) -> PlanResult:
        if job.recipe.name not in self._but:
            raise BenchError(f"{job.recipe.name}: does not fit the model")
        return self._executor.do(job)


def test_formats_that_llama_cpp_refuses_are_left_out(tiny: Path, tmp_path: Path) -> None:
    executor, here = LocalExecutor(tmp_path), laptop(context=512)
    some = plan_guide(executor.hold(tiny), Refusing(executor, "Q8_0", "Q6_K"))  # type: ignore[arg-type]
    assert set(some) == {"Q8_0", "Q6_K"}
    assert [c.name for c in of_model(inspect(tiny), shape_of(tiny), some, None, here)] == ["Q8_0", "Q6_K"]
    none = plan_guide(executor.hold(tiny), Refusing(executor))  # type: ignore[arg-type]
    with pytest.raises(BenchError, match=r"\.gguf: llama.cpp can make no format of it; name another model"):
        on_model(inspect(tiny), shape_of(tiny), none, None, here)


def test_more_bits_bring_nothing_back_to_a_quantized_file(tmp_path: Path) -> None:
    info = inspect(path := write_model(tmp_path / "q4.gguf", weight_type="Q4_0"))
    with pytest.raises(BenchError, match=r"q4.gguf: is already quantized \(4.\d+ bits per weight\)"):
        on_model(info, shape_of(path), {}, None, laptop())


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("Model-8B-Q4_K_M", "Q4_K"),
        ("Model-8B-UD-Q4_K_XL", "Q4_K"),
        ("model-8b-IQ2_XXS_DG", "DynamicGate 1-2 bit"),
        ("model-iq4_xs", "IQ4_XS"),
        ("gpt-oss-20b-mxfp4", "MXFP4"),
        ("model-BF16", "BF16"),
        ("model", None),
    ],
)
def test_a_files_format_is_read_out_of_its_name(name: str, row: str | None) -> None:
    found = format_of(name)
    assert (found and found[0].name) == row


def repository(*formats: str, metadata: dict[str, object] | None = None) -> Listed:
    from bench.advise.bits import stored

    models = tuple(ListedModel(f"M-8B-{f}", f"M-8B-{f}.gguf", stored(f, "8B").n_bytes) for f in formats)
    return Listed("hf:o/r@abc", models, metadata or {}, None)


def test_files_of_a_repository_are_chosen_without_their_headers() -> None:
    listed, here = repository("Q2_K", "F16", "Q6_K", "Q4_K_M"), laptop()
    rows, assumed = of_repository(listed, here)
    assert [c.name for c in rows] == ["F16", "Q6_K", "Q4_K_M", "Q2_K"]
    assert any(s.startswith("The model has about 8 billion weights") for s in assumed)
    assert any("Llama 3.1 8B" in s for s in assumed)
    same = {c.name: c for c in eight(here)}
    for row in rows:
        assert row.memory.needed == same[row.name].memory.needed
        assert row.speed and row.speed.high == pytest.approx(same[row.name].speed.high, rel=0.01)  # type: ignore[union-attr]
    advice = on_repository(listed, here)
    assert all(r.keys() >= COMMON for r in advice.rows)
    lead = advice.lead()
    assert lead[0] == "## Take Q6_K (6.6G, M-8B-Q6_K.gguf)"
    assert [line.split(":")[0] for line in lead if line.startswith(("- Smaller", "- Better"))] == [
        "- Smaller and faster"
    ]
    assert lead[-2] == (
        "- Assumed: 8 threads and 60 GB/s of memory bandwidth (measured here); --threads and --bandwidth describe another machine."
    )
    assert lead[-1] == "- Next: `llama-cli -hf o/r --hf-file M-8B-Q6_K.gguf -c 4096` fetches it and runs it."


def test_a_header_tells_memory_and_experts() -> None:
    keys: dict[str, object] = {
        "general.architecture": "qwen3moe",
        "qwen3moe.block_count": 48,
        "qwen3moe.embedding_length": 2048,
        "qwen3moe.feed_forward_length": 6144,
        "qwen3moe.expert_feed_forward_length": 768,
        "qwen3moe.expert_count": 128,
        "qwen3moe.expert_used_count": 8,
        "qwen3moe.attention.head_count": 32,
        "qwen3moe.attention.head_count_kv": 4,
        "qwen3moe.attention.key_length": 128,
        "qwen3moe.attention.value_length": 128,
    }
    here, mixture = laptop(memory=64), next(m for m in guide().models if m.experts)
    like = {c.name: c for c in of_size(mixture, here)}["Q4_K_M"]
    listed = Listed("hf:o/r@abc", (ListedModel("M-Q4_K_M", "M-Q4_K_M.gguf", like.n_bytes),), keys, None)
    (row,), _ = of_repository(listed, here)
    assert row.memory.kv_cache == like.memory.kv_cache
    assert row.speed and like.speed and row.speed.high == pytest.approx(like.speed.high, rel=0.15)


def test_files_that_tell_no_format_are_refused() -> None:
    listed = Listed("hf:o/r@abc", (ListedModel("model", "model.gguf", G),), {}, None)
    with pytest.raises(BenchError, match="no name of its files tells a format"):
        of_repository(listed, laptop())


def test_sizes_of_model_are_advised_without_a_model() -> None:
    advice = on_sizes(laptop())
    take = advice.recommendation.take
    assert take and take.name == "a model of 14B in Q4_K_M"
    assert advice.lead()[0] == "## Take a model of 14B in Q4_K_M (9.0G)"
    assert advice.tables[1].frame is not None
    needs = advice.tables[1].frame.set_index("Format")
    assert needs.loc["Q8_0", "70B"] == "–" and needs.loc["MXFP4_MOE", "8B"] == "–"
    assert needs.loc["Q6_K", "14B"] == "(13.4G)"
    rows = advice.json()["candidates"]
    assert isinstance(rows, list) and take.name in [r["name"] for r in rows]
    assert all(r.keys() >= COMMON and r["memory"]["needed"] for r in rows)
    said = advice.tables[2].key
    assert len(said) == len(guide().formats)
    assert any(line.startswith("IQ4_XS (4.42 bits per weight of 8B): take it when ") for line in said)


def weights(named: str) -> float:
    """Of the size of model in `a model of 8B in Q4_K_M`."""
    return next(n_weights(m) for m in guide().models if f" {m.name} " in named)


@pytest.mark.parametrize("memory", [8, 16, 32, 64])
@pytest.mark.parametrize("bandwidth", [10e9, 40e9, 100e9])
def test_for_quality_no_smaller_model_is_taken_than_for_balance(memory: int, bandwidth: float) -> None:
    balance, quality = (
        on_sizes(laptop(memory, bandwidth, prefer=p)).recommendation.take for p in ("balance", "quality")
    )
    assert balance and quality and weights(quality.name) >= weights(balance.name)
    assert "in the best format of it that fits" in quality.why


@pytest.mark.parametrize("prefer", ["balance", "quality", "speed"])
@pytest.mark.parametrize(("memory", "bandwidth"), [(16, 40e9), (32, 40e9), (32, 60e9), (64, 100e9)])
def test_an_alternative_is_what_it_is_called(memory: int, bandwidth: float, prefer: str) -> None:
    advice = on_sizes(laptop(memory, bandwidth, prefer=prefer))
    found, rows = advice.recommendation, {str(r["name"]): r for r in advice.rows}
    assert found.take and found.smaller
    take, other = rows[found.take.name], rows[found.smaller.name]
    faster = other["tokens_per_second"]["value"] > take["tokens_per_second"]["value"]  # type: ignore[index]
    smaller = other["bytes"] < take["bytes"]  # type: ignore[operator]
    called = {(True, True): "Smaller and faster", (True, False): "Smaller", (False, True): "Faster"}
    assert found.smaller_is == called[smaller, faster]


def test_few_bits_are_marked_where_they_stand() -> None:
    table = on_sizes(laptop(32)).tables[0]
    assert table.frame is not None
    taken = table.frame.set_index("Model")["Take"]
    assert taken["70B"] == "IQ2_XXS (few bits)" and "few" not in taken["8B"]
    assert any(line.startswith("few bits: ") and "answers are often wrong" in line for line in table.key)


def test_what_comes_next_is_a_command(tiny: Path, tmp_path: Path) -> None:
    assert on_sizes(laptop()).lead("bench")[-1].startswith("- Next: look on the hub")
    assert "`bench advise hf:OWNER/REPO`" in on_sizes(laptop()).lead("bench")[-1]
    executor = LocalExecutor(tmp_path)
    advice = on_model(inspect(tiny), shape_of(tiny), plan_guide(executor.hold(tiny), executor), None, laptop())
    take = advice.recommendation.take
    assert take and advice.lead("bench")[-1].startswith(
        f"- Next: `bench quantize {take.name} {take.name}.gguf --model "
    )


def test_an_arm_is_told_where_16_bits_are_as_stored(tiny: Path, tmp_path: Path) -> None:
    executor = LocalExecutor(tmp_path)
    here = replace(laptop(prefer="quality"), stored="F16")
    advice = on_model(inspect(tiny), shape_of(tiny), plan_guide(executor.hold(tiny), executor), None, here)
    take, better = advice.recommendation.take, advice.recommendation.better
    assert take and take.name == "Q8_0" and better and better.name == "F16"  # BF16 would only lose


@pytest.mark.parametrize("text", ["", "many", "4bpw", "+4%", "0MB", "IQ2_XXS", "-3GB"])
def test_what_is_no_number_of_bytes_is_refused(text: str) -> None:
    with pytest.raises(BenchError, match="is no number of bytes; write for instance 80MB, 8GB or 8GiB"):
        bytes_of(text, "--memory")
    with pytest.raises(BenchError, match="write for instance 50GB/s"):
        bandwidth_of(text)


def test_numbers_of_bytes_are_read() -> None:
    assert (bytes_of("8GB", "x"), bytes_of("8GiB", "x"), bytes_of("80 MB", "x")) == (8 * G, 8 * 2**30, 80_000_000)
    assert bandwidth_of("50GB/s") == bandwidth_of("50GB") == 50e9
