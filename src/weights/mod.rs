//! Published checkpoints become rows of named weights; after this room nothing knows where bytes came from.

mod cursor;
pub mod gguf;
mod gguf_config;
mod hugging_face;
pub mod loader;
pub mod lora;
mod manifest;
#[cfg(not(target_arch = "wasm32"))]
pub mod native;
pub mod outline;
pub mod recipe;
pub mod repository;
mod rows;
pub mod source;
pub mod split;

use crate::config::ModelConfig;
use crate::error::Result;
use crate::formats::Format;

/// What a tensor is to the model, whatever its file calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Token embedding, `[vocab, hidden]`; also the output head when embeddings are tied.
    Embedding,
    /// Output head, `[vocab, hidden]`.
    Head,
    /// Norm before the head, `[1, hidden]`.
    FinalNorm,
    /// One of a layer's weights.
    Layer(usize, LayerRole),
}

/// A layer's weights, in the order in which the forward pass uses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LayerRole {
    /// Norm before attention, `[1, hidden]`.
    AttentionNorm,
    /// Query projection, `[heads * head_dim, hidden]`, rows in neighbour-pair RoPE order.
    Query,
    /// Key projection, `[kv_heads * head_dim, hidden]`, rows in neighbour-pair RoPE order.
    Key,
    /// Value projection, `[kv_heads * head_dim, hidden]`.
    Value,
    /// Output projection of attention, `[hidden, heads * head_dim]`.
    AttentionOutput,
    /// Norm before the feed-forward part, `[1, hidden]`.
    MlpNorm,
    /// Gate projection, `[intermediate, hidden]`.
    Gate,
    /// Up projection, `[intermediate, hidden]`.
    Up,
    /// Down projection, `[hidden, intermediate]`.
    Down,
}

impl LayerRole {
    /// All of a layer's weights.
    pub const ALL: [LayerRole; 9] = [
        LayerRole::AttentionNorm,
        LayerRole::Query,
        LayerRole::Key,
        LayerRole::Value,
        LayerRole::AttentionOutput,
        LayerRole::MlpNorm,
        LayerRole::Gate,
        LayerRole::Up,
        LayerRole::Down,
    ];
}

impl Role {
    /// Every weight that a model of this configuration has.
    pub fn all(config: &ModelConfig) -> Vec<Role> {
        let mut roles = vec![Role::Embedding];
        for layer in 0..config.layers {
            roles.extend(LayerRole::ALL.map(|role| Role::Layer(layer, role)));
        }
        roles.push(Role::FinalNorm);
        if !config.tied_embeddings {
            roles.push(Role::Head);
        }
        roles
    }

    /// Whether it is a norm's vector rather than a matrix.
    pub fn is_norm(self) -> bool {
        matches!(self, Role::FinalNorm | Role::Layer(_, LayerRole::AttentionNorm | LayerRole::MlpNorm))
    }

    /// Rows and columns that the configuration asks for; a norm is one row.
    pub fn shape(self, config: &ModelConfig) -> [usize; 2] {
        let hidden = config.hidden_size;
        match self {
            Role::Embedding | Role::Head => [config.vocab_size, hidden],
            Role::FinalNorm => [1, hidden],
            Role::Layer(_, role) => match role {
                LayerRole::AttentionNorm | LayerRole::MlpNorm => [1, hidden],
                LayerRole::Query => [config.query_size(), hidden],
                LayerRole::Key | LayerRole::Value => [config.kv_size(), hidden],
                LayerRole::AttentionOutput => [hidden, config.query_size()],
                LayerRole::Gate | LayerRole::Up => [config.intermediate_size, hidden],
                LayerRole::Down => [hidden, config.intermediate_size],
            },
        }
    }
}

/// A weight that is about to arrive: what it is, in which format, and its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorSpec {
    /// What it is to the model.
    pub role: Role,
    /// How its bytes are to be read.
    pub format: Format,
    /// Number of rows (1 for a norm).
    pub rows: usize,
    /// Number of columns; a multiple of the format's block length.
    pub columns: usize,
}

/// Where a loader writes weights: a device's memory, or a test's vectors.
pub trait Sink {
    /// Makes room for tensors whose rows are about to be written. Called once for each file of a checkpoint.
    async fn allocate(&mut self, tensors: &[TensorSpec]) -> Result<()>;

    /// Takes whole rows as published (query and key rows already in neighbour-pair RoPE order).
    ///
    /// Rows of one tensor come in order; `first_row` is a multiple of `ROW_GROUP`, and all calls but a tensor's last
    /// bring a multiple of `ROW_GROUP` rows. Rows of different tensors never come in one call.
    fn write_rows(&mut self, role: Role, first_row: usize, bytes: &[u8]) -> Result<()>;

    /// Waits where more was written than is good to have on its way; called after each run of rows.
    async fn settle(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Rows come to a [`Sink`] in multiples of this many, so that it can interleave them without keeping any back.
pub const ROW_GROUP: usize = 32;
