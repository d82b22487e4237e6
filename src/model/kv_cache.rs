//! The KV cache's bookkeeping: which tokens it holds, and so the position of the next one. Its keys and values lie with the
//! device that plays the forward pass.

use crate::error::{Error, Result};

/// Number format of cached keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvFormat {
    /// Half precision: half the memory, and the reading that goes with it.
    #[default]
    F16,
    /// Single precision, for exact comparisons.
    F32,
}

impl KvFormat {
    /// Bytes of two neighbouring dimensions.
    pub fn pair_bytes(self) -> u64 {
        match self {
            KvFormat::F16 => 4,
            KvFormat::F32 => 8,
        }
    }
}

/// The tokens whose keys and values are cached, in order.
#[derive(Debug, Clone)]
pub struct KvCache {
    ids: Vec<u32>,
    capacity: usize,
}

impl KvCache {
    /// An empty cache for `capacity` tokens.
    pub fn new(capacity: usize) -> Self {
        Self { ids: Vec::new(), capacity }
    }

    /// Tokens held: the position of the next one.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Tokens that it has room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many of the first `ids` are already cached.
    pub fn common_prefix(&self, ids: &[u32]) -> usize {
        self.ids.iter().zip(ids).take_while(|(cached, wanted)| cached == wanted).count()
    }

    /// Forgets all but the first `len` tokens.
    pub fn truncate(&mut self, len: usize) {
        self.ids.truncate(len);
    }

    /// Counts tokens whose keys and values were written.
    ///
    /// Errors: `ContextFull` when there is no room for them; the caller checks with [`KvCache::room`] before it computes.
    pub fn append(&mut self, ids: &[u32]) -> Result<()> {
        if ids.len() > self.room() {
            return Err(Error::ContextFull { prompt: self.len() + ids.len(), context: self.capacity });
        }
        self.ids.extend_from_slice(ids);
        Ok(())
    }

    /// Tokens that can still be added.
    pub fn room(&self) -> usize {
        self.capacity - self.ids.len()
    }
}
