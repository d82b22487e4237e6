//! Random Llama checkpoints of any size, written as a stream: one row of one tensor is in memory at a time.
//!
//! A test takes this room in with `#[path]` and calls [`write`]; the example around it is for people and scripts.

mod gguf;
mod hugging_face;
mod tensors;
mod tokenizer;

use std::error::Error;
use std::path::Path;

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Sizes of a model, and the folder under `tests/data` whose tokenizer it speaks.
pub struct Shape {
    /// Name on the command line and inside the file.
    pub name: &'static str,
    /// Folder with `tokenizer.json` and `tokenizer_config.json`; the vocabulary's size comes from there.
    pub tokenizer: &'static str,
    pub hidden: usize,
    pub intermediate: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub max_positions: usize,
}

const SHAPES: [Shape; 5] = [
    // Llama-2-7B's form, everything divided but the vocabulary; all heads have their own keys and values.
    Shape {
        name: "llama2-tiny",
        tokenizer: "llama2-tokenizer",
        hidden: 128,
        intermediate: 352,
        layers: 3,
        heads: 4,
        kv_heads: 4,
        max_positions: 4096,
    },
    // Many bytes, little arithmetic, for tests of the download and the store: 11 chunks of 4 MiB in Q8_0.
    Shape {
        name: "synthetic-40mb",
        tokenizer: "stories260k",
        hidden: 1024,
        intermediate: 5632,
        layers: 2,
        heads: 16,
        kv_heads: 4,
        max_positions: 2048,
    },
    // 0.52, 1.03 and 2.06 GB in Q8_0.
    layers_of_tinyllama("synthetic-500mb", 11),
    layers_of_tinyllama("synthetic-1gb", 22),
    layers_of_tinyllama("synthetic-2gb", 44),
];

/// TinyLlama-1.1B's layers, which are 22, over a small vocabulary.
const fn layers_of_tinyllama(name: &'static str, layers: usize) -> Shape {
    Shape {
        name,
        tokenizer: "stories260k",
        hidden: 2048,
        intermediate: 5632,
        layers,
        heads: 32,
        kv_heads: 4,
        max_positions: 2048,
    }
}

/// Shared by every shape, as in Llama 2.
const ROPE_THETA: f64 = 10000.0;
/// Shared by every shape, as in Llama 2.
const RMS_NORM_EPS: f64 = 1e-5;

/// The names of all shapes.
pub fn shapes() -> String {
    SHAPES.map(|shape| shape.name).join("|")
}

/// Writes the checkpoint `shape` in `format` to `out`, a folder for `hf-f16` and a file otherwise.
pub fn write(shape: &str, format: &str, out: &Path) -> Result<()> {
    let shape = SHAPES.iter().find(|known| known.name == shape).ok_or(format!("no shape is called {shape}"))?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(shape.tokenizer);
    match format {
        "hf-f16" => hugging_face::write(shape, &folder, out),
        "gguf-f16" => gguf::write(shape, &folder, tensors::Encoding::F16, out),
        "gguf-q8_0" => gguf::write(shape, &folder, tensors::Encoding::Q8_0, out),
        _ => Err(format!("no format is called {format}").into()),
    }
}
