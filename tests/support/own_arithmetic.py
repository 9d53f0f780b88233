"""Tiny models of random weights in architectures whose arithmetic is their own: norms after a sum, states, latent attention."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.support.architectures import CONTEXT, FEED_FORWARD, HEAD, HEADS, LAYERS, WIDTH, Writer

_KV_HEADS = 2
_EXPERTS, _EXPERTS_USED, _EXPERT_WIDTH = 4, 2, 256


def _attention(w: Writer, layer: str, *, bias: bool = False) -> None:
    for name, rows in (("attn_q", HEADS * HEAD), ("attn_k", _KV_HEADS * HEAD), ("attn_v", _KV_HEADS * HEAD)):
        w.matrix(f"{layer}.{name}", WIDTH, rows)
        if bias:
            w.bias(f"{layer}.{name}", rows)
    w.matrix(f"{layer}.attn_output", HEADS * HEAD, WIDTH)


def _gated(w: Writer, layer: str, suffix: str = "", width: int = FEED_FORWARD, *stacked: int) -> None:
    for name in ("ffn_gate", "ffn_up"):
        w.matrix(f"{layer}.{name}{suffix}", WIDTH, width, *stacked)
    w.matrix(f"{layer}.ffn_down{suffix}", width, WIDTH, *stacked)


def _experts(w: Writer) -> None:
    w.file.add_expert_count(_EXPERTS)
    w.file.add_expert_used_count(_EXPERTS_USED)
    w.file.add_expert_feed_forward_length(_EXPERT_WIDTH)


def qwen2(path: Path) -> Path:
    """Biases on query, key and value."""
    w = Writer(path, "qwen2", kv_heads=_KV_HEADS)
    w.norm("output_norm")
    for i in range(LAYERS):
        w.norm(f"blk.{i}.attn_norm")
        _attention(w, f"blk.{i}", bias=True)
        w.norm(f"blk.{i}.ffn_norm")
        _gated(w, f"blk.{i}")
    return w.close()


def qwen2moe(path: Path) -> Path:
    """Experts, and one that all tokens share, behind a gate."""
    w = Writer(path, "qwen2moe", kv_heads=_KV_HEADS)
    _experts(w)
    w.file.add_expert_shared_feed_forward_length(FEED_FORWARD)
    w.norm("output_norm")
    w.matrix("output", WIDTH, w.n_vocab)
    for i in range(LAYERS):
        w.norm(f"blk.{i}.attn_norm")
        _attention(w, f"blk.{i}", bias=True)
        w.norm(f"blk.{i}.ffn_norm")
        w.matrix(f"blk.{i}.ffn_gate_inp", WIDTH, _EXPERTS)
        _gated(w, f"blk.{i}", "_exps", _EXPERT_WIDTH, _EXPERTS)
        w.vector(f"blk.{i}.ffn_gate_inp_shexp.weight", WIDTH)
        _gated(w, f"blk.{i}", "_shexp")
    return w.close()


def qwen3moe(path: Path) -> Path:
    """Experts, and norms on query and key."""
    w = Writer(path, "qwen3moe", kv_heads=_KV_HEADS)
    _experts(w)
    w.norm("output_norm")
    w.matrix("output", WIDTH, w.n_vocab)
    for i in range(LAYERS):
        w.norm(f"blk.{i}.attn_norm")
        _attention(w, f"blk.{i}")
        for name in ("attn_q_norm", "attn_k_norm"):
            w.norm(f"blk.{i}.{name}", HEAD)
        w.norm(f"blk.{i}.ffn_norm")
        w.matrix(f"blk.{i}.ffn_gate_inp", WIDTH, _EXPERTS)
        _gated(w, f"blk.{i}", "_exps", _EXPERT_WIDTH, _EXPERTS)
    return w.close()


def _gemma(path: Path, architecture: str) -> Path:
    w = Writer(path, architecture, kv_heads=_KV_HEADS)
    w.file.add_key_length(HEAD)
    w.file.add_value_length(HEAD)
    w.file.add_sliding_window(128)
    w.norm("output_norm")
    for i in range(LAYERS):
        for name in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            w.norm(f"blk.{i}.{name}")
        _attention(w, f"blk.{i}")
        if architecture == "gemma3":
            for name in ("attn_q_norm", "attn_k_norm"):
                w.norm(f"blk.{i}.{name}", HEAD)
        _gated(w, f"blk.{i}")
    return w.close()


def gemma2(path: Path) -> Path:
    """Norms before and after attention and feed-forward network, scores and logits capped."""
    return _gemma(path, "gemma2")


def gemma3(path: Path) -> Path:
    """The same with norms on query and key and nothing capped."""
    return _gemma(path, "gemma3")


def phi3(path: Path) -> Path:
    """Query, key and value in one matrix, gate and up in one."""
    w = Writer(path, "phi3", kv_heads=_KV_HEADS, control=("<|endoftext|>",))
    w.file.add_rope_dimension_count(HEAD)
    w.file.add_sliding_window(0)
    w.norm("output_norm")
    w.matrix("output", WIDTH, w.n_vocab)
    for i in range(LAYERS):
        w.norm(f"blk.{i}.attn_norm")
        w.matrix(f"blk.{i}.attn_qkv", WIDTH, (HEADS + 2 * _KV_HEADS) * HEAD)
        w.matrix(f"blk.{i}.attn_output", HEADS * HEAD, WIDTH)
        w.norm(f"blk.{i}.ffn_norm")
        w.matrix(f"blk.{i}.ffn_up", WIDTH, 2 * FEED_FORWARD)
        w.matrix(f"blk.{i}.ffn_down", FEED_FORWARD, WIDTH)
    return w.close()


def gpt2(path: Path) -> Path:
    """Learned positions, layer norms with biases, query, key and value in one matrix, no gate."""
    w = Writer(path, "gpt2", kv_heads=HEADS)
    w.matrix("position_embd", WIDTH, CONTEXT)
    w.norm("output_norm", bias=True)
    w.matrix("output", WIDTH, w.n_vocab)
    for i in range(LAYERS):
        w.norm(f"blk.{i}.attn_norm", bias=True)
        w.norm(f"blk.{i}.ffn_norm", bias=True)
        for name, columns, rows in (
            ("attn_qkv", WIDTH, 3 * HEADS * HEAD),
            ("attn_output", HEADS * HEAD, WIDTH),
            ("ffn_up", WIDTH, FEED_FORWARD),
            ("ffn_down", FEED_FORWARD, WIDTH),
        ):
            w.matrix(f"blk.{i}.{name}", columns, rows)
            w.bias(f"blk.{i}.{name}", rows)
    return w.close()


def mamba(path: Path) -> Path:
    """A state space instead of attention, and no feed-forward network."""
    inner, state, rank, kernel = 2 * WIDTH, 16, 32, 4
    w = Writer(path, "mamba", kv_heads=0, heads=0, feed_forward=0)
    w.file.add_ssm_conv_kernel(kernel)
    w.file.add_ssm_inner_size(inner)
    w.file.add_ssm_state_size(state)
    w.file.add_ssm_time_step_rank(rank)
    w.norm("output_norm")
    for i in range(LAYERS):
        layer = f"blk.{i}"
        w.norm(f"{layer}.attn_norm")
        w.matrix(f"{layer}.ssm_in", WIDTH, 2 * inner)
        w.vector(f"{layer}.ssm_conv1d.weight", inner, kernel, scale=0.5)
        w.vector(f"{layer}.ssm_conv1d.bias", inner, scale=0.1)
        w.matrix(f"{layer}.ssm_x", inner, rank + 2 * state)
        w.matrix(f"{layer}.ssm_dt", rank, inner)
        w.vector(f"{layer}.ssm_dt.bias", inner, scale=0.1)
        w.file.add_tensor(f"{layer}.ssm_a", -np.exp(w.rng.uniform(-1, 1, (inner, state))).astype(np.float32))
        w.vector(f"{layer}.ssm_d", inner)
        w.matrix(f"{layer}.ssm_out", inner, WIDTH)
    return w.close()


def rwkv6(path: Path) -> Path:
    """A recurrence over tokens instead of attention."""
    mix, decay = 32, 64
    w = Writer(path, "rwkv6", kv_heads=0, heads=0)
    w.file.add_wkv_head_size(HEAD)
    w.file.add_time_mix_extra_dim(mix)
    w.file.add_time_decay_extra_dim(decay)
    w.file.add_rescale_every_n_layers(2)
    w.norm("token_embd_norm", bias=True)
    w.norm("output_norm", bias=True)
    w.matrix("output", WIDTH, w.n_vocab)
    for i in range(LAYERS):
        layer = f"blk.{i}"
        w.norm(f"{layer}.attn_norm", bias=True)
        w.norm(f"{layer}.attn_norm_2", bias=True)
        w.matrix(f"{layer}.time_mix_w1", WIDTH, 5 * mix)
        w.matrix(f"{layer}.time_mix_w2", mix, WIDTH, 5)
        for name in ("x", "w", "k", "v", "r", "g"):
            w.vector(f"{layer}.time_mix_lerp_{name}.weight", 1, 1, WIDTH, scale=0.3)
        w.vector(f"{layer}.time_mix_first.weight", HEADS, HEAD, scale=0.3)
        w.vector(f"{layer}.time_mix_decay.weight", WIDTH, scale=0.5)
        w.matrix(f"{layer}.time_mix_decay_w1", WIDTH, decay)
        w.matrix(f"{layer}.time_mix_decay_w2", decay, WIDTH)
        for name in ("key", "value", "receptance", "gate", "output"):
            w.matrix(f"{layer}.time_mix_{name}", WIDTH, WIDTH)
        w.norm(f"{layer}.time_mix_ln", bias=True)
        for name in ("k", "r"):
            w.vector(f"{layer}.channel_mix_lerp_{name}.weight", 1, 1, WIDTH, scale=0.3)
        w.matrix(f"{layer}.channel_mix_key", WIDTH, FEED_FORWARD)
        w.matrix(f"{layer}.channel_mix_value", FEED_FORWARD, WIDTH)
        w.matrix(f"{layer}.channel_mix_receptance", WIDTH, WIDTH)
    return w.close()


def deepseek2(path: Path) -> Path:
    """Latent attention with its matrices a head, a dense first layer, then experts and shared ones."""
    latent, rope, nope, value = 256, 32, 64, 64
    w = Writer(path, "deepseek2", kv_heads=1)
    _experts(w)
    w.file.add_expert_shared_count(1)
    w.file.add_expert_weights_scale(1.0)
    w.file.add_leading_dense_block_count(1)
    w.file.add_q_lora_rank(256)
    w.file.add_kv_lora_rank(latent)
    w.file.add_key_length(latent + rope)
    w.file.add_value_length(latent)
    w.file.add_key_length_mla(nope + rope)
    w.file.add_value_length_mla(value)
    w.file.add_rope_dimension_count(rope)
    w.norm("output_norm")
    w.matrix("output", WIDTH, w.n_vocab)
    for i in range(LAYERS):
        layer = f"blk.{i}"
        w.norm(f"{layer}.attn_norm")
        w.matrix(f"{layer}.attn_q_a", WIDTH, 256)
        w.norm(f"{layer}.attn_q_a_norm", 256)
        w.matrix(f"{layer}.attn_q_b", 256, HEADS * (nope + rope))
        w.matrix(f"{layer}.attn_kv_a_mqa", WIDTH, latent + rope)
        w.norm(f"{layer}.attn_kv_a_norm", latent)
        w.matrix(f"{layer}.attn_k_b", nope, latent, HEADS)
        w.matrix(f"{layer}.attn_v_b", latent, value, HEADS)
        w.matrix(f"{layer}.attn_output", HEADS * value, WIDTH)
        w.norm(f"{layer}.ffn_norm")
        if i == 0:
            _gated(w, layer)
        else:
            w.matrix(f"{layer}.ffn_gate_inp", WIDTH, _EXPERTS)
            _gated(w, layer, "_exps", _EXPERT_WIDTH, _EXPERTS)
            _gated(w, layer, "_shexp", _EXPERT_WIDTH)
    return w.close()


ALL: tuple[Callable[[Path], Path], ...] = (
    qwen2,
    qwen2moe,
    qwen3moe,
    gemma2,
    gemma3,
    phi3,
    gpt2,
    mamba,
    rwkv6,
    deepseek2,
)
