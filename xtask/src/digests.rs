//! SHA-256 of a model's files, whole and in parts: a browser that knows them refuses what was damaged on the way, and
//! fetches only that part again.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::run;

/// What the browser stores and fetches at a time, in bytes.
const PART: u64 = 4 * 1024 * 1024;

/// Digests of files, remembered from run to run: a model of gigabytes is read once.
pub struct Digests {
    /// Where they are remembered.
    memory: PathBuf,
    /// By path: `{stamp, digests}`.
    known: Map<String, Value>,
}

impl Digests {
    /// What earlier runs left in the file `memory`; no file, or one that cannot be read, only costs time.
    pub fn remembered(memory: PathBuf) -> Self {
        let known =
            std::fs::read(&memory).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { memory, known }
    }

    /// `{"sha256": of the whole file, "chunks": [of each part]}`, in hexadecimal digits.
    pub fn of(&mut self, path: &Path) -> Result<Value> {
        let reading = || format!("cannot read {}", path.display());
        let file = File::open(path).with_context(reading)?;
        let stamp = stamp(&file).with_context(reading)?;
        let key = path.display().to_string();
        if let Some(entry) = self.known.get(&key).filter(|entry| entry["stamp"] == stamp) {
            return Ok(entry["digests"].clone());
        }
        run::step(&format!("SHA-256 of {key}"));
        let digests = hash(file).with_context(reading)?;
        self.known.insert(key, json!({ "stamp": stamp, "digests": digests }));
        self.known.retain(|path, _| Path::new(path).exists());
        // A memory that cannot be written only costs time, too.
        let _ = std::fs::write(&self.memory, Value::Object(self.known.clone()).to_string());
        Ok(digests)
    }
}

/// Changes when the file does: its size, and when it was written.
fn stamp(file: &File) -> Result<String> {
    let facts = file.metadata()?;
    Ok(format!("{} {}", facts.len(), facts.modified()?.duration_since(UNIX_EPOCH)?.as_nanos()))
}

fn hash(mut file: File) -> Result<Value> {
    let mut whole = Sha256::new();
    let mut chunks = Vec::new();
    let mut part = Vec::new();
    loop {
        part.clear();
        if (&mut file).take(PART).read_to_end(&mut part)? == 0 {
            break;
        }
        whole.update(&part);
        chunks.push(run::hex(&Sha256::digest(&part)));
    }
    Ok(json!({ "sha256": run::hex(&whole.finalize()), "chunks": chunks }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `sha256sum` says so of that many zero bytes.
    const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const ONE: &str = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
    const PART_OF_ZEROS: &str = "bb9f8df61474d25e71fa00722318cd387396ca1736605e1248821cc0de3d3af8";
    const PART_AND_ONE: &str = "95e441ca65cd41fa01b2a71799e79fd60db59ed34f13af32a91e85f90378676c";

    #[test]
    fn whole_files_and_their_parts() {
        let folder = std::env::temp_dir().join(format!("xtask-digests-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("model");
        let mut digests = Digests::remembered(folder.join("digests.json"));
        for (bytes, sha256, chunks) in [
            (0, NOTHING, vec![]),
            (1, ONE, vec![ONE]),
            (PART, PART_OF_ZEROS, vec![PART_OF_ZEROS]),
            (PART + 1, PART_AND_ONE, vec![PART_OF_ZEROS, ONE]),
        ] {
            File::create(&path).unwrap().set_len(bytes).unwrap();
            assert_eq!(digests.of(&path).unwrap(), json!({ "sha256": sha256, "chunks": chunks }), "{bytes} bytes");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_is_read_again_only_when_it_changed() {
        let folder = std::env::temp_dir().join(format!("xtask-digests-again-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (path, memory) = (folder.join("model"), folder.join("digests.json"));
        let file = File::create(&path).unwrap();
        file.set_len(1).unwrap();
        let first = Digests::remembered(memory.clone()).of(&path).unwrap();
        assert_eq!(first["sha256"], ONE);
        // A memory that says something else shows that nothing but the memory was asked.
        let text = std::fs::read_to_string(&memory).unwrap();
        std::fs::write(&memory, text.replace(ONE, NOTHING)).unwrap();
        assert_eq!(Digests::remembered(memory.clone()).of(&path).unwrap()["sha256"], NOTHING);
        file.set_modified(UNIX_EPOCH).unwrap();
        assert_eq!(Digests::remembered(memory.clone()).of(&path).unwrap(), first);
        std::fs::write(&memory, "half of a JSO").unwrap();
        assert_eq!(Digests::remembered(memory).of(&path).unwrap(), first);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
