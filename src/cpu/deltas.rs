//! What adapters add to a model's matrices: `up (down x)`, beside them.
//!
//! All adapters of a matrix lie side by side along their ranks, with weights and scales within `up`.

use std::collections::HashMap;

use super::ops::add;
use super::weights::{Input, Matrix};
use super::zeros;
use crate::config::ModelConfig;
use crate::error::Result;
use crate::weights::Role;
use crate::weights::lora::{Adapter, LowRank};

/// The adapters' part of each matrix that they change.
pub(super) struct Deltas {
    pairs: HashMap<Role, Pair>,
    /// `[T][ranks]`, what is between the two products.
    low: Vec<f32>,
    /// `[T][rows]`, what is added.
    added: Vec<f32>,
    /// `[ranks]`, a row of `up`.
    row: Vec<f32>,
}

/// Two narrow matrices.
struct Pair {
    /// `[ranks, columns]`; of the embedding a table, `[vocab, ranks]`.
    down: Matrix,
    /// `[rows, ranks]`; of the embedding `[hidden, ranks]`.
    up: Matrix,
}

/// An adapter's part of a matrix, and what the product of its factors is multiplied with.
type Part<'a> = (&'a LowRank, f32);

impl Deltas {
    /// Adapters with their weights, for at most `tokens` tokens at a time.
    ///
    /// Errors: `OutOfMemory`.
    pub fn new(config: &ModelConfig, adapters: &[(&Adapter, f32)], tokens: usize) -> Result<Self> {
        let mut parts: HashMap<Role, Vec<Part<'_>>> = HashMap::new();
        for (adapter, weight) in adapters {
            for part in &adapter.parts {
                parts.entry(part.role).or_default().push((part, weight * part.scale));
            }
        }
        let mut pairs = HashMap::new();
        for (role, parts) in parts {
            let ranks = parts.iter().map(|(part, _)| part.rank).sum();
            pairs.insert(role, Pair { down: down(config, role, &parts, ranks)?, up: up(config, role, &parts, ranks)? });
        }
        let most = |size: fn(&Pair) -> usize| pairs.values().map(size).max().unwrap_or(0);
        let low = zeros("adapters", tokens * most(|pair| pair.up.columns))?;
        let added = zeros("adapters", tokens * most(|pair| pair.up.rows()))?;
        let row = zeros("adapters", most(|pair| pair.up.columns))?;
        Ok(Self { pairs, low, added, row })
    }

    /// Adds to `out [count][rows]` what is added to a matrix's products with the first vectors of `x`.
    pub fn add(&mut self, role: Role, x: &mut Input, count: usize, out: &mut [f32]) {
        if let Some(Pair { down, up }) = self.pairs.get(&role) {
            down.multiply_exactly(&x.values, count, &mut self.low, &mut x.row);
            let added = &mut self.added[..count * up.rows()];
            up.multiply_exactly(&self.low, count, added, &mut self.row);
            add(out, added);
        }
    }

    /// Adds to `out [ids][hidden]` what is added to these rows of the embedding table.
    pub fn add_embeddings(&mut self, ids: &[u32], out: &mut [f32]) {
        if let Some(Pair { down, up }) = self.pairs.get(&Role::Embedding) {
            for (id, low) in ids.iter().zip(self.low.chunks_exact_mut(down.columns)) {
                down.row(*id as usize, low);
            }
            let added = &mut self.added[..ids.len() * up.rows()];
            up.multiply_exactly(&self.low, ids.len(), added, &mut self.row);
            add(out, added);
        }
    }
}

fn down(config: &ModelConfig, role: Role, parts: &[Part<'_>], ranks: usize) -> Result<Matrix> {
    let [rows, columns] = role.shape(config);
    if role != Role::Embedding {
        let mut values = Vec::new();
        for (part, _) in parts {
            values.extend(part.a.values()?);
        }
        return Matrix::of(columns, &values);
    }
    let mut values = zeros("adapters", rows * ranks)?;
    let mut at = 0;
    for (part, _) in parts {
        for (a, rank) in part.a.values()?.chunks_exact(rows).zip(at..) {
            values.iter_mut().skip(rank).step_by(ranks).zip(a).for_each(|(value, a)| *value = *a);
        }
        at += part.rank;
    }
    Matrix::of(ranks, &values)
}

fn up(config: &ModelConfig, role: Role, parts: &[Part<'_>], ranks: usize) -> Result<Matrix> {
    let [rows, columns] = role.shape(config);
    let rows = if role == Role::Embedding { columns } else { rows };
    let mut values: Vec<f32> = zeros("adapters", rows * ranks)?;
    let mut at = 0;
    for (part, factor) in parts {
        for (row, b) in values.chunks_exact_mut(ranks).zip(part.b.values()?.chunks_exact(part.rank)) {
            row[at..].iter_mut().zip(b).for_each(|(value, b)| *value = factor * b);
        }
        at += part.rank;
    }
    Matrix::of(ranks, &values)
}
