//! Where a checkpoint was published: the contract of servers and of files on disk.

use super::{Bytes, CHUNK_BYTES, Manifest, Pending, StoredFile};
use crate::digest::{Digest, FileDigests};
use crate::error::Result;
use crate::weights::recipe::Recipe;
use crate::weights::source::Kind;

/// A place to read a checkpoint anew from.
pub trait Upstream {
    /// How chunks are passed.
    type Bytes: Bytes;

    /// Length of every chunk of a file but its last.
    fn chunk_bytes(&self) -> u32 {
        CHUNK_BYTES
    }

    /// What its weights are turned into on their way, if anything.
    fn recipe(&self) -> Option<Recipe> {
        None
    }

    /// What the checkpoint is asked for by, known before any request.
    fn address(&self) -> &str;

    /// For people.
    fn name(&self) -> &str;

    /// What kind of checkpoint this is.
    fn kind(&self) -> Kind;

    /// Finds out, before any file is opened, which checkpoint is meant where the address leaves that open. `begun` is a
    /// download of it that did not end.
    async fn settle(&mut self, _begun: Option<&Manifest>) -> Result<()> {
        Ok(())
    }

    /// Identity of the version that `first`, the first file that was opened, belongs to.
    fn id(&self, first: &StoredFile) -> String;

    /// Asks for a file and tells what is known of it (it has no chunks yet); none when the checkpoint lacks it.
    ///
    /// `known` is what is stored of it already: it is asked for where it was found then, from the first byte that is
    /// missing.
    async fn open(&mut self, file: &str, known: Option<&StoredFile>) -> Result<Option<StoredFile>>;

    /// The chunk of at most `length` bytes that starts at `start` of the file that was opened last; it is shorter, or
    /// empty, only where the file ends.
    fn fetch(&mut self, start: u64, length: u32) -> Pending<Self::Bytes>;

    /// Is given back a chunk that nobody reads any more, to be filled again.
    fn take_back(&mut self, _bytes: Self::Bytes) {}

    /// How many chunks may be fetched at a time; they are asked for in order.
    fn connections(&self) -> usize;

    /// Whether the address itself can only ever mean this one version.
    fn is_pinned(&self) -> bool;

    /// What the publisher says of a file's bytes.
    fn digests(&self, file: &str) -> FileDigests;

    /// SHA-256 of the whole file as published, where its publisher gives it, whatever becomes of it on its way.
    fn published(&self, file: &str) -> Option<Digest> {
        self.digests(file).sha256
    }
}
