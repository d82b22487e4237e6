"""A GGUF file's weights as an ONNX folder that Transformers.js loads, for the speed benchmark.

python make_onnx.py FILE.gguf FOLDER

Reads Llama's architecture with a gpt2 tokenizer. The linear layers become 4 bits in blocks of 32, symmetric, rounded again from
the dequantised weights; the head 8 bits; embeddings, activations and the KV cache are f32, since a software adapter has no f16.
The graph is the one that exporters for ONNX Runtime make: MatMulNBits, GroupQueryAttention with rotary embedding inside,
SkipSimplifiedLayerNormalization.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from gguf import GGUFReader, dequantize
from onnx import TensorProto, helper, numpy_helper

MICROSOFT = "com.microsoft"
BLOCK = 32
# Lets ONNX Runtime quantise activations to 8 bits, as exporters have it.
ACCURACY_LEVEL = 4
# A special token, in GGUF's numbering of token types.
CONTROL = 3


class Checkpoint:
    """A GGUF file: its metadata, sizes and dequantised tensors."""

    def __init__(self, path):
        reader = GGUFReader(path)
        self.metadata = {key: field.contents() for key, field in reader.fields.items() if not key.startswith("GGUF")}
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.layers, self.width, self.inner = (self.size(key) for key in ("block_count", "embedding_length", "feed_forward_length"))
        self.heads, self.kv_heads = self.size("attention.head_count"), self.size("attention.head_count_kv")
        self.head_width = self.width // self.heads
        self.vocabulary = len(self.metadata["tokenizer.ggml.tokens"])
        self.epsilon = float(self.size("attention.layer_norm_rms_epsilon"))
        self.rope_base = float(self.size("rope.freq_base"))
        # Tables of sines as long as that; no measurement goes further than 4096.
        self.context = min(self.size("context_length"), 4096)

    def size(self, key):
        return self.metadata[f"llama.{key}"]

    def weight(self, name):
        tensor = self.tensors[f"{name}.weight"]
        return dequantize(tensor.data, tensor.tensor_type).astype(np.float32)

    def rotary_weight(self, name, heads):
        """GGUF has the two halves of a head interleaved; ONNX Runtime wants one after the other."""
        weight = self.weight(name)
        rows, columns = weight.shape
        return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


class Graph:
    """Nodes and constants in the order in which they are added; each is named by its first output."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, name, array):
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, kind, inputs, outputs, domain="", **attributes):
        outputs = [outputs] if isinstance(outputs, str) else outputs
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=f"{outputs[0]}/{kind}", domain=domain, **attributes))
        return outputs[0]

    def linear(self, x, weight, name, bits=4):
        rows, columns = weight.shape
        packed, scales = (quantize_4 if bits == 4 else quantize_8)(weight.reshape(rows, columns // BLOCK, BLOCK))
        inputs = [x, self.constant(f"{name}.q", packed), self.constant(f"{name}.s", scales.reshape(rows, columns // BLOCK))]
        sizes = {"K": columns, "N": rows, "bits": bits, "block_size": BLOCK, "accuracy_level": ACCURACY_LEVEL}
        return self.node("MatMulNBits", inputs, name, MICROSOFT, **sizes)


def quantize_4(blocks):
    """Two to a byte, 8 standing for zero; the value that is largest without its sign becomes 0."""
    index = np.abs(blocks).argmax(-1, keepdims=True)
    scales = np.take_along_axis(blocks, index, -1) / -8
    values = np.clip(np.rint(divided(blocks, scales) + 8), 0, 15).astype(np.uint8)
    return values[..., 0::2] | (values[..., 1::2] << 4), scales.astype(np.float32)


def quantize_8(blocks):
    """128 stands for zero."""
    scales = np.abs(blocks).max(-1, keepdims=True) / 127
    return (np.rint(divided(blocks, scales)) + 128).astype(np.uint8), scales.astype(np.float32)


def divided(blocks, scales):
    return np.divide(blocks, scales, out=np.zeros_like(blocks), where=scales != 0)


def build(checkpoint):
    """The forward pass, one line per step."""
    graph, layers = Graph(), checkpoint.layers
    add, linear, constant, weight = graph.node, graph.linear, graph.constant, checkpoint.weight
    inverse = 1.0 / checkpoint.rope_base ** (np.arange(0, checkpoint.head_width, 2) / checkpoint.head_width)
    angles = np.outer(np.arange(checkpoint.context), inverse)
    constant("cos", np.cos(angles).astype(np.float32))
    constant("sin", np.sin(angles).astype(np.float32))
    for name, value in {"one": [1], "axis1": [1], "i1": 1, "big": [2**31 - 1]}.items():
        constant(name, np.array(value, np.int64))
    embedding = weight("token_embd")
    x = add("Gather", [constant("emb", embedding), "input_ids"], "x0")
    add("ReduceSum", ["attention_mask", "axis1"], "mask_sum", keepdims=0)
    add("Sub", ["mask_sum", "one"], "mask_last")
    add("Cast", ["mask_last"], "seqlens_k", to=TensorProto.INT32)
    add("Shape", ["attention_mask"], "mask_shape")
    add("Gather", ["mask_shape", "i1"], "total_64")
    add("Cast", ["total_64"], "total_len", to=TensorProto.INT32)
    norm = [x, constant("l0.n1", weight("blk.0.attn_norm"))]
    normed = add("SimplifiedLayerNormalization", norm, "l0.norm1", axis=-1, epsilon=checkpoint.epsilon, stash_type=1)
    for layer in range(layers):
        to, of = f"l{layer}.", f"blk.{layer}."
        q = linear(normed, checkpoint.rotary_weight(f"{of}attn_q", checkpoint.heads), f"{to}q")
        k = linear(normed, checkpoint.rotary_weight(f"{of}attn_k", checkpoint.kv_heads), f"{to}k")
        v = linear(normed, weight(f"{of}attn_v"), f"{to}v")
        past = [f"past_key_values.{layer}.{part}" for part in ("key", "value")]
        present = [f"present.{layer}.{part}" for part in ("key", "value")]
        attended = add(
            "GroupQueryAttention",
            [q, k, v, *past, "seqlens_k", "total_len", "cos", "sin"],
            [f"{to}attn", *present],
            MICROSOFT,
            num_heads=checkpoint.heads,
            kv_num_heads=checkpoint.kv_heads,
            scale=checkpoint.head_width**-0.5,
            do_rotary=1,
            rotary_interleaved=0,
            local_window_size=-1,
        )
        out = linear(attended, weight(f"{of}attn_output"), f"{to}o")
        normed = skip_norm(graph, x, out, weight(f"{of}ffn_norm"), f"{to}norm2", f"{to}res1", checkpoint.epsilon)
        gate, up = linear(normed, weight(f"{of}ffn_gate"), f"{to}gate"), linear(normed, weight(f"{of}ffn_up"), f"{to}up")
        silu = add("Mul", [gate, add("Sigmoid", [gate], f"{to}sig")], f"{to}silu")
        down = linear(add("Mul", [silu, up], f"{to}act"), weight(f"{of}ffn_down"), f"{to}down")
        after = f"blk.{layer + 1}.attn_norm" if layer + 1 < layers else "output_norm"
        residual = f"{to}res2" if layer + 1 < layers else None
        normed = skip_norm(graph, f"{to}res1", down, weight(after), f"{to}norm3", residual, checkpoint.epsilon)
        x = residual
    add("Neg", ["num_logits_to_keep"], "neg_keep")
    add("Reshape", ["neg_keep", "one"], "neg_keep1")
    last = add("Slice", [normed, "neg_keep1", "big", "axis1"], "last")
    head = weight("output") if "output.weight" in checkpoint.tensors else embedding
    add("Identity", [linear(last, head, "lm_head", 8)], "logits")
    return graph


def skip_norm(graph, x, y, weight, name, total, epsilon):
    """The norm of x + y, and that sum under the name of `total`."""
    outputs = [name, "", "", total] if total else [name]
    inputs = [x, y, graph.constant(f"{name}.w", weight)]
    return graph.node("SkipSimplifiedLayerNormalization", inputs, outputs, MICROSOFT, epsilon=epsilon)


def model(checkpoint):
    """The graph with its inputs and outputs, as Transformers.js names them."""
    value = helper.make_tensor_value_info

    def cache(name, length):
        shape = ["batch_size", checkpoint.kv_heads, length, checkpoint.head_width]
        parts = [f"{name}.{layer}.{part}" for layer in range(checkpoint.layers) for part in ("key", "value")]
        return [value(part, TensorProto.FLOAT, shape) for part in parts]

    inputs = [
        value("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"]),
        value("attention_mask", TensorProto.INT64, ["batch_size", "total_sequence_length"]),
        value("num_logits_to_keep", TensorProto.INT64, []),
    ]
    logits = value("logits", TensorProto.FLOAT, ["batch_size", "kept", checkpoint.vocabulary])
    graph = build(checkpoint)
    made = helper.make_graph(
        graph.nodes,
        "llama",
        inputs + cache("past_key_values", "past_sequence_length"),
        [logits, *cache("present", "total_sequence_length")],
        graph.constants,
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(made, opset_imports=opsets, ir_version=10)


def texts(checkpoint):
    """The JSON files beside the graph."""
    metadata = checkpoint.metadata
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    begin, end = metadata["tokenizer.ggml.bos_token_id"], metadata["tokenizer.ggml.eos_token_id"]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    merges = [merge.split(" ") for merge in metadata["tokenizer.ggml.merges"]]
    special = {"bos_token_id": begin, "eos_token_id": end, "pad_token_id": end}
    return {
        "tokenizer.json": {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "normalizer": None,
            "post_processor": None,
            "added_tokens": [{"id": i, "content": tokens[i], **flags} for i, kind in enumerate(types) if kind == CONTROL],
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [{"type": "Digits", "individual_digits": True}, {**byte_level, "add_prefix_space": False}],
            },
            "decoder": {**byte_level, "add_prefix_space": True},
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "vocab": {token: i for i, token in enumerate(tokens)},
                "merges": merges,
            },
        },
        "tokenizer_config.json": {
            "tokenizer_class": "GPT2Tokenizer",
            "model_max_length": checkpoint.context,
            "bos_token": tokens[begin],
            "eos_token": tokens[end],
            "pad_token": tokens[end],
            "clean_up_tokenization_spaces": False,
        },
        "config.json": {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": checkpoint.width,
            "intermediate_size": checkpoint.inner,
            "num_hidden_layers": checkpoint.layers,
            "num_attention_heads": checkpoint.heads,
            "num_key_value_heads": checkpoint.kv_heads,
            "head_dim": checkpoint.head_width,
            "vocab_size": checkpoint.vocabulary,
            "rms_norm_eps": checkpoint.epsilon,
            "rope_theta": checkpoint.rope_base,
            "max_position_embeddings": checkpoint.context,
            "tie_word_embeddings": "output.weight" not in checkpoint.tensors,
            "torch_dtype": "float32",
            **special,
        },
        "generation_config.json": special,
    }


def main():
    source, folder = sys.argv[1], Path(sys.argv[2])
    checkpoint = Checkpoint(source)
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    onnx.save(model(checkpoint), folder / "onnx/model_q4.onnx")
    for name, text in texts(checkpoint).items():
        (folder / name).write_text(json.dumps(text, ensure_ascii=False), encoding="utf-8")


main()
