"""What a CPU can do, and what that means for formats of 16 bits."""

from __future__ import annotations

import pytest

from bench.advise.cpu import has, instruction_sets, sixteen_bit

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
    assert "no BF16 arithmetic here" in sixteen_bit(instruction_sets(HASWELL), ("AVX2",))[0]
    assert "built without it" in sixteen_bit(instruction_sets(GENOA), ("AVX2",))[0]
    assert sixteen_bit(instruction_sets(GENOA), ("AVX512_BF16",))[0] == "BF16: multiplied as it is (AVX512-BF16)"


def test_f16_is_native_converted_or_slow() -> None:
    said = [sixteen_bit(instruction_sets(t), ())[1] for t in (GRAVITON, HASWELL, RASPBERRY_PI)]
    assert "has F16 arithmetic (FP16)" in said[0]
    assert "F16C" in said[1]
    assert "slow" in said[2]
