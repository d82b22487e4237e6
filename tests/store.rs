//! The store's contract and reading through it, natively: what is kept, what is not, and what is told.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;

use pagellama::error::{Error, Result};
use pagellama::store::memory::Memory;
use pagellama::store::read_through::{ReadThrough, Upstream};
use pagellama::store::{Chunk, Manifest, Store, StoredFile, replaced};
use pagellama::weights::source::{Kind, Source};
use pollster::block_on;

const STEP: usize = 7;

/// A server of small files, in chunks of `STEP` bytes.
struct Server {
    address: &'static str,
    version: &'static str,
    kind: Kind,
    files: BTreeMap<String, Vec<u8>>,
    /// Breaks off after so many chunks.
    breaks_after: Option<usize>,
    served: usize,
    rest: Vec<u8>,
}

impl Server {
    fn gguf() -> Self {
        Self::new(Kind::Gguf("m.gguf".into()), &[("m.gguf", 40)])
    }

    fn folder() -> Self {
        let files = [("config.json", 9), ("a.safetensors", 30), ("b.safetensors", 14)];
        Self { address: "http://models/folder/", ..Self::new(Kind::HuggingFace, &files) }
    }

    fn new(kind: Kind, files: &[(&str, usize)]) -> Self {
        let bytes = |length| (0..length).map(|i| (i * 31 % 251) as u8).collect();
        let files = files.iter().map(|(name, length)| ((*name).to_owned(), bytes(*length))).collect();
        let (address, version) = ("http://models/m", "v1");
        Self { address, version, kind, files, breaks_after: None, served: 0, rest: Vec::new() }
    }
}

impl Upstream for Server {
    type Bytes = Vec<u8>;

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

    async fn open(&mut self, file: &str) -> Result<Option<StoredFile>> {
        let Some(bytes) = self.files.get(file) else { return Ok(None) };
        self.rest = bytes.clone();
        let (validator, length) = (Some(self.version.into()), Some(bytes.len() as u64));
        Ok(Some(StoredFile { name: file.into(), validator, length, ..StoredFile::default() }))
    }

    async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        if self.breaks_after == Some(self.served) {
            return Err(Error::Truncated { name: "m".into(), expected: 40, got: 7 });
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.served += 1;
        Ok(Some(self.rest.drain(..STEP.min(self.rest.len())).collect()))
    }
}

type Reader = ReadThrough<Memory, Server>;

fn open(store: &Memory, server: Server) -> Reader {
    block_on(ReadThrough::open(Some(Ok(store.clone())), server))
}

/// Reads `limit` chunks of a weight file at most, as a loader does that wants no more.
fn read(source: &mut Reader, file: &str, limit: usize) -> Result<Vec<u8>> {
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

fn list(store: &Memory) -> Vec<Manifest> {
    block_on(store.list()).unwrap()
}

/// Loads the GGUF model into a store.
fn stored() -> Memory {
    let store = Memory::default();
    let mut source = open(&store, Server::gguf());
    read(&mut source, "m.gguf", usize::MAX).unwrap();
    block_on(source.finish());
    store
}

#[test]
fn a_model_is_stored_on_its_way_and_then_read_without_its_server() {
    let store = Memory::default();
    let mut source = open(&store, Server::gguf());
    assert!(!source.is_stored());
    let first = read(&mut source, "m.gguf", usize::MAX).unwrap();
    assert!(!list(&store)[0].complete, "complete only once the loader has accepted it");
    block_on(source.finish());

    let [manifest] = &list(&store)[..] else { panic!("one model") };
    assert!(manifest.complete && manifest.bytes() == 40);
    assert_eq!(manifest.id, "http://models/m#v1");
    assert_eq!(manifest.file("m.gguf").unwrap().chunks.len(), 6);

    let gone = Server { files: BTreeMap::new(), ..Server::gguf() };
    let mut again = open(&store, gone);
    assert!(again.is_stored());
    assert_eq!(read(&mut again, "m.gguf", usize::MAX).unwrap(), first);
    block_on(again.finish());
    assert!(list(&store)[0].last_used > manifest.last_used);

    let mut by_id = block_on(Reader::stored(store, &manifest.id)).unwrap();
    assert_eq!(read(&mut by_id, "m.gguf", usize::MAX).unwrap(), first);
}

#[test]
fn a_folder_is_stored_with_what_it_lacks() {
    let store = Memory::default();
    let mut source = open(&store, Server::folder());
    assert_eq!(block_on(source.small_file("tokenizer.json")).unwrap(), None);
    let config = block_on(source.small_file("config.json")).unwrap().unwrap();
    assert_eq!(block_on(source.small_file("chat_template.jinja")).unwrap(), None);
    let first = read(&mut source, "a.safetensors", usize::MAX).unwrap();
    let second = read(&mut source, "b.safetensors", usize::MAX).unwrap();
    assert_eq!(block_on(source.open("c.safetensors")), Err(Error::MissingFile { name: "c.safetensors".into() }));
    block_on(source.finish());

    let mut again = open(&store, Server::folder());
    assert!(again.is_stored() && again.kind() == Kind::HuggingFace);
    assert_eq!(block_on(again.small_file("config.json")).unwrap().unwrap(), config);
    assert_eq!(block_on(again.small_file("chat_template.jinja")).unwrap(), None);
    assert_eq!(read(&mut again, "b.safetensors", usize::MAX).unwrap(), second);
    assert_eq!(read(&mut again, "a.safetensors", usize::MAX).unwrap(), first, "in any order, and again");
    assert_eq!(read(&mut again, "a.safetensors", usize::MAX).unwrap(), first);
}

#[test]
fn what_the_loader_leaves_of_a_file_is_stored_too() {
    let store = Memory::default();
    let mut source = open(&store, Server::folder());
    read(&mut source, "a.safetensors", 2).unwrap();
    read(&mut source, "b.safetensors", 1).unwrap();
    block_on(source.finish());
    assert!(list(&store)[0].files.iter().all(StoredFile::is_whole));
}

#[test]
fn a_file_that_is_opened_twice_is_stored_once() {
    let store = Memory::default();
    let mut source = open(&store, Server::gguf());
    read(&mut source, "m.gguf", 2).unwrap();
    read(&mut source, "m.gguf", usize::MAX).unwrap();
    block_on(source.finish());
    assert!(list(&store)[0].file("m.gguf").unwrap().is_whole());
    assert_eq!(store.chunk_count(), 6);
}

#[test]
fn a_load_that_fails_leaves_nothing_and_takes_nothing() {
    let store = stored();
    let mut source = open(&store, Server { version: "v2", ..Server::folder() });
    read(&mut source, "a.safetensors", 2).unwrap();
    assert_eq!(list(&store).len(), 2, "the second model is under way");
    block_on(source.discard());
    assert_eq!(list(&store).len(), 1);
    assert_eq!(store.chunk_count(), 6);
}

#[test]
fn a_broken_download_is_an_error_and_the_next_attempt_starts_cleanly() {
    let store = Memory::default();
    let mut source = open(&store, Server { breaks_after: Some(3), ..Server::gguf() });
    assert!(matches!(read(&mut source, "m.gguf", usize::MAX), Err(Error::Truncated { .. })));
    // The tab is killed here: nobody discards.
    drop(source);
    let [half] = &list(&store)[..] else { panic!("what was stored is listed") };
    assert!(!half.complete);
    assert_eq!(block_on(Reader::stored(store.clone(), &half.id)).err().unwrap().code(), "store/corrupt");

    let mut source = open(&store, Server { version: "v2", ..Server::gguf() });
    read(&mut source, "m.gguf", usize::MAX).unwrap();
    block_on(source.finish());
    let [manifest] = &list(&store)[..] else { panic!("the half of v1 is gone") };
    assert!(manifest.complete && manifest.id.ends_with("#v2"));
    assert_eq!(store.chunk_count(), 6);
}

#[test]
fn a_full_store_does_not_stop_the_load() {
    let store = Memory::with_quota(20);
    let mut source = open(&store, Server::gguf());
    assert_eq!(read(&mut source, "m.gguf", usize::MAX).unwrap().len(), 40);
    block_on(source.finish());
    assert_eq!(source.not_stored().unwrap().code(), "store/quota");
    assert_eq!((list(&store).len(), store.chunk_count()), (0, 0));
}

#[test]
fn no_store_does_not_stop_the_load() {
    let unavailable = Error::StoreUnavailable { detail: "private window".into() };
    for store in [Some(Err(unavailable.clone())), None] {
        let asked_for = store.is_some();
        let mut source: Reader = block_on(ReadThrough::open(store, Server::gguf()));
        assert_eq!(read(&mut source, "m.gguf", usize::MAX).unwrap().len(), 40);
        block_on(source.finish());
        assert_eq!(source.not_stored(), asked_for.then_some(&unavailable));
    }
}

#[test]
fn a_damaged_record_is_told() {
    for damage in [None, Some(vec![1, 2, 3])] {
        let store = stored();
        store.damage("http://models/m#v1", "m.gguf", 14, damage);
        let mut source = open(&store, Server::gguf());
        let error = read(&mut source, "m.gguf", usize::MAX).unwrap_err();
        assert_eq!(error.code(), "store/corrupt");
        assert!(error.to_string().contains("m.gguf at byte 14"), "{error}");
        block_on(source.discard());
        assert_eq!(list(&store).len(), 1, "a stored model is not deleted behind the user's back");
    }
}

#[test]
fn a_writer_that_was_replaced_writes_nothing_more() {
    let store = Memory::default();
    let mut first = open(&store, Server::gguf());
    read(&mut first, "m.gguf", 2).unwrap();
    let mut second = open(&store, Server::gguf());
    read(&mut second, "m.gguf", usize::MAX).unwrap();
    block_on(second.finish());

    block_on(first.finish());
    assert_eq!(first.not_stored(), Some(&replaced()));
    assert!(list(&store)[0].complete, "the second tab's copy stays");
    assert_eq!(store.chunk_count(), 6);
}

#[test]
fn a_model_that_is_deleted_while_it_arrives_stays_deleted() {
    let store = Memory::default();
    let mut source = open(&store, Server::gguf());
    read(&mut source, "m.gguf", 2).unwrap();
    block_on(store.delete("http://models/m#v1")).unwrap();
    block_on(source.finish());
    assert_eq!(source.not_stored(), Some(&replaced()));
    assert_eq!((list(&store).len(), store.chunk_count()), (0, 0));
}

#[test]
fn a_version_stored_under_another_address_is_used_and_kept() {
    let store = stored();
    let mut source = open(&store, Server { address: "http://elsewhere/m", ..Server::gguf() });
    assert!(!source.is_stored());
    assert_eq!(read(&mut source, "m.gguf", usize::MAX).unwrap().len(), 40);
    assert!(source.is_stored(), "the first answer told that it is the same version");
    assert_eq!(list(&store).len(), 1);
}

#[test]
fn a_file_with_a_gap_is_not_whole() {
    let chunk = |start, length| Chunk { start, length };
    let file = |chunks| StoredFile { length: Some(10), chunks, ..StoredFile::default() };
    assert!(file(vec![chunk(0, 6), chunk(6, 4)]).is_whole());
    assert!(!file(vec![chunk(0, 6)]).is_whole());
    assert!(!file(vec![chunk(0, 5), chunk(6, 4)]).is_whole());
    assert!(!file(vec![chunk(6, 4)]).is_whole());
    assert!(StoredFile { length: Some(0), ..StoredFile::default() }.is_whole());
}
