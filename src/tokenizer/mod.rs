//! Text to token ids and back, with the checkpoint's own vocabulary.

pub(crate) mod added;
pub mod gguf;
mod hugging_face;
mod parts;
mod sentence_piece;
mod steps;
mod stream;

use tokenizers::models::bpe::BPE;
use tokenizers::{Model, NormalizedString, OffsetReferential, OffsetType, PreTokenizedString};

use crate::chat::Segment;
use crate::error::Result;
use crate::weights::loader::TextFiles;
use added::{Added, AddedTokens, Piece};
use parts::bad;
use steps::{Normalizers, PreTokenizers};
use stream::Decoding;

pub use stream::DecodeStream;

/// Byte-pair encoding with the added tokens, normaliser and pre-tokenizer of one checkpoint.
///
/// Each stretch of text between special tokens is normalised on its own, so that in a Llama-2 vocabulary each gets its
/// own U+2581 in front; a stretch that is empty gives no ids.
#[derive(Debug)]
pub struct Tokenizer {
    model: BPE,
    normalizers: Normalizers,
    /// For the stretch of text that comes first.
    first: PreTokenizers,
    /// For the others.
    later: PreTokenizers,
    added: AddedTokens,
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    decoding: Decoding,
    bos: Option<u32>,
    eos: Option<u32>,
    stop: Vec<u32>,
    vocab_size: usize,
}

/// A special token, or a stretch of text that holds none.
enum Stretch<'a> {
    Token(&'a Added),
    Text(String),
}

impl Tokenizer {
    /// The tokenizer of a checkpoint.
    pub fn from_text_files(files: &TextFiles) -> Result<Self> {
        match files {
            TextFiles::Gguf(metadata) => gguf::build(&gguf::GgufVocabulary::from_metadata(metadata)?),
            TextFiles::HuggingFace { vocabulary, tokenizer_config, generation_config, config, .. } => {
                hugging_face::build(&hugging_face::Files {
                    vocabulary,
                    tokenizer_config: tokenizer_config.as_deref(),
                    generation_config: generation_config.as_deref(),
                    config,
                })
            }
        }
    }

    /// The ids of a text. `add_special` puts BOS and EOS where the checkpoint's tokenizer does; without
    /// `parse_special`, special tokens' names in the text are plain text.
    pub fn encode(&self, text: &str, add_special: bool, parse_special: bool) -> Result<Vec<u32>> {
        let segment = Segment { text: text.to_owned(), trusted: parse_special };
        let ids = self.encode_segments(std::slice::from_ref(&segment))?;
        if !add_special {
            return Ok(ids);
        }
        Ok([self.prefix.as_slice(), &ids, &self.suffix].concat())
    }

    /// The ids of a rendered chat: only trusted segments can give special tokens. No BOS is added.
    ///
    /// Plain text that segments cut is put together again before it is encoded.
    pub fn encode_segments(&self, segments: &[Segment]) -> Result<Vec<u32>> {
        let stretches = self.stretches(segments);
        let mut ids = Vec::new();
        for (i, stretch) in stretches.iter().enumerate() {
            match stretch {
                Stretch::Token(token) => ids.push(token.id),
                Stretch::Text(text) => {
                    let before = i.checked_sub(1).and_then(|i| stretches.get(i));
                    let text = trim_for(text, before, stretches.get(i + 1));
                    self.encode_plain(text, i == 0, &mut ids)?;
                }
            }
        }
        Ok(ids)
    }

    /// Splits trusted text at special tokens and joins the plain text between them.
    fn stretches(&self, segments: &[Segment]) -> Vec<Stretch<'_>> {
        let mut stretches = Vec::new();
        let push_text = |stretches: &mut Vec<Stretch>, text: &str| match stretches.last_mut() {
            Some(Stretch::Text(last)) => last.push_str(text),
            _ => stretches.push(Stretch::Text(text.to_owned())),
        };
        for segment in segments {
            if !segment.trusted {
                push_text(&mut stretches, &segment.text);
                continue;
            }
            for piece in self.added.split(&segment.text, true) {
                match piece {
                    // By id, so that the token's lifetime is the tokenizer's and not the segment's.
                    Piece::Token(token) => stretches.extend(self.added.get(token.id).map(Stretch::Token)),
                    Piece::Text(text) => push_text(&mut stretches, text),
                }
            }
        }
        stretches
    }

    /// Appends the ids of a stretch in which special tokens are plain text.
    fn encode_plain(&self, text: &str, first: bool, ids: &mut Vec<u32>) -> Result<()> {
        for (i, piece) in self.added.split(text, false).into_iter().enumerate() {
            match piece {
                Piece::Token(token) => ids.push(token.id),
                Piece::Text(text) => self.encode_words(text, first && i == 0, ids)?,
            }
        }
        Ok(())
    }

    fn encode_words(&self, text: &str, first: bool, ids: &mut Vec<u32>) -> Result<()> {
        let mut text = NormalizedString::from(text);
        self.normalizers.normalize(&mut text)?;
        let mut words = PreTokenizedString::from(text);
        let pre_tokenizers = if first { &self.first } else { &self.later };
        pre_tokenizers.pre_tokenize(&mut words)?;
        words.tokenize(|word| self.model.tokenize(word.get())).map_err(bad)?;
        for (_, _, tokens) in words.get_splits(OffsetReferential::Original, OffsetType::Byte) {
            ids.extend(tokens.iter().flatten().map(|token| token.id));
        }
        Ok(())
    }

    /// The text of all ids together, without special tokens; see [`DecodeStream`] for bytes that are not UTF-8.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let mut stream = self.stream();
        let mut text = String::new();
        for &id in ids {
            text.push_str(&stream.push(id)?);
        }
        text.push_str(&stream.finish()?);
        Ok(text)
    }

    /// Starts decoding ids that come one at a time.
    pub fn stream(&self) -> DecodeStream<'_> {
        DecodeStream::new(self)
    }

    /// How the vocabulary spells a token (`▁the`, `<0x0A>`, `Ġthe`, `<|im_end|>`).
    pub fn token_text(&self, id: u32) -> Option<String> {
        self.added.get(id).map(|token| token.text.clone()).or_else(|| self.model.id_to_token(id))
    }

    /// The highest id that has a token, plus one; a model's output may be longer.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// Every token after which a turn or a text is over, in ascending order.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop
    }

    /// Whether a token steers the model instead of being text.
    pub fn is_special(&self, id: u32) -> bool {
        self.added.get(id).is_some_and(|token| token.special)
    }

    /// The tokens that are matched as a whole.
    pub(crate) fn added(&self) -> &AddedTokens {
        &self.added
    }
}

/// Drops the white space that a special token next to this text takes with it.
fn trim_for<'t>(text: &'t str, before: Option<&Stretch>, after: Option<&Stretch>) -> &'t str {
    let text = match before {
        Some(Stretch::Token(token)) if token.rstrip => text.trim_start(),
        _ => text,
    };
    match after {
        Some(Stretch::Token(token)) if token.lstrip => text.trim_end(),
        _ => text,
    }
}
