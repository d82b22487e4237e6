//! The devices behind one face: whichever plays the forward pass, what asks for it is the same.

use serde::Deserialize;

use crate::config::ModelConfig;
#[cfg(not(target_arch = "wasm32"))]
use crate::cpu;
use crate::error::Result;
use crate::gpu;
use crate::gpu::Work;
use crate::sampling::Sampling;
use crate::weights::lora::Adapter;

/// Where a model is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// On WebGPU.
    #[default]
    Auto,
    /// On WebGPU, natively on Vulkan, Metal or Direct3D 12.
    WebGpu,
    /// On the processor, natively.
    Cpu,
}

impl Device {
    /// The device that is called `name`: `auto`, `webgpu` or `cpu`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "webgpu" => Some(Self::WebGpu),
            "cpu" => Some(Self::Cpu),
            _ => None,
        }
    }
}

/// A model on one of the devices. What its methods give and refuse is said where each device has them.
pub enum Executor {
    /// On WebGPU.
    WebGpu(Box<gpu::Executor>),
    /// On the processor: natively, for the page's module has no room for it yet.
    #[cfg(not(target_arch = "wasm32"))]
    Cpu(Box<cpu::Executor>),
}

impl Executor {
    /// The model's sizes.
    pub fn config(&self) -> &ModelConfig {
        match self {
            Self::WebGpu(executor) => executor.config(),
            #[cfg(not(target_arch = "wasm32"))]
            Self::Cpu(executor) => executor.config(),
        }
    }

    /// Most tokens of a prompt in one run.
    pub fn chunk(&self) -> usize {
        match self {
            Self::WebGpu(executor) => executor.options().chunk,
            #[cfg(not(target_arch = "wasm32"))]
            Self::Cpu(executor) => executor.options().chunk,
        }
    }

    /// The executor on WebGPU, for `what` no other one does.
    ///
    /// Errors: `BadRequest` on another device.
    #[cfg_attr(target_arch = "wasm32", allow(unused_variables, reason = "there is no other device"))]
    pub fn webgpu(&self, what: &str) -> Result<&gpu::Executor> {
        match self {
            Self::WebGpu(executor) => Ok(executor),
            #[cfg(not(target_arch = "wasm32"))]
            Self::Cpu(_) => Err(only_on_webgpu(what)),
        }
    }

    /// The same, to be changed.
    #[cfg_attr(target_arch = "wasm32", allow(unused_variables, reason = "there is no other device"))]
    pub fn webgpu_mut(&mut self, what: &str) -> Result<&mut gpu::Executor> {
        match self {
            Self::WebGpu(executor) => Ok(executor),
            #[cfg(not(target_arch = "wasm32"))]
            Self::Cpu(_) => Err(only_on_webgpu(what)),
        }
    }

    /// Commands given to a device apart; none on the processor.
    pub fn work(&self) -> Work {
        match self {
            Self::WebGpu(executor) => executor.work(),
            #[cfg(not(target_arch = "wasm32"))]
            Self::Cpu(_) => Work::default(),
        }
    }

    /// Bytes in the memory of a graphics device.
    pub fn gpu_bytes(&self) -> u64 {
        match self {
            Self::WebGpu(executor) => executor.gpu().allocated_bytes(),
            #[cfg(not(target_arch = "wasm32"))]
            Self::Cpu(_) => 0,
        }
    }

    /// Bytes of main memory that a model on the processor takes.
    pub fn main_bytes(&self) -> Option<u64> {
        match self {
            Self::WebGpu(_) => None,
            #[cfg(not(target_arch = "wasm32"))]
            Self::Cpu(executor) => Some(executor.bytes().iter().sum()),
        }
    }

    /// See [`gpu::Executor::adapt`].
    pub async fn adapt(&mut self, adapters: &[(&Adapter, f32)]) -> Result<()> {
        match self {
            Self::WebGpu(executor) => executor.adapt(adapters).await,
            #[cfg(not(target_arch = "wasm32"))]
            Self::Cpu(executor) => executor.adapt(adapters),
        }
    }

    /// See [`gpu::Executor::begin`].
    pub fn begin(&mut self, sampling: &Sampling, prompt: &[u32]) -> Result<()> {
        match self {
            Self::WebGpu(executor) => executor.begin(sampling, prompt),
            #[cfg(not(target_arch = "wasm32"))]
            Self::Cpu(executor) => executor.begin(sampling, prompt),
        }
    }

    /// See [`gpu::Executor::run`].
    pub async fn run(&mut self, ids: &[u32], position: usize) -> Result<()> {
        match self {
            Self::WebGpu(executor) => executor.run(ids, position).await,
            #[cfg(not(target_arch = "wasm32"))]
            Self::Cpu(executor) => executor.run(ids, position),
        }
    }

    /// See [`gpu::Executor::logits`].
    pub async fn logits(&mut self, ids: &[u32], position: usize) -> Result<Vec<f32>> {
        match self {
            Self::WebGpu(executor) => executor.logits(ids, position).await,
            #[cfg(not(target_arch = "wasm32"))]
            Self::Cpu(executor) => executor.logits(ids, position),
        }
    }

    /// See [`gpu::Executor::choose`].
    pub async fn choose(&mut self, ids: &[u32], position: usize) -> Result<u32> {
        match self {
            Self::WebGpu(executor) => executor.choose(ids, position).await,
            #[cfg(not(target_arch = "wasm32"))]
            Self::Cpu(executor) => executor.choose(ids, position),
        }
    }

    /// See [`gpu::Executor::go_on`].
    pub fn go_on(&mut self, position: usize) -> Result<()> {
        match self {
            Self::WebGpu(executor) => executor.go_on(position),
            #[cfg(not(target_arch = "wasm32"))]
            Self::Cpu(executor) => executor.go_on(position),
        }
    }

    /// See [`gpu::Executor::chosen`].
    pub async fn chosen(&mut self) -> Result<u32> {
        match self {
            Self::WebGpu(executor) => executor.chosen().await,
            #[cfg(not(target_arch = "wasm32"))]
            Self::Cpu(executor) => executor.chosen(),
        }
    }

    /// See [`gpu::Executor::forget_ahead`].
    pub async fn forget_ahead(&mut self) -> Result<()> {
        match self {
            Self::WebGpu(executor) => executor.forget_ahead().await,
            #[cfg(not(target_arch = "wasm32"))]
            Self::Cpu(executor) => {
                executor.forget_ahead();
                Ok(())
            }
        }
    }

    /// See [`gpu::Executor::ahead`].
    pub fn ahead(&self) -> usize {
        match self {
            Self::WebGpu(executor) => executor.ahead(),
            #[cfg(not(target_arch = "wasm32"))]
            Self::Cpu(executor) => executor.ahead(),
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn only_on_webgpu(what: &str) -> crate::Error {
    crate::Error::BadRequest { detail: format!("only a model on WebGPU {what}, and this one is on the processor") }
}
