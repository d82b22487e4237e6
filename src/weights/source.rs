//! Where a checkpoint's bytes come from: a contract with one implementation per place (web store, native files).

use crate::error::Result;

/// A checkpoint as it was published: small files that are read whole, and weight files that are streamed.
pub trait Source {
    /// What kind of checkpoint this is.
    fn kind(&self) -> Kind;

    /// A small file of a Hugging Face folder (`config.json`, ...), whole; `None` when the folder does not have it.
    async fn small_file(&mut self, name: &str) -> Result<Option<Vec<u8>>>;

    /// Starts streaming a weight file from its first byte; returns its length in bytes.
    async fn open(&mut self, name: &str) -> Result<u64>;

    /// Is told, before any weight is read, how many bytes all files have; refuses what it has no room for.
    async fn reserve(&mut self, _total: u64) -> Result<()> {
        Ok(())
    }

    /// Replaces `chunk` by the next bytes (1-8 MiB, fewer at the end) of the file that was opened last.
    ///
    /// Returns false, and leaves `chunk` empty, at the end of the file. The same vector is passed again and again, so
    /// that one chunk at a time is held.
    async fn next_chunk(&mut self, chunk: &mut Vec<u8>) -> Result<bool>;
}

/// The kinds of checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// One GGUF file, by its name.
    Gguf(String),
    /// A folder with `config.json`, `tokenizer.json` and safetensors files.
    HuggingFace,
}
