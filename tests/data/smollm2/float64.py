"""The Llama forward pass in float64, written from the paper alone: it shares no code with the reference it checks."""

import numpy as np


def rmsnorm(x, weight, eps):
    """x [T, hidden], weight [hidden]."""
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def rope(x, theta):
    """x [T, heads, head_dim]; neighbours 2i and 2i+1 turn together, as GGUF's row order has it."""
    steps, _, size = x.shape
    angles = np.arange(steps)[:, None] * theta ** (-np.arange(0, size, 2) / size)
    pairs = x[..., 0::2] + 1j * x[..., 1::2]
    turned = pairs * np.exp(1j * angles)[:, None, :]
    return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)


def attention(q, k, v):
    """q [T, heads, d], k and v [T, kv_heads, d]; causal."""
    steps, heads, size = q.shape
    group = heads // k.shape[1]
    mask = np.triu(np.full((steps, steps), -np.inf), 1)
    mixed = np.empty_like(q)
    for head in range(heads):
        scores = q[:, head] @ k[:, head // group].T / np.sqrt(size) + mask
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed[:, head] = weights / weights.sum(axis=-1, keepdims=True) @ v[:, head // group]
    return mixed.reshape(steps, -1)


def logits(tensors, sizes, ids, first):
    """Logits at positions `first`.. of `ids`; `tensors` under GGUF's names, any float type, in GGUF's row order."""

    def weight(name):
        return tensors[name].astype(np.float64)

    def split(y, heads):
        return y.reshape(len(ids), heads, -1)

    embedding = weight("token_embd.weight")
    x = embedding[ids]
    for layer in range(sizes["layers"]):
        at = f"blk.{layer}."
        h = rmsnorm(x, weight(at + "attn_norm.weight"), sizes["eps"])
        q = rope(split(h @ weight(at + "attn_q.weight").T, sizes["heads"]), sizes["theta"])
        k = rope(split(h @ weight(at + "attn_k.weight").T, sizes["kv_heads"]), sizes["theta"])
        v = split(h @ weight(at + "attn_v.weight").T, sizes["kv_heads"])
        x = x + attention(q, k, v) @ weight(at + "attn_output.weight").T
        h = rmsnorm(x, weight(at + "ffn_norm.weight"), sizes["eps"])
        gate = h @ weight(at + "ffn_gate.weight").T
        up = h @ weight(at + "ffn_up.weight").T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ weight(at + "ffn_down.weight").T
    return rmsnorm(x[first:], weight("output_norm.weight"), sizes["eps"]) @ embedding.T
