//! The chunks of one file: asked for ahead of time, checked, repaired, kept.

use std::future::Future;
use std::pin::Pin;

use futures_util::StreamExt;

use super::{Bytes, Chunk, Current, Keeping, ReadThrough, Store, StoredFile, Traffic, Upstream};
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::store::CHUNK_BYTES;

/// How many chunks are read from the store ahead of the one that is wanted: reading and hashing overlap.
const READS: usize = 4;
/// How often a chunk whose digest is known is fetched before its source is given up.
const FETCHES: usize = 3;

/// A chunk that was asked for and is not here yet.
pub(super) type OnItsWay<B> = Pin<Box<dyn Future<Output = Asked<B>>>>;

/// A chunk that was asked for.
pub(super) struct Asked<B> {
    /// Its first byte in the file.
    start: u64,
    /// At most so many bytes.
    length: u32,
    from_store: bool,
    /// Its bytes and their digest; none when the store has no such record.
    found: Result<Option<(B, Digest)>>,
}

impl<S: Store, U: Upstream<Bytes = S::Bytes>> ReadThrough<S, U> {
    /// Puts the next chunk of the current file in the place of what `to` holds; false, and nothing, at its end.
    pub(super) async fn next_into(&mut self, to: &mut Vec<u8>) -> Result<bool> {
        let Some(bytes) = self.next_bytes().await? else {
            to.clear();
            return Ok(false);
        };
        bytes.copy_into(to);
        if let Some(hasher) = &mut self.current.hasher {
            hasher.update(to);
        }
        if let Some(upstream) = self.upstream.as_mut().filter(|_| !self.traffic.from_store()) {
            // What is being written was copied when that began.
            upstream.take_back(bytes);
        }
        Ok(true)
    }

    pub(super) async fn next_bytes(&mut self) -> Result<Option<S::Bytes>> {
        if self.current.ended {
            return Ok(None);
        }
        self.ask_ahead();
        let Some(asked) = self.ahead.next().await else {
            self.end_file()?;
            return Ok(None);
        };
        // The place of the next one, even if this one fails and the caller goes on.
        let start = asked.start;
        self.current.bytes = start + u64::from(asked.length);
        let from_store = asked.from_store;
        let bytes = if from_store { self.take_stored(asked).await? } else { self.take_fetched(asked).await? };
        self.traffic.handed(from_store);
        self.current.bytes = start + u64::from(bytes.length());
        if bytes.length() == 0 {
            self.end_file()?;
            return Ok(None);
        }
        Ok(Some(bytes))
    }

    /// Keeps as many chunks on their way as the store and the upstream are good for.
    fn ask_ahead(&mut self) {
        let Some(file) = self.manifest.files.get(self.current.file) else { return };
        let step = self.upstream.as_ref().map_or(CHUNK_BYTES, Upstream::chunk_bytes);
        while let Some(length) = next_length(file, &self.current, step) {
            let start = self.current.asked;
            let stored =
                self.store.as_ref().zip(file.chunk(start)).filter(|_| !matches!(self.keeping, Keeping::Passing));
            let pending = match (stored, &mut self.upstream) {
                (Some((store, _)), _) if self.ahead.len() < READS => {
                    read(store, &self.manifest.id, &file.name, start, length)
                }
                (None, Some(upstream)) if self.current.fetching < upstream.connections() => {
                    self.current.fetching += 1;
                    fetch(upstream, start, length)
                }
                _ => return,
            };
            self.ahead.push_back(pending);
            self.current.asked += u64::from(length);
        }
    }

    /// A chunk from the store, if its hash holds; else from the upstream.
    async fn take_stored(&mut self, asked: Asked<S::Bytes>) -> Result<S::Bytes> {
        match asked.found {
            Ok(Some((bytes, digest))) if self.accepts(asked.start, bytes.length(), digest) => Ok(bytes),
            Ok(_) | Err(Error::StoreCorrupt { .. }) => self.repair(asked.start).await,
            Err(error) => Err(error),
        }
    }

    /// Whether a record is what it was meant to be. One from before chunks were hashed gets its hash now.
    pub(super) fn accepts(&mut self, start: u64, length: u32, digest: Digest) -> bool {
        let Some(file) = self.manifest.files.get_mut(self.current.file) else { return false };
        let published = self.current.digests.chunk(start, length, file.length);
        let Some(chunk) = file.chunks.iter_mut().find(|chunk| chunk.start == start) else { return false };
        let meant = chunk.sha256.get_or_insert(digest);
        chunk.length == length && *meant == digest && published.is_none_or(|published| published == digest)
    }

    /// Fetches a chunk again whose record is missing or damaged.
    pub(super) async fn repair(&mut self, start: u64) -> Result<S::Bytes> {
        let file = self.manifest.files.get(self.current.file);
        let known = file.and_then(|file| Some((file.clone(), file.chunk(start)?.clone())));
        let Some((file, chunk)) = known else { return Err(Error::Aborted) };
        let unfinished = self.is_storing();
        match self.fetch_again(&file, &chunk).await {
            Ok((bytes, digest)) => {
                self.keep(Chunk { sha256: Some(digest), ..chunk }, &bytes).await?;
                Ok(bytes)
            }
            // Not done downloading: what is wrong with the network is all there is to tell.
            Err(error) if unfinished || error == Error::Aborted => Err(error),
            // The hub wants a token, with which it can be.
            Err(error @ Error::HubGated { .. }) => Err(error),
            Err(error) => {
                let detail = format!(
                    "{} is missing or damaged at byte {start}, and could not be fetched again: {error}",
                    file.name
                );
                Err(Error::StoreCorrupt { detail })
            }
        }
    }

    /// The chunk from the upstream, if it still has the same bytes there.
    async fn fetch_again(&mut self, file: &StoredFile, chunk: &Chunk) -> Result<(S::Bytes, Digest)> {
        let gone = || Error::MissingFile { name: file.name.clone() };
        let upstream = self.upstream.as_mut().ok_or_else(gone)?;
        if !self.current.upstream {
            let known = StoredFile {
                chunks: file.chunks.iter().filter(|other| *other != chunk).cloned().collect(),
                ..file.clone()
            };
            let opened = upstream.open(&file.name, Some(&known)).await?.ok_or_else(gone)?;
            // Without a hash of the chunk, nothing else tells whether these are the same bytes.
            if chunk.sha256.is_none() && (opened.validator.is_none() || opened.validator != file.validator) {
                return Err(Error::Changed { url: file.url.clone().unwrap_or_else(|| file.name.clone()) });
            }
            self.current.upstream = true;
        }
        let published = self.current.digests.chunk(chunk.start, chunk.length, file.length);
        let place = (file.name.as_str(), chunk.start, chunk.length);
        let (bytes, digest) = checked(upstream, &self.traffic, place, published.or(chunk.sha256)).await?;
        if bytes.length() != chunk.length {
            return Err(Error::Changed { url: file.url.clone().unwrap_or_else(|| file.name.clone()) });
        }
        Ok((bytes, digest))
    }

    /// A chunk from the upstream, fetched anew if its digest is not the published one.
    async fn take_fetched(&mut self, asked: Asked<S::Bytes>) -> Result<S::Bytes> {
        self.current.fetching = self.current.fetching.saturating_sub(1);
        let (Some((mut bytes, mut digest)), Some(file)) = (asked.found?, self.manifest.files.get(self.current.file))
        else {
            return Err(Error::Aborted);
        };
        self.traffic.went(u64::from(bytes.length()));
        let published = self.current.digests.chunk(asked.start, bytes.length(), file.length);
        if published.is_some_and(|published| published != digest)
            && let Some(upstream) = &mut self.upstream
        {
            let place = (file.name.as_str(), asked.start, asked.length);
            (bytes, digest) = checked(upstream, &self.traffic, place, published).await?;
        }
        if bytes.length() > 0 {
            self.keep(Chunk { start: asked.start, length: bytes.length(), sha256: Some(digest) }, &bytes).await?;
        }
        Ok(bytes)
    }

    /// Starts to write a chunk, once the one before it is written.
    async fn keep(&mut self, chunk: Chunk, bytes: &S::Bytes) -> Result<()> {
        self.await_writing().await?;
        let (Some(store), Some(file)) = (&self.store, self.manifest.files.get_mut(self.current.file)) else {
            return Ok(());
        };
        if !matches!(self.keeping, Keeping::Stored | Keeping::Storing { begun: true }) {
            return Ok(());
        }
        let name = file.name.clone();
        file.set_chunk(chunk.clone());
        self.writing = Some(store.put(&self.manifest, Some((&name, &chunk, bytes))));
        Ok(())
    }

    pub(super) async fn await_writing(&mut self) -> Result<()> {
        match self.writing.take() {
            Some(writing) => match writing.await {
                Err(error) if !self.is_stored() => self.stop_storing(error),
                // A repair that could not be written: the chunk is good all the same.
                _ => Ok(()),
            },
            None => Ok(()),
        }
    }

    /// The end of the current file: all of it must be what its publisher says.
    fn end_file(&mut self) -> Result<()> {
        self.current.ended = true;
        let Some(file) = self.manifest.files.get_mut(self.current.file) else { return Ok(()) };
        file.length = Some(self.current.bytes);
        let Some(whole) = self.current.hasher.take().map(Hasher::finish) else { return Ok(()) };
        if Some(whole) != file.sha256.or(self.current.digests.sha256) {
            return Err(Error::Digest { name: file.name.clone(), part: None });
        }
        file.sha256 = Some(whole);
        Ok(())
    }
}

/// Length of the chunk to ask for next, if there is one.
fn next_length(file: &StoredFile, current: &Current, step: u32) -> Option<u32> {
    if let Some(chunk) = file.chunk(current.asked) {
        return Some(chunk.length);
    }
    match file.length {
        Some(length) => {
            let left = length.saturating_sub(current.asked);
            u32::try_from(left.min(u64::from(step))).ok().filter(|length| *length > 0)
        }
        // Whether there is another one shows only when this one is here.
        None => (current.asked == current.bytes).then_some(step),
    }
}

fn read<S: Store>(store: &S, id: &str, file: &str, start: u64, length: u32) -> OnItsWay<S::Bytes> {
    let record = store.get(id, file, start);
    Box::pin(async move {
        let found = match record.await {
            Ok(Some(bytes)) => bytes.digest().await.map(|digest| Some((bytes, digest))),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        Asked { start, length, from_store: true, found }
    })
}

fn fetch<U: Upstream>(upstream: &mut U, start: u64, length: u32) -> OnItsWay<U::Bytes> {
    let bytes = upstream.fetch(start, length);
    Box::pin(async move {
        let found = match bytes.await {
            Ok(bytes) => bytes.digest().await.map(|digest| Some((bytes, digest))),
            Err(error) => Err(error),
        };
        Asked { start, length, from_store: false, found }
    })
}

/// A chunk from the upstream whose digest must be `expected`, if that is known.
async fn checked<U: Upstream>(
    upstream: &mut U,
    traffic: &Traffic,
    (name, start, length): (&str, u64, u32),
    expected: Option<Digest>,
) -> Result<(U::Bytes, Digest)> {
    for _ in 0..FETCHES {
        let bytes = upstream.fetch(start, length).await?;
        traffic.went(u64::from(bytes.length()));
        let digest = bytes.digest().await?;
        if expected.is_none_or(|expected| expected == digest) {
            return Ok((bytes, digest));
        }
    }
    Err(Error::Digest { name: name.to_owned(), part: Some(start) })
}
