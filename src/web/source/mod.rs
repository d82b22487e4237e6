//! Where the page's models come from: servers, Hugging Face hubs, files that the user picked, and the store.

mod hub;
mod local;
mod server;

use js_sys::Uint8Array;

use crate::digest::FileDigests;
use crate::error::Result;
use crate::store::indexed_db::IndexedDb;
use crate::store::quantised::Quantised;
use crate::store::read_through::ReadThrough;
use crate::store::upstream::Upstream;
use crate::store::{Manifest, Pending, StoredFile};
use crate::weights::source::Kind;
pub use local::Local;
pub use server::{CONNECTIONS, Server};

/// A checkpoint in the page, read through IndexedDB.
pub type WebSource = ReadThrough<IndexedDb, Quantised<WebUpstream>>;

/// The database that the page keeps its models in.
pub const DATABASE: &str = "pagellama";

/// How many parts of a file on disk are read at a time.
const FILE_READS: usize = 2;

/// A server or picked files.
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

    async fn settle(&mut self, begun: Option<&Manifest>) -> Result<()> {
        match self {
            WebUpstream::Server(server) => server.settle(begun).await,
            WebUpstream::Local(_) => Ok(()),
        }
    }

    fn id(&self, first: &StoredFile) -> String {
        match self {
            WebUpstream::Server(server) => server.id(first),
            WebUpstream::Local(local) => local.address.clone(),
        }
    }

    async fn open(&mut self, file: &str, known: Option<&StoredFile>) -> Result<Option<StoredFile>> {
        match self {
            WebUpstream::Server(server) => server.open(file, known).await,
            WebUpstream::Local(local) => Ok(local.open(file)),
        }
    }

    fn fetch(&mut self, start: u64, length: u32) -> Pending<Uint8Array> {
        match self {
            WebUpstream::Server(server) => server.fetch(start, length),
            WebUpstream::Local(local) => local.fetch(start, length),
        }
    }

    fn take_back(&mut self, bytes: Uint8Array) {
        if let WebUpstream::Server(server) = self {
            server.take_back(&bytes);
        }
    }

    fn connections(&self) -> usize {
        match self {
            WebUpstream::Server(server) => server.connections(),
            WebUpstream::Local(_) => FILE_READS,
        }
    }

    fn is_pinned(&self) -> bool {
        match self {
            WebUpstream::Server(server) => server.is_pinned(),
            // Length and time of change are part of the address.
            WebUpstream::Local(_) => true,
        }
    }

    fn digests(&self, file: &str) -> FileDigests {
        match self {
            WebUpstream::Server(server) => server.digests(file),
            WebUpstream::Local(_) => FileDigests::default(),
        }
    }
}
