//! A server of small files in memory, and reading it through a store.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::ready;
use std::rc::Rc;

use pagellama::digest::{Digest, FileDigests};
use pagellama::error::{Error, Result};
use pagellama::store::memory::Memory;
use pagellama::store::read_through::ReadThrough;
use pagellama::store::upstream::Upstream;
use pagellama::store::{Manifest, Pending, Store, StoredFile};
use pagellama::weights::source::{Kind, Source};
use pollster::block_on;

/// What a server sent, to be looked at after it was given away.
pub type Sent = Rc<RefCell<Vec<(String, u64)>>>;

/// A server of small files, in chunks of a few bytes.
#[derive(Clone)]
pub struct Server {
    pub address: &'static str,
    pub version: &'static str,
    pub kind: Kind,
    pub files: BTreeMap<String, Vec<u8>>,
    pub digests: BTreeMap<String, FileDigests>,
    /// Breaks off after so many chunks.
    pub breaks_after: Option<usize>,
    /// Chunks that come with a flipped bit: at this byte, so many times.
    pub flips: (u64, usize),
    pub connections: usize,
    pub tells_length: bool,
    pub step: u32,
    pub opened: String,
    pub sent: Sent,
}

impl Server {
    pub fn gguf() -> Self {
        Self::new(Kind::Gguf("m.gguf".into()), &[("m.gguf", 40)])
    }

    pub fn folder() -> Self {
        let files = [("config.json", 9), ("a.safetensors", 30), ("b.safetensors", 14)];
        Self { address: "http://models/folder/", ..Self::new(Kind::HuggingFace, &files) }
    }

    fn new(kind: Kind, files: &[(&str, usize)]) -> Self {
        let bytes = |length| (0..length).map(|i| (i * 31 % 251) as u8).collect();
        let files = files.iter().map(|(name, length)| ((*name).to_owned(), bytes(*length))).collect();
        Self {
            address: "http://models/m",
            version: "v1",
            kind,
            files,
            digests: BTreeMap::new(),
            breaks_after: None,
            flips: (0, 0),
            connections: 3,
            tells_length: true,
            step: 7,
            opened: String::new(),
            sent: Sent::default(),
        }
    }

    /// Gives the SHA-256 of its GGUF file.
    pub fn with_digest(mut self, bytes: &[u8]) -> Self {
        let sha256 = Some(Digest::of(bytes));
        self.digests.insert("m.gguf".into(), FileDigests { sha256, ..FileDigests::default() });
        self
    }

    /// Where the chunks start that were sent of a file, in the order of asking.
    pub fn starts(&self, file: &str) -> Vec<u64> {
        self.sent.borrow().iter().filter(|(name, _)| name == file).map(|(_, start)| *start).collect()
    }
}

impl Upstream for Server {
    type Bytes = Vec<u8>;

    fn chunk_bytes(&self) -> u32 {
        self.step
    }

    fn address(&self) -> &str {
        self.address
    }

    fn name(&self) -> &str {
        "m"
    }

    fn kind(&self) -> Kind {
        self.kind.clone()
    }

    fn id(&self, first: &StoredFile) -> String {
        format!("http://models/m#{}", first.validator.as_deref().unwrap())
    }

    async fn open(&mut self, file: &str, _known: Option<&StoredFile>) -> Result<Option<StoredFile>> {
        let Some(bytes) = self.files.get(file) else { return Ok(None) };
        self.opened = file.to_owned();
        let length = self.tells_length.then_some(bytes.len() as u64);
        let validator = Some(self.version.into());
        let sha256 = self.digests(file).sha256;
        Ok(Some(StoredFile { name: file.into(), validator, length, sha256, ..StoredFile::default() }))
    }

    fn fetch(&mut self, start: u64, length: u32) -> Pending<Vec<u8>> {
        if self.breaks_after.is_some_and(|chunks| chunks <= self.sent.borrow().len()) {
            return Box::pin(ready(Err(Error::Truncated { name: "m".into(), expected: 40, got: 7 })));
        }
        let file = &self.files[&self.opened];
        let end = file.len().min(start as usize + length as usize);
        let mut bytes = file[start as usize..end].to_vec();
        if self.flips.0 == start && self.flips.1 > 0 {
            self.flips.1 -= 1;
            bytes[0] ^= 1;
        }
        self.sent.borrow_mut().push((self.opened.clone(), start));
        Box::pin(ready(Ok(bytes)))
    }

    fn connections(&self) -> usize {
        self.connections
    }

    fn is_pinned(&self) -> bool {
        false
    }

    fn digests(&self, file: &str) -> FileDigests {
        self.digests.get(file).cloned().unwrap_or_default()
    }
}

pub type Reader = ReadThrough<Memory, Server>;

pub fn open(store: &Memory, server: Server) -> Reader {
    block_on(ReadThrough::open(Some(Ok(store.clone())), server, Rc::default()))
}

/// Reads `limit` chunks of a weight file at most, as a loader does that wants no more.
pub fn read(source: &mut Reader, file: &str, limit: usize) -> Result<Vec<u8>> {
    let mut whole = Vec::new();
    let mut chunk = Vec::new();
    let length = block_on(source.open(file))?;
    for _ in 0..limit {
        if !block_on(source.next_chunk(&mut chunk))? {
            assert_eq!(whole.len() as u64, length);
            break;
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole)
}

pub fn list(store: &Memory) -> Vec<Manifest> {
    block_on(store.list()).unwrap()
}

/// Loads the GGUF model into a store.
pub fn stored() -> Memory {
    let store = Memory::default();
    let mut source = open(&store, Server::gguf());
    read(&mut source, "m.gguf", usize::MAX).unwrap();
    block_on(source.finish()).unwrap();
    store
}
