//! What a Hugging Face hub says of a repository: the commit of a revision, and the digests of its large files.

use std::collections::BTreeMap;

use js_sys::encode_uri_component;
use serde::Deserialize;
use web_sys::AbortSignal;

use crate::digest::{Digest, FileDigests};
use crate::net;
use crate::store::traffic::Traffic;

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

    /// The folder of the repository that the address names, with its slash, as names in a listing begin.
    fn folder(&self) -> &str {
        self.path.rfind('/').map_or("", |slash| self.path.get(..=slash).unwrap_or(""))
    }

    /// The address of the same file or folder at a commit.
    pub fn at(&self, commit: &str) -> String {
        format!("{}/{}/resolve/{}/{}", self.host, self.repository, encode_uri_component(commit), self.path)
    }

    /// Asks the hub; none when it does not answer in the usual way, which is no reason not to load the model.
    pub async fn listing(&self, signal: &AbortSignal, traffic: &Traffic) -> Option<Listing> {
        let url = format!("{}/api/models/{}/revision/{}?blobs=true", self.host, self.repository, self.revision);
        let answer: Answer = net::small_json(&url, signal, traffic).await?;
        let folder = js_sys::decode_uri_component(self.folder()).ok().map(String::from)?;
        let large = answer.siblings.into_iter().filter_map(|file| {
            let name = file.rfilename.strip_prefix(&folder)?.to_owned();
            Some((name, FileDigests { sha256: Some(file.lfs?.sha256), chunks: Vec::new() }))
        });
        Some(Listing { commit: answer.sha, digests: large.collect() })
    }
}

/// What is used of a hub's answer.
pub(super) struct Listing {
    pub commit: String,
    /// By file name, relative to the folder that was asked about.
    pub digests: BTreeMap<String, FileDigests>,
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Digest,
}
