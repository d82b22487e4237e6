//! SHA-256 (FIPS 180-4): what tells that bytes are the ones that were meant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::error::{Error, Result};
use crate::store::CHUNK_BYTES;

/// A SHA-256, written as 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// That of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(to, "{byte:02x}"))
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::BadRequest { detail: format!("{text:?} is not a SHA-256 in 64 hexadecimal digits") };
        let mut bytes = [0; 32];
        let pairs = text.as_bytes().chunks_exact(2);
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(bad());
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let pair = std::str::from_utf8(pair).map_err(|_| bad())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| bad())?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// The digest of a file that passes in pieces.
#[derive(Debug, Clone, Default)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes taken.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// What a publisher says of a file's bytes.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct FileDigests {
    /// Of the whole file.
    pub sha256: Option<Digest>,
    /// Of each run of [`CHUNK_BYTES`], in order; empty when not given.
    pub chunks: Vec<Digest>,
}

impl FileDigests {
    /// That of the chunk of `length` bytes from `start`, if one was given for exactly these bytes.
    pub fn chunk(&self, start: u64, length: u32, file_length: Option<u64>) -> Option<Digest> {
        let step = u64::from(CHUNK_BYTES);
        let end = start + u64::from(length);
        let same =
            start.is_multiple_of(step) && (length == CHUNK_BYTES || (length < CHUNK_BYTES && file_length == Some(end)));
        self.chunks.get(usize::try_from(start / step).ok()?).copied().filter(|_| same)
    }

    /// Whether the chunks' digests say all that the whole file's would.
    pub fn cover(&self, file_length: Option<u64>) -> bool {
        file_length.is_some_and(|length| self.chunks.len() as u64 == length.div_ceil(u64::from(CHUNK_BYTES)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of FIPS 180-4 ("abc", and 448 bits in two blocks).
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const TWO_BLOCKS: &str = "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1";

    #[test]
    fn known_digests() {
        assert_eq!(Digest::of(b"abc").to_string(), ABC);
        let mut hasher = Hasher::default();
        hasher.update(b"abcdbcdecdefdefgefghfghighij");
        hasher.update(b"hijkijkljklmklmnlmnomnopnopq");
        assert_eq!(hasher.finish().to_string(), TWO_BLOCKS);
    }

    #[test]
    fn only_64_digits_are_one() {
        assert_eq!(ABC.to_uppercase().parse(), Ok(Digest::of(b"abc")));
        for text in ["", "ba78", &ABC[1..], &ABC.replace('b', "g"), &format!("+{}", &ABC[1..]), &"é".repeat(32)] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_chunk_has_the_digest_of_exactly_its_bytes() {
        let (first, last) = (Digest::of(b"1"), Digest::of(b"2"));
        let digests = FileDigests { sha256: None, chunks: vec![first, last] };
        let step = u64::from(CHUNK_BYTES);
        let length = Some(step + 5);
        assert_eq!(digests.chunk(0, CHUNK_BYTES, length), Some(first));
        assert_eq!(digests.chunk(step, 5, length), Some(last));
        assert_eq!(digests.chunk(step, 4, length), None);
        assert_eq!(digests.chunk(1, CHUNK_BYTES, length), None);
        assert_eq!(digests.chunk(2 * step, 5, length), None);
        assert!(digests.cover(length) && digests.cover(Some(2 * step)));
        assert!(!digests.cover(Some(2 * step + 1)) && !digests.cover(None));
    }
}
