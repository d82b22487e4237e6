//! IndexedDB keeps what it was given; models from servers and files are read through it.

use js_sys::{Array, Function, Promise, Reflect, Uint8Array};
use pagellama::error::{Error, Result};
use pagellama::net;
use pagellama::store::indexed_db::IndexedDb;
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
async fn database() -> IndexedDb {
    IndexedDb::open(&format!("test-{}", js_sys::Math::random())).await.unwrap()
}

fn signal() -> AbortSignal {
    AbortController::new().unwrap().signal()
}

fn model(seed: u32) -> Vec<u8> {
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
fn serve(answer: &str) {
    let set = "self.realFetch ??= self.fetch; self.fetch = async request => { const url = request.url; ANSWER };";
    Function::new_no_args(&set.replace("ANSWER", answer)).call0(&JsValue::NULL).unwrap();
}

fn stop_serving() {
    Function::new_no_args("self.fetch = self.realFetch").call0(&JsValue::NULL).unwrap();
}

fn server(url: &str) -> WebUpstream {
    WebUpstream::Server(Server::new(url, &signal()).unwrap())
}

async fn open(store: &IndexedDb, upstream: WebUpstream) -> WebSource {
    WebSource::open(Some(Ok(store.clone())), upstream).await
}

/// Reads the GGUF file of a source to its end.
async fn read(source: &mut WebSource) -> Result<Vec<u8>> {
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
    let chunk = Chunk { start: 0, length: 3 };
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
    let chunk = Chunk { start: 3, length: 1 };
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
    source.finish().await;
    assert!(source.not_stored().is_none());

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
    source.finish().await;
    assert!(open(&store, local(&picked)).await.is_stored());

    let id = source.manifest().id.clone();
    let mut by_id = WebSource::stored(store, &id).await.unwrap();
    assert!(read(&mut by_id).await.unwrap() == bytes);
}

#[wasm_bindgen_test]
async fn picked_files_are_one_model() {
    let (a, b) = (file("a.gguf", b"a"), file("b.gguf", b"b"));
    let config = file("config.json", b"{}");
    let error = |files| Local::new(files, &signal()).unwrap_err().code();
    assert_eq!(error(vec![a.clone(), b]), "generate/bad-request");
    assert_eq!(error(vec![file("photo.jpg", b"x")]), "weights/not-a-model");
    let mut folder = WebSource::open(None, WebUpstream::Local(Local::new(vec![config], &signal()).unwrap())).await;
    assert_eq!(folder.small_file("config.json").await.unwrap().unwrap(), b"{}");
    assert_eq!(folder.small_file("tokenizer.json").await.unwrap(), None);
}

#[wasm_bindgen_test]
async fn a_damaged_record_is_told() {
    let store = database().await;
    let url = blob_url(&model(3));
    let mut source = open(&store, server(&url)).await;
    read(&mut source).await.unwrap();
    source.finish().await;
    let manifest = store.list().await.unwrap().remove(0);
    let chunk = Chunk { start: u64::from(CHUNK_BYTES), length: 5 };
    let name = &manifest.files[0].name;
    store.put(&manifest, Some((name, &chunk, &Uint8Array::from(&[0; 5][..])))).await.unwrap();
    let error = read(&mut open(&store, server(&url)).await).await.unwrap_err();
    assert_eq!(error.code(), "store/corrupt");
    assert!(error.to_string().contains(&format!("at byte {CHUNK_BYTES}")), "{error}");
}

#[wasm_bindgen_test]
async fn a_full_disk_does_not_stop_the_load() {
    let store = database().await;
    let kept = store_small(&store, "kept").await;
    let bytes = model(4);
    let mut source = open(&store, server(&blob_url(&bytes))).await;
    // The browser's own exception, from the second chunk on.
    Function::new_no_args(
        "const put = IDBObjectStore.prototype.put; let left = 3;
         self.realPut = put;
         IDBObjectStore.prototype.put = function (...all) {
             if (this.name === 'chunks' && --left < 2) throw new DOMException('full', 'QuotaExceededError');
             return put.apply(this, all);
         }",
    )
    .call0(&JsValue::NULL)
    .unwrap();
    let read = read(&mut source).await;
    source.finish().await;
    Function::new_no_args("IDBObjectStore.prototype.put = self.realPut").call0(&JsValue::NULL).unwrap();
    assert!(read.unwrap() == bytes);
    assert_eq!(source.not_stored().unwrap().code(), "store/quota");
    let models = store.list().await.unwrap();
    assert_eq!(models.iter().map(|model| &model.id).collect::<Vec<_>>(), [&kept.id]);
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
    let mut source = WebSource::open(Some(store), server(&blob_url(&bytes))).await;
    assert!(read(&mut source).await.unwrap() == bytes);
    assert_eq!(source.not_stored().unwrap().code(), "store/unavailable");
}

#[wasm_bindgen_test]
async fn a_hub_folder_stays_at_the_commit_of_its_first_file() {
    serve(
        "const bodies = {
             'https://hub.test/o/n/resolve/refs%2Fpr%2F1/config.json': '{}',
             'https://hub.test/o/n/resolve/abc/model.safetensors': 'weights',
         };
         if (url.endsWith('.jinja')) return new Response('<html>', {headers: {'content-type': 'text/html; x=y'}});
         if (!(url in bodies)) return new Response('no', {status: 404});
         return new Response(bodies[url], {headers: {'x-repo-commit': 'abc', 'content-length': bodies[url].length}});",
    );
    let hub = Server::hub("o/n", Some("refs/pr/1"), Some("https://hub.test/"), &signal()).unwrap();
    let store = database().await;
    let mut source = open(&store, WebUpstream::Server(hub)).await;
    assert_eq!(source.small_file("config.json").await.unwrap().unwrap(), b"{}");
    assert_eq!(source.small_file("tokenizer.json").await.unwrap(), None);
    assert_eq!(source.small_file("chat_template.jinja").await.unwrap(), None, "a page is no template");
    assert_eq!(source.open("model.safetensors").await.unwrap(), 7);
    assert_eq!(source.open("../../x").await.unwrap_err().code(), "weights/not-a-model");
    source.finish().await;
    stop_serving();
    let manifest = source.manifest();
    assert_eq!((&manifest.id[..], &manifest.name[..]), ("https://hub.test/o/n/resolve/abc/", "o/n"));
    assert!(manifest.complete && manifest.bytes() == 9);
}

#[wasm_bindgen_test]
fn a_hub_file_is_a_url() {
    use pagellama::store::read_through::Upstream;
    let hub = |repository| Server::hub(repository, None, None, &signal()).map(WebUpstream::Server);
    let gguf = hub("o/n/sub dir/m.gguf").unwrap();
    assert_eq!(gguf.address(), "https://huggingface.co/o/n/resolve/main/sub%20dir/m.gguf");
    assert_eq!((gguf.name(), hub("o/n").unwrap().name()), ("m.gguf", "o/n"));
    assert_eq!(hub("o").unwrap_err().code(), "generate/bad-request");
    assert_eq!(hub("o/n/../../x").unwrap_err().code(), "generate/bad-request");
}

/// What a fetch of an answer ends in.
async fn outcome(answer: &str) -> Result<u64> {
    serve(answer);
    let fetched = net::fetch("https://x.test/m.gguf", &signal()).await;
    stop_serving();
    let mut download = fetched?;
    let mut bytes = 0;
    while let Some(chunk) = download.next().await? {
        bytes += u64::from(chunk.byte_length());
    }
    Ok(bytes)
}

#[wasm_bindgen_test]
async fn each_failure_of_a_server_has_its_error() {
    let url = "https://x.test/m.gguf".to_owned();
    let announced = |length| format!("return new Response('12345', {{headers: {{'content-length': {length}}}}})");
    assert_eq!(outcome(&announced(5)).await, Ok(5));
    assert_eq!(outcome("return new Response('12345')").await, Ok(5));
    assert_eq!(outcome(&announced(9)).await, Err(Error::Truncated { name: url.clone(), expected: 9, got: 5 }));
    assert_eq!(outcome(&announced(3)).await.unwrap_err().code(), "net/answer");
    let elsewhere = "return Object.defineProperty(new Response('12345', {headers: {'content-length': 3}}), 'type', {value: 'cors'})";
    assert_eq!(outcome(elsewhere).await, Ok(5), "another site's, which may be compressed");
    assert_eq!(outcome("throw new TypeError('no net')").await.unwrap_err().code(), "net/unreachable");
    let status = outcome("return new Response('', {status: 503})").await;
    assert_eq!(status, Err(Error::Status { url: url.clone(), status: 503 }));
    let breaks = "let n = 0; return new Response(new ReadableStream({pull(c) {
        if (n++) c.error(new TypeError('cut')); else c.enqueue(new Uint8Array(4)); }}), {headers: {'content-length': 9}})";
    assert_eq!(outcome(breaks).await, Err(Error::Truncated { name: url, expected: 9, got: 4 }));
}

#[wasm_bindgen_test]
async fn a_download_can_be_stopped() {
    let controller = AbortController::new().unwrap();
    let upstream = WebUpstream::Server(Server::new(&blob_url(&model(6)), &controller.signal()).unwrap());
    let store = database().await;
    let mut source = open(&store, upstream).await;
    let pagellama::weights::source::Kind::Gguf(name) = source.kind() else { panic!("a GGUF file") };
    source.open(&name).await.unwrap();
    let mut chunk = Vec::new();
    source.next_chunk(&mut chunk).await.unwrap();
    controller.abort();
    // What the browser has already is still handed out; the rest is not.
    let stopped = loop {
        match source.next_chunk(&mut chunk).await {
            Ok(true) => {}
            other => break other,
        }
    };
    assert_eq!(stopped, Err(Error::Aborted));
    source.discard().await;
    assert!(store.list().await.unwrap().is_empty());
}

#[wasm_bindgen_test]
async fn a_newer_schema_closes_an_old_connection() {
    let name = format!("test-{}", js_sys::Math::random());
    let old = IndexedDb::open(&name).await.unwrap();
    let upgrade = Function::new_with_args(
        "name",
        "return new Promise((done, failed) => {
             const request = indexedDB.open(name, 1000);
             request.onsuccess = () => { request.result.close(); done(); };
             request.onblocked = request.onerror = failed;
         })",
    );
    let upgraded: Promise = upgrade.call1(&JsValue::NULL, &name.into()).unwrap().unchecked_into();
    JsFuture::from(upgraded).await.unwrap();
    assert_eq!(old.list().await.unwrap_err().code(), "store/unavailable");
}
