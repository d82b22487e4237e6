//! Shader text becomes pipelines, pipelines and buffers become dispatches, dispatches become a program that is run again
//! and again.

use std::any::Any;
use std::fmt::Write;
use std::rc::Rc;

use super::Gpu;
use super::cost::{Cost, Run};
use super::pipeline::Pipeline;
use super::tensor::Buffer;

/// A kernel: the shader files that are joined into it, in order; the last one holds the entry point `name`.
pub struct Kernel<'a> {
    /// Name of the shader file, the entry point and the pipeline's label.
    pub name: &'static str,
    /// Texts of the helpers and of the kernel itself.
    pub parts: &'a [&'static str],
    /// Constants that go in front.
    pub sizes: &'a [(&'static str, Size)],
}

/// A constant of a kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Size {
    /// `u32`
    Count(usize),
    /// `f32`
    Number(f32),
    /// `bool`
    Flag(bool),
}

impl Kernel<'_> {
    /// The whole WGSL text. Natively without directives: wgpu's own compiler refuses that of subgroups, and needs none.
    pub fn source(&self) -> String {
        self.join(cfg!(target_arch = "wasm32"))
    }

    /// The parts' directives, which are to come first, the sizes, the parts.
    fn join(&self, directives: bool) -> String {
        let lines = || self.parts.iter().flat_map(|part| part.lines());
        let mut text = String::new();
        for directive in lines().filter(|line| directives && is_directive(line)) {
            text.extend([directive, "\n"]);
        }
        for (name, size) in self.sizes {
            // Writing to a String cannot fail.
            let _ = match size {
                Size::Count(count) => writeln!(text, "const {name}: u32 = {count}u;"),
                Size::Number(number) => writeln!(text, "const {name}: f32 = {number:e}f;"),
                Size::Flag(flag) => writeln!(text, "const {name}: bool = {flag};"),
            };
        }
        for line in lines().filter(|line| !is_directive(line)) {
            text.extend([line, "\n"]);
        }
        text
    }
}

fn is_directive(line: &str) -> bool {
    ["enable ", "requires ", "diagnostic("].iter().any(|word| line.starts_with(word))
}

/// How many workgroups a dispatch has along one axis: `ceil(items / group)`, with `items` for each token or in all.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    items: usize,
    per_token: bool,
    group: usize,
}

impl Extent {
    /// The same for any number of tokens.
    pub fn fixed(items: usize, group: usize) -> Self {
        Self { items, per_token: false, group }
    }

    /// `items` for each token.
    pub fn per_token(items: usize, group: usize) -> Self {
        Self { items, per_token: true, group }
    }

    fn groups(self, tokens: usize) -> u32 {
        let items = if self.per_token { self.items * tokens } else { self.items };
        items.div_ceil(self.group) as u32
    }
}

/// One dispatch, ready to be encoded: a pipeline with its buffers bound.
pub struct Dispatch {
    name: &'static str,
    pipeline: Rc<Pipeline>,
    bindings: wgpu::BindGroup,
    /// Bound, and kept alive.
    kept: Vec<Rc<dyn Any>>,
    x: Extent,
    y: Extent,
    cost: Box<dyn Fn(Run) -> Cost>,
}

impl Dispatch {
    /// The kernel's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Has these, which are among what it binds, live as long as it does.
    pub fn keeping(mut self, buffers: Rc<dyn Any>) -> Self {
        self.kept.push(buffers);
        self
    }

    /// States what it costs in a run; nothing unless that is said.
    pub fn costing(self, cost: impl Fn(Run) -> Cost + 'static) -> Self {
        Self { cost: Box::new(cost), ..self }
    }

    /// The least that it moves and computes in a run.
    pub fn cost(&self, run: Run) -> Cost {
        (self.cost)(run)
    }

    pub(super) fn encode(&self, device: &wgpu::Device, pass: &mut wgpu::ComputePass<'_>, tokens: usize) {
        pass.set_pipeline(self.pipeline.compiled(device));
        pass.set_bind_group(0, &self.bindings, &[]);
        pass.dispatch_workgroups(self.x.groups(tokens), self.y.groups(tokens), 1);
    }
}

impl Gpu {
    /// Binds `buffers` to bindings 0, 1, ... of a kernel's group 0.
    ///
    /// The layout is the shader's own; what does not fit it is reported by the error scope around this call. The pipeline
    /// is compiled by [`Gpu::compile`], or when it is first submitted.
    pub fn dispatch(&self, kernel: &Kernel<'_>, buffers: &[&Buffer], x: Extent, y: Extent) -> Dispatch {
        let pipeline = self.pipeline(kernel);
        let entries: Vec<_> = (0..)
            .zip(buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.raw.as_entire_binding() })
            .collect();
        let bindings = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(kernel.name),
            layout: &pipeline.bindings,
            entries: &entries,
        });
        Dispatch { name: kernel.name, pipeline, bindings, kept: Vec::new(), x, y, cost: Box::new(|_| Cost::default()) }
    }

    /// Submits dispatches for `tokens` tokens in one compute pass, then a copy of a result: from, to, and its bytes. Returns how
    /// many dispatches there were.
    pub fn submit<'a>(
        &self,
        dispatches: impl IntoIterator<Item = &'a Dispatch>,
        tokens: usize,
        result: Option<(&Buffer, &Buffer, u64)>,
    ) -> u64 {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        let mut count = 0;
        for dispatch in dispatches {
            dispatch.encode(&self.device, &mut pass, tokens);
            count += 1;
        }
        drop(pass);
        if let Some((from, to, bytes)) = result {
            encoder.copy_buffer_to_buffer(&from.raw, 0, &to.raw, 0, bytes);
        }
        self.queue.submit([encoder.finish()]);
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_come_first_or_not_at_all() {
        let parts = ["fn a() {}\n", "// enable x;\nenable subgroups;\ndiagnostic(off, rule);\nfn b() {}"];
        let kernel = Kernel { name: "b", parts: &parts, sizes: &[("ROWS", Size::Count(2)), ("ONE", Size::Flag(true))] };
        let rest = "const ROWS: u32 = 2u;\nconst ONE: bool = true;\nfn a() {}\n// enable x;\nfn b() {}\n";
        assert_eq!(kernel.join(true), format!("enable subgroups;\ndiagnostic(off, rule);\n{rest}"));
        assert_eq!(kernel.join(false), rest);
    }
}
