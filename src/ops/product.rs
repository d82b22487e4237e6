//! What the kernels for a product `W x` have in common: how their text is joined, what is bound, and how often they run.

use super::finish::Finish;
use super::{STEP, TILES, expect_room, stride};
use crate::error::Result;
use crate::formats::tile::blocks;
use crate::gpu::Gpu;
use crate::gpu::cost::Run;
use crate::gpu::kernel::{Dispatch, Extent, Kernel, Size};
use crate::gpu::tensor::Buffer;
use crate::gpu::weights::Weight;

/// A kernel for products.
pub(super) struct ProductKernel<'a> {
    /// Its file and entry point.
    pub name: &'static str,
    /// The files that it is made of, besides those that every product has in front.
    pub texts: &'a [&'static str],
    /// Rows of `x` that it reads at once.
    pub token_tile: usize,
    /// Workgroups over the tokens.
    pub tokens: Extent,
    /// Tokens of a run whose products it computes.
    pub computed: fn(Run) -> usize,
}

impl ProductKernel<'_> {
    /// One dispatch for each slab of `weight`.
    pub fn record(
        &self,
        gpu: &Gpu,
        weight: &Weight,
        [step, x]: [&Buffer; 2],
        finish: &Finish<'_>,
    ) -> Result<Vec<Dispatch>> {
        expect_room(self.name, "x", x, self.token_tile * stride(weight.columns))?;
        finish.check(self.name)?;
        let dispatches = weight.slabs.iter().map(|slab| {
            let mut parts = vec![STEP];
            parts.extend(slab.format.shader());
            parts.push(TILES);
            parts.extend(finish.parts());
            parts.extend(self.texts);
            let mut sizes = vec![("BLOCKS", Size::Count(blocks(weight.columns)))];
            sizes.extend(finish.sizes(slab));
            let kernel = Kernel { name: self.name, parts: &parts, sizes: &sizes };
            let mut bindings = vec![step, x, &slab.buffer];
            bindings.extend(finish.bindings());
            let rows = Extent::fixed(slab.rows, finish.rows_per_group());
            let (cost, computed) = (finish.cost(slab, weight.columns), self.computed);
            gpu.dispatch(&kernel, &bindings, rows, self.tokens).costing(move |run| cost(computed(run)))
        });
        Ok(dispatches.collect())
    }
}
