//! The loop: a prompt becomes tokens, tokens become logits, logits the next token, tokens text, until something ends it.

mod adapters;
mod answer;
mod losses;
mod model;
#[cfg(feature = "cpu")]
mod on_cpu;
#[cfg(feature = "webgpu")]
mod on_webgpu;
mod open;
mod pace;
pub mod preflight;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use crate::chat::{ChatFormat, Message};
use crate::cpu::Helpers;
use crate::error::{Error, Result};
pub use crate::executor::Device;
use crate::executor::Executor;
use crate::gpu::limits::SpeedLimits;
use crate::gpu::profile::Profile;
use crate::gpu::tune::{Choice, Tuning};
use crate::model::kv_cache::KvFormat;
use crate::ops::ActivationFormat;
use crate::sampling::Sampling;
use crate::tokenizer::Tokenizer;
pub use adapters::AdapterInfo;
use adapters::Attached;
pub use answer::Answer;
pub use losses::Losses;
use model::Model;

/// Choices made when a model is opened.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Positions of the KV cache; by default the least of the model's own, 4096 and what fits a binding.
    pub context: Option<usize>,
    /// Format of the KV cache.
    pub kv: KvFormat,
    /// How the kernels are chosen that there are several of.
    pub tuning: Tuning,
    /// What products take: on WebGPU those of a prompt, as they are by default; on the processor all with quantised weights, rounded
    /// by default.
    pub activations: Option<ActivationFormat>,
    /// Where it is to run.
    pub device: Device,
    /// Who computes on the processor beside the thread that the model runs in.
    pub helpers: Helpers,
}

/// How far the opening of a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Bytes of the checkpoint that reached the device, of how many.
    Weights {
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// All weights are there; pipelines and caches are being made.
    Kernels,
}

/// What to go on from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    /// Token ids, fed as they are.
    Ids(Vec<u32>),
    /// Plain text; special tokens are added in front as the tokenizer says.
    Text(String),
    /// A chat, through the checkpoint's own format.
    Messages(Vec<Message>),
}

/// One request to generate.
#[derive(Debug, Clone)]
pub struct Request {
    /// What to go on from.
    pub prompt: Prompt,
    /// Most tokens to generate; by default as many as the context has room for.
    pub max_tokens: Option<usize>,
    /// Go on past the tokens that end a turn.
    pub ignore_eos: bool,
    /// How a token is chosen from the logits.
    pub sampling: Sampling,
}

/// The options of a request as callers write them; what is absent is the checkpoint's own default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Options {
    /// See [`Request::max_tokens`].
    pub max_tokens: Option<usize>,
    /// See [`Request::ignore_eos`].
    pub ignore_eos: bool,
    /// See [`Sampling::temperature`].
    pub temperature: Option<f32>,
    /// See [`Sampling::top_k`].
    pub top_k: Option<u32>,
    /// See [`Sampling::top_p`].
    pub top_p: Option<f32>,
    /// See [`Sampling::min_p`].
    pub min_p: Option<f32>,
    /// See [`Sampling::repetition_penalty`].
    pub repetition_penalty: Option<f32>,
    /// See [`Sampling::seed`].
    pub seed: Option<u64>,
}

impl Options {
    /// A request with these options over `defaults`.
    pub fn request(&self, prompt: Prompt, defaults: &Sampling) -> Request {
        let sampling = Sampling {
            temperature: self.temperature.unwrap_or(defaults.temperature),
            top_k: self.top_k.or(defaults.top_k),
            top_p: self.top_p.unwrap_or(defaults.top_p),
            min_p: self.min_p.unwrap_or(defaults.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(defaults.repetition_penalty),
            seed: self.seed.unwrap_or(defaults.seed),
        };
        Request { prompt, max_tokens: self.max_tokens, ignore_eos: self.ignore_eos, sampling }
    }
}

/// Ends a generation from outside, at the next token or chunk of the prompt.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks the generation to end.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its turn.
    Stop,
    /// `max_tokens` were generated, or the context is full.
    Length,
    /// The caller stopped it.
    Abort,
}

/// A finished generation.
#[derive(Debug, Clone, Serialize)]
pub struct Generation {
    /// Generated tokens, without the one that ended them.
    pub ids: Vec<u32>,
    /// Their text.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Token counts.
    pub usage: Usage,
    /// Speed and cost.
    pub stats: Stats,
}

/// Token counts of a generation.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// How many of them were still in the KV cache.
    pub cached_tokens: usize,
    /// Tokens generated.
    pub completion_tokens: usize,
    /// Tokens that the context holds.
    pub context: usize,
}

/// Speed and cost of the last generation.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Stats {
    /// Tokens of the prompt that were computed (not cached), each second.
    pub prefill_tokens_per_second: f64,
    /// Generated tokens each second, from the second one on.
    pub decode_tokens_per_second: f64,
    /// From the request to the first token, in milliseconds.
    pub time_to_first_token_ms: f64,
    /// Bytes of all GPU buffers that are alive.
    pub gpu_bytes: u64,
    /// Bytes of wasm memory, and of the weights in that of helpers; natively those that a model on the processor takes, and none on WebGPU.
    pub host_bytes: Option<u64>,
    /// Kernels started for one generated token.
    pub dispatches_per_token: f64,
    /// Command buffers submitted for one generated token.
    pub submits_per_token: f64,
    /// Buffers read back for one generated token.
    pub readbacks_per_token: f64,
}

impl Stats {
    /// What is known before anything was generated.
    fn of(executor: &Executor) -> Self {
        let host_bytes = host_bytes().map(|bytes| bytes + executor.helpers_bytes()).or_else(|| executor.main_bytes());
        Self { gpu_bytes: executor.gpu_bytes(), host_bytes, ..Self::default() }
    }
}

/// What is known about an open model.
#[derive(Debug, Clone, Serialize)]
pub struct Info {
    /// Name as the checkpoint gives it.
    pub name: Option<String>,
    /// Always `llama`: other architectures are refused.
    pub architecture: &'static str,
    /// Number of weights.
    pub parameters: u64,
    /// Bytes of the weights in the device's memory.
    pub weight_bytes: u64,
    /// Positions of the KV cache.
    pub context: usize,
    /// Whether it has a chat format; otherwise it goes on from plain text.
    pub chat: bool,
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Where it runs.
    pub device: DeviceInfo,
    /// The checkpoint's own sampling defaults.
    pub sampling: Sampling,
}

/// Where a model runs.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceInfo {
    /// `webgpu` or `cpu`.
    pub kind: &'static str,
    /// The graphics adapter's name, or what stands for it.
    pub adapter: String,
    /// Whether the adapter runs on the processor.
    pub software: bool,
    /// Kernels for products that were chosen for it among several.
    pub variants: Vec<&'static str>,
    /// How long they were measured for it, in milliseconds; none when they were not, or were before.
    pub tuning_ms: Option<f64>,
    /// How many threads compute; none on a graphics device.
    pub threads: Option<usize>,
}

/// An open model with its tokenizer and chat format, and the conversation that its KV cache holds.
pub struct Engine {
    model: Model,
    tokenizer: Tokenizer,
    chat: Option<ChatFormat>,
    info: Info,
    stats: Stats,
    choice: Option<Choice>,
    adapters: Vec<Attached>,
}

impl Engine {
    /// What is known about the model.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// The kernels that were measured to be the fastest when it was opened, to be kept for the next time.
    pub fn choice(&self) -> Option<&Choice> {
        self.choice.as_ref()
    }

    /// Speed and cost of the last generation.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The ids that a prompt is fed as.
    pub fn prompt_ids(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        match prompt {
            Prompt::Ids(ids) => Ok(ids.clone()),
            Prompt::Text(text) => self.tokenizer.encode(text, true, false),
            Prompt::Messages(messages) => {
                let chat = self.chat.as_ref().ok_or(Error::NoChatFormat)?;
                self.tokenizer.encode_segments(&chat.render(messages, true)?)
            }
        }
    }

    /// Logits after the last of `ids`, in full precision.
    ///
    /// Errors: `ContextFull` when they do not fit, `BadRequest`, `OutputNotFinite`, what the device reports.
    pub async fn logits(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        self.model.settle().await?;
        self.model.logits(ids).await
    }

    /// What each kernel takes to compute `tokens` tokens, or as many of them as are computed in one run, after `position` others,
    /// whatever those are; forgets the conversation.
    ///
    /// Errors: `BadRequest` for a model on the processor; what the device reports.
    pub async fn profile(&mut self, tokens: usize, position: usize) -> Result<Profile> {
        self.model.settle().await?;
        self.model.cache.truncate(0);
        let tokens = tokens.min(self.model.executor.chunk());
        self.model.executor.profile(tokens, position).await
    }

    /// How fast the adapter is at its best, measured in less than a second.
    ///
    /// Errors: `BadRequest` for a model on the processor; what the device reports.
    pub async fn measure_adapter(&self) -> Result<SpeedLimits> {
        self.model.executor.measure_limits().await
    }

    /// What takes the device away from the engine at once, as a driver may: all that is asked of it afterwards fails with `DeviceLost`.
    /// The processor stays.
    pub fn device_end(&self) -> Box<dyn Fn()> {
        self.model.executor.device_end()
    }
}

/// Bytes of memory that the module holds; natively there is no such number.
pub(crate) fn host_bytes() -> Option<u64> {
    #[cfg(target_arch = "wasm32")]
    return Some(core::arch::wasm32::memory_size(0) as u64 * 65536);
    #[cfg(not(target_arch = "wasm32"))]
    None
}
