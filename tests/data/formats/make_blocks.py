# /// script
# requires-python = ">=3.11"
# dependencies = ["gguf==0.19.0", "numpy==2.4.6", "safetensors==0.8.0"]
# ///
"""Random blocks of every quantised format, and what the gguf package reads in them and writes itself.

Usage: `uv run make_blocks.py`, or with the packages above from pip: `python make_blocks.py`.
Writes blocks.safetensors beside itself; ../README.md says what it holds.
"""

from pathlib import Path

import numpy
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Type
from gguf.quants import dequantize, quantize
from safetensors.numpy import save_file

# Where a block has its f16 numbers.
HALVES = {
    Type.Q8_0: [0],
    Type.Q4_0: [0],
    Type.Q4_1: [0, 2],
    Type.Q5_0: [0],
    Type.Q5_1: [0, 2],
    Type.Q2_K: [80, 82],
    Type.Q3_K: [108],
    Type.Q4_K: [0, 2],
    Type.Q5_K: [0, 2],
    Type.Q6_K: [208],
    Type.IQ4_NL: [0],
    Type.IQ4_XS: [0],
}
WEIGHTS = 16 * 256

random = numpy.random.default_rng(5)
tensors = {}
for kind, places in HALVES.items():
    length, size = GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (WEIGHTS // length, size), dtype=numpy.uint8)
    for place in places:
        scales = (0.02 * random.standard_normal(len(blocks))).astype("<f2")
        blocks[:, place : place + 2] = scales.view(numpy.uint8).reshape(-1, 2)
    tensors[f"{kind.name}.bytes"] = blocks
    tensors[f"{kind.name}.values"] = dequantize(blocks, kind).reshape(-1).astype(numpy.float32)

# Numbers as weights have them, large and tiny ones, ties, zeros, and blocks of nothing else.
values = (random.standard_normal(WEIGHTS) * random.choice([1e-9, 1e-3, 0.05, 1, 300], WEIGHTS // 32).repeat(32)).astype("<f4")
values[::7] = numpy.round(values[::7] * 8) / 8
values[64:96] = 0
values[96:128] = -0.75
values[128:160] = numpy.linspace(-127, 127, 32)
values[160:192] = numpy.arange(32) - 16.0
tensors["source"] = values
for kind in (Type.Q8_0, Type.Q4_0):
    tensors[f"{kind.name}.quantised"] = quantize(values, kind)

save_file(tensors, Path(__file__).parent / "blocks.safetensors")
