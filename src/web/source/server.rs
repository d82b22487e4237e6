//! A GGUF file or a Hugging Face folder on a server.

use std::collections::BTreeMap;
use std::rc::Rc;

use js_sys::{Date, Uint8Array, encode_uri_component};
use wasm_bindgen::JsCast;
use web_sys::{AbortSignal, Url, WorkerGlobalScope};

use super::hub::{self, Listing, Place};
use crate::digest::{Digest, FileDigests};
use crate::error::{Error, Result};
use crate::net::{Line, Opened, Remote, Token};
use crate::store::traffic::Traffic;
use crate::store::{CHUNK_BYTES, Manifest, Pending, StoredFile};
use crate::weights::split;

/// Requests for one file at a time: enough to fill a line whose server limits each connection, few enough for any host.
pub const CONNECTIONS: usize = 4;
/// Each has a chunk in memory.
const MOST_CONNECTIONS: usize = 16;

/// A GGUF file or a Hugging Face folder on a server.
pub struct Server {
    pub(super) address: String,
    pub(super) name: String,
    /// Where files are asked for: the GGUF file, or the folder with its slash. Once a hub has told the commit, the same
    /// with the commit, so that two versions never mix.
    url: String,
    pub(super) gguf: Option<String>,
    commit: Option<String>,
    /// What is known of the files' bytes beforehand, by name.
    digests: BTreeMap<String, FileDigests>,
    /// Whether a hub was asked for them.
    digested: bool,
    /// What a hub said last of the repository, and at which revision.
    listed: Option<(String, Result<Rc<Listing>>)>,
    /// Whether a repository's folder is meant, whatever else is in it.
    folder: bool,
    connections: usize,
    line: Line,
    file: Option<Rc<Remote>>,
}

impl Server {
    /// `url` (relative to the worker's own) names a GGUF file, or, with a slash at its end, a folder.
    pub fn new(url: &str, signal: &AbortSignal, traffic: &Rc<Traffic>) -> Result<Self> {
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
            digests: BTreeMap::new(),
            digested: false,
            listed: None,
            folder: false,
            connections: CONNECTIONS,
            line: Line::new(signal, traffic),
            file: None,
        })
    }

    /// `repository` is `owner/name` for the one model that it holds, `owner/name/` for its folder of safetensors, or
    /// `owner/name/path/to/file.gguf`.
    pub fn hub(
        repository: &str,
        revision: Option<&str>,
        host: Option<&str>,
        signal: &AbortSignal,
        traffic: &Rc<Traffic>,
    ) -> Result<Self> {
        let bad = || Error::BadRequest { detail: format!("{repository} is not of the form owner/name[/file.gguf]") };
        let mut parts = repository.splitn(3, '/');
        let (Some(owner), Some(name)) = (parts.next(), parts.next()) else { return Err(bad()) };
        let file = parts.next();
        let folder_meant = file == Some("");
        let file = file.filter(|_| !folder_meant).map_or(Some(String::new()), encode_path).ok_or_else(bad)?;
        let folder = encode_path(&format!("{owner}/{name}")).ok_or_else(bad)?;
        let host = host.unwrap_or("https://huggingface.co").trim_end_matches('/');
        let revision = encode_uri_component(revision.unwrap_or("main"));
        let mut server = Self::new(&format!("{host}/{folder}/resolve/{revision}/{file}"), signal, traffic)?;
        if server.gguf.is_none() {
            server.name = format!("{owner}/{name}");
        }
        server.folder = folder_meant;
        Ok(server)
    }

    /// Refuses files with other bytes than these, by name.
    pub fn with_digests(mut self, digests: BTreeMap<String, FileDigests>) -> Self {
        self.digests = digests;
        self
    }

    /// Shows a token, if there is one, to the address's own server and to no other.
    pub fn with_token(mut self, token: Option<&str>) -> Result<Self> {
        self.line.token = token.map(|token| Token::new(token, &self.address)).transpose()?.map(Rc::new);
        Ok(self)
    }

    /// Asks for so many parts of a file at a time.
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.connections = connections.clamp(1, MOST_CONNECTIONS);
        self
    }

    pub(super) fn id(&self, first: &StoredFile) -> String {
        if self.commit.is_some() {
            return self.url.clone();
        }
        let digests: String = self.digests.iter().map(|(name, known)| format!("{name} {known:?}\n")).collect();
        match (&first.validator, first.length) {
            _ if !digests.is_empty() => format!("{}#{}", self.url, Digest::of(digests.as_bytes())),
            (Some(validator), Some(length)) => format!("{}#{validator},{length}", self.url),
            (Some(validator), None) => format!("{}#{validator}", self.url),
            // Nothing tells versions apart but when they came.
            (None, _) => format!("{}#{}", self.url, Date::now()),
        }
    }

    pub(super) fn digests(&self, file: &str) -> FileDigests {
        self.digests.get(file).cloned().unwrap_or_default()
    }

    pub(super) fn connections(&self) -> usize {
        // What comes as one stream comes in order.
        if self.file.as_ref().is_some_and(|file| file.ranges) { self.connections } else { 1 }
    }

    pub(super) fn is_pinned(&self) -> bool {
        self.commit.is_some()
    }

    /// Finds the one model of a repository that was named without a file; `begun` is a download of it.
    pub(super) async fn settle(&mut self, begun: Option<&Manifest>) -> Result<()> {
        let place = Place::of(&self.url).filter(|place| place.is_whole() && !self.folder);
        let Some(place) = place else { return Ok(()) };
        let files = begun.map_or(&[][..], |begun| &begun.files);
        files.iter().take(1).for_each(|first| self.follow(first));
        // What has no weights yet says nothing of which they are.
        if self.gguf.is_some() || files.iter().any(|file| file.name.ends_with(".safetensors")) {
            return Ok(());
        }
        let offer = match self.listing(&place).await {
            Ok(listing) => place.choose(&listing)?,
            // A mirror may have files but no list of them; then it is a folder, as ever.
            Err(Error::Status { status: 404 | 405 | 410 | 501, .. } | Error::Answer { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        if let Some(path) = offer.gguf {
            self.gguf = path.rsplit('/').next().map(str::to_owned);
            self.url = self.url_in_folder(&path)?;
        }
        Ok(())
    }

    /// Takes the GGUF file that was chosen when `known` was stored.
    fn follow(&mut self, known: &StoredFile) {
        let chosen = known.url.as_deref().and_then(Place::of);
        if let (Some(place), Some(chosen)) = (Place::of(&self.url), chosen)
            && self.gguf.is_none()
            && known.name.to_lowercase().ends_with(".gguf")
        {
            self.url = place.with_path_of(&chosen);
            self.gguf = Some(known.name.clone());
        }
    }

    pub(super) async fn open(&mut self, file: &str, known: Option<&StoredFile>) -> Result<Option<StoredFile>> {
        known.into_iter().for_each(|known| self.follow(known));
        let place = known.and_then(|known| known.url.as_deref()).and_then(Place::of);
        if let (Some(place), None) = (place, &self.commit) {
            // What a download began with is what it goes on with, even if its branch has moved on.
            self.pin(place.revision());
        }
        self.ask_hub(known.is_none()).await;
        let first = known.map_or(0, |known| known.first_gap().min(known.length.unwrap_or(0).saturating_sub(1)));
        let end = first - first % u64::from(CHUNK_BYTES) + u64::from(CHUNK_BYTES);
        let url = self.url_of(file)?;
        let acquainted = self.file.is_some() || known.is_some();
        let Opened { remote, commit, media_type } = match Remote::open(&url, (first, end), acquainted, &self.line).await
        {
            Err(error) => return self.lacking(error, acquainted),
            Ok(opened) => opened,
        };
        // Servers of single-page applications answer with the page where there is no file.
        if self.gguf.is_none() && media_type.as_deref() == Some("text/html") {
            return Ok(None);
        }
        if let (Some(commit), None, None) = (commit, known, &self.commit) {
            self.pin(&commit);
        }
        let stored = StoredFile {
            name: file.to_owned(),
            url: Some(self.url_of(file)?),
            validator: remote.validator.clone(),
            length: remote.length,
            sha256: self.digests(file).sha256,
            source: None,
            chunks: Vec::new(),
        };
        self.file = Some(Rc::new(remote));
        Ok(Some(stored))
    }

    pub(super) fn fetch(&self, start: u64, length: u32) -> Pending<Uint8Array> {
        match &self.file {
            Some(file) => {
                let (fetched, token) = (file.fetch(start, length), self.line.token.is_some());
                Box::pin(async move { fetched.await.map_err(|error| hub::explain(error, token)) })
            }
            None => Box::pin(async { Err(Error::Aborted) }),
        }
    }

    /// Only a whole buffer can be filled again: a view may be of a larger one that somebody else reads.
    pub(super) fn take_back(&self, bytes: &Uint8Array) {
        let buffer = bytes.buffer();
        if bytes.byte_length() == buffer.byte_length() {
            self.line.spares.put(buffer);
        }
    }

    fn url_of(&self, file: &str) -> Result<String> {
        let bad = || Error::NotAModel { detail: format!("it names a file {file:?}") };
        match &self.gguf {
            Some(first) if first == file => Ok(self.url.clone()),
            // Another part of the same model, beside the first.
            Some(first) if split::are_parts(first, file) => sibling(&self.url, file).ok_or_else(bad),
            Some(_) => Err(bad()),
            None => self.url_in_folder(file),
        }
    }

    fn url_in_folder(&self, file: &str) -> Result<String> {
        let bad = || Error::NotAModel { detail: format!("it names a file {file:?}") };
        Ok(format!("{}{}", self.url, encode_path(file).ok_or_else(bad)?))
    }

    /// What a file that did not open means: a folder may lack it, unless there is no such folder.
    fn lacking(&self, error: Error, acquainted: bool) -> Result<Option<StoredFile>> {
        let missing = matches!(error, Error::Status { status: 404 | 410, .. }) && self.gguf.is_none();
        match hub::explain(error, self.line.token.is_some()) {
            Error::HubNoFile { .. } | Error::Status { .. } if missing => {
                let unlisted = matches!(&self.listed, Some((_, Err(Error::Status { status: 404, .. }))));
                match Place::of(&self.url).filter(|_| unlisted && !acquainted) {
                    Some(place) => Err(place.no_repository()),
                    None => Ok(None),
                }
            }
            error => Err(error),
        }
    }

    /// Asks a hub, once, for what the files must hash to and, for a download that begins, for the commit.
    async fn ask_hub(&mut self, begins: bool) {
        let Some(place) = Place::of(&self.url).filter(|_| !self.digested) else { return };
        self.digested = true;
        // A file can be had without.
        let Ok(listing) = self.listing(&place).await else { return };
        if begins && self.commit.is_none() {
            self.pin(&listing.commit);
        }
        for (name, digests) in listing.digests(&place) {
            self.digests.entry(name).or_insert(digests);
        }
    }

    /// What a hub says of the repository at the place's revision; it is asked once.
    async fn listing(&mut self, place: &Place) -> Result<Rc<Listing>> {
        match &self.listed {
            Some((revision, listing)) if revision == place.revision() => listing.clone(),
            _ => {
                let listing = place.listing(&self.line).await.map(Rc::new);
                self.listed = Some((place.revision().to_owned(), listing.clone()));
                listing
            }
        }
    }

    /// Asks for all files at this commit. A branch or tag is none: it can mean another version tomorrow.
    fn pin(&mut self, commit: &str) {
        let is_commit = commit.len() == 40 && commit.bytes().all(|digit| digit.is_ascii_hexdigit());
        let Some(place) = Place::of(&self.url).filter(|_| is_commit) else { return };
        self.url = place.at(commit);
        self.commit = Some(commit.to_owned());
    }
}

/// The address of a file beside another one, with the same query.
fn sibling(url: &str, file: &str) -> Option<String> {
    let (path, query) = url.split_at(url.find('?').unwrap_or(url.len()));
    Some(format!("{}/{}{query}", path.rsplit_once('/')?.0, encode_path(file)?))
}

/// A relative path as part of a URL; none if it would lead out of its folder.
fn encode_path(path: &str) -> Option<String> {
    let parts = path.split('/').map(|part| {
        let leads_out = part.is_empty() || part == "." || part == "..";
        (!leads_out).then(|| String::from(encode_uri_component(part)))
    });
    Some(parts.collect::<Option<Vec<_>>>()?.join("/"))
}
