//! The server's promises: types, headers, validators, ranges, compression, and nothing outside its folder.

use std::io::{Read, Write};
use std::path::PathBuf;

use axum::body::{Body, to_bytes};
use tower::ServiceExt;

use super::*;

/// A folder as `cargo xtask build` leaves it, small, with a secret beside it; removed at the end.
struct Site(PathBuf);

impl Site {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("xtask-serve-{name}-{}", std::process::id()));
        let dist = root.join("dist");
        std::fs::create_dir_all(dist.join("models/folder")).unwrap();
        std::fs::create_dir_all(dist.join("pkg")).unwrap();
        for (path, text) in [
            ("index.html", "<p>page</p>".repeat(1000)),
            ("page.js", "export {};\n".repeat(1000)),
            ("library.mjs", "export {};\n".into()),
            ("style.css", "p {}\n".into()),
            ("models.json", "{}".into()),
            ("app.webmanifest", "{}".into()),
            ("pkg/app_bg.wasm", "\0asm".repeat(1000)),
            ("models/model.gguf", "0123456789".into()),
            ("models/folder/tokenizer.json", "{}".repeat(1000)),
        ] {
            std::fs::write(dist.join(path), text).unwrap();
        }
        std::fs::write(root.join("secret"), "secret").unwrap();
        Self(root)
    }

    fn ask(&self, method: Method, path: &str, headers: &[(HeaderName, &str)]) -> Response {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        request.headers_mut().insert(header::HOST, HeaderValue::from_static("127.0.0.1:8080"));
        for (name, value) in headers {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        runtime().block_on(app(&self.0.join("dist")).oneshot(request)).unwrap()
    }

    fn get(&self, path: &str, headers: &[(HeaderName, &str)]) -> Response {
        self.ask(Method::GET, path, headers)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

fn body(response: Response) -> Vec<u8> {
    runtime().block_on(to_bytes(response.into_body(), usize::MAX)).unwrap().to_vec()
}

fn value(response: &Response, name: HeaderName) -> &str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[test]
fn mime_types() {
    let site = Site::new("types");
    for (path, expected) in [
        ("/", "text/html"),
        ("/page.js", "text/javascript"),
        ("/library.mjs", "application/javascript"),
        ("/style.css", "text/css"),
        ("/models.json", "application/json"),
        ("/app.webmanifest", "application/manifest+json"),
        ("/pkg/app_bg.wasm", "application/wasm"),
        ("/models/model.gguf", "application/octet-stream"),
        ("/models/folder/tokenizer.json", "application/json"),
    ] {
        let response = site.get(path, &[]);
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(value(&response, header::CONTENT_TYPE), expected, "{path}");
    }
}

#[test]
fn headers_are_on_every_answer() {
    let site = Site::new("headers");
    let stranger = site.get("/", &[(header::HOST, "evil.example")]);
    assert_eq!(stranger.status(), StatusCode::FORBIDDEN);
    for response in [site.get("/", &[]), site.get("/models/model.gguf", &[]), site.get("/missing", &[]), stranger] {
        for (name, expected) in HEADERS {
            assert_eq!(value(&response, name.clone()), expected, "{name}");
        }
        assert!(!value(&response, header::CONTENT_SECURITY_POLICY).contains("unsafe-inline"));
    }
}

#[test]
fn another_origin_may_read() {
    let site = Site::new("cors");
    let response = site.get("/models/model.gguf", &[(header::ORIGIN, "https://example.org")]);
    assert_eq!(value(&response, header::ACCESS_CONTROL_ALLOW_ORIGIN), "*");
    let exposed = value(&response, header::ACCESS_CONTROL_EXPOSE_HEADERS);
    for name in ["content-length", "content-range", "etag", "accept-ranges"] {
        assert!(exposed.contains(name), "{name} is not in {exposed}");
    }
    let preflight = [
        (header::ORIGIN, "https://example.org"),
        (header::ACCESS_CONTROL_REQUEST_METHOD, "GET"),
        (header::ACCESS_CONTROL_REQUEST_HEADERS, "range,if-range"),
    ];
    let response = site.ask(Method::OPTIONS, "/models/model.gguf", &preflight);
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(value(&response, header::ACCESS_CONTROL_ALLOW_HEADERS), "*");
}

#[test]
fn host_names() {
    let site = Site::new("hosts");
    for host in ["localhost", "localhost:8080", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8080"] {
        assert_eq!(site.get("/", &[(header::HOST, host)]).status(), StatusCode::OK, "{host}");
    }
    for host in ["", "evil.example", "localhost.evil.example:8080", "127.0.0.1.evil.example", "192.168.0.1:8080"] {
        assert_eq!(site.get("/", &[(header::HOST, host)]).status(), StatusCode::FORBIDDEN, "{host}");
    }
}

#[test]
fn ranges() {
    let site = Site::new("ranges");
    for (range, expected, content_range) in [
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=8-99", "89", "bytes 8-9/10"),
    ] {
        let response = site.get("/models/model.gguf", &[(header::RANGE, range)]);
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(value(&response, header::CONTENT_RANGE), content_range);
        assert_eq!(value(&response, header::CONTENT_LENGTH), expected.len().to_string());
        assert_eq!(body(response), expected.as_bytes(), "{range}");
    }
    let response = site.get("/models/model.gguf", &[(header::RANGE, "bytes=10-")]);
    assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(value(&response, header::CONTENT_RANGE), "bytes */10");
}

#[test]
fn validators() {
    let site = Site::new("validators");
    let first = site.get("/models/model.gguf", &[]);
    let etag = value(&first, header::ETAG).to_owned();
    assert!(etag.starts_with('"'), "a strong ETag, not {etag}");

    let same = site.get("/models/model.gguf", &[(header::IF_NONE_MATCH, &etag)]);
    assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
    assert!(body(same).is_empty());

    let range = (header::RANGE, "bytes=2-4");
    let holds = site.get("/models/model.gguf", &[range.clone(), (header::IF_RANGE, &etag)]);
    assert_eq!((holds.status(), body(holds).as_slice()), (StatusCode::PARTIAL_CONTENT, b"234".as_slice()));
    for other in ["\"other\"", &format!("W/{etag}"), "Sat, 01 Jan 2000 00:00:00 GMT"] {
        let whole = site.get("/models/model.gguf", &[range.clone(), (header::IF_RANGE, other)]);
        assert_eq!((whole.status(), body(whole).as_slice()), (StatusCode::OK, b"0123456789".as_slice()), "{other}");
    }

    std::fs::write(site.0.join("dist/models/model.gguf"), "another one").unwrap();
    let changed = site.get("/models/model.gguf", &[(header::IF_NONE_MATCH, &etag)]);
    assert_eq!(changed.status(), StatusCode::OK);
}

#[test]
fn compression_is_for_the_app_only() {
    let site = Site::new("compression");
    let gzip = (header::ACCEPT_ENCODING, "gzip, deflate, br, zstd");
    for path in ["/", "/page.js", "/pkg/app_bg.wasm"] {
        let plain = site.get(path, &[]);
        assert_eq!(value(&plain, header::CONTENT_ENCODING), "", "{path}");
        let small = site.get(path, std::slice::from_ref(&gzip));
        assert_eq!(value(&small, header::CONTENT_ENCODING), "gzip", "{path}");
        assert!(value(&small, header::VARY).contains("accept-encoding"), "{path}");
        let etag = value(&small, header::ETAG).to_owned();
        assert_eq!(etag, format!("W/{}", value(&plain, header::ETAG)));
        let again = site.get(path, &[gzip.clone(), (header::IF_NONE_MATCH, &etag)]);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{path}");
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(body(small).as_slice()).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, body(plain), "{path}");
    }
    for path in ["/models/model.gguf", "/models/folder/tokenizer.json"] {
        let response = site.get(path, std::slice::from_ref(&gzip));
        assert_eq!(value(&response, header::CONTENT_ENCODING), "", "{path}");
        assert_ne!(value(&response, header::CONTENT_LENGTH), "", "{path}");
    }
    let range = site.get("/page.js", &[gzip, (header::RANGE, "bytes=0-5")]);
    assert_eq!(range.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(value(&range, header::CONTENT_ENCODING), "");
    assert_eq!(body(range), b"export");
}

#[test]
fn head_and_other_methods() {
    let site = Site::new("methods");
    let head = site.ask(Method::HEAD, "/models/model.gguf", &[]);
    assert_eq!((head.status(), value(&head, header::CONTENT_LENGTH)), (StatusCode::OK, "10"));
    assert_eq!(value(&head, header::ACCEPT_RANGES), "bytes");
    assert!(body(head).is_empty());
    assert_eq!(site.ask(Method::POST, "/index.html", &[]).status(), StatusCode::METHOD_NOT_ALLOWED);
}

/// Over a real socket: a client's library may tidy a path up before it sends it.
#[test]
fn nothing_outside_the_folder() {
    let site = Site::new("traversal");
    let server = Server::bind(Some(0)).unwrap();
    let address = server.listener.local_addr().unwrap();
    let _running = server.run_in_background(&site.0.join("dist"));
    for (path, status) in [
        ("/page.js", "200"),
        ("/../secret", "404"),
        ("/models/../../secret", "404"),
        ("/%2e%2e/secret", "404"),
        ("/..%2fsecret", "404"),
        ("/models/%2e%2e%2f%2e%2e%2fsecret", "404"),
        ("/..%5csecret", "404"),
        ("//secret", "404"),
        ("/%00", "404"),
    ] {
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        write!(socket, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        assert!(!answer.ends_with("secret"), "{path}");
    }
}

#[test]
fn a_taken_port_is_passed_over_unless_it_was_asked_for() {
    let first = Server::bind(Some(0)).unwrap();
    let port = first.listener.local_addr().unwrap().port();
    let error = Server::bind(Some(port)).err().unwrap();
    assert!(error.to_string().contains("--port"), "{error}");
    let (one, two) = (Server::bind(None).unwrap(), Server::bind(None).unwrap());
    assert_ne!(one.address().unwrap(), two.address().unwrap());
}

/// What the page states of itself holds on any host; the header, in the worker too.
#[test]
fn the_page_and_the_server_state_the_same_policy() {
    let page = std::fs::read_to_string(crate::root().join("www/index.html")).unwrap();
    let (_, rest) = page.split_once("http-equiv=\"Content-Security-Policy\" content=\"").unwrap();
    let (policy, _) = rest.split_once('"').unwrap();
    assert_eq!(CONTENT_SECURITY_POLICY, format!("{policy}; frame-ancestors 'none'"));
}
