//! What adapters add to a model's products, in the device's memory.
//!
//! All adapters of a product lie side by side along their ranks: `up (down x)`, with weights and scales within `up`. However
//! many there are, x is brought down once, and up once.

use super::Gpu;
use super::tensor::Buffer;
use super::weights::{Product, Weight, WeightStore, Weights};
use crate::config::ModelConfig;
use crate::error::Result;
use crate::formats::Format;
use crate::ops::stride;
use crate::weights::lora::{Adapter, LowRank};
use crate::weights::{LayerRole, Role, Sink, TensorSpec};

/// The adapters' part of each product that they change.
pub(super) struct Deltas {
    /// `[ranks, columns]`; of the embedding a table, `[vocab, ranks]`.
    down: WeightStore,
    /// `[rows, ranks]` of each matrix; of the embedding `[hidden, ranks]`.
    up: WeightStore,
    /// `[T][ranks]`, what is between the two.
    pub low: Buffer,
    /// `[T][2][intermediate]`, what is added to gate and up projections; none where they are left alone.
    pub gate_up: Option<Buffer>,
}

impl Deltas {
    /// Uploads adapters with their weights, for chunks of at most `chunk` tokens.
    ///
    /// Errors: `OutOfMemory`, `AdapterLimit`.
    pub async fn new(gpu: &Gpu, config: &ModelConfig, adapters: &[(&Adapter, f32)], chunk: usize) -> Result<Self> {
        let stacks = stacks(adapters);
        let (mut down, mut up) = (Weights::new(gpu), Weights::new(gpu));
        for stack in &stacks {
            stack.write_down(&mut down, config).await?;
            stack.write_up(&mut up, config).await?;
        }
        let width = stacks.iter().map(Stack::width).max().unwrap_or(0);
        let gated = stacks.iter().any(|stack| matches!(stack.product, Product::GateUp(_)));
        let floats = |label: &str, count: usize| gpu.storage(label, 4 * (chunk * count) as u64);
        let buffers = gpu.checked("adapters", || {
            let gate_up = gated.then(|| floats("added to gate and up", 2 * stride(config.intermediate_size)));
            Ok((floats("low", width)?, gate_up.transpose()?))
        });
        let (low, gate_up) = buffers.await?;
        Ok(Self { down: down.finish(), up: up.finish(), low, gate_up })
    }

    /// What brings a product's x down and up again, where adapters change it.
    pub fn of(&self, product: Product) -> Result<Option<(&Weight, &Weight)>> {
        if !self.down.has(product) {
            return Ok(None);
        }
        Ok(Some((self.down.product(product)?, self.up.product(product)?)))
    }
}

/// All that adapters add to one product.
struct Stack<'a> {
    product: Product,
    parts: Vec<Placed<'a>>,
}

/// One adapter's part of a stack.
struct Placed<'a> {
    part: &'a LowRank,
    /// What the product of its factors is multiplied with.
    factor: f32,
    /// Where its ranks start.
    at: usize,
}

fn stacks<'a>(adapters: &[(&'a Adapter, f32)]) -> Vec<Stack<'a>> {
    let mut stacks: Vec<Stack<'_>> = Vec::new();
    for (adapter, weight) in adapters {
        for part in &adapter.parts {
            let Some((product, _)) = Product::of(part.role) else { continue };
            let factor = weight * part.scale;
            match stacks.iter_mut().find(|stack| stack.product == product) {
                Some(stack) => stack.parts.push(Placed { part, factor, at: stack.ranks() }),
                None => stacks.push(Stack { product, parts: vec![Placed { part, factor, at: 0 }] }),
            }
        }
    }
    stacks
}

impl Stack<'_> {
    fn ranks(&self) -> usize {
        self.parts.last().map_or(0, |placed| placed.at + placed.part.rank)
    }

    /// Its ranks in whole blocks, so that what lies between the two products is written to the last number.
    fn width(&self) -> usize {
        stride(self.ranks())
    }

    async fn write_down(&self, sink: &mut Weights<'_>, config: &ModelConfig) -> Result<()> {
        let (role, width) = (self.parts[0].part.role, self.width());
        let [rows, columns] = role.shape(config);
        let table = role == Role::Embedding;
        let [rows, columns] = if table { [rows, width] } else { [width, columns] };
        let mut values = vec![0.0; rows * columns];
        for Placed { part, at, .. } in &self.parts {
            let a = part.a.values()?;
            if table {
                for (rank, row) in a.chunks_exact(rows).enumerate() {
                    let column = values.iter_mut().skip(at + rank).step_by(width);
                    column.zip(row).for_each(|(value, a)| *value = *a);
                }
            } else {
                values[at * columns..at * columns + a.len()].copy_from_slice(&a);
            }
        }
        let spec = TensorSpec { role, format: Format::F32, rows, columns };
        sink.allocate(&[spec]).await?;
        sink.write_rows(role, 0, bytemuck::cast_slice(&values))?;
        sink.settle().await
    }

    async fn write_up(&self, sink: &mut Weights<'_>, config: &ModelConfig) -> Result<()> {
        let roles = self.roles();
        let spec = |role: &Role| {
            let [rows, columns] = role.shape(config);
            let rows = if *role == Role::Embedding { columns } else { rows };
            TensorSpec { role: *role, format: Format::F32, rows, columns: self.width() }
        };
        let specs: Vec<TensorSpec> = roles.iter().map(spec).collect();
        // Allocated together, the rows of a gate and an up projection would lie in pairs.
        let together = if let Product::GateUp(_) = self.product { 1 } else { specs.len() };
        for specs in specs.chunks(together) {
            sink.allocate(specs).await?;
        }
        for spec in specs {
            let values = self.up_values(&spec)?;
            sink.write_rows(spec.role, 0, bytemuck::cast_slice(&values))?;
            sink.settle().await?;
        }
        Ok(())
    }

    /// The matrices that are changed. Where one of gate and up projection is, nothing is added to the other.
    fn roles(&self) -> Vec<Role> {
        if let Product::GateUp(layer) = self.product {
            return [LayerRole::Gate, LayerRole::Up].map(|role| Role::Layer(layer, role)).to_vec();
        }
        let mut roles: Vec<Role> = Vec::new();
        for Placed { part, .. } in &self.parts {
            if !roles.contains(&part.role) {
                roles.push(part.role);
            }
        }
        roles
    }

    fn up_values(&self, spec: &TensorSpec) -> Result<Vec<f32>> {
        let mut values = vec![0.0; spec.rows * spec.columns];
        for Placed { part, factor, at } in self.parts.iter().filter(|placed| placed.part.role == spec.role) {
            let b = part.b.values()?;
            for (row, b) in values.chunks_exact_mut(spec.columns).zip(b.chunks_exact(part.rank)) {
                row.iter_mut().skip(*at).zip(b).for_each(|(value, b)| *value = factor * b);
            }
        }
        Ok(values)
    }
}
