//! Pipelines: one for each kernel's text, compiled side by side while something else is done.

use std::cell::OnceCell;
use std::rc::Rc;

use futures_util::future::LocalBoxFuture;

use super::Gpu;
use super::kernel::Kernel;
use crate::error::Result;

/// A kernel's pipeline, and what its buffers are bound to before it is compiled.
pub(super) struct Pipeline {
    name: &'static str,
    module: wgpu::ShaderModule,
    pub bindings: wgpu::BindGroupLayout,
    layout: wgpu::PipelineLayout,
    compiled: OnceCell<wgpu::ComputePipeline>,
}

impl Pipeline {
    fn new(device: &wgpu::Device, name: &'static str, text: &str) -> Self {
        let source = wgpu::ShaderSource::Wgsl(text.into());
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some(name), source });
        let entries = bindings(text);
        let bindings =
            device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(name), entries: &entries });
        let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(name),
            bind_group_layouts: &[Some(&bindings)],
            immediate_size: 0,
        });
        Self { name, module, bindings, layout, compiled: OnceCell::new() }
    }

    /// The pipeline, compiled now unless it was before.
    pub fn compiled(&self, device: &wgpu::Device) -> &wgpu::ComputePipeline {
        self.compiled.get_or_init(|| self.compile(device))
    }

    fn compile(&self, device: &wgpu::Device) -> wgpu::ComputePipeline {
        device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(self.name),
            layout: Some(&self.layout),
            module: &self.module,
            entry_point: Some(self.name),
            compilation_options: Default::default(),
            cache: None,
        })
    }
}

/// The bindings of group 0 as the shader states them, each on a line of its own.
fn bindings(text: &str) -> Vec<wgpu::BindGroupLayoutEntry> {
    let stated = text.lines().filter_map(|line| {
        let (number, variable) = line.strip_prefix("@group(0) @binding(")?.split_once(") var<")?;
        let ty = match variable.split_once('>')?.0 {
            "uniform" => wgpu::BufferBindingType::Uniform,
            access => wgpu::BufferBindingType::Storage { read_only: access == "storage, read" },
        };
        Some(wgpu::BindGroupLayoutEntry {
            binding: number.parse().ok()?,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
            count: None,
        })
    });
    stated.collect()
}

impl Gpu {
    /// The pipeline of a kernel, which others of the same text share. Natively it is compiled at once.
    pub(super) fn pipeline(&self, kernel: &Kernel<'_>) -> Rc<Pipeline> {
        let text = kernel.source();
        let mut pipelines = self.pipelines.borrow_mut();
        if let Some(pipeline) = pipelines.get(&text) {
            return pipeline.clone();
        }
        let pipeline = Rc::new(Pipeline::new(&self.device, kernel.name, &text));
        #[cfg(not(target_arch = "wasm32"))]
        pipeline.compiled(&self.device);
        pipelines.insert(text, pipeline.clone());
        pipeline
    }

    /// Forgets the pipelines that were not compiled, because they cannot be or because nobody needed them.
    pub(super) fn forget_uncompiled(&self) {
        self.pipelines.borrow_mut().retain(|_, pipeline| pipeline.compiled.get().is_some());
    }

    /// Starts to compile all pipelines that dispatches were made of so far; done when they are ready.
    ///
    /// Without it, a browser compiles each when it is first submitted, one after another and before anything else.
    pub fn compile(&self) -> LocalBoxFuture<'_, Result<()>> {
        #[cfg(target_arch = "wasm32")]
        return web::compile(self);
        #[cfg(not(target_arch = "wasm32"))]
        Box::pin(std::future::ready(self.check()))
    }
}

/// `createComputePipelineAsync`, which wgpu has no name for.
#[cfg(target_arch = "wasm32")]
mod web {
    use std::cell::Cell;
    use std::future::Future;
    use std::rc::Rc;

    use futures_util::future::LocalBoxFuture;
    use js_sys::{Function, Object, Promise, Reflect};
    use wasm_bindgen::closure::Closure;
    use wasm_bindgen::{JsCast, JsValue};
    use wasm_bindgen_futures::JsFuture;

    use super::{Gpu, Pipeline};
    use crate::error::{Error, Result};

    /// See [`Gpu::compile`].
    pub fn compile(gpu: &Gpu) -> LocalBoxFuture<'_, Result<()>> {
        let pipelines = gpu.pipelines.borrow();
        let missing = pipelines.values().filter(|pipeline| pipeline.compiled.get().is_none());
        let begun: Vec<_> = missing.map(|pipeline| (pipeline.clone(), begin(&gpu.device, pipeline))).collect();
        Box::pin(async move {
            let mut done = Ok(());
            for (pipeline, ready) in begun {
                let ready = ready.await;
                // Of a device that is gone there are no pipelines.
                gpu.check()?;
                // One that is refused takes nothing from the others.
                done = done.and(ready.map(|ready| adopt(&gpu.device, &pipeline, ready)));
            }
            done
        })
    }

    /// Starts to compile a pipeline.
    fn begin(device: &wgpu::Device, pipeline: &Pipeline) -> impl Future<Output = Result<JsValue>> + use<> {
        let asked = Rc::new(Cell::new(Err(JsValue::UNDEFINED)));
        if let Some(raw) = device.as_webgpu().map(AsRef::<JsValue>::as_ref) {
            let (to, own) = (asked.clone(), raw.clone());
            let ask = move |descriptor| {
                let create = Reflect::get(&own, &"createComputePipelineAsync".into());
                let create = create.and_then(JsCast::dyn_into::<Function>);
                to.set(create.and_then(|create| create.call1(&own, &descriptor)));
                JsValue::UNDEFINED
            };
            // What wgpu makes of no pipeline is dropped: it was only to say what is wanted.
            drop(answering(raw, Closure::new(ask), || pipeline.compile(device)));
        }
        let name = pipeline.name;
        let asked = asked.replace(Err(JsValue::UNDEFINED)).map(|promise| JsFuture::from(Promise::resolve(&promise)));
        async move {
            let compiled = match asked {
                Ok(promise) => promise.await,
                Err(error) => Err(error),
            };
            compiled.map_err(|error| Error::Gpu { detail: format!("{name}: {error:?}") })
        }
    }

    /// Takes over a pipeline that the browser has compiled.
    fn adopt(device: &wgpu::Device, pipeline: &Pipeline, compiled: JsValue) {
        let Some(raw) = device.as_webgpu().map(AsRef::<JsValue>::as_ref) else { return };
        let answer = Closure::new(move |_| compiled.clone());
        pipeline.compiled.get_or_init(|| answering(raw, answer, || pipeline.compile(device)));
    }

    /// Runs `work` with `answer` in the place of the device's `createComputePipeline`.
    fn answering<T>(raw: &JsValue, answer: Closure<dyn FnMut(JsValue) -> JsValue>, work: impl FnOnce() -> T) -> T {
        let name = JsValue::from("createComputePipeline");
        // An own property hides the prototype's method until it is deleted. Devices are ordinary objects: neither fails.
        drop(Reflect::set(raw, &name, answer.as_ref()));
        let done = work();
        drop(Reflect::delete_property(raw.unchecked_ref::<Object>(), &name));
        done
    }
}

#[cfg(test)]
mod tests {
    use super::bindings;

    #[test]
    fn bindings_are_read_from_the_text() {
        let text = "// @group(0) @binding(9) var<uniform> no: u32;\n\
            @group(0) @binding(0) var<uniform> step: Step;\n\
            @group(0) @binding(1) var<storage, read> x: array<f32>;\n\
            @group(0) @binding(2) var<storage, read_write> y: array<f32>;\n";
        let read: Vec<_> = bindings(text).into_iter().map(|entry| (entry.binding, entry.ty)).collect();
        let buffer = |ty| wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None };
        let storage = |read_only| buffer(wgpu::BufferBindingType::Storage { read_only });
        assert_eq!(read, [(0, buffer(wgpu::BufferBindingType::Uniform)), (1, storage(true)), (2, storage(false))]);
    }
}
