//! What a Hugging Face hub says of a repository: the commit of a revision, its files and their digests, and why it refuses.

use std::collections::BTreeMap;

use js_sys::{decode_uri_component, encode_uri_component};
use serde::Deserialize;

use crate::digest::{Digest, FileDigests};
use crate::error::{Error, Result};
use crate::net::{self, Line};
use crate::weights::repository::{self, Offer, RepositoryFile};

/// The parts of `{host}/{owner}/{name}/resolve/{revision}/{path}`, each as it stands in the address.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    host: String,
    repository: String,
    revision: String,
    path: String,
}

impl Place {
    /// None for an address of another form.
    pub fn of(url: &str) -> Option<Self> {
        let (before, after) = url.split_once("/resolve/")?;
        let (revision, path) = after.split_once('/')?;
        let mut parts = before.rsplitn(3, '/');
        let (name, owner, host) = (parts.next()?, parts.next()?, parts.next()?);
        let host_only = host.split_once("://").is_some_and(|(_, host)| !host.is_empty());
        let repository = format!("{owner}/{name}");
        (host_only && !owner.is_empty() && !name.is_empty()).then(|| Self {
            host: host.into(),
            repository,
            revision: revision.into(),
            path: path.into(),
        })
    }

    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Whether it is all of the repository.
    pub fn is_whole(&self) -> bool {
        self.path.is_empty()
    }

    /// The folder of the repository that the address names, with its slash, as names in a listing begin.
    fn folder(&self) -> &str {
        self.path.rfind('/').map_or("", |slash| self.path.get(..=slash).unwrap_or(""))
    }

    /// The address of the same file or folder at a commit.
    pub fn at(&self, commit: &str) -> String {
        self.url(&String::from(encode_uri_component(commit)), &self.path)
    }

    /// The address of another file, which stands in `other`.
    pub fn with_path_of(&self, other: &Self) -> String {
        self.url(&self.revision, &other.path)
    }

    fn url(&self, revision: &str, path: &str) -> String {
        format!("{}/{}/resolve/{revision}/{path}", self.host, self.repository)
    }

    /// Asks the hub what is there.
    pub async fn listing(&self, line: &Line) -> Result<Listing> {
        let url = format!("{}/api/models/{}/revision/{}?blobs=true", self.host, self.repository, self.revision);
        let Answer { sha, siblings } =
            net::small_json(&url, line).await.map_err(|error| self.explain(error, line.token.is_some(), false))?;
        Ok(Listing { commit: sha, files: siblings })
    }

    /// What a refusal means: the hub's own word for it, where CORS lets it be seen, else its status. `of_file`: for a file,
    /// which an honest mirror without a list of files has, too.
    fn explain(&self, error: Error, token: bool, of_file: bool) -> Error {
        let Error::Status { status, reason, .. } = &error else { return error };
        let repository = decoded(&self.repository);
        match (status, reason.as_deref()) {
            (401 | 403 | 404, Some("RepoNotFound")) => Error::HubNoRepository { repository },
            (404, Some("RevisionNotFound")) => Error::HubNoRevision { repository, revision: decoded(&self.revision) },
            (401 | 403, _) => Error::HubGated { repository, token },
            (404 | 410, _) if of_file => Error::HubNoFile { repository, file: decoded(&self.path) },
            _ => error,
        }
    }

    /// Nothing of a repository is there.
    pub fn no_repository(&self) -> Error {
        Error::HubNoRepository { repository: decoded(&self.repository) }
    }

    /// The one model that a repository holds.
    pub fn choose(&self, listing: &Listing) -> Result<Offer> {
        let files: Vec<RepositoryFile> = listing.files.iter().map(Sibling::file).collect();
        let repository = decoded(&self.repository);
        let mut offers = repository::offers(&files);
        match (offers.pop(), offers.is_empty()) {
            (Some(offer), true) => Ok(offer),
            (Some(last), false) => {
                offers.push(last);
                let (host, revision) = (self.host.clone(), decoded(&self.revision));
                Err(Error::HubSeveral { host, repository, revision, offers })
            }
            (None, _) => Err(repository::refusal(&repository, &files)),
        }
    }
}

/// What a refused request for a file of a hub means.
pub(super) fn explain(error: Error, token: bool) -> Error {
    let place = match &error {
        Error::Status { url, .. } => Place::of(url),
        _ => None,
    };
    match place {
        Some(place) => place.explain(error, token, true),
        None => error,
    }
}

/// What is used of a hub's answer.
#[derive(Debug)]
pub(super) struct Listing {
    pub commit: String,
    files: Vec<Sibling>,
}

impl Listing {
    /// What the large files beside `place` must hash to, by name.
    pub fn digests(&self, place: &Place) -> BTreeMap<String, FileDigests> {
        let folder = decoded(place.folder());
        let large = self.files.iter().filter_map(|file| {
            let name = file.rfilename.strip_prefix(&folder)?.to_owned();
            Some((name, FileDigests { sha256: Some(file.lfs.as_ref()?.sha256), chunks: Vec::new() }))
        });
        large.collect()
    }
}

fn decoded(text: &str) -> String {
    decode_uri_component(text).map_or_else(|_| text.to_owned(), String::from)
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Lfs>,
}

impl Sibling {
    fn file(&self) -> RepositoryFile {
        RepositoryFile { path: self.rfilename.clone(), bytes: self.size }
    }
}

#[derive(Debug, Deserialize)]
struct Lfs {
    sha256: Digest,
}
