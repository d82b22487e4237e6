//! What the kernels for a product `W x` have in common: how their text is joined, what is bound, and how often they run.

use super::finish::Finish;
use super::{PRODUCT, expect_room, stride};
use crate::error::Result;
use crate::formats::Format;
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
    /// Workgroups that share two tiles of rows.
    pub split: usize,
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
            let parts = self.parts(slab.format);
            let kernel = Kernel { name: self.name, parts: &parts, sizes: &[("ADDS", Size::Flag(finish.adds()))] };
            let constants = gpu.constants("product", &finish.constants(slab, weight.columns))?;
            let mut bindings = vec![step, &*constants, x, &slab.buffer];
            let unused = gpu.unused();
            bindings.extend(finish.bindings(&unused));
            let groups = self.split * slab.rows.div_ceil(finish.rows_of_tiles());
            let (cost, computed) = (finish.cost(slab, weight.columns), self.computed);
            let dispatch = gpu
                .dispatch(&kernel, &bindings, Extent::fixed(groups, 1), self.tokens)
                .keeping(constants)
                .keeping(unused);
            Ok(dispatch.costing(move |run| cost(computed(run))))
        });
        dispatches.collect()
    }

    /// The files that it is made of for weights of a format.
    fn parts(&self, format: Format) -> Vec<&'static str> {
        [&PRODUCT, format.shader(), self.texts].concat()
    }
}
