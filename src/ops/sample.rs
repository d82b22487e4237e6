use super::{STEP, expect_room};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::gpu::cost::Cost;
use crate::gpu::kernel::{Dispatch, Extent, Kernel, Size};
use crate::gpu::tensor::Buffer;
use crate::sampling::Sampling;

const SAMPLING: &str = wgsl!("common/sampling.wgsl");
const SPLITMIX64: &str = wgsl!("common/splitmix64.wgsl");

/// What `sample` writes when a logit is NaN or infinite.
pub const NONE: u32 = u32::MAX;

/// Sizes of the kernels that choose a token.
#[derive(Debug, Clone, Copy)]
pub struct SampleShape {
    /// Tokens of the vocabulary.
    pub vocab: usize,
    /// Invocations that share the choice: a power of two from 16 to 256.
    pub lanes: usize,
}

impl SampleShape {
    /// For this adapter: where shaders run on the processor, each invocation adds to the cost of a barrier.
    pub fn new(gpu: &Gpu, vocab: usize) -> Self {
        Self { vocab, lanes: if gpu.adapter().software { 32 } else { 256 } }
    }

    fn blocks(&self) -> usize {
        self.vocab.div_ceil(32)
    }
}

/// What `sample` keeps on the device: a request's settings, the tokens seen, and room to work in.
pub struct SampleBuffers {
    shape: SampleShape,
    settings: Buffer,
    /// `[blocks]` a bit for each token of prompt and answer.
    seen: Buffer,
    /// `[blocks]`
    maxima: Buffer,
    /// `[vocab]`
    scores: Buffer,
    /// `[vocab]`
    ids: Buffer,
}

impl SampleBuffers {
    /// Buffers for one request at a time. Errors: `AdapterLimit`.
    pub fn allocate(gpu: &Gpu, shape: SampleShape) -> Result<Self> {
        let words = |label: &str, count: usize| gpu.storage(label, 4 * count as u64);
        Ok(Self {
            shape,
            settings: gpu.uniform("sampling", std::mem::size_of::<Settings>() as u64),
            seen: words("seen", shape.blocks())?,
            maxima: words("maxima", shape.blocks())?,
            scores: words("scores", shape.vocab)?,
            ids: words("candidates", shape.vocab)?,
        })
    }

    /// Starts a request: uploads its settings and which tokens its prompt has. The kernel adds those that it chooses.
    ///
    /// It must come before the request's runs are submitted, and after those of the one before are. Errors: `BadRequest` for
    /// settings that mean nothing.
    pub fn begin(&self, gpu: &Gpu, sampling: &Sampling, prompt: &[u32]) -> Result<()> {
        let settings = Settings::new(sampling, self.shape.vocab)?;
        gpu.upload(&self.settings, 0, bytemuck::bytes_of(&settings))?;
        let mut seen = vec![0_u32; self.shape.blocks()];
        for &id in prompt {
            if let Some(word) = seen.get_mut(id as usize / 32) {
                *word |= 1 << (id % 32);
            }
        }
        gpu.upload(&self.seen, 0, bytemuck::cast_slice(&seen))
    }

    /// A bit for each token of prompt and answer.
    pub fn seen(&self) -> &Buffer {
        &self.seen
    }
}

/// `Sampling` as `sampling.wgsl` has it.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Settings {
    seed: [u32; 2],
    top_k: u32,
    top_p: f32,
    penalty: f32,
    scale: f32,
    reach: f32,
    floor: f32,
}

impl Settings {
    fn new(sampling: &Sampling, vocab: usize) -> Result<Self> {
        sampling.check()?;
        let seed = [sampling.seed as u32, (sampling.seed >> 32) as u32];
        let penalty = sampling.repetition_penalty;
        if sampling.temperature == 0.0 {
            return Ok(Self { seed, top_k: 0, top_p: 1.0, penalty, scale: 0.0, reach: 0.0, floor: 0.0 });
        }
        // Its inverse must be a number.
        let temperature = f64::from(sampling.temperature).max(1e-30);
        // What lies below weighs 2^-24 of the best token at most, all together: f32 does not see it beside that.
        let reach = temperature * ((1 << 24) as f64 * vocab as f64).ln();
        let floor = -temperature * f64::from(sampling.min_p).ln();
        Ok(Self {
            seed,
            top_k: sampling.top_k.filter(|&k| (k as usize) < vocab).unwrap_or(0),
            top_p: sampling.top_p,
            penalty,
            scale: (1.0 / temperature) as f32,
            reach: reach as f32,
            floor: floor.min(reach) as f32,
        })
    }
}

/// Chooses a token from `logits` by the settings of the request that `buffers` has begun, and writes its id to `best`, or
/// [`NONE`] when a logit is NaN or infinite. The draw is that of the position after the run that `step` tells of.
pub fn sample(
    gpu: &Gpu,
    step: &Buffer,
    logits: &Buffer,
    buffers: &SampleBuffers,
    best: &Buffer,
) -> Result<Vec<Dispatch>> {
    let SampleBuffers { shape, settings, seen, maxima, scores, ids } = buffers;
    if !shape.lanes.is_power_of_two() || !(16..=256).contains(&shape.lanes) {
        return Err(Error::Gpu { detail: format!("sample: {} lanes", shape.lanes) });
    }
    expect_room("sample", "logits", logits, shape.vocab)?;
    expect_room("sample", "best", best, 1)?;
    let columns = ("COLUMNS", Size::Count(shape.vocab));
    let kernel = Kernel { name: "sample_scores", parts: &[SAMPLING, wgsl!("sample_scores.wgsl")], sizes: &[columns] };
    let one = Extent::fixed(1, 1);
    let bindings = [settings, logits, seen, scores, maxima];
    let (vocab, blocks) = (shape.vocab, shape.blocks());
    let scored = gpu.dispatch(&kernel, &bindings, Extent::fixed(blocks, 64), one);
    let scored = scored.costing(move |_| Cost::values(2 * vocab + 2 * blocks));
    let kernel = Kernel {
        name: "sample",
        parts: &[STEP, SAMPLING, SPLITMIX64, wgsl!("sample.wgsl")],
        sizes: &[columns, ("LANES", Size::Count(shape.lanes))],
    };
    let bindings = [step, settings, maxima, scores, ids, seen, best];
    // At least; how many scores it reads is the settings' and the logits' affair.
    let drawn = gpu.dispatch(&kernel, &bindings, one, one).costing(move |_| Cost::values(blocks + 2));
    Ok(vec![scored, drawn])
}
