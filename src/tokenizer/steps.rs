//! What happens to text before its words are looked up: those of the library's normalisers and pre-tokenizers that Llama's
//! vocabularies use. Its own lists of all of them would bring every other one into the app.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokenizers::normalizers::{Lowercase, NFC, NFD, NFKC, NFKD, Prepend, Replace, Strip, StripAccents};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::punctuation::Punctuation;
use tokenizers::pre_tokenizers::split::Split;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::{NormalizedString, Normalizer, PreTokenizedString, PreTokenizer};

use super::parts::bad;
use crate::error::Result;

/// Changes of characters, one after another.
#[derive(Default)]
pub(crate) struct Normalizers(Vec<Box<dyn Normalizer>>);

/// Ways of cutting text into words, one after another.
#[derive(Default)]
pub(crate) struct PreTokenizers(Vec<Box<dyn PreTokenizer>>);

/// Where a stretch of text stands, for files that tell the two apart (`prepend_scheme: first`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    First,
    Later,
}

impl Normalizers {
    pub(crate) fn then(mut self, step: impl Normalizer + 'static) -> Self {
        self.0.push(Box::new(step));
        self
    }

    /// Reads a `normalizer` of a `tokenizer.json`.
    pub(crate) fn from_json(json: Option<&Value>) -> Result<Self> {
        let steps = flat(json, "normalizer", "normalizers")?;
        steps.into_iter().try_fold(Self::default(), |all, (kind, json)| {
            Ok(match kind {
                "Prepend" => all.then(read::<Prepend>(json)?),
                "Replace" => all.then(read::<Replace>(json)?),
                "NFC" => all.then(NFC),
                "NFD" => all.then(NFD),
                "NFKC" => all.then(NFKC),
                "NFKD" => all.then(NFKD),
                "Lowercase" => all.then(Lowercase),
                "Strip" => all.then(read::<Strip>(json)?),
                "StripAccents" => all.then(StripAccents),
                other => return Err(bad(format_args!("the normalizer {other:?} is not supported"))),
            })
        })
    }

    pub(crate) fn normalize(&self, text: &mut NormalizedString) -> Result<()> {
        self.0.iter().try_for_each(|step| step.normalize(text)).map_err(bad)
    }
}

impl PreTokenizers {
    pub(crate) fn then(mut self, step: impl PreTokenizer + 'static) -> Self {
        self.0.push(Box::new(step));
        self
    }

    /// Reads a `pre_tokenizer` of a `tokenizer.json`.
    pub(crate) fn from_json(json: Option<&Value>, place: Place) -> Result<Self> {
        let steps = flat(json, "pre-tokenizer", "pretokenizers")?;
        steps.into_iter().try_fold(Self::default(), |all, (kind, json)| {
            Ok(match kind {
                "ByteLevel" => all.then(read::<ByteLevel>(json)?),
                "Split" => all.then(read::<Split>(json)?),
                "Digits" => all.then(read::<Digits>(json)?),
                "Metaspace" => all.then(metaspace(read(json)?, place)),
                "Punctuation" => all.then(read::<Punctuation>(json)?),
                "WhitespaceSplit" => all.then(WhitespaceSplit),
                other => return Err(bad(format_args!("the pre-tokenizer {other:?} is not supported"))),
            })
        })
    }

    pub(crate) fn pre_tokenize(&self, text: &mut PreTokenizedString) -> Result<()> {
        self.0.iter().try_for_each(|step| step.pre_tokenize(text)).map_err(bad)
    }
}

impl fmt::Debug for Normalizers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Normalizers({})", self.0.len())
    }
}

impl fmt::Debug for PreTokenizers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PreTokenizers({})", self.0.len())
    }
}

fn metaspace(mut metaspace: Metaspace, place: Place) -> Metaspace {
    if place == Place::Later && metaspace.get_prepend_scheme() == PrependScheme::First {
        metaspace.set_prepend_scheme(PrependScheme::Never);
    }
    metaspace
}

/// A component's steps in order, each with its kind; `parts`: where a sequence has them.
fn flat<'a>(json: Option<&'a Value>, what: &str, parts: &str) -> Result<Vec<(&'a str, &'a Value)>> {
    let Some(json) = json.filter(|json| !json.is_null()) else { return Ok(Vec::new()) };
    if growth(json) > MAX_GROWTH {
        return Err(bad(format_args!("the {what} makes text too long")));
    }
    let mut steps = Vec::new();
    collect(json, what, parts, &mut steps)?;
    Ok(steps)
}

fn collect<'a>(json: &'a Value, what: &str, parts: &str, steps: &mut Vec<(&'a str, &'a Value)>) -> Result<()> {
    match json.get("type").and_then(Value::as_str) {
        Some("Sequence") => {
            let inner = json.get(parts).and_then(Value::as_array);
            let inner = inner.ok_or_else(|| bad(format_args!("a sequence in the {what} has no {parts}")))?;
            inner.iter().try_for_each(|json| collect(json, what, parts, steps))
        }
        Some(kind) => {
            steps.push((kind, json));
            Ok(())
        }
        None => Err(bad(format_args!("the {what} \"without a type\" is not supported"))),
    }
}

fn read<T: DeserializeOwned>(json: &Value) -> Result<T> {
    T::deserialize(json).map_err(|e| bad(format_args!("tokenizer.json: {e}")))
}

/// How many times as long a text may become; Llama's own files reach 8.
const MAX_GROWTH: usize = 4096;

/// How many times as long, at most, a component makes a text: its parts act one after the other.
fn growth(json: &Value) -> usize {
    let length = |key: &str| json.get(key).and_then(Value::as_str).map_or(0, str::len);
    let own = match json.get("type").and_then(Value::as_str) {
        Some("Replace" | "Prepend") => 1 + length("content").max(length("prepend")),
        Some("Metaspace") => 4,
        Some("ByteLevel" | "NFC" | "NFD" | "Lowercase") => 3,
        Some("NFKC" | "NFKD") => 18, // U+FDFA
        _ => 1,
    };
    let parts = ["normalizers", "pretokenizers"].into_iter().filter_map(|key| json.get(key)?.as_array()).flatten();
    parts.map(growth).fold(own, usize::saturating_mul)
}
