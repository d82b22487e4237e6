//! Where the page's models come from: servers, Hugging Face hubs, files that the user picked, and the store.

use js_sys::{Date, Uint8Array, encode_uri_component};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortSignal, File, Url, WorkerGlobalScope};

use crate::error::{Error, Result};
use crate::net::{self, Download};
use crate::store::indexed_db::IndexedDb;
use crate::store::read_through::{ReadThrough, Upstream};
use crate::store::{CHUNK_BYTES, StoredFile};
use crate::weights::source::Kind;

/// A checkpoint in the page, read through IndexedDB.
pub type WebSource = ReadThrough<IndexedDb, WebUpstream>;

/// The database that the page keeps its models in.
pub const DATABASE: &str = "pagellama";

/// A server or picked files.
#[derive(Debug)]
pub enum WebUpstream {
    /// A GGUF file or a folder on a server.
    Server(Server),
    /// Files on the user's disk.
    Local(Local),
}

impl Upstream for WebUpstream {
    type Bytes = Uint8Array;

    fn address(&self) -> &str {
        match self {
            WebUpstream::Server(server) => &server.address,
            WebUpstream::Local(local) => &local.address,
        }
    }

    fn name(&self) -> &str {
        match self {
            WebUpstream::Server(server) => &server.name,
            WebUpstream::Local(local) => &local.name,
        }
    }

    fn kind(&self) -> Kind {
        let gguf = match self {
            WebUpstream::Server(server) => &server.gguf,
            WebUpstream::Local(local) => &local.gguf,
        };
        gguf.clone().map_or(Kind::HuggingFace, Kind::Gguf)
    }

    fn id(&self, first: &StoredFile) -> String {
        match self {
            WebUpstream::Server(server) => server.id(first),
            WebUpstream::Local(local) => local.address.clone(),
        }
    }

    async fn open(&mut self, file: &str) -> Result<Option<StoredFile>> {
        match self {
            WebUpstream::Server(server) => server.open(file).await,
            WebUpstream::Local(local) => Ok(local.open(file)),
        }
    }

    async fn next(&mut self) -> Result<Option<Uint8Array>> {
        match self {
            WebUpstream::Server(server) => match &mut server.download {
                Some(download) => download.next().await,
                None => Ok(None),
            },
            WebUpstream::Local(local) => local.next().await,
        }
    }
}

/// A GGUF file or a Hugging Face folder on a server.
#[derive(Debug)]
pub struct Server {
    address: String,
    name: String,
    /// Where files are asked for: the GGUF file, or the folder with its slash. Once a hub has told the commit of its
    /// first answer, the same with the commit, so that two versions never mix.
    url: String,
    gguf: Option<String>,
    commit: Option<String>,
    signal: AbortSignal,
    download: Option<Download>,
}

impl Server {
    /// `url` (relative to the worker's own) names a GGUF file, or, with a slash at its end, a folder.
    pub fn new(url: &str, signal: &AbortSignal) -> Result<Self> {
        let scope: WorkerGlobalScope = js_sys::global().unchecked_into();
        let bad = |_| Error::BadRequest { detail: format!("{url} is not a URL") };
        let parsed = Url::new_with_base(url, &scope.location().href()).map_err(bad)?;
        parsed.set_hash("");
        let path = parsed.pathname();
        let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let last = js_sys::decode_uri_component(last).map_or_else(|_| last.to_owned(), String::from);
        Ok(Self {
            address: parsed.href(),
            url: parsed.href(),
            gguf: (!path.ends_with('/')).then(|| last.clone()),
            name: last,
            commit: None,
            signal: signal.clone(),
            download: None,
        })
    }

    /// `repository` is `owner/name` for a folder, or `owner/name/path/to/file.gguf`.
    pub fn hub(repository: &str, revision: Option<&str>, host: Option<&str>, signal: &AbortSignal) -> Result<Self> {
        let bad = || Error::BadRequest { detail: format!("{repository} is not of the form owner/name[/file.gguf]") };
        let mut parts = repository.splitn(3, '/');
        let (Some(owner), Some(name)) = (parts.next(), parts.next()) else { return Err(bad()) };
        let file = parts.next().map_or(Some(String::new()), encode_path).ok_or_else(bad)?;
        let folder = encode_path(&format!("{owner}/{name}")).ok_or_else(bad)?;
        let host = host.unwrap_or("https://huggingface.co").trim_end_matches('/');
        let revision = encode_uri_component(revision.unwrap_or("main"));
        let mut server = Self::new(&format!("{host}/{folder}/resolve/{revision}/{file}"), signal)?;
        if server.gguf.is_none() {
            server.name = format!("{owner}/{name}");
        }
        Ok(server)
    }

    fn id(&self, first: &StoredFile) -> String {
        match (&self.commit, &first.validator, first.length) {
            (Some(_), ..) => self.url.clone(),
            (None, Some(validator), Some(length)) => format!("{}#{validator},{length}", self.url),
            (None, Some(validator), None) => format!("{}#{validator}", self.url),
            // Nothing tells versions apart but when they came.
            (None, None, _) => format!("{}#{}", self.url, Date::now()),
        }
    }

    async fn open(&mut self, file: &str) -> Result<Option<StoredFile>> {
        let download = match net::fetch(&self.url_of(file)?, &self.signal).await {
            Err(Error::Status { status: 404 | 410, .. }) if self.gguf.is_none() => return Ok(None),
            other => other?,
        };
        // Servers of single-page applications answer with the page where there is no file.
        if self.gguf.is_none() && download.media_type.as_deref() == Some("text/html") {
            return Ok(None);
        }
        if self.commit.is_none() {
            self.pin(download.commit.as_deref());
        }
        let stored = StoredFile {
            name: file.to_owned(),
            url: Some(self.url_of(file)?),
            validator: download.validator.clone(),
            length: download.length,
            chunks: Vec::new(),
        };
        self.download = Some(download);
        Ok(Some(stored))
    }

    fn url_of(&self, file: &str) -> Result<String> {
        match (&self.gguf, encode_path(file)) {
            (Some(_), _) => Ok(self.url.clone()),
            (None, Some(path)) => Ok(format!("{}{path}", self.url)),
            (None, None) => Err(Error::NotAModel { detail: format!("it names a file {file:?}") }),
        }
    }

    /// Asks for the other files of the same commit.
    fn pin(&mut self, commit: Option<&str>) {
        let Some(commit) = commit else { return };
        let Some((before, after)) = self.url.split_once("/resolve/") else { return };
        let Some((_, path)) = after.split_once('/') else { return };
        self.url = format!("{before}/resolve/{}/{path}", encode_uri_component(commit));
        self.commit = Some(commit.to_owned());
    }
}

/// Files on the user's disk: one GGUF file, or those of a Hugging Face folder.
///
/// They are known again by name, length and time of change: hashing them would mean reading them to the end first.
#[derive(Debug)]
pub struct Local {
    address: String,
    name: String,
    gguf: Option<String>,
    files: Vec<File>,
    signal: AbortSignal,
    current: Option<File>,
    position: f64,
}

impl Local {
    /// Takes the GGUF file among those picked or dropped, else all of them as a folder's.
    pub fn new(files: Vec<File>, signal: &AbortSignal) -> Result<Self> {
        let is_gguf = |file: &File| file.name().to_lowercase().ends_with(".gguf");
        let ggufs: Vec<File> = files.iter().filter(|file| is_gguf(file)).cloned().collect();
        let (name, gguf, files) = match ggufs.as_slice() {
            [] if !files.iter().any(|file| file.name() == "config.json") => {
                return Err(Error::NotAModel { detail: "there is neither a .gguf file nor a config.json".into() });
            }
            [] => (folder_name(&files), None, files),
            [file] => (file.name(), Some(file.name()), ggufs.clone()),
            _ => return Err(Error::BadRequest { detail: "there is more than one .gguf file".into() }),
        };
        let mut parts: Vec<String> = files.iter().filter_map(identity).collect();
        parts.sort();
        let address = format!("file:{}", parts.join(";"));
        Ok(Self { address, name, gguf, files, signal: signal.clone(), current: None, position: 0.0 })
    }

    fn open(&mut self, name: &str) -> Option<StoredFile> {
        let file = self.files.iter().find(|file| file.name() == name)?.clone();
        let length = Some(file.size() as u64);
        self.current = Some(file);
        self.position = 0.0;
        Some(StoredFile { name: name.to_owned(), length, ..StoredFile::default() })
    }

    async fn next(&mut self) -> Result<Option<Uint8Array>> {
        if self.signal.aborted() {
            return Err(Error::Aborted);
        }
        let Some(file) = self.current.as_ref().filter(|file| self.position < file.size()) else { return Ok(None) };
        let end = (self.position + f64::from(CHUNK_BYTES)).min(file.size());
        let bytes = read(file, self.position, end).await.map_err(|error| Error::File {
            path: file.name(),
            detail: error.dyn_ref::<web_sys::DomException>().map_or_else(String::new, |error| error.message()),
        })?;
        self.position = end;
        Ok(Some(bytes))
    }
}

async fn read(file: &File, start: f64, end: f64) -> std::result::Result<Uint8Array, JsValue> {
    let slice = file.slice_with_f64_and_f64(start, end)?;
    Ok(Uint8Array::new(&JsFuture::from(slice.array_buffer()).await?))
}

/// What the files that make a checkpoint are known by.
fn identity(file: &File) -> Option<String> {
    let name = file.name();
    let counts =
        name == "config.json" || [".gguf", ".safetensors"].iter().any(|end| name.to_lowercase().ends_with(end));
    counts.then(|| format!("{name},{},{}", file.size(), file.last_modified()))
}

/// The folder that the files were picked from, where the browser tells it.
fn folder_name(files: &[File]) -> String {
    let path = files.first().and_then(|file| js_sys::Reflect::get(file, &"webkitRelativePath".into()).ok());
    let path = path.and_then(|path| path.as_string()).unwrap_or_default();
    match path.split_once('/') {
        Some((folder, _)) => folder.to_owned(),
        None => "local folder".to_owned(),
    }
}

/// A relative path as part of a URL; none if it would lead out of its folder.
fn encode_path(path: &str) -> Option<String> {
    let parts = path.split('/').map(|part| {
        let leads_out = part.is_empty() || part == "." || part == "..";
        (!leads_out).then(|| String::from(encode_uri_component(part)))
    });
    Some(parts.collect::<Option<Vec<_>>>()?.join("/"))
}
