//! The devices behind one face: whichever plays the forward pass, what asks for it is the same.

use serde::Deserialize;

use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::gpu::Work;
use crate::sampling::Sampling;
use crate::weights::lora::Adapter;
use crate::{cpu, gpu};

/// Where a model is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// On WebGPU.
    #[default]
    Auto,
    /// On WebGPU, natively on Vulkan, Metal or Direct3D 12.
    WebGpu,
    /// On the processor.
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
    /// On the processor.
    Cpu(Box<cpu::Executor>),
}

impl Executor {
    /// The model's sizes.
    pub fn config(&self) -> &ModelConfig {
        match self {
            Self::WebGpu(executor) => executor.config(),
            Self::Cpu(executor) => executor.config(),
        }
    }

    /// Most tokens of a prompt in one run.
    pub fn chunk(&self) -> usize {
        match self {
            Self::WebGpu(executor) => executor.options().chunk,
            Self::Cpu(executor) => executor.options().chunk,
        }
    }

    /// The executor on WebGPU, for `what` no other one does.
    ///
    /// Errors: `BadRequest` on another device.
    pub fn webgpu(&self, what: &str) -> Result<&gpu::Executor> {
        match self {
            Self::WebGpu(executor) => Ok(executor),
            Self::Cpu(_) => Err(only_on_webgpu(what)),
        }
    }

    /// The same, to be changed.
    pub fn webgpu_mut(&mut self, what: &str) -> Result<&mut gpu::Executor> {
        match self {
            Self::WebGpu(executor) => Ok(executor),
            Self::Cpu(_) => Err(only_on_webgpu(what)),
        }
    }

    /// Commands given to a device apart; none on the processor.
    pub fn work(&self) -> Work {
        match self {
            Self::WebGpu(executor) => executor.work(),
            Self::Cpu(_) => Work::default(),
        }
    }

    /// Bytes in the memory of a graphics device.
    pub fn gpu_bytes(&self) -> u64 {
        match self {
            Self::WebGpu(executor) => executor.gpu().allocated_bytes(),
            Self::Cpu(_) => 0,
        }
    }

    /// Bytes of main memory that a model on the processor takes.
    pub fn main_bytes(&self) -> Option<u64> {
        match self {
            Self::WebGpu(_) => None,
            Self::Cpu(executor) => Some(executor.bytes().iter().sum()),
        }
    }

    /// See [`gpu::Executor::adapt`].
    pub async fn adapt(&mut self, adapters: &[(&Adapter, f32)]) -> Result<()> {
        match self {
            Self::WebGpu(executor) => executor.adapt(adapters).await,
            Self::Cpu(executor) => executor.adapt(adapters),
        }
    }

    /// See [`gpu::Executor::begin`].
    pub fn begin(&mut self, sampling: &Sampling, prompt: &[u32]) -> Result<()> {
        match self {
            Self::WebGpu(executor) => executor.begin(sampling, prompt),
            Self::Cpu(executor) => executor.begin(sampling, prompt),
        }
    }

    /// See [`gpu::Executor::run`].
    pub async fn run(&mut self, ids: &[u32], position: usize) -> Result<()> {
        match self {
            Self::WebGpu(executor) => executor.run(ids, position).await,
            Self::Cpu(executor) => answerable(executor.run(ids, position)).await,
        }
    }

    /// See [`gpu::Executor::logits`].
    pub async fn logits(&mut self, ids: &[u32], position: usize) -> Result<Vec<f32>> {
        match self {
            Self::WebGpu(executor) => executor.logits(ids, position).await,
            Self::Cpu(executor) => answerable(executor.logits(ids, position)).await,
        }
    }

    /// See [`gpu::Executor::choose`].
    pub async fn choose(&mut self, ids: &[u32], position: usize) -> Result<u32> {
        match self {
            Self::WebGpu(executor) => executor.choose(ids, position).await,
            Self::Cpu(executor) => answerable(executor.choose(ids, position)).await,
        }
    }

    /// See [`gpu::Executor::go_on`].
    pub fn go_on(&mut self, position: usize) -> Result<()> {
        match self {
            Self::WebGpu(executor) => executor.go_on(position),
            Self::Cpu(executor) => executor.go_on(position),
        }
    }

    /// See [`gpu::Executor::chosen`].
    pub async fn chosen(&mut self) -> Result<u32> {
        match self {
            Self::WebGpu(executor) => executor.chosen().await,
            Self::Cpu(executor) => answerable(executor.chosen()).await,
        }
    }

    /// See [`gpu::Executor::forget_ahead`].
    pub async fn forget_ahead(&mut self) -> Result<()> {
        match self {
            Self::WebGpu(executor) => executor.forget_ahead().await,
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
            Self::Cpu(executor) => executor.ahead(),
        }
    }
}

fn only_on_webgpu(what: &str) -> Error {
    Error::BadRequest { detail: format!("only a model on WebGPU {what}, and this one is on the processor") }
}

/// What the processor computed, once a page had its turn: messages that ask it to stop wait until then.
async fn answerable<T>(computed: T) -> T {
    #[cfg(target_arch = "wasm32")]
    gloo_timers::future::TimeoutFuture::new(0).await;
    computed
}
