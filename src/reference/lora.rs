//! LoRA: an adapter is merged into the weights, `W + weight * scale * B A`.

use super::{Weights, matmul};
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::weights::Role;
use crate::weights::lora::{Adapter, LowRank};

impl Weights {
    /// Merges `weight` times an adapter. Where it changes tied embeddings, which it takes for two matrices, they are tied no more.
    pub fn merge(&mut self, config: &mut ModelConfig, adapter: &Adapter, weight: f32) -> Result<()> {
        for part in &adapter.parts {
            if config.tied_embeddings && matches!(part.role, Role::Embedding | Role::Head) {
                let table = self.tensors.get(&Role::Embedding).cloned();
                self.tensors.extend(table.map(|table| (Role::Head, table)));
                config.tied_embeddings = false;
            }
            let delta = delta(part)?;
            let missing = || Error::MissingTensor { tensor: format!("{:?}", part.role) };
            let (_, values) = self.tensors.get_mut(&part.role).ok_or_else(missing)?;
            values.iter_mut().zip(delta).for_each(|(value, delta)| *value += weight * part.scale * delta);
        }
        Ok(())
    }
}

/// `B A`, in the form of the matrix that it is added to.
fn delta(part: &LowRank) -> Result<Vec<f32>> {
    let (a, b) = (part.a.values()?, part.b.values()?);
    let a_transposed = transposed(&a, part.rank);
    // Each row of `b` times `a`; a table is the other way round.
    let (rows, columns) = if part.role == Role::Embedding { (a_transposed, b) } else { (b, a_transposed) };
    Ok(matmul(&columns, &rows, part.rank))
}

/// `[rows, columns]` to `[columns, rows]`.
fn transposed(values: &[f32], rows: usize) -> Vec<f32> {
    let columns = values.len() / rows;
    (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns)).copied().collect()
}
