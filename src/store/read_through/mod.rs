//! A checkpoint that is read from the store as far as it is there, and otherwise from where it was published, storing
//! each chunk on its way.
//!
//! There is one way to read: chunk by chunk, each from the store if its record is there and its hash holds, else from the
//! upstream. A download is a read of a model whose records are all missing; one that resumes, or repairs, misses some.

mod chunks;
mod verify;

use std::rc::Rc;

use futures_util::stream::FuturesOrdered;

use super::traffic::Traffic;
use super::upstream::Upstream;
use super::{Bytes, Chunk, Manifest, Pending, Store, StoredFile};
use crate::digest::{Digest, FileDigests, Hasher};
use crate::error::{Error, Result};
use crate::weights::source::{Kind, Source};
use chunks::OnItsWay;
pub use verify::{Damage, Verified};

/// The largest small file is a tokenizer; real ones stay below 20 MB.
const SMALL_FILE_BYTES: u64 = 64 << 20;

/// What happens to the chunks that are read.
enum Keeping {
    /// The store has the model whole: they come from there.
    Stored,
    /// Those that it has not yet go to the store; the first answer is still to come if `begun` is false.
    Storing { begun: bool },
    /// They are not stored.
    Passing,
}

/// A [`Source`] over a store and an upstream.
pub struct ReadThrough<S: Store, U: Upstream<Bytes = S::Bytes>> {
    store: Option<S>,
    upstream: Option<U>,
    kind: Kind,
    manifest: Manifest,
    /// A download of the same address that did not end, until the first answer tells whether it is of this version.
    unfinished: Option<Manifest>,
    keeping: Keeping,
    current: Current,
    /// Chunks on their way here, in order.
    ahead: FuturesOrdered<OnItsWay<S::Bytes>>,
    /// The chunk that is being written.
    writing: Option<Pending<()>>,
    traffic: Rc<Traffic>,
}

/// Where reading stands in the file that was opened last.
#[derive(Default)]
struct Current {
    /// Its place in the manifest.
    file: usize,
    /// Whether the upstream has it open.
    upstream: bool,
    /// Where the next chunk to be asked for starts.
    asked: u64,
    /// How many of those on their way come from the upstream.
    fetching: usize,
    /// Bytes of it that were handed on.
    bytes: u64,
    /// Whether its end was reached.
    ended: bool,
    /// What its publisher says of it.
    digests: FileDigests,
    /// Takes all of it where only a digest of the whole file is known.
    hasher: Option<Hasher>,
}

impl<S: Store, U: Upstream<Bytes = S::Bytes>> ReadThrough<S, U> {
    /// Reads from `store` what it has under the upstream's address, and the rest from `upstream`.
    ///
    /// `store` is what came of opening the store; none when nothing is to be stored nor looked for.
    pub async fn open(store: Option<Result<S>>, upstream: U, traffic: Rc<Traffic>) -> Self {
        let fresh = Manifest {
            address: upstream.address().to_owned(),
            name: upstream.name().to_owned(),
            gguf: gguf_of(upstream.kind()),
            recipe: upstream.recipe(),
            ..Manifest::default()
        };
        let listed = match &store {
            Some(Ok(store)) => store.list().await,
            Some(Err(error)) => Err(error.clone()),
            None => return Self::new(None, Some(upstream), fresh, Keeping::Passing, traffic),
        };
        let (store, models) = match (store, listed) {
            (Some(Ok(store)), Ok(models)) => (store, models),
            (_, listed) => {
                if let Err(reason) = listed {
                    traffic.refuse(reason);
                }
                return Self::new(None, Some(upstream), fresh, Keeping::Passing, traffic);
            }
        };
        let (complete, unfinished): (Vec<_>, Vec<_>) =
            models.into_iter().filter(|model| model.is_asked_for_by(&fresh)).partition(|model| model.complete);
        // One that its publisher no longer gives stays, but is not what is asked for.
        if let Some(stored) = complete.into_iter().find(|model| agrees(model, &upstream)) {
            return Self::new(Some(store), Some(upstream), stored, Keeping::Stored, traffic);
        }
        let mut source = Self::new(Some(store), Some(upstream), fresh, Keeping::Storing { begun: false }, traffic);
        source.unfinished = unfinished.into_iter().next();
        source
    }

    /// Reads what is stored of a model; damaged chunks come from `upstream`, if there is one.
    pub fn stored(store: S, manifest: Manifest, upstream: Option<U>, traffic: Rc<Traffic>) -> Self {
        Self::new(Some(store), upstream, manifest, Keeping::Stored, traffic)
    }

    fn new(store: Option<S>, upstream: Option<U>, manifest: Manifest, keeping: Keeping, traffic: Rc<Traffic>) -> Self {
        traffic.handed(matches!(keeping, Keeping::Stored));
        let kind = manifest.gguf.clone().map_or(Kind::HuggingFace, Kind::Gguf);
        Self {
            store,
            upstream,
            kind,
            manifest,
            unfinished: None,
            keeping,
            current: Current::default(),
            ahead: FuturesOrdered::new(),
            writing: None,
            traffic,
        }
    }

    /// Finds out which checkpoint is meant where the address leaves that open, unless it is stored whole.
    pub async fn settle(&mut self) -> Result<()> {
        let Some(upstream) = self.upstream.as_mut().filter(|_| !matches!(self.keeping, Keeping::Stored)) else {
            return Ok(());
        };
        upstream.settle(self.unfinished.as_ref()).await?;
        self.kind = upstream.kind();
        self.manifest.gguf = gguf_of(upstream.kind());
        self.manifest.recipe = upstream.recipe();
        Ok(())
    }

    /// What is known of the model so far; its id is empty until the first file was opened.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What is on its way.
    pub fn traffic(&self) -> &Rc<Traffic> {
        &self.traffic
    }

    /// Whether the model was stored whole when it was opened.
    pub fn is_stored(&self) -> bool {
        matches!(self.keeping, Keeping::Stored)
    }

    /// Whether what is read goes to the store.
    pub fn is_storing(&self) -> bool {
        matches!(self.keeping, Keeping::Storing { .. })
    }

    /// The model was loaded: the stored copy is complete, or was used once more.
    pub async fn finish(&mut self) -> Result<()> {
        self.finish_file().await?;
        self.await_writing().await?;
        let Some(store) = &self.store else { return Ok(()) };
        match self.keeping {
            // Worth a note of when, not a failure.
            Keeping::Stored => drop(store.put(&self.manifest, None).await),
            Keeping::Storing { begun: true } => {
                self.manifest.complete = true;
                if let Err(error) = store.put(&self.manifest, None).await {
                    self.manifest.complete = false;
                    self.stop_storing(error)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The model could not be loaded. What is stored of it stays, to go on from, unless the error says that these bytes
    /// are of no use; a copy that was whole before stays in any case.
    pub async fn abandon(&mut self, error: &Error) {
        let written = self.await_writing().await;
        if let (Some(store), Keeping::Storing { begun: true }, Ok(())) = (&self.store, &self.keeping, written)
            && error.condemns_source()
        {
            // The load's own error is the one to tell. What cannot be deleted now is replaced by the next attempt.
            drop(match error {
                Error::Digest { name, part: None } if self.manifest.files.len() > 1 => {
                    self.manifest
                        .files
                        .iter_mut()
                        .filter(|file| file.name == *name)
                        .for_each(|file| file.chunks.clear());
                    store.withdraw_file(&self.manifest, name).await
                }
                _ => store.withdraw(&self.manifest).await,
            });
        }
        self.ahead = FuturesOrdered::new();
        self.keeping = Keeping::Passing;
    }

    /// Opens a file wherever it is; false when the checkpoint has none of this name.
    async fn open_file(&mut self, name: &str) -> Result<bool> {
        self.finish_file().await?;
        self.ahead = FuturesOrdered::new();
        if self.is_stored() { self.open_stored(name) } else { self.open_upstream(name).await }
    }

    fn open_stored(&mut self, name: &str) -> Result<bool> {
        if !self.manifest.complete {
            return Err(Error::StoreCorrupt { detail: format!("{} is not stored completely", self.manifest.name) });
        }
        let Some(place) = self.manifest.files.iter().position(|file| file.name == name) else { return Ok(false) };
        if !self.manifest.files.get(place).is_some_and(StoredFile::is_whole) {
            return Err(Error::StoreCorrupt { detail: format!("{name} is not whole") });
        }
        let digests = self.upstream.as_ref().map(|upstream| upstream.digests(name)).unwrap_or_default();
        self.set_current(Current { file: place, digests, ..Current::default() });
        Ok(true)
    }

    /// Goes to the start of a file; all of it is hashed where only the digest of the whole is known, until it was once.
    fn set_current(&mut self, current: Current) {
        self.current = current;
        let Some(file) = self.manifest.files.get(self.current.file) else { return };
        let digests = &self.current.digests;
        let published = if self.is_stored() { digests.sha256.filter(|_| file.sha256.is_none()) } else { file.sha256 };
        if published.is_some() && !digests.cover(file.length) {
            self.current.hasher = Some(Hasher::default());
        }
    }

    async fn open_upstream(&mut self, name: &str) -> Result<bool> {
        let known = self.unfinished.as_ref().unwrap_or(&self.manifest).file(name).cloned();
        let opened = match (&self.unfinished, &self.kind, known) {
            // The last visit ended when all was stored already: there is nothing to ask for.
            (Some(unfinished), Kind::Gguf(_), Some(known)) if known.is_whole() => {
                self.manifest.id = unfinished.id.clone();
                Some((known, false))
            }
            (.., known) => {
                let Some(upstream) = &mut self.upstream else { return Ok(false) };
                upstream.open(name, known.as_ref()).await?.map(|file| (file, true))
            }
        };
        let Some((file, upstream)) = opened else { return Ok(false) };
        if let (true, Some(upstream)) = (self.manifest.id.is_empty(), &self.upstream) {
            self.manifest.id = upstream.id(&file);
        }
        if matches!(self.keeping, Keeping::Storing { begun: false }) {
            self.begin(&file).await?;
            if self.is_stored() {
                return self.open_stored(name);
            }
        }
        let digests = self.upstream.as_ref().map(|upstream| upstream.digests(name)).unwrap_or_default();
        let file = self.add_file(file)?;
        self.set_current(Current { file, upstream, digests, ..Current::default() });
        Ok(true)
    }

    /// Lists a file that has just been opened, with what is stored of it; returns its place.
    fn add_file(&mut self, mut file: StoredFile) -> Result<usize> {
        let pinned = self.upstream.as_ref().is_some_and(Upstream::is_pinned);
        let files = &mut self.manifest.files;
        let Some(place) = files.iter().position(|known| known.name == file.name) else {
            file.chunks.clear();
            files.push(file);
            return Ok(files.len() - 1);
        };
        let known = &mut files[place];
        // Without a validator nothing shows that these are the same bytes.
        let same_content = match (&known.sha256, &file.sha256) {
            (Some(known), Some(new)) => known == new,
            _ => pinned || (known.validator.is_some() && known.validator == file.validator),
        };
        let other_length = known.length.is_some() && file.length.is_some() && known.length != file.length;
        if !same_content || other_length {
            return Err(Error::Changed { url: file.url.unwrap_or(file.name) });
        }
        known.length = known.length.or(file.length);
        known.sha256 = known.sha256.or(file.sha256);
        // Records from before chunks were hashed cannot be trusted to be what they were meant to be.
        known.chunks.retain(|chunk| chunk.sha256.is_some());
        Ok(place)
    }

    /// Starts to store, now that the id is known: goes on with an unfinished copy of this very version, or uses a whole
    /// one that was stored under another address.
    async fn begin(&mut self, file: &StoredFile) -> Result<()> {
        match self.take_place(file).await {
            Err(error) => self.stop_storing(error),
            Ok(()) => Ok(()),
        }
    }

    async fn take_place(&mut self, file: &StoredFile) -> Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        self.unfinished = None;
        let mut adopted = None;
        for model in store.list().await? {
            if model.id == self.manifest.id && model.complete {
                self.manifest = model;
                self.keeping = Keeping::Stored;
                return Ok(());
            } else if model.id == self.manifest.id && !model.address.is_empty() {
                adopted = store.adopt(&model.id).await?;
            } else if model.is_asked_for_by(&self.manifest) && !model.complete {
                // Of an older version, which nobody can go on with.
                store.delete(&model.id).await?;
            }
        }
        let stored = adopted.as_ref().map_or(0, Manifest::bytes);
        check_room(store, file.length.unwrap_or(0).saturating_sub(stored)).await?;
        match adopted {
            Some(manifest) => self.manifest = manifest,
            None => store.begin(&mut self.manifest).await?,
        }
        self.keeping = Keeping::Storing { begun: true };
        Ok(())
    }

    /// Goes on without the store, unless there is a way to store the rest later: it would only be downloaded twice.
    fn stop_storing(&mut self, reason: Error) -> Result<()> {
        if matches!(reason, Error::NoSpace { .. } | Error::Quota { .. } | Error::StoreOutdated) {
            return Err(reason);
        }
        self.traffic.refuse(reason);
        self.keeping = Keeping::Passing;
        Ok(())
    }

    /// Reads and stores what the loader did not want of the current file, so that the stored copy is whole.
    async fn finish_file(&mut self) -> Result<()> {
        let begun = self.manifest.files.get(self.current.file).is_some();
        let mut rest = Vec::new();
        while begun && matches!(self.keeping, Keeping::Storing { begun: true }) && !self.current.ended {
            self.next_into(&mut rest).await?;
        }
        Ok(())
    }
}

/// Whether a stored model is the one that its publisher gives, as far as digests tell.
fn agrees<U: Upstream>(model: &Manifest, upstream: &U) -> bool {
    model.files.iter().all(|file| {
        let published = upstream.digests(&file.name);
        let same = |stored: Option<Digest>, published: Option<Digest>| {
            stored.zip(published).is_none_or(|(stored, published)| stored == published)
        };
        let chunks = &mut file.chunks.iter();
        same(file.sha256.or(file.source), upstream.published(&file.name))
            && chunks.all(|chunk| same(chunk.sha256, published.chunk(chunk.start, chunk.length, file.length)))
    })
}

/// As a manifest has it.
fn gguf_of(kind: Kind) -> Option<String> {
    match kind {
        Kind::Gguf(name) => Some(name),
        Kind::HuggingFace => None,
    }
}

/// Refuses what will not fit, before it is downloaded.
async fn check_room<S: Store>(store: &S, needed: u64) -> Result<()> {
    match store.room().await {
        Some(free) if free < needed => Err(Error::NoSpace { needed, free }),
        _ => Ok(()),
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
        let (mut whole, mut chunk) = (Vec::new(), Vec::new());
        while self.next_into(&mut chunk).await? {
            whole.append(&mut chunk);
            if whole.len() as u64 > SMALL_FILE_BYTES {
                return Err(Error::NotAModel { detail: format!("{name} is larger than {SMALL_FILE_BYTES} bytes") });
            }
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

    async fn reserve(&mut self, total: u64) -> Result<()> {
        match (&self.store, &self.keeping) {
            (Some(store), Keeping::Storing { begun: true }) => {
                check_room(store, total.saturating_sub(self.manifest.bytes())).await
            }
            _ => Ok(()),
        }
    }

    async fn next_chunk(&mut self, chunk: &mut Vec<u8>) -> Result<bool> {
        self.next_into(chunk).await
    }
}
