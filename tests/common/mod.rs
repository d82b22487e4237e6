//! Helpers that integration tests share: fixtures, comparison, inputs.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

/// Runs an asynchronous check as a test of the world that it is compiled for.
#[allow(unused_macros, reason = "as above")]
macro_rules! tests {
    ($($check:ident,)*) => {
        mod tests {
            $(
                #[cfg(not(target_arch = "wasm32"))]
                #[test]
                fn $check() {
                    pollster::block_on(super::$check());
                }

                #[cfg(target_arch = "wasm32")]
                #[wasm_bindgen_test::wasm_bindgen_test]
                async fn $check() {
                    super::$check().await;
                }
            )*
        }
    };
}

pub mod adapters;
pub mod files;
#[cfg(not(target_arch = "wasm32"))]
pub mod upstream;
pub mod vocabulary;

use std::path::{Path, PathBuf};

use pagellama::generate::{Device, OpenOptions};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A file or folder under `tests/data`.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// A JSON file under `tests/data`.
pub fn json<T: DeserializeOwned>(name: &str) -> T {
    let bytes = std::fs::read(data(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A prompt of a `golden.json`: ids as they are fed, the last position's logits, and the greedy way on.
#[derive(Debug, Deserialize)]
pub struct GoldenPrompt {
    pub name: String,
    pub ids: Vec<u32>,
    pub last_logits: Vec<f32>,
    pub logits_rms: f32,
    pub greedy: Vec<u32>,
}

/// `golden.json` of a Hugging Face folder of a tiny model.
#[derive(Debug, Deserialize)]
pub struct Golden {
    pub prompts: Vec<GoldenPrompt>,
}

/// `gguf/golden.json`.
#[derive(Debug, Deserialize)]
pub struct GoldenFiles {
    pub files: Vec<GoldenFile>,
}

/// One GGUF file's golden values.
#[derive(Debug, Deserialize)]
pub struct GoldenFile {
    pub file: String,
    pub prompts: Vec<GoldenPrompt>,
    /// Names of the tensors in `*.ref.safetensors`.
    pub reference_tensors: Vec<String>,
}

/// `stories260k/golden.json`.
#[derive(Debug, Deserialize)]
pub struct GoldenStory {
    pub ids: Vec<u32>,
    pub first_steps: Vec<GoldenStep>,
    /// 128 tokens after `ids`.
    pub greedy: Vec<u32>,
    pub full_text: String,
}

/// One step of a story: what was fed so far and the logits at its end.
#[derive(Debug, Deserialize)]
pub struct GoldenStep {
    pub ids: Vec<u32>,
    pub last_logits: Vec<f32>,
}

/// All `F32` tensors of a safetensors file, by name, with their shapes.
#[cfg(not(target_arch = "wasm32"))]
pub fn safetensors(path: &Path) -> std::collections::HashMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let tensors = file.tensors().into_iter().filter(|(_, view)| view.dtype() == safetensors::Dtype::F32);
    let floats = |bytes: &[u8]| bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    tensors.map(|(name, view)| (name, (view.shape().to_vec(), floats(view.data())))).collect()
}

/// All `U8` tensors of a safetensors file, by name.
#[cfg(not(target_arch = "wasm32"))]
pub fn safetensors_u8(path: &Path) -> std::collections::HashMap<String, Vec<u8>> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let tensors = file.tensors().into_iter().filter(|(_, view)| view.dtype() == safetensors::Dtype::U8);
    tensors.map(|(name, view)| (name, view.data().to_vec())).collect()
}

/// An `I32` tensor of a safetensors file, as token ids.
#[cfg(not(target_arch = "wasm32"))]
pub fn safetensors_i32(path: &Path, name: &str) -> Vec<u32> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let tensor = file.tensor(name).expect("the tensor");
    assert_eq!(tensor.dtype(), safetensors::Dtype::I32);
    tensor.data().chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Root mean square.
pub fn rms(values: &[f32]) -> f32 {
    let sum: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
    (sum / values.len().max(1) as f64).sqrt() as f32
}

/// Fails, naming the worst element, where two tensors differ by more than `tolerance` (absolute) anywhere.
///
/// NaN never passes.
#[track_caller]
pub fn assert_close(name: &str, got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len(), "{name}: number of elements");
    let worst = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).enumerate();
    let worst =
        worst.fold((0, 0.0_f32), |worst, (i, gap)| if worst.1.is_nan() || gap <= worst.1 { worst } else { (i, gap) });
    assert!(
        worst.1 <= tolerance,
        "{name}: element {} of {} is {} instead of {}: off by {:e}, allowed {tolerance:e}",
        worst.0,
        got.len(),
        got[worst.0],
        expected[worst.0],
        worst.1,
    );
}

/// Index of the largest value; the first one of equals.
pub fn argmax(values: &[f32]) -> u32 {
    let best = values.iter().enumerate().fold(0, |best, (i, value)| if *value > values[best] { i } else { best });
    best as u32
}

/// A small seeded generator of test inputs: SplitMix64 (Steele, Lea and Flood 2014), good enough to fill tensors and
/// the same on every machine.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not zero (the tiny bias of the remainder does not matter here).
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    /// Evenly spread in `-1.0..1.0`.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// Mostly small values, with one in sixteen about thirty times as large: activations of real models look so, and
    /// a softmax or a sum that loses digits shows at once.
    pub fn spiky(&mut self, count: usize) -> Vec<f32> {
        let value = |random: &mut Self| {
            let spike = if random.below(16) == 0 { 30.0 } else { 1.0 };
            random.unit() * spike
        };
        (0..count).map(|_| value(self)).collect()
    }
}

/// The default model's file: `cargo xtask test` fetches it before it runs the tests.
pub fn default_model() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(path.is_file(), "{} is missing: run cargo xtask test, or cargo xtask serve once", path.display());
    path
}

/// What opens a model on WebGPU, and nowhere else, whatever adapter there is.
pub fn on_webgpu() -> OpenOptions {
    OpenOptions { device: Device::WebGpu, ..OpenOptions::default() }
}
