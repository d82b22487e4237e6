//! A checkpoint that is read from the store when it is there, and otherwise from where it was published, storing each
//! chunk on its way. A store that fails never stops the reading: it goes on without it, and says so.

use super::{Bytes, Chunk, Manifest, Pending, Store, StoredFile};
use crate::error::{Error, Result};
use crate::weights::source::{Kind, Source};

/// Where a checkpoint was published, read anew: a server, or files on disk.
pub trait Upstream {
    /// How chunks are passed.
    type Bytes: Bytes;

    /// What the checkpoint is asked for by, known before any request.
    fn address(&self) -> &str;

    /// For people.
    fn name(&self) -> &str;

    /// What kind of checkpoint this is.
    fn kind(&self) -> Kind;

    /// Identity of the version that `first`, the first file that was opened, belongs to.
    fn id(&self, first: &StoredFile) -> String;

    /// Starts a file and tells what is known of it (it has no chunks yet); none when the checkpoint lacks it.
    async fn open(&mut self, file: &str) -> Result<Option<StoredFile>>;

    /// The next bytes of the file that was opened last, [`super::CHUNK_BYTES`] at a time; none at its end.
    async fn next(&mut self) -> Result<Option<Self::Bytes>>;
}

/// What happens to the chunks that are read.
enum Keeping {
    /// The store has the model whole: they come from there.
    Stored,
    /// They go to the store; the first answer is still to come if `begun` is false.
    Storing { begun: bool },
    /// They are not stored; why, unless the caller did not want it.
    Passing(Option<Error>),
}

/// A [`Source`] over a store and an upstream.
pub struct ReadThrough<S: Store, U: Upstream<Bytes = S::Bytes>> {
    store: Option<S>,
    upstream: Option<U>,
    kind: Kind,
    manifest: Manifest,
    keeping: Keeping,
    current: Current,
    /// The chunk that is being written.
    writing: Option<Pending<()>>,
    /// The stored chunk that is wanted next.
    ahead: Option<Pending<Option<S::Bytes>>>,
}

/// Where reading stands in the file that was opened last.
#[derive(Default)]
struct Current {
    /// Its place in the manifest.
    file: usize,
    /// Chunks of it that were handed on.
    chunk: usize,
    /// Bytes of it that were handed on.
    bytes: u64,
    /// Whether its end was reached.
    ended: bool,
}

impl<S: Store, U: Upstream<Bytes = S::Bytes>> ReadThrough<S, U> {
    /// Reads from `store` if a whole model was stored under the upstream's address, else from `upstream`.
    ///
    /// `store` is what came of opening the store; none when nothing is to be stored nor looked for.
    pub async fn open(store: Option<Result<S>>, upstream: U) -> Self {
        let fresh = Manifest {
            address: upstream.address().to_owned(),
            name: upstream.name().to_owned(),
            gguf: match upstream.kind() {
                Kind::Gguf(name) => Some(name),
                Kind::HuggingFace => None,
            },
            ..Manifest::default()
        };
        let (store, listed) = match store {
            None => return Self::new(None, Some(upstream), fresh, Keeping::Passing(None)),
            Some(Err(error)) => return Self::new(None, Some(upstream), fresh, Keeping::Passing(Some(error))),
            Some(Ok(store)) => {
                let listed = store.list().await;
                (store, listed)
            }
        };
        match listed {
            Err(error) => Self::new(None, Some(upstream), fresh, Keeping::Passing(Some(error))),
            Ok(models) => match models.into_iter().find(|model| model.complete && model.address == fresh.address) {
                Some(stored) => Self::new(Some(store), Some(upstream), stored, Keeping::Stored),
                None => Self::new(Some(store), Some(upstream), fresh, Keeping::Storing { begun: false }),
            },
        }
    }

    /// Reads the stored model of this id, with no upstream at all.
    pub async fn stored(store: S, id: &str) -> Result<Self> {
        let models = store.list().await?;
        match models.into_iter().find(|model| model.complete && model.id == id) {
            Some(stored) => Ok(Self::new(Some(store), None, stored, Keeping::Stored)),
            None => Err(Error::StoreCorrupt { detail: format!("{id} is not stored, or not completely") }),
        }
    }

    fn new(store: Option<S>, upstream: Option<U>, manifest: Manifest, keeping: Keeping) -> Self {
        let kind = manifest.gguf.clone().map_or(Kind::HuggingFace, Kind::Gguf);
        Self { store, upstream, kind, manifest, keeping, current: Current::default(), writing: None, ahead: None }
    }

    /// What is known of the model so far; its id is empty until the first file was opened.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether the model is read from the store.
    pub fn is_stored(&self) -> bool {
        matches!(self.keeping, Keeping::Stored)
    }

    /// Whether what is read goes to the store.
    pub fn is_storing(&self) -> bool {
        matches!(self.keeping, Keeping::Storing { .. })
    }

    /// Why the model is not being stored although that was asked for.
    pub fn not_stored(&self) -> Option<&Error> {
        match &self.keeping {
            Keeping::Passing(reason) => reason.as_ref(),
            _ => None,
        }
    }

    /// The model was loaded: the stored copy is complete, or was used once more.
    pub async fn finish(&mut self) {
        let rest = self.finish_file().await;
        self.await_writing().await;
        if let Err(error) = rest {
            // The model works; only its copy is not whole.
            self.stop_storing(error).await;
        }
        let Some(store) = &self.store else { return };
        match self.keeping {
            // Worth a note of when, not a failure.
            Keeping::Stored => drop(store.put(&self.manifest, None).await),
            Keeping::Storing { begun: true } => {
                self.manifest.complete = true;
                if let Err(error) = store.put(&self.manifest, None).await {
                    self.stop_storing(error).await;
                }
            }
            _ => {}
        }
    }

    /// The model could not be loaded: what was stored of it on the way goes; a copy that was there before stays.
    pub async fn discard(&mut self) {
        self.await_writing().await;
        if let (Some(store), Keeping::Storing { begun: true }) = (&self.store, &self.keeping) {
            // The load's own error is the one to tell. What cannot be deleted now is replaced by the next attempt.
            drop(store.withdraw(&self.manifest).await);
        }
        self.keeping = Keeping::Passing(None);
    }

    /// Opens a file wherever it is; false when the checkpoint has none of this name.
    async fn open_file(&mut self, name: &str) -> Result<bool> {
        self.finish_file().await?;
        self.ahead = None;
        if self.is_stored() {
            return self.open_stored(name);
        }
        let Some(upstream) = &mut self.upstream else { return Ok(false) };
        let Some(file) = upstream.open(name).await? else { return Ok(false) };
        if self.manifest.id.is_empty() {
            self.manifest.id = upstream.id(&file);
        }
        if matches!(self.keeping, Keeping::Storing { begun: false }) {
            self.begin().await;
            if self.is_stored() {
                return self.open_stored(name);
            }
        }
        self.current = Current { file: self.add_file(file), ..Current::default() };
        Ok(true)
    }

    /// Lists a file that has just been opened, in the place of one of the same name; returns its place.
    fn add_file(&mut self, file: StoredFile) -> usize {
        let files = &mut self.manifest.files;
        match files.iter().position(|known| known.name == file.name) {
            Some(place) => {
                files[place] = file;
                place
            }
            None => {
                files.push(file);
                files.len() - 1
            }
        }
    }

    /// Starts to store, now that the id is known. The same version may have been stored under another address.
    async fn begin(&mut self) {
        let Some(store) = &self.store else { return };
        let begun = async {
            for model in store.list().await? {
                if model.id == self.manifest.id && model.complete {
                    return Ok(Some(model));
                }
                if model.address == self.manifest.address && !model.complete {
                    store.delete(&model.id).await?;
                }
            }
            store.begin(&mut self.manifest).await?;
            Ok(None)
        };
        match begun.await {
            Ok(None) => self.keeping = Keeping::Storing { begun: true },
            Ok(Some(stored)) => {
                self.manifest = stored;
                self.keeping = Keeping::Stored;
                // Ends the request for what is here already.
                self.upstream = None;
            }
            Err(error) => self.keeping = Keeping::Passing(Some(error)),
        }
    }

    fn open_stored(&mut self, name: &str) -> Result<bool> {
        let Some(place) = self.manifest.files.iter().position(|file| file.name == name) else { return Ok(false) };
        if !self.manifest.files.get(place).is_some_and(StoredFile::is_whole) {
            return Err(Error::StoreCorrupt { detail: format!("{name} is not whole") });
        }
        self.current = Current { file: place, ..Current::default() };
        Ok(true)
    }

    async fn next_bytes(&mut self) -> Result<Option<S::Bytes>> {
        if self.is_stored() { self.next_stored().await } else { self.next_upstream().await }
    }

    async fn next_stored(&mut self) -> Result<Option<S::Bytes>> {
        let (Some(store), Some(file)) = (&self.store, self.manifest.files.get(self.current.file)) else {
            return Ok(None);
        };
        let Some(chunk) = file.chunks.get(self.current.chunk) else { return Ok(None) };
        let read = |chunk: &Chunk| store.get(&self.manifest.id, &file.name, chunk.start);
        let bytes = match self.ahead.take() {
            Some(ahead) => ahead.await?,
            None => read(chunk).await?,
        };
        let damage = |what| Error::StoreCorrupt { detail: format!("{} at byte {} {what}", file.name, chunk.start) };
        let bytes = bytes.ok_or_else(|| damage("is missing"))?;
        if bytes.length() != chunk.length {
            return Err(damage("has another length"));
        }
        self.current.chunk += 1;
        self.ahead = file.chunks.get(self.current.chunk).map(read);
        Ok(Some(bytes))
    }

    async fn next_upstream(&mut self) -> Result<Option<S::Bytes>> {
        let Some(upstream) = &mut self.upstream else { return Ok(None) };
        if self.current.ended {
            return Ok(None);
        }
        let bytes = upstream.next().await?;
        match &bytes {
            Some(bytes) => self.keep(bytes).await,
            None => {
                self.current.ended = true;
                if let Some(file) = self.manifest.files.get_mut(self.current.file) {
                    file.length = Some(self.current.bytes);
                }
            }
        }
        Ok(bytes)
    }

    /// Starts to write a chunk, once the one before it is written.
    async fn keep(&mut self, bytes: &S::Bytes) {
        let chunk = Chunk { start: self.current.bytes, length: bytes.length() };
        self.current.bytes += u64::from(chunk.length);
        self.await_writing().await;
        let (Some(store), Keeping::Storing { begun: true }) = (&self.store, &self.keeping) else { return };
        let Some(file) = self.manifest.files.get_mut(self.current.file) else { return };
        let name = file.name.clone();
        file.chunks.push(chunk.clone());
        self.writing = Some(store.put(&self.manifest, Some((&name, &chunk, bytes))));
    }

    async fn await_writing(&mut self) {
        let Some(writing) = self.writing.take() else { return };
        if let Err(error) = writing.await {
            self.stop_storing(error).await;
        }
    }

    /// Goes on without the store; a part of a model is of no use there.
    async fn stop_storing(&mut self, reason: Error) {
        if let Some(store) = &self.store {
            // The reason is the error to tell. What cannot be deleted now is replaced by the next attempt.
            drop(store.withdraw(&self.manifest).await);
        }
        self.keeping = Keeping::Passing(Some(reason));
    }

    /// Reads and stores what the loader did not want of the current file, so that the stored copy is whole.
    async fn finish_file(&mut self) -> Result<()> {
        let begun = self.manifest.files.get(self.current.file).is_some();
        while begun && matches!(self.keeping, Keeping::Storing { begun: true }) && !self.current.ended {
            self.next_upstream().await?;
        }
        Ok(())
    }
}

impl<S: Store, U: Upstream<Bytes = S::Bytes>> Source for ReadThrough<S, U> {
    fn kind(&self) -> Kind {
        self.kind.clone()
    }

    async fn small_file(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        if !self.open_file(name).await? {
            return Ok(None);
        }
        let mut whole = Vec::new();
        while let Some(bytes) = self.next_bytes().await? {
            if whole.len() as u64 + u64::from(bytes.length()) > SMALL_FILE_BYTES {
                return Err(Error::NotAModel { detail: format!("{name} is larger than {SMALL_FILE_BYTES} bytes") });
            }
            bytes.append_to(&mut whole);
        }
        Ok(Some(whole))
    }

    async fn open(&mut self, name: &str) -> Result<u64> {
        if !self.open_file(name).await? {
            return Err(Error::MissingFile { name: name.to_owned() });
        }
        let file = self.manifest.files.get(self.current.file);
        file.and_then(|file| file.length).ok_or_else(|| Error::Answer {
            url: file.and_then(|file| file.url.clone()).unwrap_or_else(|| name.to_owned()),
            detail: "it does not say the file's length".into(),
        })
    }

    async fn next_chunk(&mut self, chunk: &mut Vec<u8>) -> Result<bool> {
        chunk.clear();
        match self.next_bytes().await? {
            Some(bytes) => {
                bytes.append_to(chunk);
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

/// The largest small file is a tokenizer; real ones stay below 20 MB.
const SMALL_FILE_BYTES: u64 = 64 << 20;
