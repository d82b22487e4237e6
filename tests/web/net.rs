//! A file over connections that break, against a `fetch` of our own.

use std::rc::Rc;

use js_sys::{Function, Uint8Array};
use pagellama::error::{Error, Result};
use pagellama::net::{Line, Remote};
use wasm_bindgen::JsValue;
use wasm_bindgen_test::wasm_bindgen_test;
use web_sys::{AbortController, AbortSignal};

const URL: &str = "https://x.test/m.gguf";
/// Bytes of the file that `SERVER` has.
const LENGTH: u64 = 100;
/// Bytes of a chunk.
const STEP: u32 = 40;

/// A server of the bytes 0 to 99: `part(first, end, how)` is its answer to a range.
///
/// `how` may name another `total`, `etag` or `status`, headers that are `hidden`, a `first` that it claims, and after how
/// many bytes it `cut`s the connection or `ends` the body.
const SERVER: &str = "
    const part = (first, end, how = {}) => {
        const bytes = Uint8Array.from({length: end - first}, (_, i) => first + i);
        const total = how.total ?? 100;
        const headers = {
            'content-range': `bytes ${how.first ?? first}-${end - 1}/${total}`,
            'content-length': String(end - first), etag: how.etag ?? '\"v1\"', ...how.more};
        for (const name of how.hidden ?? []) delete headers[name];
        const stop = how.cut ?? how.ends ?? bytes.length;
        let sent = false;
        const body = new ReadableStream({pull(c) {
            if (!sent && stop > 0) { sent = true; c.enqueue(bytes.slice(0, stop)); }
            else if (how.cut !== undefined) c.error(new TypeError('cut'));
            else c.close();
        }});
        return new Response(body, {status: how.status ?? 206, headers});
    };
    const whole = (how = {}) => part(0, 100, {status: 200, hidden: ['content-range'], ...how});
    const range = request.headers.get('range');
    const [first, end] = range ? range.slice(6).split('-').map((at, i) => Math.min(Number(at) + i, 100)) : [0, 100];
    self.asked.push(range ? `${first}-${end}` : 'all');
    const n = self.asked.length;
";

/// Runs `answer`, the body of `(request) => Response` after `SERVER`, in the place of `fetch`.
fn serve(answer: &str) {
    let set = format!(
        "self.asked = []; self.realFetch ??= self.fetch; self.fetch = async request => {{ {SERVER} {answer} }};"
    );
    Function::new_no_args(&set).call0(&JsValue::NULL).unwrap();
}

/// What was asked for, in order.
fn stop_serving() -> String {
    let told = Function::new_no_args("self.fetch = self.realFetch; return self.asked.join(' ')");
    told.call0(&JsValue::NULL).unwrap().as_string().unwrap()
}

fn signal() -> AbortSignal {
    AbortController::new().unwrap().signal()
}

/// Reads the file chunk after chunk.
async fn read(signal: &AbortSignal) -> Result<Vec<u8>> {
    let line = Line::new(signal, &Rc::default());
    let remote = Rc::new(Remote::open(URL, (0, u64::from(STEP)), false, &line).await?.remote);
    let mut bytes = Vec::new();
    loop {
        let left = remote.length.map_or(u64::from(STEP), |length| length - bytes.len() as u64);
        let length = STEP.min(u32::try_from(left).unwrap());
        let chunk: Uint8Array = remote.fetch(bytes.len() as u64, length).await?;
        bytes.extend(chunk.to_vec());
        if chunk.length() < STEP || remote.length == Some(bytes.len() as u64) {
            return Ok(bytes);
        }
    }
}

/// What reading ends in, and what was asked for meanwhile.
async fn outcome(answer: &str) -> (Result<Vec<u8>>, String) {
    serve(answer);
    let result = read(&signal()).await;
    (result, stop_serving())
}

async fn is_read(answer: &str, asked: &str) {
    let (result, seen) = outcome(answer).await;
    assert!(result.as_ref().is_ok_and(|bytes| bytes.iter().copied().eq(0..LENGTH as u8)), "{answer}: {result:?}");
    assert_eq!(seen, asked, "{answer}");
}

async fn fails_with(answer: &str, code: &str) {
    let (result, _) = outcome(answer).await;
    assert_eq!(result.as_ref().map_err(Error::code), Err(code), "{answer}: {result:?}");
}

#[wasm_bindgen_test]
async fn a_file_is_read_in_parts() {
    is_read("return part(first, end)", "0-40 40-80 80-100").await;
    is_read("return part(first, end, {etag: n % 2 ? 'W/\"v1\"' : '\"v1\"'})", "0-40 40-80 80-100").await;
}

#[wasm_bindgen_test]
async fn a_broken_part_goes_on_where_it_broke() {
    is_read("return part(first, end, n === 2 ? {cut: 10} : {})", "0-40 40-80 50-80 80-100").await;
    is_read("return part(first, end, n === 2 ? {ends: 10} : {})", "0-40 40-80 50-80 80-100").await;
    is_read("return part(first, end, n === 1 ? {cut: 7} : {})", "0-40 7-40 40-80 80-100").await;
    is_read("if (n === 2) throw new TypeError('no net'); return part(first, end)", "0-40 40-80 40-80 80-100").await;
}

#[wasm_bindgen_test]
async fn a_busy_server_is_asked_again() {
    for status in [408, 425, 429, 500, 502, 503, 504] {
        let answer = format!("return n === 1 || n === 3 ? new Response('', {{status: {status}}}) : part(first, end)");
        is_read(&answer, "0-40 0-40 40-80 40-80 80-100").await;
    }
    let later = "return n === 2 ? new Response('', {status: 429, headers: {'retry-after': '1'}}) : part(first, end)";
    let before = js_sys::Date::now();
    is_read(later, "0-40 40-80 40-80 80-100").await;
    assert!(js_sys::Date::now() - before >= 1000.0, "it asked for a second");
    fails_with("return new Response('', {status: 503, headers: {'retry-after': '99999'}})", "net/status").await;
}

#[wasm_bindgen_test]
async fn a_server_without_ranges_gives_one_stream() {
    is_read("return whole()", "0-40").await;
    // It broke, so all that came before comes once more.
    is_read("return whole(n === 1 ? {cut: 50} : {})", "0-40 all").await;
    is_read("return whole({hidden: ['content-length']})", "0-40").await;
}

#[wasm_bindgen_test]
async fn what_cors_hides_is_done_without() {
    is_read("return range ? part(first, end, {hidden: ['content-range']}) : whole()", "0-40 all").await;
    is_read("return part(first, end, {hidden: n > 1 ? ['content-range', 'etag'] : ['etag']})", "0-40 40-80 80-100")
        .await;
}

#[wasm_bindgen_test]
async fn another_version_is_told() {
    fails_with("return part(first, end, {etag: n > 1 ? '\"v2\"' : '\"v1\"'})", "net/changed").await;
    fails_with("return part(first, end, {total: n > 1 ? 101 : 100})", "net/changed").await;
    fails_with("return n > 1 ? new Response('', {status: 416}) : part(first, end)", "net/changed").await;
    fails_with("return whole(n === 1 ? {cut: 50} : {etag: '\"v2\"'})", "net/changed").await;
}

#[wasm_bindgen_test]
async fn a_wrong_part_is_not_taken() {
    is_read("return part(first, end, n === 2 ? {first: 0} : {})", "0-40 40-80 40-80 80-100").await;
    is_read("return n === 2 ? whole() : part(first, end)", "0-40 40-80 40-80 80-100").await;
}

#[wasm_bindgen_test]
async fn each_lasting_failure_has_its_error() {
    fails_with("throw new TypeError('no net')", "net/unreachable").await;
    let (status, asked) = outcome("return new Response('', {status: 404})").await;
    assert_eq!((status, asked), (Err(Error::Status { url: URL.into(), status: 404, reason: None }), "0-40".to_owned()));
    fails_with("return n > 1 ? new Response('', {status: 403}) : part(first, end)", "net/status").await;
}

#[wasm_bindgen_test]
async fn an_empty_file_has_no_bytes() {
    let empty = "return new Response('', {status: range ? 416 : 200, headers: {'content-length': '0'}})";
    let (result, _) = outcome(empty).await;
    assert_eq!(result, Ok(Vec::new()));
}

#[wasm_bindgen_test]
async fn a_server_that_never_answers_is_asked_again_on_another_connection() {
    // The first request hangs before its headers, as behind a proxy; given up, it must not hold its connection.
    let silent = "if (n === 2) return new Promise((_, reject) => {
        request.signal.addEventListener('abort', () => { self.asked.push('given up'); reject(request.signal.reason); });
    });
    return part(first, end)";
    is_read(silent, "0-40 40-80 given up 40-80 80-100").await;
}

#[wasm_bindgen_test]
async fn a_wait_can_be_stopped() {
    let controller = AbortController::new().unwrap();
    serve(
        "if (n === 1) setTimeout(() => self.stop(), 300); return new Response('', {status: 503, headers: {'retry-after': '60'}})",
    );
    let stop = controller.clone();
    let stop = wasm_bindgen::closure::Closure::<dyn FnMut()>::new(move || stop.abort());
    js_sys::Reflect::set(&js_sys::global(), &"stop".into(), stop.as_ref()).unwrap();
    let result = read(&controller.signal()).await;
    stop_serving();
    assert_eq!(result, Err(Error::Aborted));
}
