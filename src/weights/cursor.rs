//! A place in the file that a source streams: the bytes of one chunk that are not read yet.

use super::source::Source;
use crate::error::{Error, Result};

/// Reads a weight file forwards, holding one chunk of it.
#[derive(Debug)]
pub(super) struct Cursor {
    name: String,
    /// Announced length of the file in bytes.
    length: u64,
    /// Where the chunk begins in the file.
    start: u64,
    chunk: Vec<u8>,
    /// Bytes of the chunk that are read.
    at: usize,
}

impl Cursor {
    /// Starts streaming a weight file.
    pub async fn open<S: Source>(source: &mut S, name: &str) -> Result<Self> {
        let length = source.open(name).await?;
        Ok(Self { name: name.to_owned(), length, start: 0, chunk: Vec::new(), at: 0 })
    }

    /// The file's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Announced length of the file in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Where the next unread byte lies in the file.
    pub fn position(&self) -> u64 {
        self.start + self.at as u64
    }

    /// Bytes that the source has given so far.
    pub fn received(&self) -> u64 {
        self.start + self.chunk.len() as u64
    }

    /// At most `most` unread bytes, and at least one, from the next chunk when this one is used up.
    ///
    /// The caller says by `consume` how many of them it has read.
    pub async fn some<S: Source>(&mut self, source: &mut S, most: u64) -> Result<&[u8]> {
        while self.at >= self.chunk.len() {
            if !self.refill(source).await? {
                return Err(self.truncated(most, self.received()));
            }
        }
        let unread = self.chunk.get(self.at..).unwrap_or_default();
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(unread.len());
        Ok(unread.get(..most).unwrap_or_default())
    }

    /// Counts bytes that `some` gave as read.
    pub fn consume(&mut self, bytes: usize) {
        self.at = (self.at + bytes).min(self.chunk.len());
    }

    /// The next `N` bytes.
    pub async fn array<S: Source, const N: usize>(&mut self, source: &mut S) -> Result<[u8; N]> {
        let mut out = [0; N];
        let mut left = out.as_mut_slice();
        while !left.is_empty() {
            let bytes = self.some(source, left.len() as u64).await?;
            let read = bytes.len();
            let (head, tail) = left.split_at_mut(read);
            head.copy_from_slice(bytes);
            left = tail;
            self.consume(read);
        }
        Ok(out)
    }

    /// Appends the next `count` bytes to `out`, which grows only as they arrive.
    pub async fn take<S: Source>(&mut self, source: &mut S, count: u64, out: &mut Vec<u8>) -> Result<()> {
        if count > self.length.saturating_sub(self.position()) {
            return Err(self.truncated(count, self.length));
        }
        let mut left = count;
        while left > 0 {
            let bytes = self.some(source, left).await?;
            out.extend_from_slice(bytes);
            let read = bytes.len();
            left -= read as u64;
            self.consume(read);
        }
        Ok(())
    }

    /// Passes over bytes up to `position`, which is not before the next unread byte.
    pub async fn skip_to<S: Source>(&mut self, source: &mut S, position: u64) -> Result<()> {
        while self.position() < position {
            let read = self.some(source, position - self.position()).await?.len();
            self.consume(read);
        }
        Ok(())
    }

    /// Passes over the rest of the file, so that a source that keeps what it streams has all of it.
    pub async fn drain<S: Source>(&mut self, source: &mut S) -> Result<()> {
        while self.refill(source).await? {}
        if self.start < self.length { Err(self.truncated(0, self.start)) } else { Ok(()) }
    }

    /// Drops the chunk and asks for the next one; false at the end of the file.
    async fn refill<S: Source>(&mut self, source: &mut S) -> Result<bool> {
        self.start += self.chunk.len() as u64;
        self.at = 0;
        source.next_chunk(&mut self.chunk).await
    }

    /// The error of a file that has only `got` bytes, and not `wanted` more than were read.
    fn truncated(&self, wanted: u64, got: u64) -> Error {
        let expected = self.length.max(self.position().saturating_add(wanted));
        Error::Truncated { name: self.name.clone(), expected, got }
    }
}
