//! The forward pass of Llama 2, told once. Executors play it: the WebGPU one records the kernels of each step.
//!
//! Source: Touvron et al. 2023, "Llama 2"; reference implementation: Hugging Face's `LlamaForCausalLM`.

use crate::error::Result;

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
