//! Random Llama checkpoints of any size, written as a stream: one row of one tensor is in memory at a time.
//!
//! A test takes this room in with `#[path]` and calls [`write`]; the example around it is for people and scripts.

mod gguf;
mod hugging_face;
mod tensors;
mod tokenizer;

use std::collections::HashMap;
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

const SHAPES: [Shape; 7] = [
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
    // The sizes of published models.
    Shape { tokenizer: "llama2-tokenizer", ..layers_of_tinyllama("tinyllama-1.1b", 22) },
    Shape {
        name: "llama2-7b",
        tokenizer: "llama2-tokenizer",
        hidden: 4096,
        intermediate: 11008,
        layers: 32,
        heads: 32,
        kv_heads: 32,
        max_positions: 4096,
    },
];

impl Shape {
    /// A shape as `hidden=64,intermediate=172,layers=3,heads=4,kv_heads=2,max_positions=256`.
    fn of_sizes(sizes: &str) -> Result<Self> {
        let mut given = HashMap::new();
        for size in sizes.split(',') {
            let (name, value) = size.split_once('=').ok_or(format!("no shape is called {sizes}"))?;
            given.insert(name, value.parse::<usize>().map_err(|_| format!("{size} is not a size"))?);
        }
        let mut take = |name: &str| given.remove(name).ok_or(format!("the shape has no {name}"));
        let shape = Self {
            name: "synthetic",
            tokenizer: "llama2-tokenizer",
            hidden: take("hidden")?,
            intermediate: take("intermediate")?,
            layers: take("layers")?,
            heads: take("heads")?,
            kv_heads: take("kv_heads")?,
            max_positions: take("max_positions")?,
        };
        match given.keys().next() {
            Some(other) => Err(format!("a shape has no {other}").into()),
            None => Ok(shape),
        }
    }
}

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
    let known = SHAPES.into_iter().find(|known| known.name == shape);
    let shape = known.map_or_else(|| Shape::of_sizes(shape), Ok)?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(shape.tokenizer);
    match format {
        "hf-f16" => hugging_face::write(&shape, &folder, out),
        "gguf-f16" => gguf::write(&shape, &folder, tensors::Encoding::F16, out),
        "gguf-q8_0" => gguf::write(&shape, &folder, tensors::Encoding::Q8_0, out),
        "gguf-q4_0" => gguf::write(&shape, &folder, tensors::Encoding::Q4_0, out),
        _ => Err(format!("no format is called {format}").into()),
    }
}
