//! A tokenizer from a Hugging Face folder: `tokenizer.json`, and the files that name its special tokens.

use serde::Deserialize;
use serde::de::{self, MapAccess, Visitor};
use serde_json::Value;

use super::Tokenizer;
use super::added::Added;
use super::parts::{Parts, bad};
use super::sentence_piece;
use super::steps::{Normalizers, Place, PreTokenizers};
use super::stream::Decoding;
use crate::error::Result;
use crate::weights::loader::VocabularyFile;

#[derive(Deserialize)]
struct TokenizerJson {
    #[serde(default)]
    added_tokens: Vec<AddedJson>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    decoder: Option<Value>,
    model: ModelJson,
}

/// An added token; `added_tokens_decoder` of a `tokenizer_config.json` has its id elsewhere.
#[derive(Deserialize)]
pub(super) struct AddedJson {
    #[serde(default)]
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    single_word: bool,
}

#[derive(Deserialize)]
struct ModelJson {
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: TokenIds,
    #[serde(default)]
    merges: Vec<MergeJson>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    fuse_unk: bool,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
}

/// Two tokens to join: newer files write a pair, older ones a string with a space.
#[derive(Deserialize)]
#[serde(untagged)]
enum MergeJson {
    Pair(String, String),
    Spaced(String),
}

/// Kept as a list, so that a token that a file names twice is seen.
struct TokenIds(Vec<(String, u32)>);

impl<'de> Deserialize<'de> for TokenIds {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = TokenIds;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a BPE vocabulary (tokens with their ids)")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<TokenIds, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(TokenIds(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// The files of a folder that say something about its text; only the vocabulary must be there.
pub(crate) struct Files<'a> {
    pub(crate) vocabulary: &'a VocabularyFile,
    pub(crate) tokenizer_config: Option<&'a [u8]>,
    pub(crate) generation_config: Option<&'a [u8]>,
    pub(crate) config: &'a [u8],
}

/// Builds the tokenizer of a Hugging Face folder.
pub(crate) fn build(files: &Files) -> Result<Tokenizer> {
    let tokenizer_config = read("tokenizer_config.json", files.tokenizer_config)?;
    let mut parts = match files.vocabulary {
        VocabularyFile::Json(json) => from_json(json)?,
        VocabularyFile::SentencePiece { model, added } => {
            sentence_piece::parts(model, added.as_deref(), &tokenizer_config)?
        }
    };
    name_special_tokens(&mut parts, files, &tokenizer_config)?;
    if let VocabularyFile::SentencePiece { .. } = files.vocabulary {
        sentence_piece::surround(&mut parts, &tokenizer_config);
    }
    parts.build()
}

/// A JSON file's value; null where there is no file.
fn read(name: &str, bytes: Option<&[u8]>) -> Result<Value> {
    match bytes {
        Some(bytes) => serde_json::from_slice(bytes).map_err(|e| bad(format_args!("{name}: {e}"))),
        None => Ok(Value::Null),
    }
}

/// The parts in a `tokenizer.json`.
fn from_json(json: &[u8]) -> Result<Parts> {
    let json: TokenizerJson = serde_json::from_slice(json).map_err(|e| bad(format_args!("tokenizer.json: {e}")))?;
    let model = json.model;
    check_model(&model)?;
    let added: Vec<Added> = json.added_tokens.into_iter().filter(|t| !t.content.is_empty()).map(Added::from).collect();
    let (prefix, suffix) = post_processing(json.post_processor.as_ref())?;
    Ok(Parts {
        merges: model.merges.into_iter().map(MergeJson::pair).collect::<Result<_>>()?,
        vocabulary: model.vocab.0,
        unknown: model.unk_token,
        fuse_unknown: model.fuse_unk,
        byte_fallback: model.byte_fallback,
        ignore_merges: model.ignore_merges,
        normalizers: Normalizers::from_json(json.normalizer.as_ref())?,
        first: PreTokenizers::from_json(json.pre_tokenizer.as_ref(), Place::First)?,
        later: PreTokenizers::from_json(json.pre_tokenizer.as_ref(), Place::Later)?,
        added,
        prefix,
        suffix,
        decoding: decoding(json.decoder.as_ref())?,
        bos: None,
        eos: None,
        stop: Vec::new(),
    })
}

fn check_model(model: &ModelJson) -> Result<()> {
    if let Some(kind) = model.kind.as_deref().filter(|&kind| kind != "BPE") {
        return Err(bad(format_args!("vocabularies of kind {kind} are not supported, only BPE")));
    }
    let affixes = [&model.continuing_subword_prefix, &model.end_of_word_suffix];
    if affixes.into_iter().flatten().any(|affix| !affix.is_empty()) {
        return Err(bad("vocabularies with sub-word prefixes or suffixes are not supported"));
    }
    Ok(())
}

impl MergeJson {
    fn pair(self) -> Result<(String, String)> {
        match self {
            MergeJson::Pair(left, right) => Ok((left, right)),
            MergeJson::Spaced(text) => match text.split_once(' ') {
                Some((left, right)) if !right.contains(' ') => Ok((left.to_owned(), right.to_owned())),
                _ => Err(bad(format_args!("the merge {text:?} is not two tokens"))),
            },
        }
    }
}

impl From<AddedJson> for Added {
    fn from(json: AddedJson) -> Self {
        let AddedJson { id, content: text, special, lstrip, rstrip, single_word } = json;
        Self { text, id, special, lstrip, rstrip, single_word }
    }
}

/// The `type` of a decoder and of those inside it.
fn kinds(json: &Value) -> Vec<&str> {
    let own = json.get("type").and_then(Value::as_str).unwrap_or("without a type");
    let parts = json.get("decoders").and_then(Value::as_array).into_iter().flatten();
    std::iter::once(own).chain(parts.flat_map(kinds)).collect()
}

/// Ids that go in front of and behind a text.
fn post_processing(json: Option<&Value>) -> Result<(Vec<u32>, Vec<u32>)> {
    let Some(json) = json.filter(|json| !json.is_null()) else { return Ok((Vec::new(), Vec::new())) };
    match json.get("type").and_then(Value::as_str) {
        Some("ByteLevel") => Ok((Vec::new(), Vec::new())),
        Some("TemplateProcessing") => template_ids(json),
        Some("Sequence") => {
            let (mut prefix, mut suffix) = (Vec::new(), Vec::new());
            for part in json.get("processors").and_then(Value::as_array).into_iter().flatten() {
                let (before, after) = post_processing(Some(part))?;
                prefix.splice(0..0, before);
                suffix.extend(after);
            }
            Ok((prefix, suffix))
        }
        other => Err(bad(format_args!("the post-processor {other:?} is not supported"))),
    }
}

/// The special tokens of a template before and after the text's place.
fn template_ids(json: &Value) -> Result<(Vec<u32>, Vec<u32>)> {
    let pieces =
        json.get("single").and_then(Value::as_array).ok_or_else(|| bad("the post-processor has no template"))?;
    let (mut prefix, mut suffix, mut text_seen) = (Vec::new(), Vec::new(), false);
    for piece in pieces {
        if piece.get("Sequence").is_some() {
            text_seen = true;
            continue;
        }
        let name = piece.pointer("/SpecialToken/id").and_then(Value::as_str);
        let token = name.and_then(|name| json.get("special_tokens")?.get(name));
        let ids: Option<Vec<u32>> = token.and_then(|token| serde_json::from_value(token.get("ids")?.clone()).ok());
        let ids = ids.ok_or_else(|| bad("the post-processor names a special token that it does not define"))?;
        if text_seen { suffix.extend(ids) } else { prefix.extend(ids) }
    }
    Ok((prefix, suffix))
}

/// Tells the two ways of spelling apart, and how many leading spaces decoding drops.
fn decoding(json: Option<&Value>) -> Result<Decoding> {
    let kinds = json.map(kinds).unwrap_or_default();
    if kinds.contains(&"ByteLevel") {
        return Ok(Decoding::ByteLevel);
    }
    if !kinds.contains(&"ByteFallback") && !kinds.contains(&"Metaspace") {
        return Err(bad(format_args!("the decoder {kinds:?} is not supported")));
    }
    let strip = json.into_iter().flat_map(leading_spaces).sum::<u64>();
    Ok(Decoding::SentencePiece { strip: usize::try_from(strip).map_err(bad)? })
}

/// What each part of a decoder drops.
fn leading_spaces(json: &Value) -> Vec<u64> {
    let own = match json.get("type").and_then(Value::as_str) {
        Some("Strip") => json.get("start").and_then(Value::as_u64).unwrap_or(0).min(16),
        Some("Metaspace") => {
            let never = json.get("prepend_scheme").and_then(Value::as_str) == Some("never");
            let off = json.get("add_prefix_space").and_then(Value::as_bool) == Some(false);
            u64::from(!never && !off)
        }
        _ => 0,
    };
    let parts = json.get("decoders").and_then(Value::as_array).into_iter().flatten();
    std::iter::once(own).chain(parts.flat_map(leading_spaces)).collect()
}

/// BOS, EOS and every end that the folder's files name.
///
/// `tokenizer_config.json` names tokens by their text, the two other files by id (one, or a list).
fn name_special_tokens(parts: &mut Parts, files: &Files, tokenizer_config: &Value) -> Result<()> {
    let configs = [read("generation_config.json", files.generation_config)?, read("config.json", Some(files.config))?];
    let named = |key| token_name(tokenizer_config.get(key)?).and_then(|name| find(parts, name));
    let ids = |key: &str| -> Vec<u32> { configs.iter().filter_map(|c| c.get(key)).flat_map(id_list).collect() };
    let (bos, eos) = (named("bos_token"), named("eos_token"));
    let known = |id: &u32| parts.vocabulary.iter().any(|(_, i)| i == id) || parts.added.iter().any(|t| t.id == *id);
    let bos = bos.or_else(|| ids("bos_token_id").into_iter().find(known));
    let ends: Vec<u32> = ids("eos_token_id").into_iter().filter(known).collect();
    // A SentencePiece file names them itself, where the others do not.
    parts.bos = bos.or(parts.bos);
    parts.eos = eos.or(ends.first().copied()).or(parts.eos);
    parts.stop = ends;
    Ok(())
}

/// A token in `tokenizer_config.json`: its text, or an object with its text.
pub(crate) fn token_name(json: &Value) -> Option<&str> {
    json.as_str().or_else(|| json.get("content")?.as_str())
}

fn id_list(json: &Value) -> Vec<u32> {
    let list = json.as_array().map_or(std::slice::from_ref(json), Vec::as_slice);
    list.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok()).collect()
}

fn find(parts: &Parts, text: &str) -> Option<u32> {
    let added = parts.added.iter().find(|t| t.text == text).map(|t| t.id);
    added.or_else(|| parts.vocabulary.iter().find(|(t, _)| t == text).map(|(_, id)| *id))
}
