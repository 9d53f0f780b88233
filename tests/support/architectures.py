"""Tiny models of random weights in architectures other than llama: as llama.cpp names and shapes their tensors."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from tests.support.tiny import byte_level_vocabulary, vocabulary

WIDTH, FEED_FORWARD, HEADS, HEAD, LAYERS, CONTEXT = 256, 512, 4, 64, 4, 1024


class Writer:
    """A GGUF of one architecture with what they all have."""

    def __init__(
        self,
        path: Path,
        architecture: str,
        *,
        kv_heads: int,
        heads: int = HEADS,
        feed_forward: int = FEED_FORWARD,
        control: tuple[str, ...] = (),
        byte_level: str | None = None,
    ) -> None:
        """byte_level: how the text is split before its bytes are joined, in a vocabulary of the kind of GPT-2's, whose first control token begins and ends
        a text; None for one of the kind of SentencePiece's."""
        self.rng, self.path = np.random.default_rng(5), path
        self.file = gguf.GGUFWriter(path, architecture)
        self.n_vocab = len((vocabulary(*control) if byte_level is None else byte_level_vocabulary(*control))[0])
        self.file.add_name(path.stem)
        self.file.add_block_count(LAYERS)
        self.file.add_context_length(CONTEXT)
        self.file.add_embedding_length(WIDTH)
        self.file.add_feed_forward_length(feed_forward)
        self.file.add_head_count(heads)
        self.file.add_head_count_kv(kv_heads)
        self.file.add_layer_norm_rms_eps(1e-5)
        self.file.add_layer_norm_eps(1e-5)
        self.file.add_vocab_size(self.n_vocab)
        if byte_level is None:
            self._sentence_piece(control)
        else:
            self._byte_level(control, byte_level)
        self.matrix("token_embd", WIDTH, self.n_vocab)

    def _sentence_piece(self, control: tuple[str, ...]) -> None:
        tokens, scores, kinds = vocabulary(*control)
        self.file.add_tokenizer_model("llama")
        self.file.add_token_list(tokens)
        self.file.add_token_scores(scores)
        self.file.add_token_types(kinds)
        self.file.add_bos_token_id(1)
        self.file.add_eos_token_id(2)

    def _byte_level(self, control: tuple[str, ...], split: str) -> None:
        tokens, kinds, merges = byte_level_vocabulary(*control)
        self.file.add_tokenizer_model("gpt2")
        self.file.add_tokenizer_pre(split)
        self.file.add_token_list(tokens)
        self.file.add_token_types(kinds)
        self.file.add_token_merges(merges)
        self.file.add_bos_token_id(0)
        self.file.add_eos_token_id(0)

    def matrix(self, name: str, *shape: int) -> None:
        """shape: columns, rows, and for stacked matrices their number."""
        values = self.rng.standard_t(4, shape[::-1]) / np.sqrt(shape[0])
        self.file.add_tensor(f"{name}.weight", values.astype(np.float16))

    def norm(self, name: str, width: int = WIDTH, *, bias: bool = False) -> None:
        self.file.add_tensor(f"{name}.weight", self.rng.uniform(0.5, 1.5, width).astype(np.float32))
        if bias:
            self.bias(name, WIDTH)

    def bias(self, name: str, n: int) -> None:
        self.file.add_tensor(f"{name}.bias", (0.1 * self.rng.standard_normal(n)).astype(np.float32))

    def vector(self, name: str, *shape: int, scale: float = 1.0) -> None:
        """A tensor that stays in float32. shape: slowest dimension first; name: whole."""
        self.file.add_tensor(name, (scale * self.rng.standard_normal(shape)).astype(np.float32))

    def close(self) -> Path:
        self.file.write_header_to_file()
        self.file.write_kv_data_to_file()
        self.file.write_tensors_to_file()
        self.file.close()
        return self.path


#: Refact's vocabulary has the tokens of infill prompts and the mark of its chat form.
REFACT_TOKENS = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<empty_output>")


#: The same in the order of the real vocabulary, as far as prompts have them.
REFACT_OWN_TOKENS = ("<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<empty_output>")


def refact(path: Path, *, own_vocabulary: bool = False) -> Path:
    """Refact: multi-query attention (one key and value head), ALiBi instead of rotary positions, gated feed-forward.

    own_vocabulary: one of the kind that Refact has, byte by byte, with nothing put before a text.
    """
    w = (
        Writer(path, "refact", kv_heads=1, control=REFACT_OWN_TOKENS, byte_level="refact")
        if own_vocabulary
        else Writer(path, "refact", kv_heads=1, control=REFACT_TOKENS)
    )
    w.norm("output_norm")
    w.matrix("output", WIDTH, w.n_vocab)
    for i in range(LAYERS):
        w.norm(f"blk.{i}.attn_norm")
        w.matrix(f"blk.{i}.attn_q", WIDTH, HEADS * HEAD)
        w.matrix(f"blk.{i}.attn_k", WIDTH, HEAD)
        w.matrix(f"blk.{i}.attn_v", WIDTH, HEAD)
        w.matrix(f"blk.{i}.attn_output", HEADS * HEAD, WIDTH)
        w.norm(f"blk.{i}.ffn_norm")
        for name in ("ffn_gate", "ffn_up"):
            w.matrix(f"blk.{i}.{name}", WIDTH, FEED_FORWARD)
        w.matrix(f"blk.{i}.ffn_down", FEED_FORWARD, WIDTH)
    return w.close()


def starcoder(path: Path) -> Path:
    """StarCoder: learned positions, layer norms with biases, query, key and value in one matrix, no gate."""
    w = Writer(path, "starcoder", kv_heads=1)
    w.matrix("position_embd", WIDTH, CONTEXT)
    w.norm("output_norm", bias=True)
    w.matrix("output", WIDTH, w.n_vocab)
    for i in range(LAYERS):
        w.norm(f"blk.{i}.attn_norm", bias=True)
        w.matrix(f"blk.{i}.attn_qkv", WIDTH, (HEADS + 2) * HEAD)
        w.bias(f"blk.{i}.attn_qkv", (HEADS + 2) * HEAD)
        w.matrix(f"blk.{i}.attn_output", HEADS * HEAD, WIDTH)
        w.bias(f"blk.{i}.attn_output", WIDTH)
        w.norm(f"blk.{i}.ffn_norm", bias=True)
        w.matrix(f"blk.{i}.ffn_up", WIDTH, FEED_FORWARD)
        w.bias(f"blk.{i}.ffn_up", FEED_FORWARD)
        w.matrix(f"blk.{i}.ffn_down", FEED_FORWARD, WIDTH)
        w.bias(f"blk.{i}.ffn_down", WIDTH)
    return w.close()


def mixture(path: Path) -> Path:
    """A llama with four experts of which two are used, as Mixtral has them."""
    w = Writer(path, "llama", kv_heads=2)
    w.file.add_rope_dimension_count(HEAD)
    w.file.add_expert_count(4)
    w.file.add_expert_used_count(2)
    w.norm("output_norm")
    for i in range(LAYERS):
        w.norm(f"blk.{i}.attn_norm")
        w.matrix(f"blk.{i}.attn_q", WIDTH, HEADS * HEAD)
        w.matrix(f"blk.{i}.attn_k", WIDTH, 2 * HEAD)
        w.matrix(f"blk.{i}.attn_v", WIDTH, 2 * HEAD)
        w.matrix(f"blk.{i}.attn_output", HEADS * HEAD, WIDTH)
        w.norm(f"blk.{i}.ffn_norm")
        w.matrix(f"blk.{i}.ffn_gate_inp", WIDTH, 4)
        for name in ("ffn_gate_exps", "ffn_up_exps"):
            w.matrix(f"blk.{i}.{name}", WIDTH, FEED_FORWARD, 4)
        w.matrix(f"blk.{i}.ffn_down_exps", FEED_FORWARD, WIDTH, 4)
    return w.close()
