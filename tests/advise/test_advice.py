from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from bench.advise.advice import advise
from bench.advise.cpu import has, instruction_sets, sixteen_bit
from bench.advise.fitting import fit, plan_guide
from bench.advise.guide import GUIDE, guide, guide_sections, guide_table, read_guide
from bench.core.errors import BenchError
from bench.engine.memory import MachineMemory, Memory
from bench.engine.settings import LibraryInfo
from bench.execute.local import LocalExecutor
from bench.gguf_files.info import inspect
from bench.recipes.recipe import find_recipe
from bench.records.run import Record, Run
from tests.support.records import file_record, run_of, window_record
from tests.support.tiny import write_model

LIBRARY = LibraryInfo(binding="0.3.36", llama_cpp="0.5.0", features=("AVX2", "F16C", "REPACK"), isa="AVX2")
G = 1_000_000_000
ROOMY = MachineMemory(64 * G, 60 * G)

HASWELL = (
    "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu sse4_2 avx f16c fma avx2 bmi2\nbugs\t\t: spectre_v1\n"
)
GENOA = "flags\t\t: avx f16c fma avx2 avx512f avx512bw avx512_vnni avx512_bf16\n"
SAPPHIRE_RAPIDS = (
    "flags\t\t: avx f16c avx2 avx_vnni avx512f avx512_vnni avx512_bf16 avx512_fp16 amx_bf16 amx_tile amx_int8\n"
)
GRAVITON = (
    "processor\t: 0\nBogoMIPS\t: 2100.00\nFeatures\t: fp asimd asimdhp asimddp sve i8mm bf16\nCPU part\t: 0xd40\n"
)
RASPBERRY_PI = "Features\t: fp asimd evtstrm crc32 cpuid\n"
APPLE = (
    "hw.optional.neon: 1\nhw.optional.arm.FEAT_DotProd: 1\nhw.optional.arm.FEAT_BF16: 1\nhw.optional.arm.FEAT_SME: 0\n"
)


@pytest.mark.parametrize(
    ("text", "sets"),
    [
        (HASWELL, ("AVX2", "AVX", "F16C")),
        (GENOA, ("AVX512-BF16", "AVX512-VNNI", "AVX512", "AVX2", "AVX", "F16C")),
        (GRAVITON, ("SVE", "BF16", "I8MM", "dot product", "FP16", "NEON")),
        (RASPBERRY_PI, ("NEON",)),
        (APPLE, ("BF16", "dot product", "NEON")),
        ("nothing of the kind\n", ()),
    ],
    ids=["haswell", "genoa", "graviton", "pi", "apple", "none"],
)
def test_instruction_sets_are_read_from_what_the_system_says(text: str, sets: tuple[str, ...]) -> None:
    assert instruction_sets(text) == sets


def test_amx_comes_first() -> None:
    assert instruction_sets(SAPPHIRE_RAPIDS)[:3] == ("AMX-BF16", "AMX-INT8", "AVX512-FP16")


def test_what_formats_want_is_found_in_the_cpu() -> None:
    wants = ("bf16", "f16", "arm-dot")
    found = {
        name: tuple(w for w in wants if has(instruction_sets(text), w))
        for name, text in (("haswell", HASWELL), ("genoa", GENOA), ("graviton", GRAVITON), ("pi", RASPBERRY_PI))
    }
    assert found == {"haswell": ("f16",), "genoa": ("bf16", "f16"), "graviton": wants, "pi": ()}


def test_bf16_is_native_emulated_or_not_used_by_the_engine() -> None:
    assert "no BF16 arithmetic here" in sixteen_bit(instruction_sets(HASWELL), LIBRARY.features)[0]
    assert "built without it" in sixteen_bit(instruction_sets(GENOA), LIBRARY.features)[0]
    assert sixteen_bit(instruction_sets(GENOA), ("AVX512_BF16",))[0] == "BF16: multiplied as it is (AVX512-BF16)"


def test_f16_is_native_converted_or_slow() -> None:
    said = [sixteen_bit(instruction_sets(t), ())[1] for t in (GRAVITON, HASWELL, RASPBERRY_PI)]
    assert "has F16 arithmetic (FP16)" in said[0]
    assert "F16C" in said[1]
    assert "slow" in said[2]


def test_an_engine_built_for_less_than_the_cpu_is_told() -> None:
    told = "Engine: built for AVX2, less than the CPU has; BENCH_ISA=native builds one for the CPU"
    assert told in advise(library=LIBRARY, cpu=instruction_sets(GENOA), machine=ROOMY).about
    assert "Engine: built for AVX2" in advise(library=LIBRARY, cpu=instruction_sets(HASWELL), machine=ROOMY).about


# --- the guide


def test_the_guide_names_the_formats_it_must_and_recipes_that_exist() -> None:
    rows = guide().formats
    assert [r.name for r in rows[:9]] == ["BF16", "F16", "Q8_0", "Q6_K", "Q4_K", "Q4_0", "IQ3_M", "IQ3_S", "IQ3_XS"]
    for recipe in (r for row in rows for r in row.recipes):
        assert find_recipe(recipe).name == recipe
    for i, _ in enumerate(guide().models):
        assert [r.bits[i] for r in rows] == pytest.approx(sorted((r.bits[i] for r in rows), reverse=True), abs=0.05)


def test_the_table_has_a_row_for_each_format_of_the_data_file() -> None:
    lines = guide_table().splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]] == [f.name for f in guide().formats]
    assert {line.count(" | ") for line in lines} == {5}
    assert guide_sections(level=4).count("#### ") == len(guide().formats)


def test_a_recipe_is_found_in_its_row() -> None:
    assert [r.name if (r := guide().of(n)) else None for n in ("q4_k_s", "DG-IQ1_M", "Q5_0")] == [
        "Q4_K",
        "DynamicGate 1-2 bit",
        None,
    ]


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ('memory = "high"', 'memory = "big"', "BF16.memory: Input should be"),
        ("wants =", "want =", "BF16.want: unknown key; did you mean wants?"),
        ("layers = 28", "layers = 0", "1.5B.layers: Input should be greater than 0"),
        ("bits = [8.5, ", "bits = [", "Q8_0.bits: has 5 figures for 6 models; give one for each"),
        ('recipes = ["F16"]', 'recipes = ["BF16"]', "F16: BF16 is in the guide twice"),
        ("[[formats]]", "[[format]]", "formats: Field required"),
        ("models = [", "models = ", "is no TOML file"),
    ],
)
def test_an_error_in_the_data_file_is_named(was: str, becomes: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "guide.toml"
    text = GUIDE.read_text()
    assert was in text
    path.write_text(text.replace(was, becomes))
    with pytest.raises(BenchError) as e:
        read_guide(path)
    assert said in str(e.value)
    assert "\n" not in str(e.value)


# --- formats for a model


def test_headroom_decides_what_fits() -> None:
    machine = MachineMemory(total=20 * G, available=10 * G)  # 5 % of each is left alone: 0.5 and 1 GB
    assert [fit(int(x * G), machine) for x in (9.5, 9.6, 19.0, 19.1)] == ["fits", "tight", "tight", "does not fit"]
    assert fit(2 * G, MachineMemory(2 * G, 2 * G)) == "does not fit"  # at least 0.5 GB
    copied = Memory(weights=8 * G, repacked=6 * G, kv_cache=G, buffers=0, process=0)
    assert fit(copied, machine) == "fits"  # pages of the file that were copied can go


def test_formats_of_a_model_have_the_sizes_of_their_plans(tiny: Path, tmp_path: Path) -> None:
    executor = LocalExecutor(tmp_path)
    plans = plan_guide(executor.hold(tiny), executor)
    advice = advise(inspect(tiny), library=LIBRARY, plans=plans, window=512, machine=ROOMY, cpu=("AVX2",))
    sizes = {r.recipe: r.n_bytes for r in advice.rows}
    assert [r.format for r in advice.rows] == [f.name for f in guide().formats]
    assert sizes["Q6_K"] == plans["Q6_K"].n_bytes
    assert sizes["DG-IQ2_S"] == round(plans["IQ2_S"].n_bytes * 1.07)  # a choice takes all that its size allows
    q6, q4 = (next(r for r in advice.rows if r.recipe == name) for name in ("Q6_K", "Q4_0"))
    # 4 layers x 2 heads x 2 x 64, 2 bytes, 512 tokens
    assert q6.memory.kv_cache == 4 * 2 * 2 * 64 * 2 * 512
    assert (q6.memory.repacked, q4.memory.repacked > 0) == (0, True)
    assert all(r.fit == "fits" for r in advice.rows)


def test_the_models_own_type_goes_before_the_other_of_16_bits(tiny: Path) -> None:
    advice = advise(inspect(tiny), library=LIBRARY, machine=ROOMY, cpu=instruction_sets(GENOA))
    reasons = {r.format: r.reason for r in advice.rows}
    assert (reasons["BF16"], reasons["F16"]) == ("the model is in F16: this only loses", "as the model is stored")
    assert advice.said[0].startswith("By the guide, best quality that fits: F16 (")


def test_q4_0_is_for_arm(tiny: Path) -> None:
    def balanced(text: str) -> tuple[str, str]:
        advice = advise(inspect(tiny), library=LIBRARY, machine=ROOMY, cpu=instruction_sets(text))
        return advice.said[1], next(r.reason for r in advice.rows if r.format == "Q4_0")

    arm, intel = balanced(GRAVITON), balanced(HASWELL)
    assert "on this CPU: Q4_0 (" in arm[0]
    assert "Arm" in arm[1]
    assert "on this CPU: Q4_K_M (" in intel[0]
    assert intel[1].startswith("not at its best here: ")


def test_few_bits_are_not_needed_where_more_fit(tiny: Path) -> None:
    advice = advise(inspect(tiny), library=LIBRARY, machine=ROOMY, cpu=("AVX2",))
    assert next(r.reason for r in advice.rows if r.format == "IQ3_M") == "not needed: Q4_K_M fits"


def test_where_nothing_fits_the_least_need_is_told(tiny: Path) -> None:
    advice = advise(inspect(tiny), library=LIBRARY, machine=MachineMemory(G // 2, G // 2), cpu=("AVX2",))
    assert {r.fit for r in advice.rows} == {"does not fit"}
    assert advice.said[0].startswith("No format of the guide fits: ")
    assert advice.said[0].endswith("take a smaller model or a shorter window")
    closed = advise(inspect(tiny), library=LIBRARY, machine=MachineMemory(4 * G, G // 2), cpu=("AVX2",))
    assert closed.said[0].endswith("; close other programs")


def test_more_bits_bring_nothing_back_to_a_quantized_file(tmp_path: Path) -> None:
    info = inspect(write_model(tmp_path / "q4.gguf", weight_type="Q4_0"))
    advice = advise(info, library=LIBRARY, machine=ROOMY, cpu=("AVX2",))
    assert advice.rows[2].reason.startswith("brings nothing back: the file has 4.")
    assert "is already quantized" in advice.said[0]


def test_sizes_of_model_are_advised_without_a_model() -> None:
    advice = advise(library=LIBRARY, machine=MachineMemory(16 * G, 12 * G), cpu=("AVX2",), window=8192)
    eight = {r.recipe: r.needs["8B"] for r in advice.sizes}
    # 8.0303e9 weights of 8.5 bits; 32 layers x 8 heads x 2 x 128 x 2 bytes x 8192 tokens; logits of 512 tokens; the program
    expected = 8_030_300_000 * 8.5 / 8 + 32 * 8 * 2 * 128 * 2 * 8192 + 512 * 4 * (2 * 4096 + 128256) + 128256 * 4
    assert eight["Q8_0"][0] == pytest.approx(expected + 50e6 + 400 * 128256, rel=1e-6)
    assert {k: v[1] for k, v in eight.items() if k in ("F16", "Q8_0")} == {"F16": "does not fit", "Q8_0": "fits"}
    assert {r.needs["70B"][1] for r in advice.sizes} == {"does not fit"}
    assert "| Q8_0 | Q8_0 | 2.3G |" in advice.text()


def test_a_window_has_tokens() -> None:
    with pytest.raises(BenchError, match="--window 0: a window has at least one token"):
        advise(library=LIBRARY, window=0)


# --- files of a run

#: Perplexity of each file in every window relative to the reference, bytes, seconds.
FILES = {"Q8_0": (1.001, 800, 10.0), "Q4_K_M": (1.005, 500, 9.0), "Q4_0": (1.2, 520, 8.0), "IQ2_S": (3.0, 300, 11.0)}


def measured_run(windows: int = 8, files: dict[str, tuple[float, int, float]] | None = None) -> Run:
    """A reference of perplexity 10 and files whose distance from it varies a little by window."""
    records: list[Record] = [file_record("F16", "Reference", 1600 * 10**6)]
    records += [window_record("F16", w, 10 + w, 20.0) for w in range(windows)]
    for name, (ratio, megabytes, seconds) in (files or FILES).items():
        records.append(file_record(name, "Standard", megabytes * 10**6))
        for w in range(windows):
            wobble = math.exp((ratio - 1) * 0.1 * (-1) ** w)
            records.append(window_record(name, w, (10 + w) * ratio * wobble, seconds + 0.01 * w))
    return run_of(records, windows=windows)


def test_the_front_has_no_file_that_a_smaller_one_beats() -> None:
    advice = advise(run=measured_run(), library=LIBRARY, machine=ROOMY, cpu=("AVX2",))
    front = {m.recipe: (m.on_front, m.beaten_by) for m in advice.measured}
    assert list(front) == ["F16", "Q8_0", "Q4_0", "Q4_K_M", "IQ2_S"]  # largest first
    assert front["Q4_0"] == (False, "Q4_K_M")
    assert {name for name, (on, _) in front.items() if on} == {"F16", "Q8_0", "Q4_K_M", "IQ2_S"}


def test_a_run_is_recommended_from_in_plain_sentences() -> None:
    advice = advise(run=measured_run(), library=LIBRARY, machine=ROOMY, cpu=("AVX2",))
    assert advice.said[0] == "The reference itself fits: F16 (1.6G)"
    assert advice.said[1].startswith("By the run, best quality that fits: Q8_0 (800.0M), perplexity +0.1%")
    assert advice.said[2].startswith(
        "By the run, smallest with less than 1 % more perplexity: Q4_K_M (500.0M), +0.5% ["
    )
    assert advice.said[3] == "By the run, fastest prompt processing by its median: Q4_0 (520.0M), 8.04s for 2048 tokens"
    assert "fastest to generate by its median: Q4_0 (520.0M), 199.1 tokens/s" in advice.said[4]


def test_what_cannot_be_said_is_said() -> None:
    run = measured_run(windows=2, files={"IQ2_S": (3.0, 300, 11.0), "IQ1_S": (9.0, 250, 11.0)})
    records = [
        r.model_copy(update={"result": r.result.model_copy(update={"generate_seconds": None})})
        if r.kind == "window"
        else r
        for r in run.records
    ]
    said = advise(run=replace(run, records=tuple(records)), library=LIBRARY, machine=ROOMY, cpu=("AVX2",)).said
    assert (
        "No file that fits stays within 1 % of the reference's perplexity; the nearest is IQ2_S (300.0M), +200.0%"
        in said
    )
    assert any(s.endswith("2 of 2 others cannot be told apart from it") for s in said)  # too few passes
    assert said[-1] == "Generation was not timed in this run, so nothing can be said of it."


def test_without_a_model_a_run_has_the_memory_it_measured() -> None:
    run = measured_run()  # each measured with 3 GB
    small = advise(run=run, library=LIBRARY, machine=MachineMemory(4 * G, 2 * G), cpu=("AVX2",))
    assert {(m.memory, m.memory_is_estimate, m.fit) for m in small.measured} == {(3 * G, False, "tight")}
    assert small.said[0].startswith("No file of the run fits in the memory that is available")


def test_a_run_of_another_model_is_refused(tiny: Path) -> None:
    with pytest.raises(
        BenchError, match=r"the run is of Test model and --model is tiny; give the model that the run measured"
    ):
        advise(inspect(tiny), measured_run(), library=LIBRARY, machine=ROOMY)


def test_advice_is_json_and_text(tiny: Path) -> None:
    advice = advise(inspect(tiny), library=LIBRARY, machine=ROOMY, cpu=("AVX2",))
    found = json.loads(json.dumps(advice.json()))
    assert found["rows"][0]["needed"] == advice.rows[0].memory.needed
    assert found["machine"] == {"total": 64 * G, "available": 60 * G}
    text = advice.text()
    assert text.startswith("## This machine\n\n- Instruction sets: AVX2\n")
    assert "\n## Formats for tiny, window of 2048 tokens\n" in text
    assert "\n\n\n" not in text
