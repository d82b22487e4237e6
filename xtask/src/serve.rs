//! The server behind `cargo xtask serve`: the files of `dist/` on loopback, with the headers that the page needs.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::extract::Request;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tower::Layer;
use tower_http::compression::CompressionLayer;
use tower_http::cors::{Any, CorsLayer};
use tower_http::services::ServeDir;

/// The first port tried when none is asked for.
const PORT: u16 = 8080;
/// How many ports are tried from there.
const PORTS: u16 = 100;

/// The page's own rule, as `www/index.html` has it, and what only a header can say. It holds in the worker too, which
/// the page's does not reach.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; \
    img-src 'self'; worker-src 'self'; connect-src 'self' https: http://localhost:* http://127.0.0.1:*; \
    manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// On every answer, errors too.
const HEADERS: [(HeaderName, &str); 7] = [
    // Together these two isolate the page, which gives it precise clocks and shared memory.
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
    // Another site's isolated page may embed the chat.
    (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    // "Ask before each use": answered with 304 while the file is the same.
    (header::CACHE_CONTROL, "no-cache"),
];

/// A server that has its port but does not answer yet.
pub struct Server {
    listener: TcpListener,
    runtime: tokio::runtime::Runtime,
}

impl Server {
    /// Takes the port asked for (0: any free one), else the first free one from 8080.
    pub fn bind(port: Option<u16>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_io().build()?;
        let listener = runtime.block_on(listen(port))?;
        Ok(Self { listener, runtime })
    }

    /// Where a browser finds the page.
    pub fn address(&self) -> Result<String> {
        Ok(format!("http://{}/", self.listener.local_addr()?))
    }

    /// Answers requests for the files in `folder` until the process ends.
    pub fn run(self, folder: &Path) -> Result<()> {
        Ok(self.runtime.block_on(axum::serve(self.listener, app(folder)).into_future())?)
    }

    /// The same on threads of its own, until the returned value is dropped.
    pub fn run_in_background(self, folder: &Path) -> tokio::runtime::Runtime {
        self.runtime.spawn(axum::serve(self.listener, app(folder)).into_future());
        self.runtime
    }
}

async fn listen(port: Option<u16>) -> Result<TcpListener> {
    let ports = port.map_or(PORT..=PORT + PORTS, |port| port..=port);
    let (first, last) = (*ports.start(), *ports.end());
    for port in ports {
        match TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            bound => return bound.with_context(|| format!("cannot serve on port {port}")),
        }
    }
    if first == last {
        bail!("port {first} is taken; choose another with --port, or leave --port out");
    }
    bail!("the ports {first} to {last} are all taken; choose another with --port")
}

/// All routes and headers. Models are never compressed: their length must be known and any range of them readable.
fn app(folder: &Path) -> Router {
    let models = ServeDir::new(folder.join("models")).append_index_html_on_directories(false);
    let files = CompressionLayer::new().compress_when(is_text_or_wasm).layer(ServeDir::new(folder));
    Router::new()
        .nest_service("/models", models)
        .fallback_service(files)
        .layer(middleware::map_response(weaken_etag))
        .layer(middleware::from_fn(if_range))
        .layer(cors())
        .layer(middleware::from_fn(loopback_only))
        .layer(middleware::map_response(add_headers))
}

/// The element, engine and models may be used from another origin; nothing here is secret or takes credentials.
fn cors() -> CorsLayer {
    CorsLayer::new().allow_origin(Any).allow_methods([Method::GET, Method::HEAD]).allow_headers(Any).expose_headers([
        header::ACCEPT_RANGES,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::ETAG,
    ])
}

async fn add_headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A site of an attacker whose name is made to resolve to 127.0.0.1 ("DNS rebinding") gives itself away by that name.
async fn loopback_only(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let name = host.map(|host| host.rsplit_once(':').filter(|_| !host.ends_with(']')).map_or(host, |(name, _)| name));
    match name {
        Some("localhost" | "127.0.0.1" | "[::1]") => next.run(request).await,
        _ => (StatusCode::FORBIDDEN, "This server answers to localhost and 127.0.0.1 only.\n").into_response(),
    }
}

/// `If-Range`, which `ServeDir` does not know: the range if the validator still holds, else the whole file.
///
/// `If-Match` compares as `If-Range` must (strongly), so it decides; a date never matches, which is allowed and safe.
async fn if_range(mut request: Request, next: Next) -> Response {
    let Some(validator) = request.headers_mut().remove(header::IF_RANGE) else {
        return next.run(request).await;
    };
    let mut whole = Request::new(axum::body::Body::empty());
    *whole.method_mut() = request.method().clone();
    *whole.uri_mut() = request.uri().clone();
    *whole.headers_mut() = request.headers().clone();
    whole.headers_mut().remove(header::RANGE);
    request.headers_mut().insert(header::IF_MATCH, validator);
    let response = next.clone().run(request).await;
    if response.status() == StatusCode::PRECONDITION_FAILED { next.run(whole).await } else { response }
}

/// The bytes of a compressed answer are not those of the file, so the file's strong ETag would be a lie.
async fn weaken_etag(mut response: Response) -> Response {
    if response.headers().contains_key(header::CONTENT_ENCODING)
        && let Some(etag) = response.headers().get(header::ETAG)
        && !etag.as_bytes().starts_with(b"W/")
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", etag.as_bytes()].concat())
    {
        response.headers_mut().insert(header::ETAG, weak);
    }
    response
}

/// Whether compressing is worth it.
fn is_text_or_wasm(_: StatusCode, _: axum::http::Version, headers: &HeaderMap, _: &axum::http::Extensions) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    [
        "text/",
        "application/javascript",
        "application/json",
        "application/wasm",
        "application/manifest+json",
        "image/svg+xml",
    ]
    .iter()
    .any(|start| kind.starts_with(start))
}

#[cfg(test)]
mod tests;
