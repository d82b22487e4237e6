# /// script
# requires-python = ">=3.11"
# dependencies = ["gguf==0.19.0", "jinja2==3.1.6", "numpy==2.4.6", "safetensors==0.8.0", "tokenizers==0.23.3", "torch==2.15.0", "transformers==5.23.0"]
# ///
"""Reference values for SmolLM2-135M-Instruct.Q4_1.gguf, by libraries that share nothing with this project.

Usage: `uv run make_golden.py MODEL.gguf`, or with the packages above from pip: `python make_golden.py MODEL.gguf`.
Writes golden.json and logits.safetensors beside itself; ../README.md says what they hold. Takes about two minutes.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import torch
from gguf import GGUFReader, dequantize
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, __version__ as transformers_version

import float64

HERE = Path(__file__).parent
STEPS = 64
# 257 is prime, so that the sample falls on every residue of whatever tile or slab size an engine uses.
SAMPLE_STRIDE = 257
# The position after the prompt (prefill alone) and the last (every key and value before it counts).
FULL_POSITIONS = [0, STEPS - 1]

# `forced` is fed whatever the model would have said; each is longer than 64 tokens and cut there.
PROMPTS = [
    {
        "name": "chat",
        "messages": [{"role": "user", "content": "Name the planets of the solar system in order."}],
        "forced": "Starting from the Sun, the eight planets are Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus and "
        "Neptune. The first four are small and rocky; the other four are giants of gas and ice. Pluto was counted as the "
        "ninth until 2006, when astronomers decided that a planet must clear its own orbit of other bodies.",
    },
    {
        "name": "english",
        "text": "Water is made of hydrogen and oxygen. It freezes at zero degrees Celsius and boils at",
        "forced": " a hundred, at least beside the sea. High in the mountains the lighthouse of steam above the kettle comes "
        "sooner, because less air presses down on the pot, and a cook who forgets this eats hard beans. Salt raises the "
        "boiling point a little; nobody has ever tasted the difference, though many swear that they have.",
    },
    {
        "name": "mixed",
        "text": "🙂🚀🎉 🙂🚀🎉 🙂🚀🎉 x = 3.14159; y = 2.71828 # π и e\nprint(x + y)  # 🙂🚀🎉\n",
        "forced": "if x**2 >= 9.8696: print('größer als 九', y)  # Привет 👩‍💻\n\ndef f(z: float) -> str:\n\treturn f\"{z:,.2f} €\"\n"
        "assert f(1234.5) == '1,234.50 €'\n",
    },
]


def main():
    path = Path(sys.argv[1])
    reader = GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    tensors = {tensor.name: dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    sizes = {
        "layers": fields["llama.block_count"],
        "heads": fields["llama.attention.head_count"],
        "kv_heads": fields["llama.attention.head_count_kv"],
        "eps": fields["llama.attention.layer_norm_rms_epsilon"],
        "theta": fields["llama.rope.freq_base"],
    }
    tokenizer = make_tokenizer(fields)
    model = make_model(fields, tensors, sizes)
    sample_ids = np.arange(0, fields["llama.vocab_size"], SAMPLE_STRIDE, dtype=np.int32)
    stored, prompts = {"sample_ids": sample_ids}, []
    for prompt in PROMPTS:
        golden, logits = measure(prompt, tokenizer, model, tensors, sizes)
        prompts.append(golden)
        stored[f"{prompt['name']}.full"] = logits[FULL_POSITIONS]
        stored[f"{prompt['name']}.sample"] = np.ascontiguousarray(logits[:, sample_ids])
    save_file(stored, HERE / "logits.safetensors")
    write_json(path, prompts)


def make_tokenizer(fields):
    """The vocabulary and merges in the file, with the pre-tokenizer that its name ("smollm") stands for."""
    assert (fields["tokenizer.ggml.model"], fields["tokenizer.ggml.pre"]) == ("gpt2", "smollm")
    pieces = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({piece: id for id, piece in enumerate(pieces)}, merges))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    control = [piece for piece, kind in zip(pieces, fields["tokenizer.ggml.token_type"]) if kind == 3]
    tokenizer.add_special_tokens([AddedToken(piece, normalized=False, special=True) for piece in control])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=fields["tokenizer.chat_template"])


def make_model(fields, tensors, sizes):
    """LlamaForCausalLM in float32 with the file's weights."""
    config = LlamaConfig(
        vocab_size=fields["llama.vocab_size"],
        hidden_size=fields["llama.embedding_length"],
        intermediate_size=fields["llama.feed_forward_length"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        num_key_value_heads=sizes["kv_heads"],
        max_position_embeddings=fields["llama.context_length"],
        rms_norm_eps=sizes["eps"],
        rope_parameters={"rope_type": "default", "rope_theta": sizes["theta"]},
        tie_word_embeddings=True,
        attn_implementation="eager",
    )
    model = LlamaForCausalLM(config).to(torch.float32).eval()
    state = {hf_name(name): torch.from_numpy(half_split(name, tensor, sizes)) for name, tensor in tensors.items()}
    missing = model.load_state_dict(state, strict=False)
    assert missing.missing_keys == ["lm_head.weight"] and not missing.unexpected_keys, missing
    model.tie_weights()
    return model


def hf_name(name):
    parts = {
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    if name.startswith("blk."):
        _, layer, part, _ = name.split(".")
        return f"model.layers.{layer}.{parts[part]}.weight"
    return {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}[name]


def half_split(name, tensor, sizes):
    """Query and key rows from GGUF's order (2i beside 2i+1) to Hugging Face's (i and i + head_dim/2)."""
    heads = {"attn_q": sizes["heads"], "attn_k": sizes["kv_heads"]}.get(name.split(".")[-2])
    if heads is None:
        return tensor.copy()
    rows, columns = tensor.shape
    pairs = tensor.reshape(heads, rows // heads // 2, 2, columns)
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(rows, columns))


def measure(prompt, tokenizer, model, tensors, sizes):
    """One prompt's golden record, and its logits [64, vocab] under teacher forcing."""
    if "messages" in prompt:
        text = tokenizer.apply_chat_template(prompt["messages"], tokenize=False, add_generation_prompt=True)
    else:
        text = prompt["text"]
    ids = tokenizer.encode(text, add_special_tokens=False)
    forced = tokenizer.encode(prompt["forced"], add_special_tokens=False)
    assert len(forced) >= STEPS, len(forced)
    fed, first = ids + forced[: STEPS - 1], len(ids) - 1
    with torch.no_grad():
        logits = model(torch.tensor([fed])).logits[0, first:].numpy()
    exact = float64.logits(tensors, sizes, fed, first)
    argmax, margins = top_two(logits)
    greedy, greedy_margins = run_greedy(model, ids)
    golden = {"name": prompt["name"]}
    golden |= {key: prompt[key] for key in ("messages", "text") if key in prompt}
    golden |= {"prompt": text} if "messages" in prompt else {}
    golden |= {
        "ids": ids,
        "forced": forced[:STEPS],
        "argmax": argmax,
        "margins": margins,
        "logits_rms": [float(f"{value:.6g}") for value in np.sqrt(np.mean(logits.astype(np.float64) ** 2, axis=1))],
        "f32_vs_f64_max_abs": float(f"{np.abs(logits - exact).max():.3g}"),
        "greedy": greedy,
        "greedy_margins": greedy_margins,
        "greedy_text": tokenizer.decode(greedy, skip_special_tokens=False),
    }
    report(golden, argmax == [int(row.argmax()) for row in exact])
    return golden, logits


def top_two(logits):
    """The best id of each row and its distance from the second best."""
    best = np.sort(logits, axis=1)[:, -2:]
    return [int(id) for id in logits.argmax(axis=1)], [float(f"{a:.6g}") for a in best[:, 1] - best[:, 0]]


def run_greedy(model, ids):
    """64 tokens through the K/V cache, checked against one pass without it."""
    rows, cache, fed = [], None, ids
    with torch.no_grad():
        for _ in range(STEPS):
            out = model(torch.tensor([fed]), past_key_values=cache, use_cache=True)
            rows.append(out.logits[0, -1].numpy())
            cache, fed = out.past_key_values, [int(rows[-1].argmax())]
        greedy, margins = top_two(np.stack(rows))
        whole = model(torch.tensor([ids + greedy[:-1]])).logits[0, len(ids) - 1 :].numpy()
    assert top_two(whole)[0] == greedy
    return greedy, margins


def report(golden, same_argmax):
    close = next((i for i, margin in enumerate(golden["greedy_margins"]) if margin <= 0.1), STEPS)
    print(
        f"{golden['name']}: {len(golden['ids'])} ids, f32 vs f64 {golden['f32_vs_f64_max_abs']}, same argmax {same_argmax}, "
        f"rms {min(golden['logits_rms'])}..{max(golden['logits_rms'])}, forced margins <= 0.1: "
        f"{sum(margin <= 0.1 for margin in golden['margins'])}, greedy's first close call {close}: {golden['greedy_text']!r}"
    )


def write_json(path, prompts):
    header = {
        "format": 1,
        "model": path.name,
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "computed_with": f"LlamaForCausalLM of transformers {transformers_version} on CPU, torch {torch.__version__}; weights "
        "dequantised by the gguf package, float32 arithmetic, eager attention",
        "full_positions": FULL_POSITIONS,
    }
    lines = [f" {json.dumps(key)}: {json.dumps(value)}," for key, value in header.items()]
    records = []
    for prompt in prompts:
        fields = [f"   {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in prompt.items()]
        records.append("  {\n" + ",\n".join(fields) + "\n  }")
    text = "\n".join(["{", *lines, ' "prompts": [', ",\n".join(records), " ]", "}", ""])
    json.loads(text)
    (HERE / "golden.json").write_text(text)


if __name__ == "__main__":
    main()
