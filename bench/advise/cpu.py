"""The instruction sets of this machine's CPU, and their effect on formats of 16 bits."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.advise.guide import Want

#: What a CPU can do, by the flags of Linux on x86, its features on Arm, and macOS's names; the widest first.
_SETS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("AMX-BF16", ("amx_bf16",)),
    ("AMX-INT8", ("amx_int8",)),
    ("AVX512-FP16", ("avx512_fp16",)),
    ("AVX512-BF16", ("avx512_bf16",)),
    ("AVX512-VNNI", ("avx512_vnni",)),
    ("AVX512", ("avx512f", "hw.optional.avx512f")),
    ("AVX-VNNI", ("avx_vnni",)),
    ("AVX2", ("avx2", "hw.optional.avx2_0")),
    ("AVX", ("avx", "hw.optional.avx1_0")),
    ("F16C", ("f16c", "hw.optional.f16c")),
    ("SME", ("sme", "hw.optional.arm.FEAT_SME")),
    ("SVE2", ("sve2",)),
    ("SVE", ("sve",)),
    ("BF16", ("bf16", "hw.optional.arm.FEAT_BF16")),
    ("I8MM", ("i8mm", "hw.optional.arm.FEAT_I8MM")),
    ("dot product", ("asimddp", "hw.optional.arm.FEAT_DotProd")),
    ("FP16", ("asimdhp", "hw.optional.arm.FEAT_FP16")),
    ("NEON", ("asimd", "neon", "hw.optional.neon", "hw.optional.AdvSIMD")),
)
_GIVES: dict[Want, frozenset[str]] = {
    "bf16": frozenset({"AMX-BF16", "AVX512-BF16", "BF16"}),
    "f16": frozenset({"AVX512-FP16", "FP16", "F16C"}),
    "arm-dot": frozenset({"dot product", "I8MM"}),
}


def instruction_sets(text: str) -> tuple[str, ...]:
    """What a CPU can do, out of /proc/cpuinfo or `sysctl hw.optional`, the widest first. Empty where neither says it."""
    words: set[str] = set()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in ("flags", "features"):
            words.update(value.split())
        elif value.strip() == "1":
            words.add(key.strip())
    return tuple(name for name, flags in _SETS if words.intersection(flags))


def this_cpu() -> tuple[str, ...]:
    """Instruction sets of this machine's CPU; empty where the system does not say."""
    try:
        if platform.system() == "Darwin":
            done = subprocess.run(["/usr/sbin/sysctl", "hw.optional"], capture_output=True, text=True, check=False)
            return instruction_sets(done.stdout)
        return instruction_sets(Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        return ()


def has(cpu: Sequence[str], want: Want) -> bool:
    return bool(_GIVES[want].intersection(cpu))


def sixteen_bit(cpu: Sequence[str], features: Sequence[str]) -> tuple[str, str]:
    """What BF16 and F16 mean here, a sentence each. features: of the engine, as LibraryInfo has them."""
    given = sorted(_GIVES["bf16"].intersection(cpu))
    if not given:
        bf16 = "BF16: no BF16 arithmetic here; every weight is widened to F32 before it is multiplied, exact but no faster than F16"
    elif not any("BF16" in f for f in features):
        bf16 = (
            f"BF16: the CPU has BF16 arithmetic ({', '.join(given)}), this engine was built without it and widens to F32; "
            "BENCH_ENGINE=native builds one for the CPU"
        )
    else:
        bf16 = f"BF16: multiplied as it is ({', '.join(given)})"
    native = sorted({"AVX512-FP16", "FP16"}.intersection(cpu))
    if native:
        f16 = f"F16: the CPU has F16 arithmetic ({', '.join(native)})"
    elif "F16C" in cpu:
        f16 = "F16: converted to F32 by an instruction of its own (F16C), then multiplied as F32"
    else:
        f16 = "F16: no F16 instructions here; weights are converted to F32 one by one, which is slow"
    return bf16, f16
