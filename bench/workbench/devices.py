"""The device that scores are computed on: found, and checked for room before anything is computed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from itertools import accumulate

from bench.core.errors import BenchError, nearest
from bench.core.progress import Reporter
from bench.engine.jobs import Device, DeviceCheckJob, DevicesJob
from bench.engine.memory import memory_needed, shape_of
from bench.engine.settings import Offload
from bench.execute.content import Content
from bench.execute.job import Executor
from bench.gguf_files.info import ModelInfo
from bench.workbench.options import Options

#: Share of a device's free memory that a model may take: what it takes is a forecast.
_SHARE = 0.9
#: Mean KL divergence in nats at which a device does not compute what the CPU does. Rounding differs by less than a hundredth of that.
_ANOTHER = 0.01
_BLOCK = re.compile(r"blk\.(\d+)\.")


def offload_asked(
    options: Options,
    executor: Executor,
    model: Callable[[], tuple[ModelInfo, Content]],
    threads: int,
    reporter: Reporter,
) -> Offload | None:
    """What --score-on and --gpu-layers ask for; None for the CPU. model: whose layers must fit, which is not asked for where the CPU scores.

    Raises BenchError for a device that there is not, where its memory does not hold the layers that are asked for, and where it computes other probabilities
    than the CPU.
    """
    asked = options.score_on.strip()
    if asked.lower() == "cpu":
        if options.gpu_layers is not None:
            raise BenchError(
                "--gpu-layers: belongs to --score-on gpu, and the CPU scores here; add that, or leave it out"
            )
        return None
    if options.cluster is not None:
        raise BenchError(
            f"--score-on {asked}: sites of a --cluster score on their CPUs so far; leave one of the two out"
        )
    device = _named(asked, executor.do(DevicesJob()).devices)
    info, content = model()
    layers, now = info.n_layers + 1, fitting(info, device.free, options.window)
    # of its memory as a whole, so that the same command asks for the same tomorrow
    wanted = min(layers, options.gpu_layers or fitting(info, device.total, options.window))
    if not wanted or wanted > now:
        told = f"--gpu-layers {wanted}" if options.gpu_layers else f"--score-on {asked}"
        holds = f"{now} of the {layers} layers" if now else "no layer"
        raise BenchError(
            f"{told}: {device.name} has {device.free / 1e9:,.1f} of {device.total / 1e9:,.1f} GB free, which hold {holds} of {info.name}; end what else "
            + (f"uses it, or give --gpu-layers {now}" if now else "uses it, or score on the CPU")
        )
    offload = Offload(device=device.name, description=device.description, layers=wanted)
    reporter.say(f"Scores are computed on {offload.in_words}, {offload.layers} of {layers} layers of {info.name}")
    _check(offload, executor, content, threads)
    return offload


def check_device(options: Options) -> None:
    """Raise BenchError for options that contradict each other."""
    asked = options.score_on.strip()
    if asked.lower() == "cpu" and options.gpu_layers is not None:
        raise BenchError("--gpu-layers: belongs to --score-on gpu, and the CPU scores here; add that, or leave it out")
    if asked.lower() != "cpu" and options.cluster is not None:
        raise BenchError(
            f"--score-on {asked}: sites of a --cluster score on their CPUs so far; leave one of the two out"
        )


def _check(offload: Offload, executor: Executor, model: Content, threads: int) -> None:
    """Raise BenchError for a device that does not compute what the CPU does."""
    kl = executor.do(DeviceCheckJob(model=model, offload=offload, threads=threads)).kl
    if kl is None or kl > _ANOTHER:
        what = (
            "values that are no numbers"
            if kl is None
            else f"other probabilities than the CPU (a mean KL divergence of {kl:.2g})"
        )
        raise BenchError(
            f"--score-on: {offload.in_words} computes {what}; update its driver, try fewer --gpu-layers or another device, or score on the CPU"
        )


def _named(asked: str, devices: tuple[Device, ...]) -> Device:
    if not devices:
        raise BenchError(
            f"--score-on {asked}: the engine finds no GPU; build one for it (BENCH_ENGINE=cuda, vulkan, metal or hip before nox), or leave --score-on out"
        )
    if asked.lower() == "gpu":  # one of its own before one that shares the CPU's memory
        return next((d for d in devices if d.kind == "gpu"), devices[0])
    found = {d.name.lower(): d for d in devices}
    if asked.lower() not in found:
        names = [d.name for d in devices]
        raise BenchError(
            f"--score-on {asked}: there is no such device{nearest(asked, names)}; give one of {', '.join(names)}, gpu or cpu"
        )
    return found[asked.lower()]


def fitting(info: ModelInfo, memory: int, window: int) -> int:
    """How many layers of a model so many bytes of a device hold beside keys, values and intermediate results. llama.cpp puts the output there first, which is a
    copy where it is the embeddings, and then layers from the last one on."""
    needed = memory_needed(shape_of(info.path), info.n_bytes, window=window, outputs=window)
    room = _SHARE * memory - needed.kv_cache - needed.buffers
    blocks: Counter[int] = Counter()
    outside: dict[str, int] = {}
    for tensor in info.tensors:
        if found := _BLOCK.match(tensor.name):
            blocks[int(found[1])] += tensor.n_bytes
        else:
            outside[tensor.name.partition(".")[0]] = tensor.n_bytes
    output = outside.get("output", outside.get("token_embd", 0))
    sizes = [output, *(blocks[n] for n in reversed(range(info.n_layers)))]
    return sum(1 for total in accumulate(sizes) if total <= room)
