//! The store's contract and reading through it, natively: what is kept, what is gone on with, what is not kept.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::common::upstream::{Reader, Server, list, open, read, stored};
use pagellama::error::Error;
use pagellama::store::memory::Memory;
use pagellama::store::read_through::ReadThrough;
use pagellama::store::{Chunk, Store, StoredFile, replaced};
use pagellama::weights::source::{Kind, Source};
use pollster::block_on;

#[test]
fn a_model_is_stored_on_its_way_and_then_read_without_its_server() {
    let store = Memory::default();
    let mut source = open(&store, Server::gguf());
    assert!(!source.is_stored());
    let first = read(&mut source, "m.gguf", usize::MAX).unwrap();
    assert!(!list(&store)[0].complete, "complete only once the loader has accepted it");
    block_on(source.finish()).unwrap();

    let [manifest] = &list(&store)[..] else { panic!("one model") };
    assert!(manifest.complete && manifest.bytes() == 40);
    assert_eq!(manifest.id, "http://models/m#v1");
    assert_eq!(manifest.file("m.gguf").unwrap().chunks.len(), 6);

    let gone = Server { files: BTreeMap::new(), ..Server::gguf() };
    let mut again = open(&store, gone);
    assert!(again.is_stored());
    assert_eq!(read(&mut again, "m.gguf", usize::MAX).unwrap(), first);
    block_on(again.finish()).unwrap();
    assert!(list(&store)[0].last_used > manifest.last_used);

    let mut by_id = Reader::stored(store, manifest.clone(), None, Rc::default());
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
    block_on(source.finish()).unwrap();

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
    block_on(source.finish()).unwrap();
    assert!(list(&store)[0].files.iter().all(StoredFile::is_whole));
}

#[test]
fn a_file_that_is_opened_twice_is_stored_once() {
    let store = Memory::default();
    let mut source = open(&store, Server::gguf());
    read(&mut source, "m.gguf", 2).unwrap();
    read(&mut source, "m.gguf", usize::MAX).unwrap();
    block_on(source.finish()).unwrap();
    assert!(list(&store)[0].file("m.gguf").unwrap().is_whole());
    assert_eq!(store.chunk_count(), 6);
}

#[test]
fn a_source_of_no_use_leaves_nothing_and_takes_nothing() {
    let store = stored();
    let mut source = open(&store, Server { version: "v2", ..Server::folder() });
    read(&mut source, "a.safetensors", 2).unwrap();
    assert_eq!(list(&store).len(), 2, "the second model is under way");
    block_on(source.abandon(&Error::BadHeader { detail: "no magic".into() }));
    assert_eq!(list(&store).len(), 1);
    assert_eq!(store.chunk_count(), 6);
}

#[test]
fn a_broken_download_goes_on_from_the_last_stored_chunk() {
    let store = Memory::default();
    let whole = read(&mut open(&Memory::default(), Server::gguf()), "m.gguf", usize::MAX).unwrap();
    for (breaks_after, abandoned) in [(2, false), (1, true), (1, false)] {
        let mut source = open(&store, Server { breaks_after: Some(breaks_after), ..Server::gguf() });
        let error = read(&mut source, "m.gguf", usize::MAX).unwrap_err();
        assert_eq!(error.code(), "net/truncated");
        // Otherwise the tab is killed here.
        if abandoned {
            block_on(source.abandon(&error));
        }
    }
    let [half] = &list(&store)[..] else { panic!("what was stored is listed") };
    assert!(!half.complete);
    assert_eq!((half.bytes(), half.total()), (28, Some(40)));
    let mut refused = Reader::stored(store.clone(), half.clone(), None, Rc::default());
    assert_eq!(read(&mut refused, "m.gguf", 1).unwrap_err().code(), "store/corrupt");

    let server = Server::gguf();
    let mut source = open(&store, server.clone());
    assert_eq!(read(&mut source, "m.gguf", usize::MAX).unwrap(), whole);
    block_on(source.finish()).unwrap();
    assert_eq!(server.starts("m.gguf"), [28, 35], "what was stored is not fetched again");
    assert!(list(&store)[0].complete);
}

#[test]
fn a_download_that_had_all_but_its_end_asks_for_nothing() {
    let store = Memory::default();
    let mut source = open(&store, Server::gguf());
    read(&mut source, "m.gguf", usize::MAX).unwrap();
    drop(source);
    let gone = Server { files: BTreeMap::new(), ..Server::gguf() };
    let mut source = open(&store, gone);
    assert_eq!(read(&mut source, "m.gguf", usize::MAX).unwrap().len(), 40);
    block_on(source.finish()).unwrap();
    assert!(list(&store)[0].complete);
}

#[test]
fn a_newer_version_takes_the_place_of_an_unfinished_one() {
    let store = Memory::default();
    let mut source = open(&store, Server { breaks_after: Some(3), ..Server::gguf() });
    read(&mut source, "m.gguf", usize::MAX).unwrap_err();
    drop(source);
    let mut source = open(&store, Server { version: "v2", ..Server::gguf() });
    read(&mut source, "m.gguf", usize::MAX).unwrap();
    block_on(source.finish()).unwrap();
    let [manifest] = &list(&store)[..] else { panic!("the half of v1 is gone") };
    assert!(manifest.complete && manifest.id.ends_with("#v2"));
    assert_eq!(store.chunk_count(), 6);
}

#[test]
fn a_folder_goes_on_in_the_middle_of_a_file() {
    let store = Memory::default();
    let mut source = open(&store, Server { breaks_after: Some(4), ..Server::folder() });
    block_on(source.small_file("config.json")).unwrap();
    read(&mut source, "a.safetensors", usize::MAX).unwrap_err();
    drop(source);
    let server = Server::folder();
    let mut source = open(&store, server.clone());
    block_on(source.small_file("config.json")).unwrap();
    assert_eq!(read(&mut source, "a.safetensors", usize::MAX).unwrap(), server.files["a.safetensors"]);
    assert_eq!(read(&mut source, "b.safetensors", usize::MAX).unwrap(), server.files["b.safetensors"]);
    block_on(source.finish()).unwrap();
    assert!(server.starts("config.json").is_empty());
    assert_eq!((server.starts("a.safetensors"), server.starts("b.safetensors")), (vec![14, 21, 28], vec![0, 7]));
}

#[test]
fn a_file_that_changes_between_two_visits_is_told() {
    let store = Memory::default();
    let mut source = open(&store, Server { breaks_after: Some(4), ..Server::folder() });
    block_on(source.small_file("config.json")).unwrap();
    read(&mut source, "a.safetensors", usize::MAX).unwrap_err();
    drop(source);
    let mut server = Server::folder();
    let mut source = open(&store, server.clone());
    block_on(source.small_file("config.json")).unwrap();
    server.version = "v2";
    source = open(&store, server);
    // The folder's first file names the version, so this is another model.
    block_on(source.small_file("config.json")).unwrap();
    let ids: Vec<_> = list(&store).into_iter().map(|model| model.id).collect();
    assert_eq!(ids, ["http://models/m#v2"]);
}

#[test]
fn a_file_that_is_missing_for_a_moment_costs_nothing() {
    let store = Memory::default();
    let mut source = open(&store, Server::folder());
    read(&mut source, "a.safetensors", usize::MAX).unwrap();
    let error = block_on(source.open("c.safetensors")).unwrap_err();
    block_on(source.abandon(&error));
    assert_eq!(list(&store)[0].bytes(), 30);
}

#[test]
fn a_file_whose_length_nobody_tells_is_gone_on_with() {
    let store = Memory::default();
    let untold = || Server { tells_length: false, ..Server::folder() };
    let mut source = open(&store, untold());
    block_on(source.small_file("config.json")).unwrap();
    drop(source);
    let server = untold();
    let mut source = open(&store, server.clone());
    assert_eq!(block_on(source.small_file("config.json")).unwrap().unwrap(), server.files["config.json"]);
    assert!(server.starts("config.json").iter().all(|start| *start >= 7), "{:?}", server.starts("config.json"));
}

#[test]
fn a_full_store_keeps_what_it_has_and_goes_on_later() {
    let store = Memory::default();
    let full = Memory::clone(&store).limited(20);
    // The browser's estimate was wrong: there seemed to be room.
    let mut source = open(&full.clone().estimating(100), Server::gguf());
    let error = read(&mut source, "m.gguf", usize::MAX).unwrap_err();
    assert_eq!(error.code(), "store/quota");
    block_on(source.abandon(&error));
    assert_eq!(list(&store)[0].bytes(), 14);

    let server = Server::gguf();
    let mut source = open(&store, server.clone());
    read(&mut source, "m.gguf", usize::MAX).unwrap();
    block_on(source.finish()).unwrap();
    assert_eq!(server.starts("m.gguf"), [14, 21, 28, 35]);
}

#[test]
fn what_does_not_fit_is_refused_before_its_first_byte() {
    let store = Memory::default().limited(39);
    let server = Server::gguf();
    let mut source = open(&store, server.clone());
    let error = read(&mut source, "m.gguf", usize::MAX).unwrap_err();
    assert_eq!(error, Error::NoSpace { needed: 40, free: 39 });
    assert!(server.starts("m.gguf").is_empty() && list(&store).is_empty());

    let mut folder = open(&store, Server::folder());
    read(&mut folder, "a.safetensors", 1).unwrap();
    assert_eq!(block_on(folder.reserve(53)), Err(Error::NoSpace { needed: 46, free: 32 }));
}

#[test]
fn no_store_does_not_stop_the_load() {
    let unavailable = Error::StoreUnavailable { detail: "private window".into() };
    for store in [Some(Err(unavailable.clone())), None] {
        let asked_for = store.is_some();
        let mut source: Reader = block_on(ReadThrough::open(store, Server::gguf(), Rc::default()));
        assert_eq!(read(&mut source, "m.gguf", usize::MAX).unwrap().len(), 40);
        block_on(source.finish()).unwrap();
        assert_eq!(source.traffic().not_stored(), asked_for.then(|| unavailable.clone()));
    }
}

#[test]
fn a_writer_that_was_replaced_writes_nothing_more() {
    let store = Memory::default();
    let mut first = open(&store, Server::gguf());
    read(&mut first, "m.gguf", 2).unwrap();
    let mut second = open(&store, Server::gguf());
    read(&mut second, "m.gguf", usize::MAX).unwrap();
    block_on(second.finish()).unwrap();

    block_on(first.finish()).unwrap();
    assert_eq!(first.traffic().not_stored(), Some(replaced()));
    assert!(list(&store)[0].complete, "the second tab's copy stays");
    assert_eq!(store.chunk_count(), 6);
}

#[test]
fn a_model_that_is_deleted_while_it_arrives_stays_deleted() {
    let store = Memory::default();
    let mut source = open(&store, Server::gguf());
    read(&mut source, "m.gguf", 2).unwrap();
    block_on(store.delete("http://models/m#v1")).unwrap();
    block_on(source.finish()).unwrap();
    assert_eq!(source.traffic().not_stored(), Some(replaced()));
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
    let chunk = |start, length| Chunk { start, length, sha256: None };
    let file = |chunks| StoredFile { length: Some(10), chunks, ..StoredFile::default() };
    assert!(file(vec![chunk(0, 6), chunk(6, 4)]).is_whole());
    assert!(!file(vec![chunk(0, 6)]).is_whole());
    assert!(!file(vec![chunk(0, 5), chunk(6, 4)]).is_whole());
    assert!(!file(vec![chunk(6, 4)]).is_whole());
    assert!(StoredFile { length: Some(0), ..StoredFile::default() }.is_whole());
}
