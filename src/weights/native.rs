//! Checkpoints in the file system, for native use and tests.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::source::{Kind, Source};
use crate::error::{Error, Result};

/// The chunk size; what the page's sources give is of the same order.
const CHUNK: u64 = 4 << 20;

/// A GGUF file or a Hugging Face folder on disk.
#[derive(Debug)]
pub struct NativeSource {
    kind: Kind,
    folder: PathBuf,
    /// The weight file that was opened last.
    file: Option<(PathBuf, File)>,
}

impl NativeSource {
    /// Looks at a path: a folder is taken for a Hugging Face checkpoint, a file for GGUF.
    pub fn open(path: &Path) -> Result<Self> {
        let (kind, folder) = look_at(path)?;
        Ok(Self { kind, folder, file: None })
    }
}

/// What a path leads to, and the folder that its files lie in.
pub(crate) fn look_at(path: &Path) -> Result<(Kind, PathBuf)> {
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if metadata.is_dir() {
        return Ok((Kind::HuggingFace, path.to_owned()));
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    if name.is_empty() || !metadata.is_file() {
        return Err(Error::NotAModel { detail: format!("{} is not a file", path.display()) });
    }
    Ok((Kind::Gguf(name), path.parent().map(Path::to_owned).unwrap_or_default()))
}

/// The error of a file that cannot be read.
pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::File { path: path.display().to_string(), detail: error.to_string() }
}

impl Source for NativeSource {
    fn kind(&self) -> Kind {
        self.kind.clone()
    }

    async fn small_file(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.folder.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(&path, &error)),
        }
    }

    async fn open(&mut self, name: &str) -> Result<u64> {
        let path = self.folder.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::MissingFile { name: name.to_owned() });
            }
            Err(error) => return Err(unreadable(&path, &error)),
        };
        let length = file.metadata().map_err(|error| unreadable(&path, &error))?.len();
        self.file = Some((path, file));
        Ok(length)
    }

    async fn next_chunk(&mut self, chunk: &mut Vec<u8>) -> Result<bool> {
        chunk.clear();
        let Some((path, file)) = &mut self.file else { return Ok(false) };
        file.take(CHUNK).read_to_end(chunk).map_err(|error| unreadable(path, &error))?;
        Ok(!chunk.is_empty())
    }
}
