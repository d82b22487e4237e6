//! Small byte-level vocabularies with their golden cases, and variants of them with other special tokens.

use pagellama::tokenizer::Tokenizer;
use pagellama::tokenizer::gguf::{GgufVocabulary, build};
use serde::Deserialize;

/// Texts and ids that a vocabulary gives.
#[derive(Debug, Clone, Deserialize)]
pub struct Golden {
    pub cases: Vec<Case>,
    pub decode: Vec<Decode>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Case {
    pub text: String,
    pub ids: Vec<u32>,
    /// Where a special token's name in the text gives that token.
    pub ids_special_parsed: Option<Vec<u32>>,
    pub decoded: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Decode {
    pub ids: Vec<u32>,
    pub text: String,
}

/// A small vocabulary, as it would stand in a GGUF file.
#[derive(Debug, Clone, Deserialize)]
pub struct Vocabulary {
    pub pre: String,
    pub tokens: Vec<String>,
    pub token_type: Vec<i64>,
    pub merges: Vec<String>,
    pub bos: u32,
    pub eos: u32,
    #[serde(flatten)]
    pub golden: Golden,
}

impl Vocabulary {
    /// The keys of a GGUF file.
    pub fn gguf(&self) -> GgufVocabulary<'_> {
        GgufVocabulary {
            model: "gpt2",
            pre: Some(&self.pre),
            tokens: &self.tokens,
            token_types: Some(&self.token_type),
            merges: Some(&self.merges),
            bos: Some(self.bos),
            eos: Some(self.eos),
            ..GgufVocabulary::default()
        }
    }

    /// A tokenizer with these special tokens besides the file's own; the first begins a text and the last ends one.
    pub fn with_special(mut self, names: &[&str]) -> Tokenizer {
        self.bos = self.tokens.len() as u32;
        self.tokens.extend(names.iter().map(|name| name.to_string()));
        self.token_type.resize(self.tokens.len(), 3);
        self.eos = self.tokens.len() as u32 - 1;
        build(&self.gguf()).unwrap()
    }
}
