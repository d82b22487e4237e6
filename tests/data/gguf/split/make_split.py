# /// script
# requires-python = ">=3.11"
# dependencies = ["gguf==0.19.0", "numpy==2.4.6"]
# ///
"""Cuts GGUF files beside this folder into parts, as llama.cpp's gguf-split does, with the gguf package's own writer.

Usage: `uv run make_split.py`, or with the packages above from pip: `python make_split.py`. Writes MODEL-0000N-of-0000M.gguf.
"""

from pathlib import Path

from gguf import GGUFReader, GGUFValueType, GGUFWriter

HERE = Path(__file__).parent


def split(name: str, tensors: int, first_without: bool = False) -> None:
    reader = GGUFReader(HERE.parent / f"{name}.gguf")
    out = HERE / (f"{name}.gguf" if not first_without else f"{name}.apart.gguf")
    writer = GGUFWriter(out, "llama", split_max_tensors=tensors, small_first_shard=first_without)
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), kind, sub_type=inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# Untied; tied, with a linear factor; divisors of RoPE's frequencies among the tensors.
for name, tensors in [("tiny-llama2.Q4_0", 11), ("tiny-llama2-mha.F16", 9), ("tiny-llama2-mha-llama3rope.F16", 12)]:
    split(name, tensors)
# The metadata in a file of its own.
split("tiny-llama2-mha-llama3rope.F16", 12, first_without=True)
