//! A vocabulary from a `tokenizer.model`: SentencePiece's own file, in folders that have no `tokenizer.json`.
//!
//! Source: `sentencepiece_model.proto` of SentencePiece; what is added as in transformers' `LlamaTokenizer`.

use std::collections::BTreeMap;

use prost::Message;
use serde::Deserialize;
use serde_json::Value;

use super::added::Added;
use super::gguf::{self, GgufVocabulary};
use super::hugging_face::AddedJson;
use super::parts::{Parts, bad};
use crate::error::Result;

/// A vocabulary with how it was made; fields that do not matter here are skipped.
#[derive(Message)]
struct ModelProto {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<TrainerSpec>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<NormalizerSpec>,
}

#[derive(Message)]
struct Piece {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    /// Numbered as in GGUF files.
    #[prost(int32, optional, tag = "3", default = "1")]
    kind: Option<i32>,
}

/// Ids below 0 stand for tokens that there are not.
#[derive(Message)]
struct TrainerSpec {
    #[prost(int32, optional, tag = "3", default = "1")]
    model_type: Option<i32>,
    #[prost(int32, optional, tag = "40", default = "0")]
    unknown: Option<i32>,
    #[prost(int32, optional, tag = "41", default = "1")]
    bos: Option<i32>,
    #[prost(int32, optional, tag = "42", default = "2")]
    eos: Option<i32>,
}

#[derive(Message)]
struct NormalizerSpec {
    #[prost(bytes = "vec", optional, tag = "2")]
    characters: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3", default = "true")]
    add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4", default = "true")]
    remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5", default = "true")]
    escape_whitespaces: Option<bool>,
}

/// `model_type` of a byte-pair encoding.
const BPE: i32 = 2;

/// The parts of a vocabulary; `added` is the folder's `added_tokens.json`.
pub(super) fn parts(model: &[u8], added: Option<&[u8]>, tokenizer_config: &Value) -> Result<Parts> {
    let model = ModelProto::decode(model).map_err(|e| bad(format_args!("tokenizer.model: {e}")))?;
    let trainer = model.trainer.unwrap_or_default();
    let normalizer = model.normalizer.unwrap_or_default();
    check(&trainer, &normalizer)?;
    let id = |id: i32| u32::try_from(id).ok();
    let (scores, types): (Vec<f32>, Vec<i64>) =
        model.pieces.iter().map(|piece| (piece.score(), i64::from(piece.kind()))).unzip();
    let tokens: Vec<String> = model.pieces.into_iter().map(|piece| piece.text.unwrap_or_default()).collect();
    let mut parts = gguf::sentence_piece(&GgufVocabulary {
        model: "llama",
        tokens: &tokens,
        scores: Some(&scores),
        token_types: Some(&types),
        bos: id(trainer.bos()),
        eos: id(trainer.eos()),
        unknown: id(trainer.unknown()),
        add_bos: Some(false),
        add_space_prefix: Some(normalizer.add_dummy_prefix()),
        ..GgufVocabulary::default()
    })?;
    add(&mut parts, added, tokenizer_config)?;
    Ok(parts)
}

/// Refuses what Llama's vocabularies do not have.
fn check(trainer: &TrainerSpec, normalizer: &NormalizerSpec) -> Result<()> {
    if trainer.model_type() != BPE {
        return Err(bad("tokenizer.model: only vocabularies of byte-pair encoding are supported"));
    }
    let plain = normalizer.characters.as_ref().is_none_or(Vec::is_empty);
    if !plain || normalizer.remove_extra_whitespaces() || !normalizer.escape_whitespaces() {
        return Err(bad("tokenizer.model: it changes characters or white space in a way that is not supported"));
    }
    Ok(())
}

/// Adds the tokens that were given to the vocabulary after its training.
fn add(parts: &mut Parts, added: Option<&[u8]>, tokenizer_config: &Value) -> Result<()> {
    let wrong = |file: &str, e: serde_json::Error| bad(format_args!("{file}: {e}"));
    let listed = tokenizer_config.get("added_tokens_decoder").filter(|listed| !listed.is_null());
    let tokens: Vec<Added> = match (listed, added) {
        (Some(listed), _) => {
            let listed = BTreeMap::<u32, AddedJson>::deserialize(listed);
            let listed = listed.map_err(|e| wrong("tokenizer_config.json", e))?;
            listed.into_iter().map(|(id, token)| Added { id, ..token.into() }).collect()
        }
        (None, Some(added)) => {
            let added: BTreeMap<String, u32> =
                serde_json::from_slice(added).map_err(|e| wrong("added_tokens.json", e))?;
            added.into_iter().map(|(text, id)| Added::special(text, id)).collect()
        }
        (None, None) => Vec::new(),
    };
    for token in tokens.into_iter().filter(|token| !token.text.is_empty()) {
        match parts.added.iter_mut().find(|known| known.id == token.id) {
            Some(known) => *known = token,
            None => parts.added.push(token),
        }
    }
    Ok(())
}

/// Puts BOS in front of texts and EOS behind them as a `tokenizer_config.json` says; without a word, BOS alone.
pub(super) fn surround(parts: &mut Parts, tokenizer_config: &Value) {
    let says = |key: &str, usual: bool| tokenizer_config.get(key).and_then(Value::as_bool).unwrap_or(usual);
    parts.prefix = parts.bos.filter(|_| says("add_bos_token", true)).into_iter().collect();
    parts.suffix = parts.eos.filter(|_| says("add_eos_token", false)).into_iter().collect();
}
