//! An upstream whose weights are turned into fewer bits on their way: to whoever reads it, files are the recipe's copies.

use std::ops::Range;
use std::rc::Rc;

use super::traffic::Traffic;
use super::upstream::Upstream;
use super::{Bytes, Manifest, Pending, StoredFile};
use crate::digest::{Digest, FileDigests};
use crate::error::{Error, Result};
use crate::weights::recipe::{self, Plan, Recipe};
use crate::weights::source::Kind;

/// An upstream, and what its weights are turned into, if anything.
pub struct Quantised<U> {
    inner: U,
    recipe: Option<Recipe>,
    traffic: Rc<Traffic>,
    chunk_bytes: u32,
    /// The file that was opened last, where it is changed.
    file: Option<Rc<Changed>>,
}

/// A file whose copy is read.
struct Changed {
    plan: Plan,
    /// The first bytes of the source: the header, and what came with it.
    head: Vec<u8>,
}

impl<U: Upstream> Quantised<U> {
    /// `inner` with a recipe. GGUF files are read as they are, whatever the recipe.
    pub fn new(inner: U, recipe: Option<Recipe>, traffic: Rc<Traffic>) -> Self {
        Self { inner, recipe, traffic, chunk_bytes: recipe::CHUNK_BYTES, file: None }
    }

    /// Cuts copies into chunks of so many bytes, which tests want to be many.
    pub fn in_chunks_of(self, chunk_bytes: u32) -> Self {
        Self { chunk_bytes, ..self }
    }

    /// Reads the source's first bytes, as many as its header takes.
    async fn head(&mut self) -> Result<Vec<u8>> {
        let (mut head, mut chunk) = (Vec::new(), Vec::new());
        loop {
            let step = self.inner.chunk_bytes();
            let bytes = self.inner.fetch(head.len() as u64, step).await?;
            self.traffic.went(u64::from(bytes.length()));
            bytes.copy_into(&mut chunk);
            head.append(&mut chunk);
            if bytes.length() < step || head.len() as u64 >= recipe::header_end(&head)? {
                return Ok(head);
            }
        }
    }
}

impl<U: Upstream> Upstream for Quantised<U> {
    type Bytes = U::Bytes;

    fn chunk_bytes(&self) -> u32 {
        if self.file.is_some() { self.chunk_bytes } else { self.inner.chunk_bytes() }
    }

    fn recipe(&self) -> Option<Recipe> {
        self.recipe.filter(|_| self.inner.kind() == Kind::HuggingFace)
    }

    async fn settle(&mut self, begun: Option<&Manifest>) -> Result<()> {
        self.inner.settle(begun).await
    }

    fn address(&self) -> &str {
        self.inner.address()
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn kind(&self) -> Kind {
        self.inner.kind()
    }

    fn id(&self, first: &StoredFile) -> String {
        let id = self.inner.id(first);
        self.recipe().map_or_else(|| id.clone(), |recipe| format!("{id} {recipe}"))
    }

    async fn open(&mut self, file: &str, known: Option<&StoredFile>) -> Result<Option<StoredFile>> {
        self.file = None;
        let Some(recipe) = self.recipe().filter(|recipe| recipe.changes(file)) else {
            return self.inner.open(file, known).await;
        };
        // Places and length are the copy's; what comes first is the header in any case.
        let known = known.map(|known| StoredFile { length: None, chunks: Vec::new(), ..known.clone() });
        let Some(opened) = self.inner.open(file, known.as_ref()).await? else { return Ok(None) };
        let head = self.head().await?;
        let plan = Plan::new(recipe, &head)?;
        if let Some(got) = opened.length.filter(|length| *length < plan.source_length()) {
            return Err(Error::Truncated { name: file.to_owned(), expected: plan.source_length(), got });
        }
        let copy = StoredFile { length: Some(plan.length()), source: opened.sha256, sha256: None, ..opened };
        self.file = Some(Rc::new(Changed { plan, head }));
        Ok(Some(copy))
    }

    fn fetch(&mut self, start: u64, length: u32) -> Pending<Self::Bytes> {
        let Some(file) = self.file.clone() else { return self.inner.fetch(start, length) };
        let Range { start: first, end } = file.plan.source_of(start, length);
        let here = (file.head.len() as u64).clamp(first, end.max(first));
        // A chunk's source is a few times as long as the chunk, never near 4 GiB.
        let rest = (here < end).then(|| self.inner.fetch(here, u32::try_from(end - here).unwrap_or(u32::MAX)));
        let traffic = self.traffic.clone();
        Box::pin(async move {
            let mut source = file.head.get(first as usize..here as usize).unwrap_or_default().to_vec();
            if let Some(rest) = rest {
                let mut bytes = Vec::new();
                rest.await?.copy_into(&mut bytes);
                traffic.went(bytes.len() as u64);
                source.append(&mut bytes);
            }
            let made = file.plan.make(start, length, &source)?;
            traffic.came(made.len() as u64);
            Ok(Bytes::from_vec(made))
        })
    }

    fn take_back(&mut self, bytes: Self::Bytes) {
        if self.file.is_none() {
            self.inner.take_back(bytes);
        }
    }

    fn connections(&self) -> usize {
        self.inner.connections()
    }

    fn is_pinned(&self) -> bool {
        self.inner.is_pinned()
    }

    fn published(&self, file: &str) -> Option<Digest> {
        self.inner.published(file)
    }

    fn digests(&self, file: &str) -> FileDigests {
        // What is published is of the source.
        match self.recipe() {
            Some(recipe) if recipe.changes(file) => FileDigests::default(),
            _ => self.inner.digests(file),
        }
    }
}
