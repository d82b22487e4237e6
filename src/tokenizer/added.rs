//! Tokens that are matched as whole strings before byte-pair merging: special ones and user-defined ones.

use std::collections::HashMap;

/// One such token, named as in `tokenizer.json`.
///
/// The file's `normalized` flag is not honoured: text is always searched as written.
#[derive(Debug, Clone)]
pub(crate) struct Added {
    /// What is matched in a text.
    pub(crate) text: String,
    /// Its id.
    pub(crate) id: u32,
    /// Special tokens steer the model: they are matched in trusted text only, and decoding leaves them out.
    pub(crate) special: bool,
    /// White space before it belongs to it.
    pub(crate) lstrip: bool,
    /// White space after it belongs to it.
    pub(crate) rstrip: bool,
    /// It is not matched next to a letter, a digit or an underscore.
    pub(crate) single_word: bool,
}

/// A stretch of a text.
pub(crate) enum Piece<'a> {
    /// An added token.
    Token(&'a Added),
    /// What lies between; never empty.
    Text(&'a str),
}

/// All added tokens of a tokenizer.
#[derive(Debug, Clone, Default)]
pub(crate) struct AddedTokens {
    tokens: Vec<Added>,
    /// Positions in `tokens` by the first byte of the text, longest text first.
    by_first_byte: HashMap<u8, Vec<usize>>,
    by_id: HashMap<u32, usize>,
}

impl AddedTokens {
    pub(crate) fn new(tokens: Vec<Added>) -> Self {
        let mut by_first_byte: HashMap<u8, Vec<usize>> = HashMap::new();
        let mut by_id = HashMap::new();
        for (index, token) in tokens.iter().enumerate() {
            by_id.insert(token.id, index);
            if let Some(&byte) = token.text.as_bytes().first() {
                by_first_byte.entry(byte).or_default().push(index);
            }
        }
        for list in by_first_byte.values_mut() {
            list.sort_by_key(|&index| std::cmp::Reverse(tokens.get(index).map_or(0, |t| t.text.len())));
        }
        Self { tokens, by_first_byte, by_id }
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Added> {
        self.by_id.get(&id).and_then(|&index| self.tokens.get(index))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Added> {
        self.tokens.iter()
    }

    /// Splits a text at its special (or else its user-defined) tokens: the leftmost first, the longest of those.
    pub(crate) fn split<'a>(&'a self, text: &'a str, special: bool) -> Vec<Piece<'a>> {
        let mut pieces = Vec::new();
        let (mut done, mut at) = (0, 0);
        while at < text.len() {
            let Some(token) = self.match_at(text, at, special) else {
                at += 1;
                continue;
            };
            if let Some(before) = text.get(done..at).filter(|t| !t.is_empty()) {
                pieces.push(Piece::Text(before));
            }
            pieces.push(Piece::Token(token));
            at += token.text.len();
            done = at;
        }
        if let Some(rest) = text.get(done..).filter(|t| !t.is_empty()) {
            pieces.push(Piece::Text(rest));
        }
        pieces
    }

    /// The longest token at byte `at`. A match always begins and ends between characters, as UTF-8 is self-synchronising.
    fn match_at(&self, text: &str, at: usize, special: bool) -> Option<&Added> {
        let rest = text.as_bytes().get(at..)?;
        let candidates = self.by_first_byte.get(rest.first()?)?;
        candidates.iter().filter_map(|&index| self.tokens.get(index)).find(|token| {
            token.special == special
                && rest.starts_with(token.text.as_bytes())
                && (!token.single_word || stands_alone(text, at, at + token.text.len()))
        })
    }
}

/// Whether no letter, digit or underscore touches `start..end`.
fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let before = text.get(..start).and_then(|t| t.chars().next_back());
    let after = text.get(end..).and_then(|t| t.chars().next());
    !before.is_some_and(is_word) && !after.is_some_and(is_word)
}
