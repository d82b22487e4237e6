//! Files from a server, as a stream of chunks that stay outside the wasm heap.

use js_sys::{Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{
    AbortSignal, ReadableStreamDefaultReader, ReferrerPolicy, Request, RequestCache, RequestInit, Response,
    WorkerGlobalScope,
};

use crate::error::{Error, Result};
use crate::store::CHUNK_BYTES;

/// A file on its way: what the server said of it, and its bytes in chunks of [`CHUNK_BYTES`].
///
/// Dropping it ends the request.
#[derive(Debug)]
pub struct Download {
    /// What was asked for.
    pub url: String,
    /// Length in bytes, where the server says it and is not seen to compress the body.
    pub length: Option<u64>,
    /// ETag, else Last-Modified, as far as CORS lets them be seen.
    pub validator: Option<String>,
    /// The commit that a Hugging Face hub resolved the revision to.
    pub commit: Option<String>,
    /// Media type, without its parameters.
    pub media_type: Option<String>,
    /// Whether `length` may be that of a compressed body: browsers hide `content-encoding` of another site's answer.
    maybe_compressed: bool,
    reader: ReadableStreamDefaultReader,
    signal: AbortSignal,
    got: u64,
    /// What came beyond the chunk that was handed on.
    left_over: Option<Uint8Array>,
}

/// Asks for a file; `signal` ends the request at any time.
pub async fn fetch(url: &str, signal: &AbortSignal) -> Result<Download> {
    let response = request(url, signal).await.map_err(|error| failure(url, signal, &error))?;
    if !response.ok() {
        return Err(Error::Status { url: url.to_owned(), status: response.status() });
    }
    let header = |name| response.headers().get(name).ok().flatten();
    let encoded = header("content-encoding").is_some();
    let length = header("content-length").filter(|_| !encoded).and_then(|length| length.parse().ok());
    let body = response.body().ok_or_else(|| Error::Answer { url: url.to_owned(), detail: "it has no body".into() })?;
    Ok(Download {
        url: url.to_owned(),
        length,
        validator: header("etag").or_else(|| header("last-modified")),
        commit: header("x-repo-commit"),
        media_type: header("content-type").and_then(|media| media.split(';').next().map(str::to_owned)),
        maybe_compressed: Reflect::get(&response, &"type".into()).is_ok_and(|kind| kind == "cors"),
        reader: body.get_reader().unchecked_into(),
        signal: signal.clone(),
        got: 0,
        left_over: None,
    })
}

async fn request(url: &str, signal: &AbortSignal) -> std::result::Result<Response, JsValue> {
    let init = RequestInit::new();
    init.set_signal(Some(signal));
    // What is worth keeping goes to our own store; the browser's cache would hold it a second time.
    init.set_cache(RequestCache::NoStore);
    init.set_referrer_policy(ReferrerPolicy::NoReferrer);
    let request = Request::new_with_str_and_init(url, &init)?;
    let scope: WorkerGlobalScope = js_sys::global().unchecked_into();
    Ok(JsFuture::from(scope.fetch_with_request(&request)).await?.unchecked_into())
}

impl Download {
    /// The next chunk; none at the end. All chunks but the last are [`CHUNK_BYTES`] long.
    pub async fn next(&mut self) -> Result<Option<Uint8Array>> {
        let mut filled = 0;
        let chunk = Uint8Array::new_with_length(CHUNK_BYTES);
        while filled < CHUNK_BYTES {
            let Some(piece) = self.piece().await? else { break };
            let fits = piece.byte_length().min(CHUNK_BYTES - filled);
            chunk.set(&piece.subarray(0, fits), filled);
            filled += fits;
            if fits < piece.byte_length() {
                self.left_over = Some(piece.subarray(fits, piece.byte_length()));
            }
        }
        if filled < CHUNK_BYTES {
            self.check_end()?;
        }
        // A copy, because storing a view stores all of the buffer behind it.
        Ok((filled > 0).then(|| if filled < CHUNK_BYTES { chunk.slice(0, filled) } else { chunk }))
    }

    /// What is left of the last piece, else the next one as the network brings it.
    async fn piece(&mut self) -> Result<Option<Uint8Array>> {
        if let Some(piece) = self.left_over.take() {
            return Ok(Some(piece));
        }
        let step = JsFuture::from(self.reader.read()).await.map_err(|error| self.broken(&error))?;
        let get = |name: &str| Reflect::get(&step, &name.into()).unwrap_or(JsValue::UNDEFINED);
        if get("done").is_truthy() {
            return Ok(None);
        }
        let piece: Uint8Array = get("value").dyn_into().map_err(|value| self.broken(&value))?;
        self.got += u64::from(piece.byte_length());
        Ok(Some(piece))
    }

    fn check_end(&self) -> Result<()> {
        match self.length {
            Some(expected) if self.got < expected => {
                Err(Error::Truncated { name: self.url.clone(), expected, got: self.got })
            }
            Some(expected) if self.got > expected && !self.maybe_compressed => {
                let detail = format!("it has {} bytes and announced {expected}", self.got);
                Err(Error::Answer { url: self.url.clone(), detail })
            }
            _ => Ok(()),
        }
    }

    /// The connection broke in the middle of the body.
    fn broken(&self, error: &JsValue) -> Error {
        match (self.length, failure(&self.url, &self.signal, error)) {
            (Some(expected), Error::Unreachable { url, .. }) => Error::Truncated { name: url, expected, got: self.got },
            (_, failure) => failure,
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let cancelled = self.reader.cancel();
        // Cancelling a stream that has failed fails in the same way, which was told already.
        spawn_local(async move { drop(JsFuture::from(cancelled).await) });
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
