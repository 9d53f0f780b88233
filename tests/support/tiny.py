"""Tiny models of random weights, written with gguf: real files that llama.cpp loads, a few megabytes at most."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

LETTERS = "▁etaoinshrdlu.,"


@dataclass(frozen=True)
class Shape:
    width: int = 256
    feed_forward: int = 512
    heads: int = 4
    kv_heads: int = 2
    head: int = 64
    layers: int = 4
    tied: bool = True
    context: int = 512
    seed: int = 1
    add_bos: bool = True
    add_eos: bool = False


#: Joined letters of another vocabulary, each made of two that it has.
JOINED = ("th", "the", "▁the", "in", "on", "an", "ed", "id", "▁t", "▁tid", "▁tide", "er", "st", "ri", "▁a", "ai", "ol")


def vocabulary(*control: str, joined: tuple[str, ...] = ()) -> tuple[list[str], list[float], list[int]]:
    """A byte-fallback vocabulary: control tokens, 256 bytes, some letters, joined ones and control tokens that are asked for."""
    letters = [*LETTERS, *joined]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *letters, *control]
    kinds = [2, 3, 3, *[6] * 256, *[1] * len(letters), *[3] * len(control)]
    return tokens, [0.0] * len(tokens), kinds


#: How vocabularies of the kind of GPT-2's spell a byte: as itself where it is a letter that can be seen, or else as one of those from U+0100 on.
_SEEN = [*range(33, 127), *range(161, 173), *range(174, 256)]
_UNSEEN = [b for b in range(256) if b not in _SEEN]
SPELLED = {b: chr(b) for b in _SEEN} | {b: chr(256 + n) for n, b in enumerate(_UNSEEN)}


def byte_level_vocabulary(*control: str) -> tuple[list[str], list[int], list[str]]:
    """A vocabulary of the kind of GPT-2's: control tokens first, 256 bytes, some joined letters; with the kinds of its tokens and what is joined."""
    merges = ["r e", "re t", "Ġ =", "Ġ re"]
    tokens = [*control, *(SPELLED[b] for b in range(256)), *(m.replace(" ", "") for m in merges)]
    return tokens, [*[3] * len(control), *[1] * (len(tokens) - len(control))], merges


def write_model(
    path: Path,
    shape: Shape | None = None,
    *,
    weight_type: str = "F16",
    values_of: str = "F16",
    control: tuple[str, ...] = (),
    joined: tuple[str, ...] = (),
    extra: dict[str, str] | None = None,
    split: int = 0,
) -> Path:
    """A `llama` model. weight_type: of the matrices, F16, F32, BF16 or a type gguf can quantize to (Q8_0, Q4_0).

    values_of: the type whose values the weights have, so that the same values can be stored in another type. control: more control
    tokens; joined: more letters in one token; extra: keys of the header; split: tensors in a part, for a model in several files.
    """
    s = shape or Shape()
    rng = np.random.default_rng(s.seed)
    tokens, scores, kinds = vocabulary(*control, joined=joined)
    writer = gguf.GGUFWriter(path, "llama", split_max_tensors=split)
    writer.add_name(path.stem)
    for key, value in (extra or {}).items():
        writer.add_string(key, value)
    writer.add_block_count(s.layers)
    writer.add_context_length(s.context)
    writer.add_embedding_length(s.width)
    writer.add_feed_forward_length(s.feed_forward)
    writer.add_head_count(s.heads)
    writer.add_head_count_kv(s.kv_heads)
    writer.add_key_length(s.head)
    writer.add_value_length(s.head)
    writer.add_rope_dimension_count(s.head)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(s.add_bos)
    if s.add_eos:
        writer.add_add_eos_token(True)

    def matrix(name: str, columns: int, rows: int) -> None:
        # heavier tails than a normal distribution, so that types differ in what they lose
        values = (rng.standard_t(4, (rows, columns)) / np.sqrt(columns)).astype(np.float32)
        kind, through = gguf.GGMLQuantizationType[weight_type], gguf.GGMLQuantizationType[values_of]
        values = gguf.quants.dequantize(gguf.quants.quantize(values, through), through).reshape(values.shape)
        writer.add_tensor(f"{name}.weight", gguf.quants.quantize(values, kind), raw_dtype=kind)

    def norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", rng.uniform(0.5, 1.5, s.width).astype(np.float32))

    matrix("token_embd", s.width, len(tokens))
    if not s.tied:
        matrix("output", s.width, len(tokens))
    norm("output_norm")
    for i in range(s.layers):
        norm(f"blk.{i}.attn_norm")
        norm(f"blk.{i}.ffn_norm")
        matrix(f"blk.{i}.attn_q", s.width, s.heads * s.head)
        matrix(f"blk.{i}.attn_k", s.width, s.kv_heads * s.head)
        matrix(f"blk.{i}.attn_v", s.width, s.kv_heads * s.head)
        matrix(f"blk.{i}.attn_output", s.heads * s.head, s.width)
        matrix(f"blk.{i}.ffn_gate", s.width, s.feed_forward)
        matrix(f"blk.{i}.ffn_up", s.width, s.feed_forward)
        matrix(f"blk.{i}.ffn_down", s.feed_forward, s.width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_text(path: Path, n_bytes: int, seed: int = 0) -> Path:
    """Text of random words, about as many tokens as bytes under the tiny vocabulary."""
    rng = np.random.default_rng(seed)
    words = ["the", "tide", "under", "a", "stone", "old", "river", "Zürich", "9", "said"]
    text = ""
    while len(text.encode()) < n_bytes:
        text += str(rng.choice(words)) + str(rng.choice([" ", " ", ". ", "\n"]))
    path.write_text(text)
    return path
