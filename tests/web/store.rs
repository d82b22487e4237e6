//! IndexedDB keeps what it was given; models from servers and files are read through it.

use std::rc::Rc;

use js_sys::{Array, Function, Promise, Reflect, Uint8Array};
use pagellama::digest::Digest;
use pagellama::error::{Error, Result};
use pagellama::gpu::tune::Choice;
use pagellama::ops::{Matmul, Matvec};
use pagellama::store::indexed_db::IndexedDb;
use pagellama::store::quantised::Quantised;
use pagellama::store::{CHUNK_BYTES, Chunk, Manifest, Store, StoredFile, replaced};
use pagellama::web::source::{Local, Server, WebSource, WebUpstream};
use pagellama::weights::source::Source;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::wasm_bindgen_test;
use web_sys::{AbortController, AbortSignal, Blob, File, Url};

/// Two chunks and a bit, so that chunk ends and pieces of the network do not meet.
const LENGTH: usize = 2 * CHUNK_BYTES as usize + 12_345;

/// A database of its own for each test.
pub async fn database() -> IndexedDb {
    IndexedDb::open(&format!("test-{}", js_sys::Math::random())).await.unwrap()
}

pub fn signal() -> AbortSignal {
    AbortController::new().unwrap().signal()
}

pub fn model(seed: u32) -> Vec<u8> {
    (0..LENGTH as u32).map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 24) as u8).collect()
}

fn file(name: &str, bytes: &[u8]) -> File {
    File::new_with_u8_array_sequence(&Array::of1(&Uint8Array::from(bytes)), name).unwrap()
}

fn blob_url(bytes: &[u8]) -> String {
    let blob = Blob::new_with_u8_array_sequence(&Array::of1(&Uint8Array::from(bytes))).unwrap();
    Url::create_object_url_with_blob(&blob).unwrap()
}

/// A URL of a server of our own: `answer` is the body of `(url) => Response`, run instead of `fetch`.
pub fn serve(answer: &str) {
    let set = "self.realFetch ??= self.fetch; self.fetch = async request => { const url = request.url; ANSWER };";
    Function::new_no_args(&set.replace("ANSWER", answer)).call0(&JsValue::NULL).unwrap();
}

pub fn stop_serving() {
    Function::new_no_args("self.fetch = self.realFetch").call0(&JsValue::NULL).unwrap();
}

fn server(url: &str) -> WebUpstream {
    WebUpstream::Server(Server::new(url, &signal(), &Rc::default()).unwrap())
}

pub async fn open(store: &IndexedDb, upstream: WebUpstream) -> WebSource {
    WebSource::open(Some(Ok(store.clone())), as_published(upstream), Rc::default()).await
}

fn as_published(upstream: WebUpstream) -> Quantised<WebUpstream> {
    Quantised::new(upstream, None, Rc::default())
}

/// A whole model as it stands in a store, with no place to repair it from.
fn at_rest(store: &IndexedDb, manifest: &Manifest) -> WebSource {
    WebSource::stored(store.clone(), manifest.clone(), None, Rc::default())
}

/// Reads the GGUF file of a source to its end.
pub async fn read(source: &mut WebSource) -> Result<Vec<u8>> {
    let pagellama::weights::source::Kind::Gguf(name) = source.kind() else { panic!("a GGUF file") };
    let (mut whole, mut chunk) = (Vec::new(), Vec::new());
    let length = source.open(&name).await?;
    while source.next_chunk(&mut chunk).await? {
        assert!(chunk.len() <= CHUNK_BYTES as usize);
        whole.extend_from_slice(&chunk);
    }
    assert_eq!(whole.len() as u64, length);
    Ok(whole)
}

fn manifest(id: &str) -> Manifest {
    let file = StoredFile { name: "f".into(), length: Some(3), ..StoredFile::default() };
    Manifest { id: id.into(), address: id.into(), name: id.into(), files: vec![file], ..Manifest::default() }
}

/// Stores a model of one chunk of three bytes.
async fn store_small(store: &IndexedDb, id: &str) -> Manifest {
    let mut manifest = manifest(id);
    store.begin(&mut manifest).await.unwrap();
    let chunk = Chunk { start: 0, length: 3, sha256: None };
    manifest.files[0].chunks.push(chunk.clone());
    store.put(&manifest, Some(("f", &chunk, &Uint8Array::from(&[1, 2, 3][..])))).await.unwrap();
    manifest
}

#[wasm_bindgen_test]
async fn what_is_put_is_got_and_what_is_deleted_is_gone() {
    let store = database().await;
    let kept = store_small(&store, "kept").await;
    store_small(&store, "gone").await;
    // A name that sorts right after, to see that the range of deletion ends.
    store_small(&store, "gone2").await;
    store.delete("gone").await.unwrap();
    store.delete("never was").await.unwrap();

    let mut models = store.list().await.unwrap();
    models.sort_by(|a, b| b.id.cmp(&a.id));
    assert_eq!(models.iter().map(|model| &model.id[..]).collect::<Vec<_>>(), ["kept", "gone2"]);
    assert!(models[0].last_used > 1.6e12, "milliseconds since 1970");
    assert_eq!(Manifest { last_used: kept.last_used, ..models[0].clone() }, kept);
    assert_eq!(store.get("kept", "f", 0).await.unwrap().unwrap().to_vec(), [1, 2, 3]);
    assert!(store.get("gone2", "f", 0).await.unwrap().is_some());
    assert!(store.get("gone", "f", 0).await.unwrap().is_none());
    assert!(store.get("kept", "f", 1).await.unwrap().is_none());
}

/// Runs `body`, in which `transaction(stores)` writes into the database `name` of `version`, made if need be by `upgrade`.
async fn write_by_hand(name: &str, version: u32, upgrade: &str, body: &str) {
    let write = Function::new_with_args(
        "name, version",
        &format!(
            "return new Promise((done, failed) => {{
                 const request = indexedDB.open(name, version);
                 request.onblocked = request.onerror = failed;
                 request.onupgradeneeded = () => {{ const database = request.result; {upgrade} }};
                 request.onsuccess = () => {{
                     const database = request.result;
                     const transaction = database.transaction([...database.objectStoreNames], 'readwrite');
                     const store = (name) => transaction.objectStore(name);
                     {body}
                     transaction.oncomplete = () => {{ database.close(); done(); }};
                 }};
             }})"
        ),
    );
    let written: Promise = write.call2(&JsValue::NULL, &name.into(), &version.into()).unwrap().unchecked_into();
    JsFuture::from(written).await.unwrap();
}

#[wasm_bindgen_test]
async fn the_choice_of_kernels_is_kept_and_what_makes_no_sense_is_passed_over() {
    let choice = |place: &str, version: &str| Choice {
        place: place.into(),
        version: version.into(),
        matvec: Matvec::Slices,
        matmul: Matmul::Shared,
    };
    let name = format!("test-{}", js_sys::Math::random());
    let store = IndexedDb::open(&name).await.unwrap();
    assert_eq!(store.choices().await, Ok(Vec::new()));
    for kept in [choice("here", "1"), choice("there", "1"), choice("here", "2")] {
        store.keep_choice(&kept).await.unwrap();
    }
    assert_eq!(store.choices().await, Ok(vec![choice("here", "2"), choice("there", "1")]));
    drop(store);
    let damage = "store('choices').put({place: 'there', version: 7});
         store('choices').put({place: 'else', version: '1', matvec: 'matvec_of_tomorrow', matmul: 'matmul'});";
    write_by_hand(&name, 2, "", damage).await;
    let store = IndexedDb::open(&name).await.unwrap();
    assert_eq!(store.choices().await, Ok(vec![choice("here", "2")]));
}

#[wasm_bindgen_test]
async fn a_store_of_the_first_version_keeps_its_models() {
    let name = format!("test-{}", js_sys::Math::random());
    let upgrade = "database.createObjectStore('models', {keyPath: 'id'}); database.createObjectStore('chunks');";
    let body =
        "store('models').put({id: 'm', address: 'm', name: 'm', files: [], complete: true, last_used: 1, writer: 1});
         store('chunks').put({bytes: new Uint8Array([1, 2, 3])}, ['m', 'f', 0]);";
    write_by_hand(&name, 1, upgrade, body).await;
    let store = IndexedDb::open(&name).await.unwrap();
    assert_eq!(store.list().await.unwrap()[0].id, "m");
    assert_eq!(store.get("m", "f", 0).await.unwrap().unwrap().to_vec(), [1, 2, 3]);
    assert_eq!(store.choices().await, Ok(Vec::new()));
}

#[wasm_bindgen_test]
async fn what_was_put_outlives_its_connection_and_futures() {
    let name = format!("test-{}", js_sys::Math::random());
    let store = IndexedDb::open(&name).await.unwrap();
    let mut manifest = store_small(&store, "m").await;
    manifest.complete = true;
    drop(store.put(&manifest, None));
    drop(store.get("m", "f", 0));
    drop(store);
    let store = IndexedDb::open(&name).await.unwrap();
    assert!(store.list().await.unwrap()[0].complete);
}

#[wasm_bindgen_test]
async fn a_writer_that_was_replaced_writes_nothing() {
    let store = database().await;
    let old = store_small(&store, "m").await;
    let new = store_small(&store, "m").await;
    assert_ne!(old.writer, new.writer);
    let chunk = Chunk { start: 3, length: 1, sha256: None };
    let late = store.put(&old, Some(("f", &chunk, &Uint8Array::from(&[9][..])))).await;
    assert_eq!(late, Err(replaced()));
    assert!(store.get("m", "f", 3).await.unwrap().is_none());
    store.delete("m").await.unwrap();
    assert_eq!(store.put(&new, None).await, Err(replaced()));
    assert!(store.list().await.unwrap().is_empty());
}

#[wasm_bindgen_test]
async fn a_url_is_stored_on_its_way_and_then_read_without_a_request() {
    let store = database().await;
    let bytes = model(1);
    let url = blob_url(&bytes);
    let mut source = open(&store, server(&url)).await;
    assert!(read(&mut source).await.unwrap() == bytes);
    source.finish().await.unwrap();
    assert!(source.traffic().not_stored().is_none());

    Url::revoke_object_url(&url).unwrap();
    let mut again = open(&store, server(&url)).await;
    assert!(again.is_stored());
    assert!(read(&mut again).await.unwrap() == bytes);
    let [manifest] = &store.list().await.unwrap()[..] else { panic!("one model") };
    assert!(manifest.complete && manifest.bytes() == LENGTH as u64);
    assert_eq!(manifest.files[0].chunks.len(), 3);

    store.delete(&manifest.id).await.unwrap();
    let mut gone = open(&store, server(&url)).await;
    assert_eq!(read(&mut gone).await.unwrap_err().code(), "net/unreachable");
}

#[wasm_bindgen_test]
async fn a_picked_file_is_stored_and_known_again() {
    let store = database().await;
    let bytes = model(2);
    let picked = file("tiny.GGUF", &bytes);
    let local = |file: &File| WebUpstream::Local(Local::new(vec![file.clone()], &signal()).unwrap());
    let mut source = open(&store, local(&picked)).await;
    assert!(read(&mut source).await.unwrap() == bytes);
    source.finish().await.unwrap();
    assert!(open(&store, local(&picked)).await.is_stored());

    let mut by_id = at_rest(&store, source.manifest());
    assert!(read(&mut by_id).await.unwrap() == bytes);
}

#[wasm_bindgen_test]
async fn picked_files_are_one_model() {
    let (a, b) = (file("a.gguf", b"a"), file("b.gguf", b"b"));
    let config = file("config.json", b"{}");
    let error = |files| Local::new(files, &signal()).unwrap_err().code();
    assert_eq!(error(vec![a.clone(), b]), "generate/bad-request");
    assert_eq!(error(vec![file("photo.jpg", b"x")]), "weights/not-a-model");
    let local = WebUpstream::Local(Local::new(vec![config], &signal()).unwrap());
    let mut folder = WebSource::open(None, as_published(local), Rc::default()).await;
    assert_eq!(folder.small_file("config.json").await.unwrap().unwrap(), b"{}");
    assert_eq!(folder.small_file("tokenizer.json").await.unwrap(), None);
}

/// Replaces the second chunk of the only model that is stored.
async fn damage(store: &IndexedDb, manifest: &Manifest, bytes: &[u8]) {
    let chunk = manifest.files[0].chunks[1].clone();
    store.put(manifest, Some((&manifest.files[0].name, &chunk, &Uint8Array::from(bytes)))).await.unwrap();
}

#[wasm_bindgen_test]
async fn a_damaged_chunk_is_found_and_fetched_again() {
    let store = database().await;
    let bytes = model(3);
    let url = blob_url(&bytes);
    let mut source = open(&store, server(&url)).await;
    read(&mut source).await.unwrap();
    source.finish().await.unwrap();
    let manifest = store.list().await.unwrap().remove(0);
    for damaged in [&[0; 5][..], &vec![0; CHUNK_BYTES as usize]] {
        damage(&store, &manifest, damaged).await;
        let error = read(&mut at_rest(&store, &manifest)).await.unwrap_err();
        assert_eq!(error.code(), "store/corrupt");
        assert!(error.to_string().contains(&format!("at byte {CHUNK_BYTES}")), "{error}");

        assert!(read(&mut open(&store, server(&url)).await).await.unwrap() == bytes);
        assert!(read(&mut at_rest(&store, &manifest)).await.unwrap() == bytes, "the repair lasts");
    }
}

#[wasm_bindgen_test]
async fn what_was_written_hashes_as_everybody_hashes() {
    let store = database().await;
    let bytes = model(7);
    let mut source = open(&store, server(&blob_url(&bytes))).await;
    read(&mut source).await.unwrap();
    source.finish().await.unwrap();
    let chunks = &source.manifest().files[0].chunks;
    let expected: Vec<_> = bytes.chunks(CHUNK_BYTES as usize).map(|chunk| Some(Digest::of(chunk))).collect();
    assert_eq!(chunks.iter().map(|chunk| chunk.sha256).collect::<Vec<_>>(), expected);
    assert_eq!(store.list().await.unwrap()[0].files[0].chunks, *chunks);
}

#[wasm_bindgen_test]
async fn a_model_is_taken_over_with_what_it_has() {
    let store = database().await;
    let first = store_small(&store, "m").await;
    let second = store.adopt("m").await.unwrap().unwrap();
    assert_ne!(first.writer, second.writer);
    assert_eq!(Manifest { writer: first.writer, last_used: first.last_used, ..second.clone() }, first);
    assert_eq!(store.put(&first, None).await, Err(replaced()));
    assert_eq!(store.put(&second, None).await, Ok(()));
    assert_eq!(store.adopt("never was").await.unwrap(), None);
}

#[wasm_bindgen_test]
async fn a_full_disk_keeps_what_it_has() {
    let store = database().await;
    let bytes = model(4);
    let url = blob_url(&bytes);
    let mut source = open(&store, server(&url)).await;
    // The browser's own exception, from the third chunk on.
    Function::new_no_args(
        "const put = IDBObjectStore.prototype.put; let left = 2;
         self.realPut = put;
         IDBObjectStore.prototype.put = function (...all) {
             if (this.name === 'chunks' && --left < 0) throw new DOMException('full', 'QuotaExceededError');
             return put.apply(this, all);
         }",
    )
    .call0(&JsValue::NULL)
    .unwrap();
    let outcome = match read(&mut source).await {
        Ok(_) => source.finish().await,
        Err(error) => Err(error),
    };
    let error = outcome.unwrap_err();
    source.abandon(&error).await;
    Function::new_no_args("IDBObjectStore.prototype.put = self.realPut").call0(&JsValue::NULL).unwrap();
    assert_eq!(error.code(), "store/quota");
    let [half] = &store.list().await.unwrap()[..] else { panic!("what is stored stays") };
    assert!(!half.complete);
    assert_eq!(half.bytes(), 2 * u64::from(CHUNK_BYTES));

    let mut source = open(&store, server(&url)).await;
    assert!(read(&mut source).await.unwrap() == bytes);
    source.finish().await.unwrap();
    assert!(store.list().await.unwrap()[0].complete);
}

#[wasm_bindgen_test]
async fn what_does_not_fit_is_refused() {
    let store = database().await;
    assert!(store.room().await.unwrap() > 0);
    let estimate = "navigator.storage.constructor.prototype.estimate";
    let replace = format!("self.realEstimate = {estimate}; {estimate} = async () => ({{quota: 5e6, usage: 4e6}})");
    Function::new_no_args(&replace).call0(&JsValue::NULL).unwrap();
    let refused = read(&mut open(&store, server(&blob_url(&model(8)))).await).await;
    Function::new_no_args(&format!("{estimate} = self.realEstimate")).call0(&JsValue::NULL).unwrap();
    assert_eq!(refused.unwrap_err(), Error::NoSpace { needed: LENGTH as u64, free: 1_000_000 });
    assert!(store.list().await.unwrap().is_empty());
}

/// Bytes that the browser says this site takes.
async fn usage() -> f64 {
    let usage = Function::new_no_args("return navigator.storage.estimate().then(({usage}) => usage)");
    let usage: Promise = usage.call0(&JsValue::NULL).unwrap().unchecked_into();
    JsFuture::from(usage).await.unwrap().as_f64().unwrap()
}

#[wasm_bindgen_test]
async fn deleting_frees_the_space() {
    let store = database().await;
    let before = usage().await;
    let mut source = open(&store, server(&blob_url(&model(12)))).await;
    read(&mut source).await.unwrap();
    source.finish().await.unwrap();
    // Less than was stored, as the browser compresses it.
    let taken = usage().await - before;
    assert!(taken > 1e6, "{taken}");
    store.delete(&source.manifest().id).await.unwrap();
    // The browser takes a while to clear up; the test's own time limit ends a wait that is in vain.
    while usage().await - before > taken / 10.0 {
        gloo_timers::future::TimeoutFuture::new(100).await;
    }
}

#[wasm_bindgen_test]
async fn a_browser_without_storage_does_not_stop_the_load() {
    let real = Reflect::get(&js_sys::global(), &"indexedDB".into()).unwrap();
    let define =
        Function::new_with_args("value", "Object.defineProperty(self, 'indexedDB', {value, configurable: true})");
    define.call1(&JsValue::NULL, &JsValue::UNDEFINED).unwrap();
    let store = IndexedDb::open("test").await;
    define.call1(&JsValue::NULL, &real).unwrap();
    assert_eq!(store.as_ref().err().unwrap().code(), "store/unavailable");
    let bytes = model(5);
    let mut source = WebSource::open(Some(store), as_published(server(&blob_url(&bytes))), Rc::default()).await;
    assert!(read(&mut source).await.unwrap() == bytes);
    assert_eq!(source.traffic().not_stored().unwrap().code(), "store/unavailable");
}

#[wasm_bindgen_test]
async fn chunks_that_no_manifest_names_are_swept() {
    let name = format!("test-{}", js_sys::Math::random());
    let store = IndexedDb::open(&name).await.unwrap();
    store_small(&store, "kept").await;
    store_small(&store, "lost").await;
    let lose = Function::new_with_args(
        "name",
        "return new Promise((done) => {
             const request = indexedDB.open(name);
             request.onsuccess = () => {
                 const transaction = request.result.transaction('models', 'readwrite');
                 transaction.objectStore('models').delete('lost');
                 transaction.oncomplete = () => { request.result.close(); done(); };
             };
         })",
    );
    let lost: Promise = lose.call1(&JsValue::NULL, &name.into()).unwrap().unchecked_into();
    JsFuture::from(lost).await.unwrap();
    assert!(store.get("lost", "f", 0).await.unwrap().is_some());
    store.sweep().await.unwrap();
    assert!(store.get("lost", "f", 0).await.unwrap().is_none());
    assert!(store.get("kept", "f", 0).await.unwrap().is_some());
}

#[wasm_bindgen_test]
async fn a_download_can_be_stopped() {
    // A server that has sent one chunk, and no more by the time of the stop.
    serve(&format!(
        "const body = new ReadableStream({{start(to) {{
             to.enqueue(new Uint8Array({CHUNK_BYTES}));
             request.signal.addEventListener('abort', () => to.error(request.signal.reason));
         }}}});
         return new Response(body, {{headers: {{'content-length': {LENGTH}}}}});"
    ));
    let controller = AbortController::new().unwrap();
    let server = Server::new("https://stalled.test/m.gguf", &controller.signal(), &Rc::default()).unwrap();
    let upstream = WebUpstream::Server(server);
    let store = database().await;
    let mut source = open(&store, upstream).await;
    let pagellama::weights::source::Kind::Gguf(name) = source.kind() else { panic!("a GGUF file") };
    source.open(&name).await.unwrap();
    let mut chunk = Vec::new();
    assert_eq!(source.next_chunk(&mut chunk).await, Ok(true));
    controller.abort();
    assert_eq!(source.next_chunk(&mut chunk).await, Err(Error::Aborted));
    stop_serving();
    source.abandon(&Error::Aborted).await;
    assert!(store.list().await.unwrap()[0].bytes() >= u64::from(CHUNK_BYTES), "to go on from");
}

#[wasm_bindgen_test]
async fn a_newer_schema_waits_for_no_old_tab_and_loses_nothing() {
    let name = format!("test-{}", js_sys::Math::random());
    let old = IndexedDb::open(&name).await.unwrap();
    let mut manifest = store_small(&old, "m").await;
    // Under way while the newer version asks.
    let chunk = Chunk { start: 3, length: 2, sha256: None };
    manifest.files[0].chunks.push(chunk.clone());
    let writing = old.put(&manifest, Some(("f", &chunk, &Uint8Array::from(&[4, 5][..]))));
    let upgrade = Function::new_with_args(
        "name",
        "return new Promise((done, failed) => {
             const request = indexedDB.open(name, 1000);
             request.onblocked = request.onerror = failed;
             request.onsuccess = () => {
                 const chunks = request.result.transaction('chunks').objectStore('chunks').getAll();
                 chunks.onsuccess = () => {
                     request.result.close();
                     done(chunks.result.map(({bytes}) => [...bytes].join()).join(' '));
                 };
             };
         })",
    );
    let upgraded: Promise = upgrade.call1(&JsValue::NULL, &name.clone().into()).unwrap().unchecked_into();
    let chunks = JsFuture::from(upgraded).await.unwrap();
    assert_eq!(chunks.as_string().unwrap(), "1,2,3 4,5");
    assert_eq!(writing.await, Ok(()));
    assert_eq!(old.list().await, Err(Error::StoreOutdated));
    assert_eq!(IndexedDb::open(&name).await.err(), Some(Error::StoreOutdated), "an old page that comes later");
}
