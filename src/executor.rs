//! The devices behind one face: whichever plays the forward pass, what asks for it is the same.

use serde::Deserialize;

use crate::config::ModelConfig;
#[cfg(feature = "cpu")]
use crate::cpu;
use crate::error::Result;
#[cfg(feature = "webgpu")]
use crate::gpu;
use crate::gpu::Work;
use crate::gpu::limits::SpeedLimits;
use crate::gpu::profile::Profile;
use crate::sampling::Sampling;
use crate::weights::lora::Adapter;

/// Where a model is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// On WebGPU, unless there is no adapter or one that is the processor itself: then on the processor, with no detour.
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

    /// Which one that is here. A page has chosen it before it loaded the module that has it, see `www/device.js`.
    pub(crate) async fn settled(self) -> Self {
        if self == Self::Auto { best().await } else { self }
    }
}

#[cfg(all(feature = "webgpu", feature = "cpu", not(target_arch = "wasm32")))]
async fn best() -> Device {
    match gpu::Gpu::open().await {
        Ok(gpu) if !gpu.adapter().software => Device::WebGpu,
        _ => Device::Cpu,
    }
}

#[cfg(not(all(feature = "webgpu", feature = "cpu", not(target_arch = "wasm32"))))]
async fn best() -> Device {
    if cfg!(feature = "webgpu") { Device::WebGpu } else { Device::Cpu }
}

/// A model on one of the devices. What its methods give and refuse is said where each device has them.
pub enum Executor {
    /// On WebGPU.
    #[cfg(feature = "webgpu")]
    WebGpu(Box<gpu::Executor>),
    /// On the processor.
    #[cfg(feature = "cpu")]
    Cpu(Box<cpu::Executor>),
}

/// One expression for each device, of those that the build has.
macro_rules! each_device {
    ($executor:expr, $webgpu:pat => $on_webgpu:expr, $cpu:pat => $on_cpu:expr) => {
        match $executor {
            #[cfg(feature = "webgpu")]
            Self::WebGpu($webgpu) => $on_webgpu,
            #[cfg(feature = "cpu")]
            Self::Cpu($cpu) => $on_cpu,
        }
    };
}

impl Executor {
    /// The model's sizes.
    pub fn config(&self) -> &ModelConfig {
        each_device!(self, executor => executor.config(), executor => executor.config())
    }

    /// Most tokens of a prompt in one run.
    pub fn chunk(&self) -> usize {
        each_device!(self, executor => executor.options().chunk, executor => executor.options().chunk)
    }

    /// See [`gpu::Executor::profile`].
    ///
    /// Errors: `BadRequest` on the processor.
    #[cfg_attr(not(feature = "webgpu"), expect(unused_variables, reason = "only on WebGPU"))]
    pub async fn profile(&mut self, tokens: usize, position: usize) -> Result<Profile> {
        each_device!(self, executor => executor.profile(&vec![0; tokens], position).await, _ => {
            Err(only_on_webgpu("has a profile"))
        })
    }

    /// See [`gpu::Gpu::measure_limits`].
    ///
    /// Errors: `BadRequest` on the processor.
    pub async fn measure_limits(&self) -> Result<SpeedLimits> {
        each_device!(self, executor => executor.gpu().measure_limits().await, _ => {
            Err(only_on_webgpu("has limits to measure"))
        })
    }

    /// See [`gpu::Gpu::end`]; nothing on the processor.
    pub fn device_end(&self) -> Box<dyn Fn()> {
        each_device!(self, executor => Box::new(executor.gpu().end()), _ => Box::new(|| ()))
    }

    /// Commands given to a device apart; none on the processor.
    pub fn work(&self) -> Work {
        each_device!(self, executor => executor.work(), _ => Work::default())
    }

    /// Bytes in the memory of a graphics device.
    pub fn gpu_bytes(&self) -> u64 {
        each_device!(self, executor => executor.gpu().allocated_bytes(), _ => 0)
    }

    /// Bytes of main memory that a model on the processor takes.
    pub fn main_bytes(&self) -> Option<u64> {
        each_device!(self, _ => None, executor => Some(executor.bytes().iter().sum()))
    }

    /// Bytes of weights in the memories of helpers, where those have some of their own.
    pub fn helpers_bytes(&self) -> u64 {
        each_device!(self, _ => 0, executor => executor.helpers_bytes())
    }

    /// See [`gpu::Executor::adapt`].
    pub async fn adapt(&mut self, adapters: &[(&Adapter, f32)]) -> Result<()> {
        each_device!(self, executor => executor.adapt(adapters).await, executor => executor.adapt(adapters))
    }

    /// See [`gpu::Executor::begin`].
    pub fn begin(&mut self, sampling: &Sampling, prompt: &[u32]) -> Result<()> {
        each_device!(self, executor => executor.begin(sampling, prompt), executor => executor.begin(sampling, prompt))
    }

    /// See [`gpu::Executor::run`].
    pub async fn run(&mut self, ids: &[u32], position: usize) -> Result<()> {
        each_device!(self, executor => executor.run(ids, position).await, executor => {
            cpu::breath().await;
            executor.run(ids, position)
        })
    }

    /// See [`gpu::Executor::logits`].
    pub async fn logits(&mut self, ids: &[u32], position: usize) -> Result<Vec<f32>> {
        each_device!(self, executor => executor.logits(ids, position).await, executor => executor.logits(ids, position))
    }

    /// See [`gpu::Executor::choose`].
    pub async fn choose(&mut self, ids: &[u32], position: usize) -> Result<u32> {
        each_device!(self, executor => executor.choose(ids, position).await, executor => {
            cpu::breath().await;
            executor.choose(ids, position)
        })
    }

    /// See [`gpu::Executor::go_on`].
    pub fn go_on(&mut self, position: usize) -> Result<()> {
        each_device!(self, executor => executor.go_on(position), executor => executor.go_on(position))
    }

    /// See [`gpu::Executor::chosen`].
    pub async fn chosen(&mut self) -> Result<u32> {
        each_device!(self, executor => executor.chosen().await, executor => {
            cpu::breath().await;
            executor.chosen()
        })
    }

    /// See [`gpu::Executor::forget_ahead`].
    pub async fn forget_ahead(&mut self) -> Result<()> {
        each_device!(self, executor => executor.forget_ahead().await, executor => {
            executor.forget_ahead();
            Ok(())
        })
    }

    /// See [`gpu::Executor::ahead`].
    pub fn ahead(&self) -> usize {
        each_device!(self, executor => executor.ahead(), executor => executor.ahead())
    }
}

#[cfg(feature = "cpu")]
fn only_on_webgpu(what: &str) -> crate::Error {
    crate::Error::BadRequest { detail: format!("only a model on WebGPU {what}, and this one is on the processor") }
}
