//! A tokenizer from the vocabulary inside a GGUF file (`tokenizer.ggml.*`).

use std::collections::HashMap;

use tokenizers::SplitDelimiterBehavior;
use tokenizers::normalizers::{Prepend, Replace};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};

use super::Tokenizer;
use super::added::Added;
use super::parts::{Parts, bad};
use super::steps::{Normalizers, PreTokenizers};
use super::stream::Decoding;
use crate::error::Result;
use crate::weights::gguf::Metadata;

/// What GGUF says about text, under the names of its keys.
#[derive(Debug, Clone, Default)]
pub struct GgufVocabulary<'a> {
    /// `tokenizer.ggml.model`: `llama` (SentencePiece) or `gpt2` (byte-level BPE).
    pub model: &'a str,
    /// `tokenizer.ggml.pre`: how byte-level vocabularies cut text into words.
    pub pre: Option<&'a str>,
    /// The tokens; a token's place is its id.
    pub tokens: &'a [String],
    /// One for each token of a `llama` vocabulary: the pair whose joined token scores highest is joined first.
    pub scores: Option<&'a [f32]>,
    /// One for each token: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
    pub token_types: Option<&'a [i64]>,
    /// `"left right"`, first rule first; for `gpt2`.
    pub merges: Option<&'a [String]>,
    /// Begins a text.
    pub bos: Option<u32>,
    /// Ends a text.
    pub eos: Option<u32>,
    /// Stands for what cannot be spelled.
    pub unknown: Option<u32>,
    /// Further ends: of a turn (`eot`), of a message (`eom`).
    pub ends: Vec<u32>,
    /// Whether texts begin with BOS; when absent, as the vocabulary's kind does.
    pub add_bos: Option<bool>,
    /// Whether texts end with EOS.
    pub add_eos: Option<bool>,
    /// Whether a `llama` vocabulary puts U+2581 in front of each stretch of text; yes when absent.
    pub add_space_prefix: Option<bool>,
}

impl<'a> GgufVocabulary<'a> {
    /// Reads the keys of a GGUF header. Ids that `llama` vocabularies leave out are those of Llama 2.
    pub fn from_metadata(metadata: &'a Metadata) -> Result<Self> {
        let id = |name: &str| metadata.u32(&format!("tokenizer.ggml.{name}_token_id"));
        let missing = |key: &str| bad(format_args!("the file has no {key}"));
        let model = metadata.string("tokenizer.ggml.model").ok_or_else(|| missing("tokenizer.ggml.model"))?;
        let tokens = metadata.strings("tokenizer.ggml.tokens").ok_or_else(|| missing("tokenizer.ggml.tokens"))?;
        let or_llama2 = |given: Option<u32>, usual| given.or((model == "llama").then_some(usual));
        Ok(Self {
            model,
            pre: metadata.string("tokenizer.ggml.pre"),
            tokens,
            scores: metadata.f32s("tokenizer.ggml.scores"),
            token_types: metadata.integers("tokenizer.ggml.token_type"),
            merges: metadata.strings("tokenizer.ggml.merges"),
            bos: or_llama2(id("bos"), 1),
            eos: or_llama2(id("eos"), 2),
            unknown: or_llama2(id("unknown"), 0),
            ends: ["eot", "eom"].into_iter().filter_map(id).collect(),
            add_bos: metadata.bool("tokenizer.ggml.add_bos_token"),
            add_eos: metadata.bool("tokenizer.ggml.add_eos_token"),
            add_space_prefix: metadata.bool("tokenizer.ggml.add_space_prefix"),
        })
    }
}

const UNKNOWN: i64 = 2;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// Longer tokens (in characters) are never put together from pairs; vocabularies have at most a few dozen.
const LONGEST_MERGED: usize = 256;

/// How Llama 3 cuts text into words; its merges were learnt on words cut like this.
const LLAMA3_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Builds the tokenizer of a GGUF file.
pub fn build(vocabulary: &GgufVocabulary) -> Result<Tokenizer> {
    check_lengths(vocabulary)?;
    match vocabulary.model {
        "llama" => sentence_piece(vocabulary)?.build(),
        "gpt2" => byte_level(vocabulary)?.build(),
        other => Err(bad(format_args!("vocabularies of kind {other:?} are not supported"))),
    }
}

fn check_lengths(v: &GgufVocabulary) -> Result<()> {
    let count = v.tokens.len();
    let lengths = [("scores", v.scores.map(<[f32]>::len)), ("types", v.token_types.map(<[i64]>::len))];
    for (name, length) in lengths {
        if let Some(length) = length.filter(|&length| length != count) {
            return Err(bad(format_args!("{count} tokens have {length} {name}")));
        }
    }
    let named = v.bos.iter().chain(&v.eos).chain(&v.unknown).chain(&v.ends);
    match named.into_iter().find(|&&id| id as usize >= count) {
        Some(id) => Err(bad(format_args!("token {id} is named, and there are {count}"))),
        None => Ok(()),
    }
}

/// What both kinds share.
fn common(v: &GgufVocabulary, add_bos: bool, decoding: Decoding) -> Result<Parts> {
    let count = u32::try_from(v.tokens.len()).map_err(bad)?;
    let required = |wanted: bool, id: Option<u32>, name| match (wanted, id) {
        (false, _) => Ok(Vec::new()),
        (true, Some(id)) => Ok(vec![id]),
        (true, None) => Err(bad(format_args!("texts are to have {name}, and the file names none"))),
    };
    Ok(Parts {
        vocabulary: v.tokens.iter().cloned().zip(0..count).collect(),
        merges: Vec::new(),
        unknown: None,
        fuse_unknown: false,
        byte_fallback: false,
        ignore_merges: false,
        normalizers: Normalizers::default(),
        first: PreTokenizers::default(),
        later: PreTokenizers::default(),
        added: added_tokens(v),
        prefix: required(v.add_bos.unwrap_or(add_bos), v.bos, "BOS")?,
        suffix: required(v.add_eos.unwrap_or(false), v.eos, "EOS")?,
        decoding,
        bos: v.bos,
        eos: v.eos,
        stop: v.ends.clone(),
    })
}

/// Control and unknown tokens are special, user-defined ones are matched in any text.
fn added_tokens(v: &GgufVocabulary) -> Vec<Added> {
    let types = v.token_types.unwrap_or_default().iter();
    let tokens = v.tokens.iter().zip(types).zip(0..);
    let added = tokens.filter(|((text, kind), _)| is_added(**kind) && !text.is_empty());
    added
        .map(|((text, kind), id)| Added { special: *kind != USER_DEFINED, ..Added::special(text.clone(), id) })
        .collect()
}

fn is_added(kind: i64) -> bool {
    matches!(kind, UNKNOWN | CONTROL | USER_DEFINED)
}

/// SentencePiece's BPE: spaces become U+2581, one more goes in front, unknown characters become byte tokens.
pub(super) fn sentence_piece(v: &GgufVocabulary) -> Result<Parts> {
    let prefix = v.add_space_prefix.unwrap_or(true);
    let mut parts = common(v, true, Decoding::SentencePiece { strip: usize::from(prefix) })?;
    parts.merges = merges_from_scores(v)?;
    parts.byte_fallback = true;
    parts.fuse_unknown = true;
    parts.unknown = v.unknown.and_then(|id| v.tokens.get(id as usize)).cloned();
    if prefix {
        parts.normalizers = parts.normalizers.then(Prepend::new("\u{2581}".to_owned()));
    }
    parts.normalizers = parts.normalizers.then(Replace::new(" ", "\u{2581}").map_err(bad)?);
    Ok(parts)
}

/// SentencePiece joins the neighbours whose joined token has the highest score; as a list of rules that is every way
/// of cutting every token in two tokens, best token first. Of one token's cuts, the longest left part comes first,
/// as in Hugging Face's conversion.
fn merges_from_scores(v: &GgufVocabulary) -> Result<Vec<(String, String)>> {
    let scores = v.scores.ok_or_else(|| bad("the vocabulary has no scores"))?;
    if scores.iter().any(|score| !score.is_finite()) {
        return Err(bad("a token's score is not a number"));
    }
    let normal = |id: usize| !v.token_types.and_then(|t| t.get(id)).is_some_and(|&kind| is_added(kind) || kind == 6);
    let ids: HashMap<&str, usize> =
        v.tokens.iter().enumerate().filter(|(id, _)| normal(*id)).map(|(id, t)| (t.as_str(), id)).collect();
    let mut cuts: Vec<(f32, usize, usize)> = Vec::new();
    for (id, (token, &score)) in v.tokens.iter().zip(scores).enumerate() {
        if !normal(id) || token.chars().nth(LONGEST_MERGED).is_some() {
            continue;
        }
        let ends = token.char_indices().skip(1).map(|(at, _)| at);
        cuts.extend(ends.filter(|&at| is_cut(token, at, &ids)).map(|at| (score, id, at)));
    }
    cuts.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(b.2.cmp(&a.2)));
    let split = |(_, id, at): (f32, usize, usize)| {
        let (left, right) = v.tokens.get(id)?.split_at_checked(at)?;
        Some((left.to_owned(), right.to_owned()))
    };
    Ok(cuts.into_iter().filter_map(split).collect())
}

/// Whether both parts of a token are tokens.
fn is_cut(token: &str, at: usize, ids: &HashMap<&str, usize>) -> bool {
    token.split_at_checked(at).is_some_and(|(left, right)| ids.contains_key(left) && ids.contains_key(right))
}

/// GPT-2's BPE over bytes.
fn byte_level(v: &GgufVocabulary) -> Result<Parts> {
    let pre = v.pre.unwrap_or("default");
    let llama3 = matches!(pre, "llama-bpe" | "llama3" | "llama-v3");
    let mut parts = common(v, llama3, Decoding::ByteLevel)?;
    (parts.first, parts.later) = (words(pre)?, words(pre)?);
    parts.ignore_merges = llama3;
    let merges = v.merges.ok_or_else(|| bad("the vocabulary has no merges"))?;
    parts.merges = merges
        .iter()
        .map(|merge| match merge.split_once(' ') {
            Some((left, right)) => Ok((left.to_owned(), right.to_owned())),
            None => Err(bad(format_args!("the merge {merge:?} is not two tokens"))),
        })
        .collect::<Result<_>>()?;
    Ok(parts)
}

/// The cutting into words that a GGUF names; a file that names none means GPT-2's.
fn words(pre: &str) -> Result<PreTokenizers> {
    let bytes = |use_regex| ByteLevel::new(false, false, use_regex);
    let words = PreTokenizers::default();
    match pre {
        "default" | "gpt-2" | "gpt2" => Ok(words.then(bytes(true))),
        "smollm" | "starcoder" | "refact" | "command-r" => Ok(words.then(Digits::new(true)).then(bytes(true))),
        "llama-bpe" | "llama3" | "llama-v3" => {
            let pattern = SplitPattern::Regex(LLAMA3_WORDS.to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(bad)?;
            Ok(words.then(split).then(bytes(false)))
        }
        other => Err(bad(format_args!("text is cut into words in a way called {other:?}, which is not known"))),
    }
}
