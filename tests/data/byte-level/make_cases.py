# /// script
# requires-python = ">=3.11"
# dependencies = ["gguf==0.19.0", "numpy==2.4.6", "tokenizers==0.23.3"]
# ///
"""Byte-level BPE by Hugging Face's tokenizers library: small trained vocabularies, and cases for them and for SmolLM2.

Usage: `uv run make_cases.py SMOLLM2.gguf`, or with the packages above from pip: `python make_cases.py SMOLLM2.gguf`.
Writes default.json and llama-bpe.json beside itself and ../smollm2/tokenizer_cases.json; ../README.md says what they hold.
"""

import json
import random
import sys
from pathlib import Path

from gguf import GGUFReader
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

HERE = Path(__file__).parent
# Llama 3's pattern, from Meta's release of its tokenizer.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4

CORPUS = """\
The miller's cat isn't fond of the mill, but she'll sleep there; they've seen her. WE'VE SEEN HER, it's said.
I'm sure you're right, I'd say. Don't you think that the river runs through the valley and the village there?
def total(prices: list[float]) -> float:
    if not prices:
        return 0.0
    return sum(price for price in prices if price >= 0)
for (int i = 0; i < 1024; i++) { total += values[i] * 2; }
In 2017 there were 479 mornings, in 2018 there were 1000000 of them, and 3.14159 is not 22/7.
Größe, naïve, café, señor, Straße, œuvre. Привет, как дела? Как дела у вас? 你好，世界。你好吗？ こんにちは世界。
🙂🚀🎉 🙂🚀🎉 👩‍💻 and more: ½ ² Ⅳ ٣٤٥ … — "quotes" 'single' (round) [square] {curly} <angle/>
""".splitlines(keepends=True)

TEXTS = [
    "", " ", "  ", "a", "\n", "\r\n", "\t", "Hello", " Hello", "Hello, world!", "The river runs through the valley.",
    "it's isn't we've they're I'm she'll I'd", "IT'S ISN'T WE'VE THEY'RE I'M SHE'LL I'D", "rock 'n' roll's 'tis 'twas",
    "0", "42", "123", "1234", "1234567890", "3.14159", "1,000,000.00", "x1y22z333", "2017 2018", "½ ² Ⅳ ٣٤٥ 一二三",
    "a  b", "a   b", "   leading", "trailing   ", "a\n\nb", "a \n b", "a\n \n\n  b", "\n\n\n", " \t \n", "tab\tand\r\nlines\r",
    "\u00a0nbsp\u00a0\u00a0", "\u2003em\u3000ideographic", "\u200bzero\u200dwidth\ufeff",
    "def f(x):\n    if x >= 10:\n        return [x, -x]\n\treturn {'a': x**2}  # done\n",
    "for (int i = 0; i < n; ++i) { a[i] += b[i] << 2; }", "https://example.org/a_b-c?d=e&f=%20#g", "<div class=\"x\">&amp;</div>",
    "你好，世界。", "こんにちは世界。", "안녕하세요", "Привет, мир!", "مرحبا بالعالم", "שלום", "नमस्ते", "ไทย", "Ελληνικά",
    "naïve café Größe", "e\u0301 \u00e9", "ﬁne ﬀ", "🙂", "🙂🚀🎉", "👩‍💻 👨‍👩‍👧‍👦", "🇫🇷🇩🇪", "👍🏽", "a🙂b", "𝒳𝟙", "\U0010fffd",
    "... !!! ?? -- ((())) ~~~", "a.b,c;d:e", "snake_case camelCase PascalCase", "¿Qué? ¡Sí!", "“quotes” ‘single’ «guil»",
    "\x00\x01\x7f", "Ġ Ċ ▁ <0x0A> Ā", "word" * 20, "ab" * 50, " " * 33, "an unreachable place, unreachable",
]


def main():
    for pre, specials in [("default", ["<|endoftext|>"]), ("llama-bpe", ["<|begin_of_text|>", "<|eot_id|>", "<|end_of_text|>"])]:
        write(HERE / f"{pre}.json", train(pre, specials))
    fields = {name: field.contents() for name, field in GGUFReader(sys.argv[1]).fields.items()}
    assert fields["tokenizer.ggml.pre"] == "smollm"
    metadata = {name: fields[f"tokenizer.ggml.{name}"] for name in ["tokens", "token_type", "merges"]}
    specials = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<repo_name>"]
    write(HERE.parent / "smollm2/tokenizer_cases.json", cases(make("smollm", **metadata), specials))


def train(pre, specials):
    """A vocabulary of its own, in GGUF's form, with a user-defined token and one that no merge gives."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = cutting(pre)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    learner.train_from_iterator(CORPUS, trainer)
    model = json.loads(learner.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    types = [NORMAL] * len(tokens)
    # Only a vocabulary that looks words up before it merges finds this one.
    tokens.append("Ġunreachable")
    types.append(NORMAL)
    for token in specials:
        tokens.append(token)
        types.append(CONTROL)
    tokens.append("<tool>")
    types.append(USER_DEFINED)
    metadata = {"tokens": tokens, "token_type": types, "merges": [" ".join(merge) for merge in model["merges"]]}
    ids = {"bos": tokens.index(specials[0]), "eos": tokens.index(specials[-1])}
    return {"pre": pre, **metadata, **ids, **cases(make(pre, **metadata), specials + ["<tool>"], ids["bos"])}


def make(pre, tokens, token_type, merges):
    """The vocabulary as Hugging Face would hold it."""
    vocabulary = {token: id for id, token in enumerate(tokens)}
    model = models.BPE(vocabulary, [tuple(merge.split(" ")) for merge in merges], ignore_merges=pre == "llama-bpe")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = cutting(pre)
    tokenizer.decoder = decoders.ByteLevel()
    for token, kind in zip(tokens, token_type):
        if kind == CONTROL:
            tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True)])
        elif kind == USER_DEFINED:
            tokenizer.add_tokens([AddedToken(token, normalized=False)])
    assert tokenizer.get_vocab() == vocabulary
    return tokenizer


def cutting(pre):
    """The pre-tokenizers of GPT-2, Llama 3 and SmolLM2, as their own tokenizer.json files have them."""
    if pre == "default":
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if pre == "llama-bpe":
        words = pre_tokenizers.Split(Regex(LLAMA3), "isolated")
        return pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    digits = pre_tokenizers.Digits(individual_digits=True)
    return pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])


def cases(tokenizer, specials, bos=None):
    first, last = specials[0], specials[-1]
    texts = TEXTS + [first, f"{first}user\nHi{last}\n{first}", f" {first} {last} ", f"{first}{last}{first}", last[:-1],
                     f"🙂{last}1234{last[1:]}", *(f"a{special}b" for special in specials)]
    if bos is not None:
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{first} $A", special_tokens=[(first, bos)])
    listed = []
    for text in texts:
        case = {"text": text}
        tokenizer.encode_special_tokens = True
        case["ids"] = tokenizer.encode(text, add_special_tokens=False).ids
        tokenizer.encode_special_tokens = False
        parsed = tokenizer.encode(text, add_special_tokens=False).ids
        if parsed != case["ids"]:
            case["ids_special_parsed"] = parsed
        if bos is not None:
            assert tokenizer.encode(text).ids == [bos] + parsed
        case["decoded"] = tokenizer.decode(parsed)
        listed.append(case)
    return {"cases": listed, "decode": random_decodes(tokenizer)}


def random_decodes(tokenizer):
    """Ids in random order: stray bytes, characters cut in two, special tokens between them."""
    draw = random.Random(1)
    size = tokenizer.get_vocab_size()
    bytes_ = [tokenizer.token_to_id(letter) for letter in pre_tokenizers.ByteLevel.alphabet()]
    bytes_ = [id for id in bytes_ if id is not None]
    listed = []
    for count in [1, 2, 3, 5, 8, 13, 21, 34]:
        ids = [draw.choice(bytes_) if draw.random() < 0.5 else draw.randrange(size) for _ in range(count)]
        listed.append({"ids": ids, "text": tokenizer.decode(ids)})
    return listed


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
