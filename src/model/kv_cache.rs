//! The KV cache's bookkeeping: which tokens it holds, and so the position of the next one. Its keys and values lie with the
//! device that plays the forward pass.

use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{self, StrDeserializer};

use crate::error::{Error, Result};

/// Number format of cached keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KvFormat {
    /// Half precision: half the memory, and the reading that goes with it.
    #[default]
    F16,
    /// Single precision, for exact comparisons.
    F32,
    /// 8 bits, and a scale for each head's vector: little more than half of [`KvFormat::F16`], and coarser.
    Q8,
}

impl KvFormat {
    /// The format that is called `name`: `f16`, `f32` or `q8`.
    pub fn named(name: &str) -> Option<Self> {
        let name: StrDeserializer<'_, value::Error> = name.into_deserializer();
        Self::deserialize(name).ok()
    }

    /// Bytes of one head's key or value, of `head_dim` numbers.
    pub fn vector_bytes(self, head_dim: usize) -> u64 {
        let dims = head_dim as u64;
        match self {
            Self::F16 => 2 * dims,
            Self::F32 => 4 * dims,
            // Whole words, and the scale.
            Self::Q8 => dims.next_multiple_of(4) + 4,
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
