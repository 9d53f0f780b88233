"""Memory that a file needs to run, computed from its shapes, and memory of the machine. All values are in bytes.

Weights are mapped from the file, and some types are copied into another order for the CPU ("repacked"), which keeps both.
The KV cache holds a key and a value of every layer for every token of the window, 2 bytes a number. Buffers hold the
largest step of the graph, which is the logits of one batch, and the logits that are asked for. llama.cpp can plan
all this without loading a weight (`reserved_buffers`); the rule here gives its result for a plain transformer.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import gguf
import psutil

from bench.core.errors import BenchError
from bench.engine.jobs import Buffers
from bench.gguf_files.header import ArrayLength, read_header

#: Tokens that llama.cpp computes at once unless told otherwise.
UBATCH = 512
#: llama.cpp rounds a context up to a multiple of this many tokens.
_WINDOW_STEP = 256
#: A running llama.cpp beside weights, cache and buffers: the program, and for each token of the vocabulary its text, hash
#: table entries and merges (measured: 350 bytes).
_PROGRAM, _PER_TOKEN = 50_000_000, 400
#: What Python with numpy, scipy and pytest adds when this program measures (from its published runs).
_PYTHON = 45_000_000
_F16, _F32 = 2, 4
#: Share of a device's free memory that a model may take: what it takes is a forecast, and a driver keeps some for itself.
DEVICE_SHARE = 0.9

#: Types that the CPU backend keeps a second, rearranged copy of, by what the library must be built with (ggml's repack.cpp).
_REPACKED: tuple[tuple[str, frozenset[str]], ...] = (
    ("AVX2", frozenset({"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"})),
    ("AVX512", frozenset({"Q2_K"})),
    ("NEON", frozenset({"IQ4_NL"})),
    ("DOTPROD", frozenset({"Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "MXFP4"})),
    ("MATMUL_INT8", frozenset({"Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0"})),
)
#: Matrices that are looked up and not multiplied with stay as they are.
_LOOKED_UP = ("token_embd", "position_embd", "token_types", "per_layer_token_embd")


@dataclass(frozen=True)
class ModelShape:
    """What decides memory beside the weights. kv_numbers: keys and values for one token, summed over layers.

    experts: that work on one token, of all_experts in a layer; feed_forward: width of one; state_bytes: of recurrent layers, whatever the window; notes: why the rule is only approximate for this model.
    """

    kv_numbers: int
    width: int
    feed_forward: int
    vocabulary: int
    experts: int = 1
    state_bytes: int = 0
    notes: tuple[str, ...] = ()
    all_experts: int = 1


@dataclass(frozen=True)
class Memory:
    """weights: the file; repacked: rearranged copies of weights; buffers: of the graph and of logits; process: the rest.

    total: resident at the peak, which is what measures show; needed: without the pages of the file whose weights were
    copied. They are not read again, so the system takes them back when something else needs the memory.
    """

    weights: int
    repacked: int
    kv_cache: int
    buffers: int
    process: int

    @property
    def total(self) -> int:
        return self.weights + self.repacked + self.kv_cache + self.buffers + self.process

    @property
    def needed(self) -> int:
        return self.total - self.repacked


def shape_of(path: Path) -> ModelShape:
    """The shape that a file states. Raises BenchError for a file that is no model or does not state it."""
    return shape_in(read_header(path).metadata, str(path))


def shape_in(metadata: Mapping[str, object], where: str) -> ModelShape:
    """The shape that the keys of a header state. Raises BenchError, which begins with `where`, when they do not."""
    architecture = str(metadata.get("general.architecture", ""))

    def per_layer(key: str, default: list[int]) -> list[int]:
        value = metadata.get(f"{architecture}.{key}")
        if isinstance(value, list):
            return [int(v) for v in value]
        return [int(value)] * len(default) if isinstance(value, int) else default

    def number(key: str) -> int:
        return max(per_layer(key, [0]), default=0)

    layers, width = number("block_count"), number("embedding_length")
    heads = per_layer("attention.head_count", [0] * layers)
    if not (layers and width):
        raise BenchError(
            f"{where}: does not state its layers and width ({architecture}.block_count, .embedding_length); name a model's file"
        )
    kv_heads = per_layer("attention.head_count_kv", heads)
    head = width // max(max(heads, default=0), 1)
    key = number("attention.key_length") or head
    value = number("attention.value_length") or head
    kv_numbers = sum(kv_heads) * (key + value)
    notes = []
    if rank := number("attention.kv_lora_rank"):
        kv_numbers = layers * (rank + number("rope.dimension_count"))
        notes.append("its attention keeps compressed keys and values")
    if number("attention.sliding_window"):
        notes.append("some layers look back a limited number of tokens, and programs may keep less for them")
    state = 0
    if inner := number("ssm.inner_size"):
        recurrent = sum(1 for n in kv_heads if n == 0) or layers
        state = recurrent * inner * (number("ssm.state_size") + max(number("ssm.conv_kernel") - 1, 0)) * _F32
        notes.append("recurrent layers keep a state in place of keys and values")
    tokens = metadata.get("tokenizer.ggml.tokens")
    vocabulary = tokens.length if isinstance(tokens, ArrayLength) else number("vocab_size")
    experts = max(number("expert_used_count"), 1)
    feed_forward = (experts > 1 and number("expert_feed_forward_length")) or number("feed_forward_length")
    all_experts = max(number("expert_count"), experts)
    return ModelShape(kv_numbers, width, feed_forward, vocabulary, experts, state, tuple(notes), all_experts)


def repacked_types(features: Collection[str]) -> frozenset[str]:
    """Types that a library with these features (LibraryInfo.features) keeps a second copy of."""
    if "REPACK" not in features:
        return frozenset()
    return frozenset().union(*(types for feature, types in _REPACKED if feature in features))


def repacked_bytes(shapes: Mapping[str, tuple[int, ...]], types: Mapping[str, str], features: Collection[str]) -> int:
    """Bytes of the second copies. shapes: of every tensor by name, columns first; types: what they are stored in."""
    kinds, total = repacked_types(features), 0
    for name, shape in shapes.items():
        # blocks of 8 rows are interleaved; a matrix that has others is left alone
        if types[name] not in kinds or len(shape) < 2 or shape[1] % 8 or name.startswith(_LOOKED_UP):
            continue
        block, n_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[types[name]]]
        weights = 1
        for n in shape:
            weights *= n
        total += weights // block * n_bytes
    return total


def memory_needed(
    shape: ModelShape,
    n_bytes: int,
    *,
    window: int,
    repacked: int = 0,
    ubatch: int = UBATCH,
    outputs: int = 1,
    in_python: bool = False,
    buffers: Buffers | None = None,
) -> Memory:
    """Memory at the peak of processing a full window.

    n_bytes: of the file; window, ubatch in tokens; outputs: tokens whose logits are asked for at once: 1 to generate,
    half the window to score it; in_python: whether this program runs the model; buffers: what llama.cpp said of the same
    window and ubatch, in place of the rule.
    """
    if buffers is None:
        cells = -(-window // _WINDOW_STEP) * _WINDOW_STEP
        kv_cache = shape.kv_numbers * _F16 * cells + shape.state_bytes
        batch = min(ubatch, cells)
        # Fitted to what llama.cpp reserves (reserved_buffers). The logits stand beside the residual stream and its norm;
        # in a layer it is gate, rows and product of the feed-forward network, with the attention mask in F16.
        logits = batch * _F32 * (2 * shape.width + shape.vocabulary)
        inner = batch * _F32 * ((2 + shape.experts) * shape.width + 3 * shape.experts * shape.feed_forward)
        compute = max(logits, inner + batch * _F16 * cells)
    else:
        kv_cache, compute = buffers.kv_cache, buffers.compute
    process = _PROGRAM + _PER_TOKEN * shape.vocabulary + (_PYTHON if in_python else 0)
    return Memory(n_bytes, repacked, kv_cache, compute + outputs * shape.vocabulary * _F32, process)


_KV_LINE = re.compile(r"^llama_(?:kv_cache|memory_recurrent)\w*: size = +([\d.]+) MiB")
_BUFFER_LINE = re.compile(r"(compute|output) buffer size = +([\d.]+) MiB")


def reserved_buffers(path: Path, *, window: int, ubatch: int = UBATCH) -> Buffers:
    """What llama.cpp would reserve for a model, from its log: it lays everything out and loads no weights (`no_alloc`).

    For worker processes. Sizes hold for every file of the model: they do not depend on the types of its weights. Raises
    BenchError when llama.cpp cannot load the file or make the context, or says nothing of its buffers.
    """
    from bench.engine import llama as engine
    from bench.engine.lowlevel import lib

    lines: list[str] = []
    model_params, context_params = lib.llama_model_default_params(), lib.llama_context_default_params()
    no_devices = (ctypes.c_void_p * 1)()
    model_params.devices, model_params.n_gpu_layers = ctypes.addressof(no_devices), 0
    # a mapped file and no allocation exclude each other
    model_params.no_alloc, model_params.load_mode = True, lib.LLAMA_LOAD_MODE_NONE
    context_params.n_ctx, context_params.n_batch, context_params.n_ubatch = window, max(window, ubatch), ubatch
    context_params.n_seq_max, context_params.no_perf = 1, True
    context_params.offload_kqv = context_params.op_offload = False
    engine.start_listening_for_errors()
    model = lib.llama_model_load_from_file(str(path).encode(), model_params)
    if not model:
        raise BenchError(f"{path}: llama.cpp cannot load this model ({engine.what_went_wrong()}); check the file")
    with engine.listen(lines.append):
        context = lib.llama_init_from_model(model, context_params)
    if not context:
        lib.llama_model_free(model)
        raise BenchError(
            f"{path}: llama.cpp cannot make a context of {window} tokens ({engine.what_went_wrong()}); try a smaller window"
        )
    lib.llama_free(context)
    lib.llama_model_free(model)
    sizes = {"compute": 0, "output": 0}
    for line in lines:
        if m := _BUFFER_LINE.search(line):
            sizes[m[1]] += round(float(m[2]) * 2**20)
    if not sizes["compute"]:
        raise BenchError(
            f"{path}: llama.cpp's log says nothing of buffers; it is not the one this program was made for, install the pinned llama-cpp-python"
        )
    kv_cache = sum(round(float(m[1]) * 2**20) for m in map(_KV_LINE.match, lines) if m)
    return Buffers(kv_cache=kv_cache, **sizes)


@dataclass(frozen=True)
class MachineMemory:
    """Memory of the machine, or what a container may use of it. available: without pushing anything out."""

    total: int
    available: int


def machine_memory(control_group: Path = Path("/sys/fs/cgroup")) -> MachineMemory:
    """What there is now. control_group: where the kernel states the limit of a container, if there is one."""
    seen = psutil.virtual_memory()
    try:
        limit = int((control_group / "memory.max").read_text())
        used = int((control_group / "memory.current").read_text())
    except (OSError, ValueError):  # no control group, or no limit ("max")
        return MachineMemory(seen.total, seen.available)
    with suppress(OSError):
        # pages of files that were read are counted as used, and given back when something else needs the memory
        if found := re.search(r"^inactive_file (\d+)$", (control_group / "memory.stat").read_text(), re.MULTILINE):
            used -= int(found[1])
    total = min(seen.total, limit)
    return MachineMemory(total, max(0, min(seen.available, total - used)))
