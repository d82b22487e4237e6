//! The forward pass of Llama 2, told once. Executors play it: the WebGPU one records the kernels of each step.
//!
//! Source: Touvron et al. 2023, "Llama 2"; reference implementation: Hugging Face's `LlamaForCausalLM`.

use crate::config::ModelConfig;
use crate::error::{Error, Result};

/// The steps of the forward pass over a chunk of tokens. A device may do each in one kernel or in several.
pub trait Steps {
    /// x = embedding of the tokens, `[tokens, hidden]`.
    fn embed(&mut self) -> Result<()>;
    /// q, k, v = projections of rmsnorm(x); q and k turned by RoPE; k and v into the cache.
    fn attention_input(&mut self, layer: usize) -> Result<()>;
    /// mix = softmax(q kᵀ / √head_dim, causal) v, each group of query heads over its key/value head.
    fn attention(&mut self, layer: usize) -> Result<()>;
    /// x += output projection of mix.
    fn attention_output(&mut self, layer: usize) -> Result<()>;
    /// inner = silu(gate projection of rmsnorm(x)) · up projection of rmsnorm(x).
    fn mlp_input(&mut self, layer: usize) -> Result<()>;
    /// x += down projection of inner.
    fn mlp_output(&mut self, layer: usize) -> Result<()>;
    /// logits = head of rmsnorm(x), of the last token alone, `[vocab]`.
    fn logits(&mut self) -> Result<()>;
}

/// Everything up to the last layer's residual stream.
pub fn layers(layers: usize, steps: &mut impl Steps) -> Result<()> {
    steps.embed()?;
    for layer in 0..layers {
        steps.attention_input(layer)?;
        steps.attention(layer)?;
        steps.attention_output(layer)?;
        steps.mlp_input(layer)?;
        steps.mlp_output(layer)?;
    }
    Ok(())
}

/// Refuses to run tokens that are none of the model's, or more or fewer at `position` than 1 to `chunk` and a context of this
/// many have room for: `BadRequest`.
pub fn expect_fit(config: &ModelConfig, ids: &[u32], position: usize, chunk: usize, context: usize) -> Result<()> {
    if let Some(id) = ids.iter().find(|&&id| id as usize >= config.vocab_size) {
        return Err(Error::BadRequest {
            detail: format!("token {id} is outside the vocabulary of {}", config.vocab_size),
        });
    }
    let most = chunk.min(context.saturating_sub(position));
    if ids.is_empty() || ids.len() > most {
        return Err(Error::BadRequest { detail: format!("{} tokens at once where 1 to {most} fit", ids.len()) });
    }
    Ok(())
}
