//! Tokens back to text, piece by piece: what was emitted is never taken back, and a character is never cut.

use super::Tokenizer;
use crate::error::Result;

/// How a vocabulary spells bytes and spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decoding {
    /// U+2581 for a space, `<0xE2>` for a byte; up to `strip` spaces at the text's start are dropped.
    SentencePiece {
        /// Number of leading spaces to drop: one, where the encoder puts one in front.
        strip: usize,
    },
    /// Each character stands for one byte (GPT-2's table).
    ByteLevel,
}

/// Decodes ids as they come; special tokens and ids without a token give no text.
///
/// The pieces put together are [`Tokenizer::decode`] of all ids. As in Hugging Face's tokenizers, a run of byte tokens
/// is judged as a whole: valid UTF-8 is text, anything else gives one U+FFFD for each byte. So that nothing has to be
/// taken back, such a run is emitted when the token after it comes, or at the end. Byte-level vocabularies
/// have no such rule: there every character is emitted with its last byte.
#[derive(Debug)]
pub struct DecodeStream<'a> {
    tokenizer: &'a Tokenizer,
    /// Bytes that are not text yet.
    pending: Vec<u8>,
    /// Leading spaces that are still to be dropped.
    strip: usize,
}

impl<'a> DecodeStream<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer) -> Self {
        let strip = match tokenizer.decoding {
            Decoding::SentencePiece { strip } => strip,
            Decoding::ByteLevel => 0,
        };
        Self { tokenizer, pending: Vec::new(), strip }
    }

    /// Takes the next id; returns the text that it completes, often none.
    pub fn push(&mut self, id: u32) -> Result<String> {
        if self.tokenizer.is_special(id) {
            return Ok(String::new());
        }
        let Some(token) = self.tokenizer.token_text(id) else {
            return Ok(String::new());
        };
        Ok(match self.tokenizer.decoding {
            Decoding::ByteLevel => {
                push_bytes(&token, &mut self.pending);
                take_characters(&mut self.pending)
            }
            Decoding::SentencePiece { .. } => {
                if let Some(byte) = byte_token(&token) {
                    self.pending.push(byte);
                    return Ok(String::new());
                }
                let mut text = take_run(&mut self.pending);
                text.push_str(&token.replace('\u{2581}', " "));
                self.without_leading_spaces(text)
            }
        })
    }

    /// Ends the text; returns what was held back.
    pub fn finish(mut self) -> Result<String> {
        Ok(match self.tokenizer.decoding {
            Decoding::ByteLevel => String::from_utf8_lossy(&self.pending).into_owned(),
            Decoding::SentencePiece { .. } => {
                let text = take_run(&mut self.pending);
                self.without_leading_spaces(text)
            }
        })
    }

    fn without_leading_spaces(&mut self, mut text: String) -> String {
        let spaces = text.bytes().take(self.strip).take_while(|&b| b == b' ').count();
        if spaces < text.len() {
            self.strip = 0; // other text has come: spaces from here on are the text's own
        } else {
            self.strip -= spaces;
        }
        text.drain(..spaces);
        text
    }
}

/// The byte that a token such as `<0x0A>` stands for.
pub(crate) fn byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// Empties a finished run of byte tokens.
fn take_run(run: &mut Vec<u8>) -> String {
    let count = run.len();
    String::from_utf8(std::mem::take(run)).unwrap_or_else(|_| "\u{FFFD}".repeat(count))
}

/// Takes the characters that are complete; each invalid sequence gives one U+FFFD, as in `String::from_utf8_lossy`.
fn take_characters(pending: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut used = 0;
    for chunk in pending.utf8_chunks() {
        let end = used + chunk.valid().len() + chunk.invalid().len();
        text.push_str(chunk.valid());
        used += chunk.valid().len();
        if chunk.invalid().is_empty() {
            continue;
        }
        if end == pending.len() && is_unfinished(chunk.invalid()) {
            break;
        }
        text.push('\u{FFFD}');
        used = end;
    }
    pending.drain(..used);
    text
}

/// Whether more bytes could make this sequence a character.
fn is_unfinished(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|e| e.error_len().is_none())
}

/// Appends the bytes that a byte-level token stands for; a token with any other character stands for its own UTF-8.
fn push_bytes(token: &str, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    for c in token.chars() {
        let Some(byte) = byte_of(c) else {
            bytes.truncate(start);
            bytes.extend_from_slice(token.as_bytes());
            return;
        };
        bytes.push(byte);
    }
}

/// GPT-2's table: printable Latin-1 stands for itself, the other 68 bytes follow from U+0100 on.
fn byte_of(c: char) -> Option<u8> {
    let n = u32::from(c);
    let byte = match n {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => n,
        0x100..=0x120 => n - 0x100,
        0x121..=0x142 => n - 0x121 + 0x7F,
        0x143 => 0xAD,
        _ => return None,
    };
    u8::try_from(byte).ok()
}
