//! Messages that hold special tokens' names, made harmless while a template handles them.
//!
//! A template concatenates, strips and cuts messages, so that afterwards nobody knows which characters were theirs.
//! Hence, before rendering, wherever a special token's name begins in a message, its first character is exchanged for
//! a private-use character that occurs nowhere else; a name that a message's end cuts off counts too. What is found in the
//! rendered prompt is then the template's own, and the exchange is undone between the finds.
//!
//! What is left are names that begin in the template's text and end in a message, or that a template puts together from
//! parts of messages. They show in a second rendering, of messages in which every character that could
//! be part of a special token is blanked out: unless both have the same special tokens, the chat is refused.

use std::collections::HashSet;

use super::{Message, refusal};
use crate::error::Result;
use crate::tokenizer::added::AddedTokens;

/// The characters that are exchanged.
pub(super) struct Disguise {
    /// Special tokens' names.
    names: Vec<String>,
    /// First characters of names, each with its private-use stand-in.
    pairs: Vec<(char, char)>,
    /// Every character of a name but white space, which templates strip.
    letters: HashSet<char>,
}

impl Disguise {
    pub(super) fn new(special: &AddedTokens, template: &str, messages: &[Message]) -> Result<Self> {
        let names: Vec<String> = special.iter().map(|token| token.text.clone()).collect();
        let mut first: Vec<char> = names.iter().filter_map(|name| name.chars().next()).collect();
        first.sort_unstable();
        first.dedup();
        let texts = messages.iter().map(|message| message.content.as_str()).chain([template]);
        let used: HashSet<char> = texts.chain(names.iter().map(String::as_str)).flat_map(str::chars).collect();
        let private = ('\u{E000}'..='\u{F8FF}').chain('\u{F0000}'..='\u{FFFFD}');
        let pairs: Vec<(char, char)> = first.iter().copied().zip(private.filter(|c| !used.contains(c))).collect();
        if pairs.len() < first.len() {
            return Err(refusal("the messages use every private-use character"));
        }
        let letters = names.iter().flat_map(|name| name.chars()).filter(|c| !c.is_whitespace()).collect();
        Ok(Self { names, pairs, letters })
    }

    /// Exchanges the first character of every name.
    pub(super) fn hide(&self, messages: &[Message]) -> Vec<Message> {
        let hide = |text: &str| {
            let exchanged = text.char_indices().map(|(at, c)| match text.get(at..) {
                Some(rest) if self.begins_name(rest) => self.stand_in(c),
                _ => c,
            });
            exchanged.collect()
        };
        messages.iter().map(|m| Message { role: m.role.clone(), content: hide(&m.content) }).collect()
    }

    /// Whether a name begins this text, or the text (without white space at its end) begins a name.
    fn begins_name(&self, text: &str) -> bool {
        let Some(c) = text.chars().next() else { return false };
        if !self.pairs.iter().any(|(first, _)| *first == c) {
            return false;
        }
        let cut_off = text.trim_end();
        self.names.iter().any(|name| text.starts_with(name.as_str()) || name.starts_with(cut_off))
    }

    fn stand_in(&self, c: char) -> char {
        self.pairs.iter().find(|(first, _)| *first == c).map_or(c, |(_, stand_in)| *stand_in)
    }

    /// Exchanges every character that a name holds, beyond recall.
    pub(super) fn blank(&self, messages: &[Message]) -> Vec<Message> {
        let Some(&(_, stand_in)) = self.pairs.first() else { return messages.to_vec() };
        let blank = |text: &str| text.chars().map(|c| if self.letters.contains(&c) { stand_in } else { c }).collect();
        messages.iter().map(|m| Message { role: m.role.clone(), content: blank(&m.content) }).collect()
    }

    /// Undoes the exchange.
    pub(super) fn restore(&self, text: &str) -> String {
        let original = |c| self.pairs.iter().find(|(_, stand_in)| *stand_in == c).map_or(c, |(first, _)| *first);
        text.chars().map(original).collect()
    }
}
