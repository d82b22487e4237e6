# /// script
# requires-python = ">=3.11"
# dependencies = ["protobuf==7.36.2", "sentencepiece==0.2.3"]
# ///
"""The vocabulary of tokenizer.json as a SentencePiece file, and what SentencePiece makes of texts with it.

Usage: `uv run make_sentence_piece.py`, or with the packages above from pip: `python make_sentence_piece.py`.
Writes tokenizer.model and sentence_piece.json beside itself.
"""

import json
from pathlib import Path

from sentencepiece import SentencePieceProcessor
from sentencepiece import sentencepiece_model_pb2 as protobuf

HERE = Path(__file__).parent
UNKNOWN, CONTROL, BYTE, NORMAL = 2, 3, 6, 1

model = json.loads((HERE / "tokenizer.json").read_text())["model"]
tokens = sorted(model["vocab"], key=model["vocab"].get)
# A token's score falls with the place of the first merge that gives it.
scores = {}
for rank, merge in enumerate(model["merges"]):
    scores.setdefault(merge.replace(" ", "", 1), -float(rank))

proto = protobuf.ModelProto()
for number, token in enumerate(tokens):
    kind = UNKNOWN if number == 0 else CONTROL if number < 3 else BYTE if number < 259 else NORMAL
    score = 0.0 if number < 259 else scores.get(token, -float(len(model["merges"]) + number))
    proto.pieces.add(piece=token, score=score, type=kind)
proto.trainer_spec.model_type = protobuf.TrainerSpec.BPE
proto.trainer_spec.byte_fallback = True
proto.trainer_spec.vocab_size = len(tokens)
proto.normalizer_spec.name = "identity"
proto.normalizer_spec.add_dummy_prefix = True
proto.normalizer_spec.remove_extra_whitespaces = False
proto.normalizer_spec.escape_whitespaces = True
(HERE / "tokenizer.model").write_bytes(proto.SerializeToString())

processor = SentencePieceProcessor(model_file=str(HERE / "tokenizer.model"))
texts = [case["text"] for case in json.loads((HERE / "cases.json").read_text())["cases"]]
texts += [Path(HERE / "../prose.txt").read_text(), "a\u2581b  c", "\U0001f999\u0000x", "  " * 40 + "end"]
cases = [{"text": text, "ids": processor.encode(text)} for text in texts]
(HERE / "sentence_piece.json").write_text(json.dumps(cases, ensure_ascii=False))
