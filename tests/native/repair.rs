//! Bytes that are not what they were: found, fetched again, or refused.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::common::upstream::{Reader, Server, list, open, read, stored};
use pagellama::digest::{Digest, FileDigests};
use pagellama::error::Error;
use pagellama::store::memory::Memory;
use pagellama::store::{CHUNK_BYTES, Chunk, Manifest, Store, StoredFile};
use pollster::block_on;

/// The ways in which a disk fails: a record is lost, cut short, or has other bytes.
fn damages() -> [Option<Vec<u8>>; 3] {
    [None, Some(vec![1, 2, 3]), Some(vec![9; 7])]
}

#[test]
fn a_damaged_chunk_is_fetched_again_alone() {
    let whole = Server::gguf().files["m.gguf"].clone();
    for damage in damages() {
        let store = stored();
        store.damage("http://models/m#v1", "m.gguf", 14, damage);
        let server = Server::gguf();
        assert_eq!(read(&mut open(&store, server.clone()), "m.gguf", usize::MAX).unwrap(), whole);
        assert_eq!(server.starts("m.gguf"), [14]);
        let server = Server::gguf();
        assert_eq!(read(&mut open(&store, server.clone()), "m.gguf", usize::MAX).unwrap(), whole);
        assert!(server.starts("m.gguf").is_empty(), "the repair lasts");
    }
}

#[test]
fn damage_that_cannot_be_repaired_is_told_by_its_place() {
    let elsewhere = Server { files: BTreeMap::new(), ..Server::gguf() };
    let mut other_bytes = Server::gguf();
    other_bytes.files.insert("m.gguf".into(), vec![0; 40]);
    for server in [elsewhere, other_bytes] {
        for damage in damages() {
            let store = stored();
            store.damage("http://models/m#v1", "m.gguf", 14, damage);
            let mut source = open(&store, server.clone());
            let error = read(&mut source, "m.gguf", usize::MAX).unwrap_err();
            assert_eq!(error.code(), "store/corrupt");
            assert!(error.to_string().contains("m.gguf is missing or damaged at byte 14"), "{error}");
            block_on(source.abandon(&error));
            assert_eq!(list(&store).len(), 1, "a stored model is not deleted behind the user's back");
        }
    }
}

#[test]
fn verifying_counts_and_repairs() {
    let store = stored();
    let id = "http://models/m#v1";
    let verify = |server: Option<Server>| {
        let mut source = Reader::stored(store.clone(), list(&store)[0].clone(), server, Rc::default());
        let mut seen = Vec::new();
        let verified = block_on(source.verify(&mut |done, total| {
            seen.push((done, total));
            true
        }));
        assert_eq!((seen.len(), seen.last()), (6, Some(&(40, 40))));
        verified.unwrap()
    };
    assert!(verify(None).damaged.is_empty());
    store.damage(id, "m.gguf", 7, None);
    store.damage(id, "m.gguf", 35, Some(vec![0; 5]));
    let found = verify(None);
    assert_eq!((found.chunks, found.repaired), (6, 0));
    assert_eq!(found.damaged.iter().map(|damage| (damage.start, damage.length)).collect::<Vec<_>>(), [(7, 7), (35, 5)]);
    assert_eq!(verify(Some(Server::gguf())).repaired, 2);
    assert!(verify(None).damaged.is_empty());
}

#[test]
fn a_store_from_before_hashes_is_read_and_gets_them() {
    let store = stored();
    let mut old = list(&store).remove(0);
    old.files[0].chunks.iter_mut().for_each(|chunk| chunk.sha256 = None);
    block_on(store.put(&old, None)).unwrap();
    let gone = Server { files: BTreeMap::new(), ..Server::gguf() };
    let mut source = open(&store, gone);
    read(&mut source, "m.gguf", usize::MAX).unwrap();
    block_on(source.finish()).unwrap();
    assert!(list(&store)[0].files[0].chunks.iter().all(|chunk| chunk.sha256.is_some()));
}

#[test]
fn a_file_that_is_not_what_its_publisher_says_is_refused() {
    let store = Memory::default();
    let right = Server::gguf().files["m.gguf"].clone();
    let mut source = open(&store, Server::gguf().with_digest(&right));
    read(&mut source, "m.gguf", usize::MAX).unwrap();
    block_on(source.finish()).unwrap();
    block_on(store.delete("http://models/m#v1")).unwrap();

    for wanted in [usize::MAX, 2] {
        let mut source = open(&store, Server::gguf().with_digest(b"another file"));
        let read = read(&mut source, "m.gguf", wanted).map(drop);
        let error = read.and_then(|()| block_on(source.finish())).unwrap_err();
        assert_eq!(error, Error::Digest { name: "m.gguf".into(), part: None });
        block_on(source.abandon(&error));
        assert_eq!((list(&store).len(), store.chunk_count()), (0, 0));
    }
}

#[test]
fn a_digest_of_the_whole_covers_what_was_stored_before() {
    let store = Memory::default();
    let right = Server::gguf().files["m.gguf"].clone();
    let mut flipped = Server { breaks_after: Some(3), flips: (7, 1), ..Server::gguf() }.with_digest(&right);
    flipped.connections = 1;
    read(&mut open(&store, flipped), "m.gguf", usize::MAX).unwrap_err();
    let mut source = open(&store, Server::gguf().with_digest(&right));
    assert_eq!(read(&mut source, "m.gguf", usize::MAX).unwrap_err().code(), "net/digest");
}

/// Bytes of 4 MiB and a half, with what their publisher says of each chunk of 4 MiB.
fn large() -> Server {
    let bytes: Vec<u8> = (0..CHUNK_BYTES as usize * 3 / 2).map(|i| (i * 31 % 251) as u8).collect();
    let chunks = bytes.chunks(CHUNK_BYTES as usize).map(Digest::of).collect();
    let mut server = Server { step: CHUNK_BYTES, ..Server::gguf() };
    server.digests.insert("m.gguf".into(), FileDigests { sha256: None, chunks });
    server.files.insert("m.gguf".into(), bytes);
    server
}

#[test]
fn a_chunk_that_is_not_what_its_publisher_says_is_fetched_again() {
    let chunk = u64::from(CHUNK_BYTES);
    let (store, server) = (Memory::default(), Server { flips: (chunk, 2), ..large() });
    let mut source = open(&store, server.clone());
    assert!(read(&mut source, "m.gguf", usize::MAX).unwrap() == server.files["m.gguf"]);
    assert_eq!(server.starts("m.gguf"), [0, chunk, chunk, chunk]);

    let (store, server) = (Memory::default(), Server { flips: (chunk, 99), ..large() });
    let mut source = open(&store, server.clone());
    let error = read(&mut source, "m.gguf", usize::MAX).unwrap_err();
    assert_eq!(error, Error::Digest { name: "m.gguf".into(), part: Some(chunk) });
    block_on(source.abandon(&error));
    assert_eq!(list(&store)[0].bytes(), chunk, "what was right stays");
}

#[test]
fn a_stored_model_that_its_publisher_no_longer_gives_is_not_what_is_asked_for() {
    let store = stored();
    let right = Server::gguf().files["m.gguf"].clone();
    // Until now nobody said what it hashes to: it is hashed once, while it is read.
    let mut source = open(&store, Server::gguf().with_digest(b"another file"));
    assert!(source.is_stored());
    assert_eq!(read(&mut source, "m.gguf", usize::MAX).unwrap_err().code(), "net/digest");
    let mut source = open(&store, Server::gguf().with_digest(&right));
    read(&mut source, "m.gguf", usize::MAX).unwrap();
    block_on(source.finish()).unwrap();
    assert_eq!(list(&store)[0].files[0].sha256, Some(Digest::of(&right)));

    let mut new = Server { version: "v2", ..Server::gguf() };
    new.files.insert("m.gguf".into(), vec![7; 40]);
    let mut source = open(&store, new.with_digest(&[7; 40]));
    assert!(!source.is_stored(), "the publisher's is another one");
    assert_eq!(read(&mut source, "m.gguf", usize::MAX).unwrap(), [7; 40]);
    block_on(source.finish()).unwrap();
    assert_eq!(list(&store).len(), 2, "the old one stays until somebody deletes it");
}

#[test]
fn a_digest_that_was_known_once_is_held_against_the_file_later() {
    let store = Memory::default();
    let broken = Server { breaks_after: Some(3), ..Server::gguf() }.with_digest(b"another file");
    read(&mut open(&store, broken), "m.gguf", usize::MAX).unwrap_err();
    // The second visit is told no digest: its hub is busy.
    let error = read(&mut open(&store, Server::gguf()), "m.gguf", usize::MAX).unwrap_err();
    assert_eq!(error.code(), "net/digest");
}

#[test]
fn one_bad_file_of_many_comes_again_alone() {
    let store = Memory::default();
    let mut server = Server::folder();
    let sha256 = Some(Digest::of(b"another file"));
    server.digests.insert("b.safetensors".into(), FileDigests { sha256, ..FileDigests::default() });
    let mut source = open(&store, server);
    read(&mut source, "a.safetensors", usize::MAX).unwrap();
    let error = read(&mut source, "b.safetensors", usize::MAX).unwrap_err();
    block_on(source.abandon(&error));
    let [rest] = &list(&store)[..] else { panic!("the good file stays") };
    assert_eq!((rest.bytes(), store.chunk_count()), (30, 5));
    assert!(rest.file("a.safetensors").unwrap().is_whole());
}

#[test]
fn chunk_lists_that_make_no_sense_count_as_none() {
    let chunk = |start, length| Chunk { start, length, sha256: None };
    let lists = [
        vec![chunk(0, 0)],
        vec![chunk(0, CHUNK_BYTES + 1)],
        vec![chunk(0, u32::MAX)],
        vec![chunk(7, 7), chunk(0, 7)],
        vec![chunk(0, 7), chunk(6, 7)],
        vec![chunk(u64::MAX, 7)],
    ];
    let model = |chunks: &[Chunk]| {
        let file = StoredFile { length: Some(14), chunks: chunks.to_vec(), ..StoredFile::default() };
        Manifest { files: vec![file], complete: true, ..Manifest::default() }.checked()
    };
    for list in &lists {
        let checked = model(list);
        assert!(!checked.complete && checked.files[0].chunks.is_empty(), "{list:?}");
    }
    let sound = model(&[chunk(0, 7), chunk(7, 7)]);
    assert!(sound.complete && sound.files[0].is_whole());
}
