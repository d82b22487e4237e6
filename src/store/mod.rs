//! Chunks at rest: what is kept of each model, and the contract of the places that keep it.
//!
//! A model is a [`Manifest`] and the chunks that it lists, each with its SHA-256. A chunk and the manifest that names it
//! are written in one transaction, so that a crash leaves no manifest that claims more than there is. The chunk list is
//! the only statement of what is stored. A new field of these records has a default, so that older ones stay readable.

#[cfg(not(target_arch = "wasm32"))]
pub mod disk;
#[cfg(target_arch = "wasm32")]
pub mod indexed_db;
pub mod memory;
pub mod quantised;
pub mod read_through;
pub mod traffic;
pub mod upstream;

use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::weights::recipe::Recipe;

/// Length of every chunk of a file but its last, in bytes.
pub const CHUNK_BYTES: u32 = 4 << 20;

/// What is known of a model that is stored, or on its way into the store.
///
/// It has no table of tensors: the file's own is at the head of its first chunk, where no second one can differ from it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Identity of this very version of the model: hub repository at a commit, URL with validator, or local file.
    pub id: String,
    /// What the model was asked for by, before anything was known of it; a stored model is found again by it.
    pub address: String,
    /// For people.
    pub name: String,
    /// Name of the GGUF file; none for a Hugging Face folder.
    pub gguf: Option<String>,
    /// What its weights were turned into, if they are not as published; files and chunks are the copy's then.
    #[serde(default)]
    pub recipe: Option<Recipe>,
    /// The files that the model needed. Once `complete`, the source has no other small file that it would read.
    pub files: Vec<StoredFile>,
    /// Whether every file is stored from its first byte to its last.
    pub complete: bool,
    /// When the model was last opened, in milliseconds since 1970; set by the store.
    pub last_used: f64,
    /// Names who writes this copy; set by the store at [`Store::begin`].
    pub writer: f64,
}

/// A file as its source gave it, and the part of it that is stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Name within the checkpoint.
    pub name: String,
    /// Where it came from; none for a local file.
    pub url: Option<String>,
    /// The server's ETag, else its Last-Modified; none where the server or CORS hides both.
    pub validator: Option<String>,
    /// Length in bytes; unknown until the end where the server does not say it.
    pub length: Option<u64>,
    /// SHA-256 of the whole file, where its publisher gives it.
    #[serde(default)]
    pub sha256: Option<Digest>,
    /// SHA-256 that the publisher gives of the file that this one was made from, where it was quantised on its way.
    #[serde(default)]
    pub source: Option<Digest>,
    /// The chunks whose records are written, in order of their place.
    pub chunks: Vec<Chunk>,
}

/// A stored run of a file's bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// Place in the file of its first byte.
    pub start: u64,
    /// Length in bytes, in the file and in the store.
    pub length: u32,
    /// What the bytes must hash to; none in a record from before chunks were hashed.
    #[serde(default)]
    pub sha256: Option<Digest>,
}

impl Manifest {
    /// The same without lists of chunks that make no sense; a record may have been damaged, or written by anyone.
    pub fn checked(mut self) -> Self {
        for file in &mut self.files {
            if !file.chunks_are_sound() {
                file.chunks.clear();
                self.complete = false;
            }
        }
        self
    }

    /// Whether what is stored is what a request asks for. GGUF files are as published, whatever recipe it names.
    fn is_asked_for_by(&self, request: &Self) -> bool {
        let as_asked = self.recipe == request.recipe || (self.gguf.is_some() && self.recipe.is_none());
        self.address == request.address && as_asked
    }

    /// Bytes that are stored.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(StoredFile::bytes).sum()
    }

    /// Bytes of the whole model, as far as its files are known.
    pub fn total(&self) -> Option<u64> {
        self.files.iter().map(|file| file.length).sum()
    }

    /// The file of this name.
    pub fn file(&self, name: &str) -> Option<&StoredFile> {
        self.files.iter().find(|file| file.name == name)
    }
}

impl StoredFile {
    /// Bytes that are stored.
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.length)).sum()
    }

    /// Whether the chunks are of lengths that chunks have, in order, and not over each other.
    fn chunks_are_sound(&self) -> bool {
        let mut free = 0;
        self.chunks.iter().all(|chunk| {
            let sound = chunk.start >= free && (1..=CHUNK_BYTES).contains(&chunk.length);
            free = chunk.start.saturating_add(u64::from(chunk.length));
            sound && free < u64::MAX
        })
    }

    /// The chunk that starts at this byte.
    pub fn chunk(&self, start: u64) -> Option<&Chunk> {
        self.chunks.binary_search_by_key(&start, |chunk| chunk.start).ok().and_then(|place| self.chunks.get(place))
    }

    /// Lists a chunk, in the place of one that starts at the same byte.
    pub fn set_chunk(&mut self, chunk: Chunk) {
        match self.chunks.binary_search_by_key(&chunk.start, |known| known.start) {
            Ok(place) => self.chunks[place] = chunk,
            Err(place) => self.chunks.insert(place, chunk),
        }
    }

    /// The first byte that is not stored.
    pub fn first_gap(&self) -> u64 {
        let mut end = 0;
        for chunk in &self.chunks {
            if chunk.start != end {
                break;
            }
            end += u64::from(chunk.length);
        }
        end
    }

    /// Whether the chunks follow each other without a gap from the first byte to the last.
    pub fn is_whole(&self) -> bool {
        Some(self.first_gap()) == self.length && self.bytes() == self.first_gap()
    }
}

/// A run of bytes in the currency of a store: outside the wasm heap in a page, a vector natively.
pub trait Bytes: Clone + 'static {
    /// Length in bytes.
    fn length(&self) -> u32;

    /// Puts the bytes in the place of what `to` holds. Nothing but a copy where that is as long.
    fn copy_into(&self, to: &mut Vec<u8>);

    /// The same from a vector.
    fn from_vec(bytes: Vec<u8>) -> Self;

    /// Their SHA-256.
    fn digest(&self) -> Pending<Digest>;
}

impl Bytes for Vec<u8> {
    fn length(&self) -> u32 {
        u32::try_from(self.len()).unwrap_or(u32::MAX)
    }

    fn copy_into(&self, to: &mut Vec<u8>) {
        self.clone_into(to);
    }

    fn from_vec(bytes: Vec<u8>) -> Self {
        bytes
    }

    fn digest(&self) -> Pending<Digest> {
        Box::pin(std::future::ready(Ok(Digest::of(self))))
    }
}

/// Work that is under way before it is first polled, and is done even if this is dropped: a caller can use a chunk
/// while it is being written, and ask for the next one ahead of time.
pub type Pending<T> = Pin<Box<dyn Future<Output = Result<T>>>>;

/// A place that keeps models.
pub trait Store {
    /// How chunks are passed.
    type Bytes: Bytes;

    /// Every manifest, in no particular order. One that cannot be read is listed by its id, incomplete and empty.
    async fn list(&self) -> Result<Vec<Manifest>>;

    /// Writes a new manifest in the place of the model of the same id and all its chunks; sets its `writer`.
    async fn begin(&self, manifest: &mut Manifest) -> Result<()>;

    /// Makes this the writer of a model that another one began, and answers its manifest as it stands; none when it is
    /// gone.
    async fn adopt(&self, id: &str) -> Result<Option<Manifest>>;

    /// Writes a manifest, and the bytes of a chunk that it lists if there is one, in one transaction.
    ///
    /// Fails with [`replaced`], and writes nothing, when the model was deleted or begun anew by another writer since.
    fn put(&self, manifest: &Manifest, chunk: Option<(&str, &Chunk, &Self::Bytes)>) -> Pending<()>;

    /// The bytes of the chunk that starts at `start` of a file; none when there is no such record.
    fn get(&self, id: &str, file: &str, start: u64) -> Pending<Option<Self::Bytes>>;

    /// Deletes a model that this writer began, with all its chunks.
    ///
    /// Fails with [`replaced`], and deletes nothing, when it was deleted or begun anew by another writer since.
    async fn withdraw(&self, manifest: &Manifest) -> Result<()>;

    /// Deletes the chunks of one file, and writes the manifest that lists them no longer.
    ///
    /// Fails with [`replaced`], and deletes nothing, when the model was deleted or begun anew by another writer since.
    async fn withdraw_file(&self, manifest: &Manifest, file: &str) -> Result<()>;

    /// Deletes a model and all its chunks, whoever wrote it; nothing happens when there is none.
    async fn delete(&self, id: &str) -> Result<()>;

    /// Bytes that there is room for; none when nobody can tell.
    async fn room(&self) -> Option<u64>;
}

/// The error of a writer whose model was deleted or begun anew by another one.
pub fn replaced() -> Error {
    Error::StoreUnavailable { detail: "this copy was deleted or replaced meanwhile, perhaps in another tab".into() }
}
