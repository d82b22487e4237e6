//! One request and its answer, whose bytes stay outside the wasm heap.

use std::future::Future;

use futures_util::future::{Either, select};
use gloo_timers::future::TimeoutFuture;
use js_sys::{Array, Reflect, Uint8Array};
use serde::de::DeserializeOwned;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    AbortController, AbortSignal, Headers, ReferrerPolicy, Request, RequestCache, RequestInit, Response, Url,
    WorkerGlobalScope,
};

use super::body::BodyReader;
use super::line::Line;
use super::patience::{Failure, Patience};
use crate::error::{Error, Result};

/// A connection over which nothing comes for so long is dead, whatever the system says of it. Milliseconds.
const STALL: u32 = 15_000;
/// What a hub says of a repository is a few hundred bytes a file. Bytes.
const JSON_BYTES: usize = 16 << 20;

/// What a server said of a file, and its bytes. Dropping it ends the request.
#[derive(Debug)]
pub(super) struct Answer {
    /// What was asked for; of what a redirect led to elsewhere, the server alone, as the rest may be a key to the file.
    pub url: String,
    /// HTTP status code.
    pub status: u16,
    /// What a Hugging Face hub calls its refusal.
    pub reason: Option<String>,
    /// Whether it is a part of the file (206).
    pub partial: bool,
    /// Place in the file of its next byte.
    pub at: u64,
    /// Length of the whole file in bytes; none where the server, or CORS, hides it.
    pub length: Option<u64>,
    /// Bytes that the body is announced to have.
    pub body: Option<u64>,
    /// ETag, else Last-Modified, as far as CORS lets them be seen. `W/` says nothing about a file that is not compressed.
    pub validator: Option<String>,
    /// The commit that a Hugging Face hub resolved the revision to.
    pub commit: Option<String>,
    /// Media type, without its parameters.
    pub media_type: Option<String>,
    /// Seconds after which the server wants to be asked again.
    pub retry_after: Option<f64>,
    body_reader: Option<BodyReader>,
    _end: EndsRequest,
}

/// Ends a request that nobody waits for any more, whether its answer has begun or not.
#[derive(Debug)]
struct EndsRequest(AbortController);

impl Drop for EndsRequest {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Asks for a file, or the bytes from `range.0` to before `range.1`; the line's signal ends the request at any time.
///
/// A range of this form needs no preflight (Fetch, "CORS-safelisted request-header"), and keeps servers from compressing. A
/// token needs one.
pub(super) async fn ask(url: &str, range: Option<(u64, u64)>, line: &Line) -> Result<Answer> {
    let signal = &line.signal;
    let end = EndsRequest(AbortController::new().map_err(|error| failure(url, signal, &error))?);
    let either = AbortSignal::any(&Array::of2(signal, &end.0.signal()));
    let response = match in_time(url, request(url, range, line, &either)).await? {
        Ok(response) => response,
        Err(error) => return Err(failure(url, signal, &error)),
    };
    let header = |name| response.headers().get(name).ok().flatten();
    let place = header("content-range").as_deref().and_then(content_range);
    let encoded = header("content-encoding").is_some();
    let body = header("content-length").filter(|_| !encoded).and_then(|length| length.parse().ok());
    let (status, partial) = (response.status(), response.status() == 206);
    Ok(Answer {
        url: elsewhere(url, &response.url()).unwrap_or_else(|| url.to_owned()),
        status,
        reason: header("x-error-code"),
        partial,
        at: match place {
            Some((first, _)) if partial => first,
            _ => range.filter(|_| partial).map_or(0, |(first, _)| first),
        },
        length: if partial || status == 416 { place.and_then(|(_, total)| total) } else { body },
        body,
        validator: header("etag")
            .map(|etag| etag.trim_start_matches("W/").to_owned())
            .or_else(|| header("last-modified")),
        commit: header("x-repo-commit"),
        media_type: header("content-type").and_then(|media| media.split(';').next().map(str::to_owned)),
        retry_after: header("retry-after").as_deref().and_then(retry_after),
        body_reader: response.body().map(|body| BodyReader::new(&body, &line.spares)),
        _end: end,
    })
}

/// The origin of where a redirect has led, if that is another one.
fn elsewhere(asked: &str, came_from: &str) -> Option<String> {
    let (asked, came_from) = (Url::new(asked).ok()?.origin(), Url::new(came_from).ok()?.origin());
    (asked != came_from).then_some(came_from)
}

async fn request(
    url: &str,
    range: Option<(u64, u64)>,
    line: &Line,
    signal: &AbortSignal,
) -> std::result::Result<Response, JsValue> {
    let init = RequestInit::new();
    init.set_signal(Some(signal));
    // What is worth keeping goes to our own store; the browser's cache would hold it a second time.
    init.set_cache(RequestCache::NoStore);
    init.set_referrer_policy(ReferrerPolicy::NoReferrer);
    let headers = Headers::new()?;
    if let Some((first, end)) = range {
        headers.set("range", &format!("bytes={first}-{}", end.saturating_sub(1)))?;
    }
    if let Some(authorization) = line.token.as_ref().and_then(|token| token.authorization(url)) {
        headers.set("authorization", &authorization)?;
    }
    init.set_headers(&headers);
    let request = Request::new_with_str_and_init(url, &init)?;
    let scope: WorkerGlobalScope = js_sys::global().unchecked_into();
    Ok(JsFuture::from(scope.fetch_with_request(&request)).await?.unchecked_into())
}

impl Answer {
    /// At most `most` of the next bytes; none at the end of the body. They are to be copied before the next ones are
    /// asked for.
    pub async fn piece(&mut self, most: u32, signal: &AbortSignal) -> Result<Option<Uint8Array>> {
        let Some(reader) = &mut self.body_reader else { return Ok(None) };
        let piece = in_time(&self.url, reader.read(most)).await?.map_err(|error| failure(&self.url, signal, &error))?;
        self.at += piece.as_ref().map_or(0, |piece| u64::from(piece.byte_length()));
        Ok(piece)
    }

    /// What to tell of an answer that is none.
    pub fn refusal(&self) -> Failure {
        let error = Error::Status { url: self.url.clone(), status: self.status, reason: self.reason.clone() };
        Failure { error, retry_after: self.retry_after }
    }
}

/// A small answer, as JSON.
pub async fn small_json<T: DeserializeOwned>(url: &str, line: &Line) -> Result<T> {
    let mut patience = Patience::with_a_stranger();
    let text = loop {
        match small_text(url, line).await {
            Ok(text) => break text,
            Err(failure) => patience.wait(failure, &line.signal, &line.traffic).await?,
        }
    };
    serde_json::from_slice(&text).map_err(|error| Error::Answer { url: url.to_owned(), detail: error.to_string() })
}

async fn small_text(url: &str, line: &Line) -> std::result::Result<Vec<u8>, Failure> {
    let mut answer = ask(url, None, line).await?;
    if answer.status != 200 {
        return Err(answer.refusal());
    }
    let mut text = Vec::new();
    while let Some(piece) = answer.piece(u32::MAX, &line.signal).await? {
        text.extend_from_slice(&piece.to_vec());
        if text.len() > JSON_BYTES {
            return Err(Error::NotAModel { detail: format!("{url} is larger than {JSON_BYTES} bytes") }.into());
        }
    }
    Ok(text)
}

/// What comes of `future`, unless it takes longer than a living connection would.
async fn in_time<T>(url: &str, future: impl Future<Output = T>) -> Result<T> {
    match select(Box::pin(future), TimeoutFuture::new(STALL)).await {
        Either::Left((value, _)) => Ok(value),
        Either::Right(_) => {
            let detail = format!("nothing came for {} seconds", STALL / 1000);
            Err(Error::Unreachable { url: url.to_owned(), detail })
        }
    }
}

/// A request that failed: by the caller's wish, or for a reason that browsers do not give away.
fn failure(url: &str, signal: &AbortSignal, error: &JsValue) -> Error {
    if signal.aborted() {
        return Error::Aborted;
    }
    let detail = Reflect::get(error, &"message".into()).ok().and_then(|message| message.as_string());
    Error::Unreachable { url: url.to_owned(), detail: detail.unwrap_or_else(|| format!("{error:?}")) }
}

/// First byte and whole length of `bytes 0-99/1234`, `bytes 0-99/*` or `bytes */1234` (RFC 9110, 14.4).
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let first = if range == "*" { 0 } else { range.split_once('-')?.0.trim().parse().ok()? };
    Some((first, total.trim().parse().ok()))
}

/// Seconds from now, of either form of `Retry-After` (RFC 9110, 10.2.3).
fn retry_after(text: &str) -> Option<f64> {
    let seconds = text.trim().parse().unwrap_or_else(|_| (js_sys::Date::parse(text) - js_sys::Date::now()) / 1000.0);
    seconds.is_finite().then_some(seconds.max(0.0))
}
