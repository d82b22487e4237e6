//! The tensors of a Llama model under both their names, and their random weights.
//!
//! A weight is an 8-bit integer times its block's scale, and a scale is a power of two times 4/8 to 8/8: both f16 and
//! Q8_0 hold that exactly, so that a shape's files agree in every format.

use half::f16;

use pagellama::formats::Format;

use super::{Result, Shape};

/// Weights of a row that share a scale, as in Q8_0.
pub const BLOCK: usize = 32;

/// Standard deviation of a random byte read as `i8`.
const BYTE_DEVIATION: f32 = 73.9;
/// Root mean square of the factors 4/8 to 8/8.
const FACTOR_RMS: f32 = 0.77;

/// How a matrix is stored. Norms are f16 in safetensors and f32 in GGUF.
#[derive(Clone, Copy, PartialEq)]
pub enum Encoding {
    F32,
    F16,
    Q8_0,
    /// Rounded from the others.
    Q4_0,
}

impl Encoding {
    /// Bytes of a row of `columns` weights.
    pub fn row_bytes(self, columns: usize) -> usize {
        match self {
            Encoding::F32 => columns * 4,
            Encoding::F16 => columns * 2,
            Encoding::Q8_0 => columns / BLOCK * (BLOCK + 2),
            Encoding::Q4_0 => columns / BLOCK * (BLOCK / 2 + 2),
        }
    }
}

/// One tensor, `[rows, columns]`; a norm is `[1, columns]`.
pub struct Tensor {
    /// Its name in a Hugging Face folder.
    pub hugging_face: String,
    /// Its name in a GGUF file.
    pub gguf: String,
    pub rows: usize,
    pub columns: usize,
    /// Heads whose rows RoPE turns in pairs; 0 for all but queries and keys.
    pub rotary_heads: usize,
    weights: Weights,
    /// Where its random stream starts; different for each tensor.
    seed: u64,
}

#[derive(Clone, Copy)]
enum Weights {
    /// Spread around 1, so that a norm left out shows.
    Norm,
    /// Random with roughly this standard deviation.
    Matrix(f32),
}

impl Tensor {
    /// Whether this is a norm: a vector, never quantised.
    pub fn is_norm(&self) -> bool {
        matches!(self.weights, Weights::Norm)
    }

    /// Appends row `row`, counted in Hugging Face's order, to `out`.
    pub fn write_row(&self, row: usize, encoding: Encoding, out: &mut Vec<u8>) -> Result<()> {
        let mut random = Random(self.seed + row as u64);
        match self.weights {
            Weights::Norm => {
                for _ in 0..self.columns {
                    let weight = 1.0 + (random.next() % 65) as f32 / 64.0 - 0.5;
                    write_number(weight, encoding, out);
                }
            }
            Weights::Matrix(deviation) => {
                let unit = (deviation / BYTE_DEVIATION / FACTOR_RMS).log2().round().exp2();
                for _ in 0..self.columns / BLOCK {
                    let scale = unit * (4 + random.next() % 5) as f32 / 8.0;
                    write_block(scale, random.block(), encoding, out)?;
                }
            }
        }
        Ok(())
    }
}

fn write_block(scale: f32, integers: [u8; BLOCK], encoding: Encoding, out: &mut Vec<u8>) -> Result<()> {
    let weights = integers.map(|integer| scale * f32::from(integer as i8));
    match encoding {
        Encoding::Q8_0 => {
            out.extend(f16::from_f32(scale).to_le_bytes());
            out.extend(integers);
        }
        Encoding::Q4_0 => pagellama::formats::quantise(Format::Q4_0, &weights, out)?,
        Encoding::F32 | Encoding::F16 => weights.into_iter().for_each(|weight| write_number(weight, encoding, out)),
    }
    Ok(())
}

fn write_number(number: f32, encoding: Encoding, out: &mut Vec<u8>) {
    if encoding == Encoding::F32 {
        out.extend(number.to_le_bytes());
    } else {
        out.extend(f16::from_f32(number).to_le_bytes());
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014): any seed starts a good stream.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn block(&mut self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        for bytes in block.chunks_exact_mut(8) {
            bytes.copy_from_slice(&self.next().to_le_bytes());
        }
        block
    }
}

/// Every tensor of a model of this shape, in the order of the forward pass.
///
/// Deviations are those that keep activations near 1 whatever the widths, with attention peaked and logits of RMS near 3.
pub fn all(shape: &Shape, vocab: usize) -> Vec<Tensor> {
    let (hidden, intermediate) = (shape.hidden, shape.intermediate);
    let kv = hidden / shape.heads * shape.kv_heads;
    let mut tensors = Tensors(Vec::new());
    tensors.matrix("model.embed_tokens", "token_embd", [vocab, hidden], (hidden as f32).sqrt(), 0);
    for layer in 0..shape.layers {
        let (hf, gguf) = (format!("model.layers.{layer}"), format!("blk.{layer}"));
        let mut matrix = |hf_name: &str, gguf_name: &str, size, gain, rotary_heads| {
            tensors.matrix(&format!("{hf}.{hf_name}"), &format!("{gguf}.{gguf_name}"), size, gain, rotary_heads);
        };
        matrix("self_attn.q_proj", "attn_q", [hidden, hidden], 1.5, shape.heads);
        matrix("self_attn.k_proj", "attn_k", [kv, hidden], 1.5, shape.kv_heads);
        matrix("self_attn.v_proj", "attn_v", [kv, hidden], 1.0, 0);
        matrix("self_attn.o_proj", "attn_output", [hidden, hidden], 0.7, 0);
        matrix("mlp.gate_proj", "ffn_gate", [intermediate, hidden], 1.0, 0);
        matrix("mlp.up_proj", "ffn_up", [intermediate, hidden], 1.0, 0);
        matrix("mlp.down_proj", "ffn_down", [hidden, intermediate], 0.7, 0);
        tensors.norm(&format!("{hf}.input_layernorm"), &format!("{gguf}.attn_norm"), hidden);
        tensors.norm(&format!("{hf}.post_attention_layernorm"), &format!("{gguf}.ffn_norm"), hidden);
    }
    tensors.norm("model.norm", "output_norm", hidden);
    tensors.matrix("lm_head", "output", [vocab, hidden], 3.0, 0);
    tensors.0
}

struct Tensors(Vec<Tensor>);

impl Tensors {
    /// `gain` is what the matrix makes of an input of RMS 1.
    fn matrix(&mut self, hf: &str, gguf: &str, [rows, columns]: [usize; 2], gain: f32, rotary_heads: usize) {
        let weights = Weights::Matrix(gain / (columns as f32).sqrt());
        self.push(hf, gguf, [rows, columns], weights, rotary_heads);
    }

    fn norm(&mut self, hf: &str, gguf: &str, columns: usize) {
        self.push(hf, gguf, [1, columns], Weights::Norm, 0);
    }

    fn push(&mut self, hf: &str, gguf: &str, [rows, columns]: [usize; 2], weights: Weights, rotary_heads: usize) {
        let (hugging_face, gguf) = (format!("{hf}.weight"), format!("{gguf}.weight"));
        let seed = (self.0.len() as u64 + 1) << 32;
        self.0.push(Tensor { hugging_face, gguf, rows, columns, rotary_heads, weights, seed });
    }
}
