# /// script
# requires-python = ">=3.11"
# dependencies = ["jinja2==3.1.6", "numpy==2.4.6", "safetensors==0.8.0", "tokenizers==0.23.3", "torch==2.15.0", "transformers==5.23.0"]
# ///
"""Reference answer of the checkpoint that `make_model llama2-tiny hf-f16` writes, by Hugging Face's libraries alone.

Usage: `uv run make_golden.py FOLDER`, or with the packages above from pip: `python make_golden.py FOLDER`.
Writes golden.json beside itself; ../README.md says what it holds. Takes seconds.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, __version__ as transformers_version

STEPS = 32
# Of many that were tried, one whose answer has no close call: the weights are random, and so are the margins.
QUESTION = "How do llamas eat hay?"


def main():
    folder = Path(sys.argv[1])
    config = json.loads((folder / "tokenizer_config.json").read_text())
    # AutoTokenizer would build a Llama tokenizer of its own; this one is tokenizer.json as it stands.
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), bos_token="<s>", eos_token="</s>", chat_template=config["chat_template"]
    )
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    golden = answer(model, tokenizer, [{"role": "user", "content": QUESTION}])
    print("closest call:", min(golden["greedy_margins_of_rms"]), golden["greedy_text"])
    lines = [f" {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in golden.items()]
    (Path(__file__).parent / "golden.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


@torch.no_grad()
def answer(model, tokenizer, messages):
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    greedy, margins = [], []
    for _ in range(STEPS):
        logits = model(torch.tensor([ids + greedy])).logits[0, -1]
        best = torch.topk(logits, 2)
        margins.append(round(float((best.values[0] - best.values[1]) / logits.square().mean().sqrt()), 4))
        greedy.append(int(best.indices[0]))
    return {
        "computed_with": f"LlamaForCausalLM of transformers {transformers_version} on CPU, torch {torch.__version__}; "
        "float32 arithmetic, eager attention",
        "messages": messages,
        "prompt": prompt,
        "ids": ids,
        "greedy": greedy,
        "greedy_margins_of_rms": margins,
        "greedy_text": tokenizer.decode(greedy),
    }


if __name__ == "__main__":
    main()
