"""The device that scores are computed on: found, and checked for room before anything is computed."""

from __future__ import annotations

from collections.abc import Callable

from bench.core.errors import BenchError, nearest
from bench.core.machine import default_threads
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


def offload_asked(
    options: Options, executor: Executor, model: Callable[[], tuple[ModelInfo, Content]], reporter: Reporter
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
    layers, fit = info.n_layers + 1, fitting(info, device, options.window)
    wanted = options.gpu_layers
    if wanted is not None and min(wanted, layers) > fit:
        raise BenchError(
            f"--gpu-layers {wanted}: {device.name} has {device.free / 1e9:,.1f} GB free, which hold {fit} of the {layers} layers of {info.name}; "
            + (f"give at most {fit}" if fit else "score on the CPU")
        )
    if not fit:
        raise BenchError(
            f"--score-on {asked}: {device.name} has {device.free / 1e9:,.1f} GB free, which hold no layer of {info.name}; score on the CPU, or with a "
            "smaller --window"
        )
    offload = Offload(
        device=device.name, description=device.description, layers=min(layers, fit if wanted is None else wanted)
    )
    reporter.say(f"Scores are computed on {offload.in_words}, {offload.layers} of {layers} layers of {info.name}")
    _check(offload, executor, content)
    return offload


def _check(offload: Offload, executor: Executor, model: Content) -> None:
    """Raise BenchError for a device that does not compute what the CPU does."""
    kl = executor.do(DeviceCheckJob(model=model, offload=offload, threads=default_threads())).kl
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
    if asked.lower() == "gpu":
        return devices[0]
    found = {d.name.lower(): d for d in devices}
    if asked.lower() not in found:
        names = [d.name for d in devices]
        raise BenchError(
            f"--score-on {asked}: there is no such device{nearest(asked, names)}; give one of {', '.join(names)}, gpu or cpu"
        )
    return found[asked.lower()]


def fitting(info: ModelInfo, device: Device, window: int) -> int:
    """How many layers of the model the device's memory holds beside keys, values and intermediate results, the output counted as one."""
    layers = info.n_layers + 1
    needed = memory_needed(shape_of(info.path), info.n_bytes, window=window, outputs=window)
    room = _SHARE * device.free - needed.kv_cache - needed.buffers
    return max(0, min(layers, int(room / (info.n_bytes / layers))))
