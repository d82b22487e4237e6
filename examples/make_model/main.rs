//! Writes a synthetic Llama checkpoint: `cargo run --example make_model -- SHAPE FORMAT OUT`.
//!
//! SHAPE is one of those in `synthetic/mod.rs`, or sizes (`hidden=64,intermediate=172,layers=3,heads=4,kv_heads=2,max_positions=256`);
//! FORMAT is `hf-f16` (OUT is a folder), `gguf-f16`, `gguf-q8_0` or `gguf-q4_0` (OUT is a file). The same shape holds the same weights,
//! bit for bit, in every format but the last.

mod synthetic;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [shape, format, out] = arguments.as_slice() else {
        eprintln!("usage: make_model {} hf-f16|gguf-f16|gguf-q8_0|gguf-q4_0 OUT", synthetic::shapes());
        return ExitCode::FAILURE;
    };
    match synthetic::write(shape, format, Path::new(out)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("make_model: {error}");
            ExitCode::FAILURE
        }
    }
}
