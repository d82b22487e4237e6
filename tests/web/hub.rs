//! Hugging Face hubs: addresses, commits, and what they say of their files' bytes.

use std::rc::Rc;

use js_sys::{Function, Reflect, Uint8Array};
use pagellama::digest::Digest;
use pagellama::error::{Error, Result};
use pagellama::store::upstream::Upstream;
use pagellama::store::{CHUNK_BYTES, Store};
use pagellama::web::source::{Server, WebUpstream};
use pagellama::weights::source::{Kind, Source};
use wasm_bindgen::JsValue;
use wasm_bindgen_test::wasm_bindgen_test;

use super::store::{database, model, open, read, serve, signal, stop_serving};

#[wasm_bindgen_test]
async fn a_hub_folder_stays_at_the_commit_of_its_first_file() {
    serve(
        "const bodies = {
             'https://hub.test/o/n/resolve/refs%2Fpr%2F1/config.json': '{}',
             'https://hub.test/o/n/resolve/abc0000000000000000000000000000000000000/model.safetensors': 'weights',
         };
         if (url.endsWith('.jinja')) return new Response('<html>', {headers: {'content-type': 'text/html; x=y'}});
         if (!(url in bodies)) return new Response('no', {status: 404});
         return new Response(bodies[url], {headers: {'x-repo-commit': 'abc0000000000000000000000000000000000000', 'content-length': bodies[url].length}});",
    );
    let hub = Server::hub("o/n", Some("refs/pr/1"), Some("https://hub.test/"), &signal(), &Rc::default()).unwrap();
    let store = database().await;
    let mut source = open(&store, WebUpstream::Server(hub)).await;
    assert_eq!(source.small_file("config.json").await.unwrap().unwrap(), b"{}");
    assert_eq!(source.small_file("tokenizer.json").await.unwrap(), None);
    assert_eq!(source.small_file("chat_template.jinja").await.unwrap(), None, "a page is no template");
    assert_eq!(source.open("model.safetensors").await.unwrap(), 7);
    assert_eq!(source.open("../../x").await.unwrap_err().code(), "weights/not-a-model");
    source.finish().await.unwrap();
    stop_serving();
    let manifest = source.manifest();
    assert_eq!(
        (&manifest.id[..], &manifest.name[..]),
        ("https://hub.test/o/n/resolve/abc0000000000000000000000000000000000000/", "o/n")
    );
    assert!(manifest.complete && manifest.bytes() == 9);
}

const V1: &str = "1111111111111111111111111111111111111111";
const V2: &str = "2222222222222222222222222222222222222222";

/// A hub with one file of 9 MiB in one repository, whose branch `main` is at `commit`.
fn serve_hub(commit: &str, bytes: &[u8], sha256: Digest) {
    let file = Uint8Array::from(bytes);
    Reflect::set(&js_sys::global(), &"hubFile".into(), &file).unwrap();
    serve(&format!(
        "self.hubAsked ??= []; self.hubAsked.push(url);
         if (url === 'https://hub.test/api/models/o/n/revision/main?blobs=true'
             || url === 'https://hub.test/api/models/o/n/revision/{commit}?blobs=true')
             return Response.json({{sha: '{commit}', siblings: [
                 {{rfilename: 'README.md'}}, {{rfilename: 'q/m.gguf', lfs: {{sha256: '{sha256}'}}}}]}});
         if (!/\\/resolve\\/(1+|2+|main)\\/q\\/m.gguf$/.test(url)) return new Response('no', {{status: 404}});
         const [first, last] = request.headers.get('range').slice(6).split('-').map(Number);
         const part = self.hubFile.slice(first, last + 1);
         const range = `bytes ${{first}}-${{first + part.length - 1}}/${{self.hubFile.length}}`;
         return new Response(part, {{status: 206, headers: {{'content-range': range}}}});"
    ));
}

fn hub() -> WebUpstream {
    let hub = Server::hub("o/n/q/m.gguf", None, Some("https://hub.test"), &signal(), &Rc::default());
    WebUpstream::Server(hub.unwrap())
}

#[wasm_bindgen_test]
async fn a_hub_says_what_its_large_files_hash_to() {
    let (store, bytes) = (database().await, model(9));
    serve_hub(V1, &bytes, Digest::of(&bytes));
    let mut source = open(&store, hub()).await;
    assert!(read(&mut source).await.unwrap() == bytes);
    source.finish().await.unwrap();
    assert_eq!(source.manifest().id, "https://hub.test/o/n/resolve/1111111111111111111111111111111111111111/q/m.gguf");
    assert_eq!(source.manifest().files[0].sha256, Some(Digest::of(&bytes)));

    let store = database().await;
    serve_hub(V1, &bytes, Digest::of(b"another file"));
    let mut source = open(&store, hub()).await;
    let error = read(&mut source).await.unwrap_err();
    stop_serving();
    assert_eq!(error, Error::Digest { name: "m.gguf".into(), part: None });
    source.abandon(&error).await;
    assert!(store.list().await.unwrap().is_empty());
}

#[wasm_bindgen_test]
async fn a_download_from_a_hub_goes_on_at_its_commit() {
    let (store, bytes) = (database().await, model(10));
    serve_hub(V1, &bytes, Digest::of(&bytes));
    let mut source = open(&store, hub()).await;
    let mut chunk = Vec::new();
    source.open("m.gguf").await.unwrap();
    source.next_chunk(&mut chunk).await.unwrap();
    source.abandon(&Error::Aborted).await;

    serve_hub(V2, &bytes, Digest::of(b"the next version"));
    Function::new_no_args("self.hubAsked = []").call0(&JsValue::NULL).unwrap();
    let mut source = open(&store, hub()).await;
    assert!(read(&mut source).await.unwrap() == bytes);
    source.finish().await.unwrap();
    stop_serving();
    let asked = Function::new_no_args("return self.hubAsked.filter((url) => url.includes('/resolve/')).join(' ')");
    let asked = asked.call0(&JsValue::NULL).unwrap().as_string().unwrap();
    assert!(!asked.is_empty() && asked.split(' ').all(|url| url.contains(V1)), "{asked}");
    assert_eq!(store.list().await.unwrap().len(), 1);
}

#[wasm_bindgen_test]
async fn a_repository_is_looked_at_again_where_nothing_came_of_a_download() {
    let (store, bytes) = (database().await, model(12));
    serve_hub(V1, &bytes, Digest::of(&bytes));
    let repository = || {
        let hub = Server::hub("o/n", None, Some("https://hub.test"), &signal(), &Rc::default());
        WebUpstream::Server(hub.unwrap())
    };
    for _ in 0..2 {
        let mut source = open(&store, repository()).await;
        source.settle().await.unwrap();
        assert_eq!(source.kind(), Kind::Gguf("m.gguf".into()));
        source.open("m.gguf").await.unwrap();
        source.abandon(&Error::Aborted).await;
        assert_eq!(store.list().await.unwrap()[0].bytes(), 0);
    }
    // A hub that is out of order says nothing of what it has.
    let answer = "self.fetch = async () => new Response('', {status: 501})";
    Function::new_no_args(&answer.replace("501", "403")).call0(&JsValue::NULL).unwrap();
    assert_eq!(open(&database().await, repository()).await.settle().await.unwrap_err().code(), "hub/gated");
    Function::new_no_args(answer).call0(&JsValue::NULL).unwrap();
    let mut source = open(&database().await, repository()).await;
    source.settle().await.unwrap();
    stop_serving();
    assert_eq!(source.kind(), Kind::HuggingFace, "a mirror without a list");
}

#[wasm_bindgen_test]
async fn a_branch_is_not_a_commit() {
    let (store, bytes) = (database().await, model(11));
    // Like a hub, but it tells neither commits nor digests.
    let etag = |etag: &str| {
        serve_hub("none", &bytes, Digest::of(b""));
        let answer = format!(
            "const real = self.fetch; self.fetch = async (request) => {{
                 if (request.url.includes('/api/')) return new Response('', {{status: 404}});
                 const answer = await real(request); answer.headers.set('etag', '{etag}'); return answer; }}"
        );
        Function::new_no_args(&answer).call0(&JsValue::NULL).unwrap();
    };
    for _ in 0..2 {
        etag("v1");
        let mut source = open(&store, hub()).await;
        source.open("m.gguf").await.unwrap();
        source.next_chunk(&mut Vec::new()).await.unwrap();
        source.abandon(&Error::Aborted).await;
        let [half] = &store.list().await.unwrap()[..] else { panic!("one model") };
        assert!(half.id.contains("/resolve/main/") && half.id.contains("v1"), "{}", half.id);
        assert!(half.bytes() >= u64::from(CHUNK_BYTES));
    }
    etag("v2");
    let mut source = open(&store, hub()).await;
    source.open("m.gguf").await.unwrap();
    stop_serving();
    let [new] = &store.list().await.unwrap()[..] else { panic!("one model") };
    assert!(new.id.contains("v2") && new.bytes() == 0, "the branch moved on");
}

#[wasm_bindgen_test]
fn a_hub_file_is_a_url() {
    let hub = |repository| Server::hub(repository, None, None, &signal(), &Rc::default()).map(WebUpstream::Server);
    let gguf = hub("o/n/sub dir/m.gguf").unwrap();
    assert_eq!(gguf.address(), "https://huggingface.co/o/n/resolve/main/sub%20dir/m.gguf");
    assert_eq!((gguf.name(), hub("o/n").unwrap().name()), ("m.gguf", "o/n"));
    assert_eq!(hub("o").err().unwrap().code(), "generate/bad-request");
    assert_eq!(hub("o/n/../../x").err().unwrap().code(), "generate/bad-request");
}

/// A hub that lists `files` and gives `bytes` for each, to those who show `Bearer secret` if it `is_gated`.
fn serve_files(files: &[&str], bytes: &[u8], is_gated: bool) {
    Reflect::set(&js_sys::global(), &"hubFile".into(), &Uint8Array::from(bytes)).unwrap();
    let siblings: Vec<String> = files.iter().map(|name| format!("{{rfilename: '{name}', size: 5}}")).collect();
    let siblings = siblings.join(", ");
    serve(&format!(
        "if ({is_gated} && request.headers.get('authorization') !== 'Bearer secret')
             return new Response('', {{status: 401, headers: {{'x-error-code': 'GatedRepo'}}}});
         if (url.includes('/api/models/o/n/')) return Response.json({{sha: '{V1}', siblings: [{siblings}]}});
         const name = url.split(/resolve\\/[^/]+\\//)[1];
         if (![{siblings}].some(({{rfilename}}) => rfilename === name)) return new Response('', {{status: 404}});
         const [first, last] = request.headers.get('range').slice(6).split('-').map(Number);
         const part = self.hubFile.slice(first, last + 1);
         const range = `bytes ${{first}}-${{first + part.length - 1}}/${{self.hubFile.length}}`;
         return new Response(part, {{status: 206, headers: {{'content-range': range}}}});"
    ));
}

fn repository(name: &str) -> Server {
    Server::hub(name, None, Some("https://hub.test"), &signal(), &Rc::default()).unwrap()
}

/// What settling says of a repository with these files.
async fn settled(name: &str, files: &[&str]) -> Result<Kind> {
    serve_files(files, b"", false);
    let mut upstream = WebUpstream::Server(repository(name));
    let settled = upstream.settle(None).await;
    stop_serving();
    settled.map(|()| upstream.kind())
}

#[wasm_bindgen_test]
async fn a_repository_is_the_one_model_that_it_holds() {
    let gguf = |name: &str| Ok(Kind::Gguf(name.into()));
    assert_eq!(settled("o/n", &["config.json", "model.safetensors"]).await, Ok(Kind::HuggingFace));
    assert_eq!(settled("o/n", &["README.md", "q/m.gguf"]).await, gguf("m.gguf"));
    assert_eq!(
        settled("o/n", &["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]).await,
        gguf("m-00001-of-00002.gguf")
    );
    assert_eq!(settled("o/n/", &["config.json", "model.safetensors", "m.gguf"]).await, Ok(Kind::HuggingFace));
    let several = settled("o/n", &["a.gguf", "b.gguf", "config.json"]).await.unwrap_err();
    assert_eq!(several.code(), "hub/several");
    assert!(several.to_string().ends_with("a.gguf, b.gguf"), "{several}");
    let pytorch = settled("o/n", &["config.json", "pytorch_model.bin"]).await.unwrap_err();
    assert!(pytorch.code() == "weights/not-a-model" && pytorch.to_string().contains("PyTorch"), "{pytorch}");
}

#[wasm_bindgen_test]
async fn a_repository_goes_on_with_the_file_that_it_began_with() {
    let (store, bytes) = (database().await, model(12));
    serve_files(&["q/m.gguf"], &bytes, false);
    let mut source = open(&store, WebUpstream::Server(repository("o/n"))).await;
    source.settle().await.unwrap();
    source.open("m.gguf").await.unwrap();
    source.next_chunk(&mut Vec::new()).await.unwrap();
    source.abandon(&Error::Aborted).await;
    // Meanwhile there is more to choose from.
    serve_files(&["a.gguf", "q/m.gguf"], &bytes, false);
    let mut source = open(&store, WebUpstream::Server(repository("o/n"))).await;
    source.settle().await.unwrap();
    assert!(read(&mut source).await.unwrap() == bytes);
    source.finish().await.unwrap();
    // Whole, it needs no hub.
    stop_serving();
    let mut source = open(&store, WebUpstream::Server(repository("o/n"))).await;
    source.settle().await.unwrap();
    assert!(source.is_stored() && source.kind() == Kind::Gguf("m.gguf".into()));
    assert!(read(&mut source).await.unwrap() == bytes);
}

#[wasm_bindgen_test]
async fn a_token_opens_what_is_gated() {
    let bytes = model(13);
    serve_files(&["m.gguf"], &bytes, true);
    let attempt = async |token: Option<&str>| {
        let server = repository("o/n").with_token(token).unwrap();
        let mut source = open(&database().await, WebUpstream::Server(server)).await;
        source.settle().await?;
        read(&mut source).await
    };
    assert_eq!(attempt(None).await, Err(Error::HubGated { repository: "o/n".into(), token: false }));
    let refused = attempt(Some("another")).await.unwrap_err();
    assert_eq!(refused, Error::HubGated { repository: "o/n".into(), token: true });
    assert!(!refused.to_string().contains("another"));
    assert!(attempt(Some(" secret\n")).await.unwrap() == bytes);
    stop_serving();
}

#[wasm_bindgen_test]
fn a_token_is_never_told_nor_sent_in_the_clear() {
    for (token, address) in [
        ("with space", "https://hub.test/"),
        ("sécret", "https://hub.test/"),
        ("", "https://hub.test/"),
        ("s", "http://hub.test/"),
    ] {
        let server = Server::new(address, &signal(), &Rc::default()).unwrap();
        let error = server.with_token(Some(token)).err().unwrap();
        assert_eq!(error.code(), "generate/bad-request");
        assert!(token.len() < 2 || !error.to_string().contains(token), "{error}");
    }
    for address in ["http://127.0.0.1:9/", "http://localhost:9/"] {
        assert!(Server::new(address, &signal(), &Rc::default()).unwrap().with_token(Some("s")).is_ok());
    }
}

#[wasm_bindgen_test]
async fn each_refusal_of_a_hub_has_its_error() {
    let refused = async |name: &str, status: u16, reason: &str| {
        let reason = if reason.is_empty() { String::new() } else { format!("'x-error-code': '{reason}'") };
        serve(&format!("return new Response('', {{status: {status}, headers: {{{reason}}}}})"));
        let mut source = open(&database().await, WebUpstream::Server(repository(name))).await;
        let settled = source.settle().await;
        let file = if name.ends_with(".gguf") { "m.gguf" } else { "config.json" };
        let error = match settled {
            Ok(()) => source.open(file).await.unwrap_err(),
            Err(error) => error,
        };
        stop_serving();
        error.code()
    };
    for name in ["o/n", "o/n/m.gguf"] {
        assert_eq!(refused(name, 401, "GatedRepo").await, "hub/gated");
        assert_eq!(refused(name, 403, "").await, "hub/gated");
        assert_eq!(refused(name, 401, "RepoNotFound").await, "hub/no-repository");
        assert_eq!(refused(name, 404, "RepoNotFound").await, "hub/no-repository");
        assert_eq!(refused(name, 404, "RevisionNotFound").await, "hub/no-revision");
    }
    // A mirror that has no words for it.
    assert_eq!(refused("o/n", 404, "").await, "hub/no-repository");
    assert_eq!(refused("o/n/m.gguf", 404, "").await, "hub/no-file");
    assert_eq!(refused("o/n/m.gguf", 418, "").await, "net/status");
}
