//! Looking at all that is stored of a model, and handing it out, outside of a load.

use futures_util::stream::FuturesOrdered;

use super::{Bytes, Chunk, Current, ReadThrough, Store, Upstream};
use crate::error::{Error, Result};

/// What became of a look at every chunk.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Verified {
    /// Chunks in all.
    pub chunks: usize,
    /// Those whose bytes were missing or not what they should be.
    pub damaged: Vec<Damage>,
    /// How many of these were fetched again.
    pub repaired: usize,
}

/// A chunk that was missing or damaged.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Damage {
    /// The file's name.
    pub file: String,
    /// Its first byte in the file.
    pub start: u64,
    /// Its length in bytes.
    pub length: u32,
}

impl<S: Store, U: Upstream<Bytes = S::Bytes>> ReadThrough<S, U> {
    /// Checks every chunk that is stored and fetches damaged ones again where that is possible.
    ///
    /// `progress` is told bytes done and in total after each chunk, and stops the work by returning false.
    pub async fn verify(&mut self, progress: &mut dyn FnMut(u64, u64) -> bool) -> Result<Verified> {
        let total = self.manifest.bytes();
        let mut done = 0;
        let mut verified = Verified::default();
        for place in 0..self.manifest.files.len() {
            self.ahead = FuturesOrdered::new();
            self.current = Current { file: place, ..Current::default() };
            let Some(file) = self.manifest.files.get(place) else { break };
            let (name, chunks) = (file.name.clone(), file.chunks.clone());
            for chunk in chunks {
                if !self.is_intact(&name, &chunk).await? {
                    self.mend(&name, &chunk, &mut verified).await?;
                }
                verified.chunks += 1;
                done += u64::from(chunk.length);
                if !progress(done, total) {
                    return Err(Error::Aborted);
                }
            }
        }
        self.await_writing().await?;
        Ok(verified)
    }

    /// Hands out a stored file, chunk by chunk, each checked; stops when `each` returns false.
    pub async fn copy_out(&mut self, name: &str, each: &mut dyn FnMut(S::Bytes) -> bool) -> Result<()> {
        if !self.open_file(name).await? {
            return Err(Error::MissingFile { name: name.to_owned() });
        }
        while let Some(bytes) = self.next_bytes().await? {
            if !each(bytes) {
                return Err(Error::Aborted);
            }
        }
        Ok(())
    }

    async fn is_intact(&mut self, name: &str, chunk: &Chunk) -> Result<bool> {
        let Some(store) = &self.store else { return Ok(false) };
        match store.get(&self.manifest.id, name, chunk.start).await {
            Ok(Some(bytes)) => {
                let digest = bytes.digest().await?;
                Ok(self.accepts(chunk.start, bytes.length(), digest))
            }
            Ok(None) | Err(Error::StoreCorrupt { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn mend(&mut self, name: &str, chunk: &Chunk, verified: &mut Verified) -> Result<()> {
        verified.damaged.push(Damage { file: name.to_owned(), start: chunk.start, length: chunk.length });
        match self.repair(chunk.start).await {
            Ok(_) => verified.repaired += 1,
            Err(Error::Aborted) => return Err(Error::Aborted),
            // It is listed as damaged; a load will say what is wrong with its source.
            Err(_) => {}
        }
        Ok(())
    }
}
