//! What a tokenizer is made of, whichever file it came from, and the checks that hostile files must pass.

use std::collections::{HashMap, HashSet};

use tokenizers::models::bpe::{BPE, Vocab};

use super::Tokenizer;
use super::added::{Added, AddedTokens};
use super::steps::{Normalizers, PreTokenizers};
use super::stream::Decoding;
use crate::error::{Error, Result};

/// The parts of a tokenizer.
pub(crate) struct Parts {
    /// Tokens that merging can give, with their ids.
    pub(crate) vocabulary: Vec<(String, u32)>,
    /// Pairs of tokens to join, first rule first.
    pub(crate) merges: Vec<(String, String)>,
    /// Stands for characters that the vocabulary cannot spell.
    pub(crate) unknown: Option<String>,
    /// One unknown token for a run of such characters.
    pub(crate) fuse_unknown: bool,
    /// Such characters are spelled in byte tokens.
    pub(crate) byte_fallback: bool,
    /// A word that is a token is that token, whatever the merges say.
    pub(crate) ignore_merges: bool,
    pub(crate) normalizers: Normalizers,
    /// For the stretch of text that comes first.
    pub(crate) first: PreTokenizers,
    /// For the others.
    pub(crate) later: PreTokenizers,
    pub(crate) added: Vec<Added>,
    /// Ids that `add_special` puts in front.
    pub(crate) prefix: Vec<u32>,
    /// Ids that `add_special` puts behind.
    pub(crate) suffix: Vec<u32>,
    pub(crate) decoding: Decoding,
    pub(crate) bos: Option<u32>,
    pub(crate) eos: Option<u32>,
    /// Tokens that end a turn or a text, besides the well-known ones.
    pub(crate) stop: Vec<u32>,
}

/// Names that end a turn or a text in models of the Llama family, wherever they are special tokens.
const END_NAMES: [&str; 9] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|end_of_turn|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot|>",
];

/// An [`Error::Tokenizer`].
pub(crate) fn bad(detail: impl std::fmt::Display) -> Error {
    Error::Tokenizer { detail: detail.to_string() }
}

impl Parts {
    /// Checks the parts and puts them together.
    pub(crate) fn build(mut self) -> Result<Tokenizer> {
        self.stop.extend(self.eos);
        self.mark_special();
        let highest = self.check_ids()?;
        let stop = self.stop_ids();
        let model = build_model(
            self.vocabulary,
            self.merges,
            (self.unknown, self.fuse_unknown),
            self.byte_fallback,
            self.ignore_merges,
        )?;
        Ok(Tokenizer {
            model,
            normalizers: self.normalizers,
            first: self.first,
            later: self.later,
            added: AddedTokens::new(self.added),
            prefix: self.prefix,
            suffix: self.suffix,
            decoding: self.decoding,
            bos: self.bos,
            eos: self.eos,
            stop,
            vocab_size: highest as usize + 1,
        })
    }

    /// Tokens that begin or end texts are special even where a file forgets to say so.
    fn mark_special(&mut self) {
        let ids: HashSet<u32> =
            self.stop.iter().chain(&self.bos).chain(&self.prefix).chain(&self.suffix).copied().collect();
        for token in &mut self.added {
            token.special |= ids.contains(&token.id);
        }
        let known: HashSet<u32> = self.added.iter().map(|t| t.id).collect();
        let missing = self.vocabulary.iter().filter(|(_, id)| ids.contains(id) && !known.contains(id));
        let missing: Vec<Added> = missing.map(|(text, id)| Added::special(text.clone(), *id)).collect();
        self.added.extend(missing);
    }

    /// Every token and every id once, every named id there; returns the highest id.
    fn check_ids(&self) -> Result<u32> {
        let mut by_id: HashMap<u32, &str> = HashMap::with_capacity(self.vocabulary.len());
        let mut texts: HashSet<&str> = HashSet::with_capacity(self.vocabulary.len());
        for (text, id) in &self.vocabulary {
            if by_id.insert(*id, text).is_some() {
                return Err(bad(format_args!("two tokens have id {id}")));
            }
            if !texts.insert(text) {
                return Err(bad(format_args!("the token {text:?} occurs twice")));
            }
        }
        for token in &self.added {
            let (text, id) = (token.text.as_str(), token.id);
            match by_id.insert(id, text) {
                Some(other) if other != text => {
                    return Err(bad(format_args!("id {id} is both {other:?} and {text:?}")));
                }
                Some(_) => {}
                None if !texts.insert(text) => {
                    return Err(bad(format_args!("the added token {text:?} has two ids")));
                }
                None => {}
            }
        }
        let named = self.prefix.iter().chain(&self.suffix).chain(&self.bos).chain(&self.eos);
        if let Some(id) = named.into_iter().find(|id| !by_id.contains_key(id)) {
            return Err(bad(format_args!("the special token {id} is not in the vocabulary")));
        }
        if let Some(unknown) = self.unknown.as_deref().filter(|u| !self.vocabulary.iter().any(|(t, _)| t == u)) {
            return Err(bad(format_args!("the unknown token {unknown:?} is not in the vocabulary")));
        }
        by_id.keys().max().copied().filter(|&id| id < u32::MAX).ok_or_else(|| bad("the vocabulary is empty"))
    }

    /// The given ends that exist, and the well-known ones among the special tokens; sorted.
    fn stop_ids(&self) -> Vec<u32> {
        let known = self.added.iter().filter(|t| t.special && END_NAMES.contains(&t.text.as_str()));
        let given = self.stop.iter().copied().filter(|id| self.added.iter().any(|t| t.id == *id));
        let mut stop: Vec<u32> = known.map(|t| t.id).chain(given).collect();
        stop.sort_unstable();
        stop.dedup();
        stop
    }
}

impl Added {
    /// A special token without peculiarities.
    pub(crate) fn special(text: String, id: u32) -> Self {
        Self { text, id, special: true, lstrip: false, rstrip: false, single_word: false }
    }
}

fn build_model(
    vocabulary: Vec<(String, u32)>,
    merges: Vec<(String, String)>,
    (unknown, fuse_unknown): (Option<String>, bool),
    byte_fallback: bool,
    ignore_merges: bool,
) -> Result<BPE> {
    let vocabulary: Vocab = vocabulary.into_iter().collect();
    let mut builder = BPE::builder()
        .vocab_and_merges(vocabulary, merges)
        .fuse_unk(fuse_unknown)
        .byte_fallback(byte_fallback)
        .ignore_merges(ignore_merges);
    if let Some(unknown) = unknown {
        builder = builder.unk_token(unknown);
    }
    builder.build().map_err(bad)
}
