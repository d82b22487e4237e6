//! Files on disk as an upstream, for checkpoints that are quantised natively.

use std::fs::File;
use std::future::ready;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::memory::Memory;
use super::quantised::Quantised;
use super::read_through::ReadThrough;
use super::upstream::Upstream;
use super::{Pending, StoredFile};
use crate::digest::FileDigests;
use crate::error::{Error, Result};
use crate::weights::native::{look_at, unreadable};
use crate::weights::recipe::Recipe;
use crate::weights::source::Kind;

/// A Hugging Face folder, or a GGUF file.
pub struct Disk {
    kind: Kind,
    folder: PathBuf,
    address: String,
    /// The file that was opened last.
    file: Option<(PathBuf, File)>,
}

/// A checkpoint on disk whose weights are quantised as they are read. Nothing is stored.
pub async fn quantised(path: &Path, recipe: Recipe) -> Result<ReadThrough<Memory, Quantised<Disk>>> {
    let (kind, folder) = look_at(path)?;
    let disk = Disk { kind, folder, address: path.display().to_string(), file: None };
    let traffic = Rc::default();
    let upstream = Quantised::new(disk, Some(recipe), Rc::clone(&traffic));
    Ok(ReadThrough::open(None, upstream, traffic).await)
}

impl Disk {
    fn read(&mut self, start: u64, length: u32) -> Result<Vec<u8>> {
        let Some((path, file)) = &mut self.file else { return Err(Error::Aborted) };
        let mut bytes = Vec::new();
        let read = file.seek(SeekFrom::Start(start)).and_then(|_| file.take(u64::from(length)).read_to_end(&mut bytes));
        read.map_err(|error| unreadable(path, &error))?;
        Ok(bytes)
    }
}

impl Upstream for Disk {
    type Bytes = Vec<u8>;

    fn address(&self) -> &str {
        &self.address
    }

    fn name(&self) -> &str {
        &self.address
    }

    fn kind(&self) -> Kind {
        self.kind.clone()
    }

    fn id(&self, _first: &StoredFile) -> String {
        self.address.clone()
    }

    async fn open(&mut self, name: &str, _known: Option<&StoredFile>) -> Result<Option<StoredFile>> {
        let path = self.folder.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(&path, &error)),
        };
        let length = Some(file.metadata().map_err(|error| unreadable(&path, &error))?.len());
        self.file = Some((path, file));
        Ok(Some(StoredFile { name: name.to_owned(), length, ..StoredFile::default() }))
    }

    fn fetch(&mut self, start: u64, length: u32) -> Pending<Vec<u8>> {
        Box::pin(ready(self.read(start, length)))
    }

    fn connections(&self) -> usize {
        1
    }

    fn is_pinned(&self) -> bool {
        true
    }

    fn digests(&self, _file: &str) -> FileDigests {
        FileDigests::default()
    }
}
