//! The plain Rust model against golden values of an independent implementation: logits, greedy text, and the values
//! on the way. Whatever is measured against the reference later stands on this.

use crate::common;
use crate::common::{Golden, GoldenFiles, GoldenPrompt, GoldenStory, argmax, assert_close, data, rms};
use pagellama::reference::Model;
use pagellama::weights::native::NativeSource;

/// Fraction of the logits' RMS that float32 arithmetic may be off; the reference, summing in f64, reaches 1e-5.
const LOGITS: f32 = 1e-4;

fn open(name: &str) -> Model {
    let mut source = NativeSource::open(&data(name)).unwrap();
    pollster::block_on(Model::open(&mut source)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Checks the last logits and the greedy way on, token by token through the cache.
fn check_prompt(file: &str, model: &mut Model, prompt: &GoldenPrompt) {
    let name = format!("{file} {}", prompt.name);
    model.reset();
    let mut logits = model.forward(&prompt.ids).unwrap();
    assert_close(&name, &logits, &prompt.last_logits, LOGITS * prompt.logits_rms);
    for (step, expected) in prompt.greedy.iter().enumerate() {
        assert_eq!(argmax(&logits), *expected, "{name}: greedy token {step}");
        if step + 1 < prompt.greedy.len() {
            logits = model.forward(&[*expected]).unwrap();
        }
    }
}

fn check_folder(name: &str) {
    let golden: Golden = common::json(&format!("{name}/golden.json"));
    let mut model = open(name);
    for prompt in &golden.prompts {
        check_prompt(name, &mut model, prompt);
    }
}

#[test]
fn sharded_f16_with_grouped_query_attention() {
    check_folder("tiny-llama2");
}

#[test]
fn bf16_with_tied_embeddings_and_linear_rope() {
    check_folder("tiny-llama2-mha");
}

#[test]
fn f32_with_llama3_rope() {
    check_folder("tiny-llama2-mha-llama3rope");
}

#[test]
fn gguf_files_of_every_format() {
    let golden: GoldenFiles = common::json("gguf/golden.json");
    assert_eq!(golden.files.len(), 25);
    for file in &golden.files {
        let mut model = open(&format!("gguf/{}", file.file));
        for prompt in &file.prompts {
            check_prompt(&file.file, &mut model, prompt);
        }
    }
}

#[test]
fn stories260k_writes_its_documented_text() {
    let golden: GoldenStory = common::json("stories260k/golden.json");
    let mut model = open("stories260k");
    for step in &golden.first_steps {
        model.reset();
        let logits = model.forward(&step.ids).unwrap();
        assert_close("stories260k", &logits, &step.last_logits, LOGITS * rms(&step.last_logits));
    }
    model.reset();
    let mut logits = model.forward(&golden.ids).unwrap();
    for (step, expected) in golden.greedy.iter().enumerate() {
        assert_eq!(argmax(&logits), *expected, "greedy token {step}");
        logits = model.forward(&[*expected]).unwrap();
    }
}

/// Rows of heads from half-split to neighbour-pair order.
fn neighbours(values: &[f32], head_dim: usize) -> Vec<f32> {
    let source = |i: usize| if i.is_multiple_of(2) { i / 2 } else { i / 2 + head_dim / 2 };
    values.chunks_exact(head_dim).flat_map(|head| (0..head_dim).map(move |i| head[source(i)])).collect()
}

#[test]
fn values_on_the_way() {
    for name in ["tiny-llama2", "tiny-llama2-mha", "tiny-llama2-mha-llama3rope", "stories260k"] {
        let mut expected = common::safetensors(&data(&format!("{name}/debug.safetensors")));
        for kept in ["rope_cos", "rope_sin"] {
            expected.remove(kept).expect("RoPE's tables");
        }
        expected.retain(|name, _| !name.ends_with("attn_probs"));
        let ids = common::safetensors_i32(&data(&format!("{name}/debug.safetensors")), "input_ids");
        let mut model = open(name);
        let head_dim = model.config().head_dim;
        let trace = &mut |part: &str, got: &[f32]| {
            let (_, values) = expected.remove(part).unwrap_or_else(|| panic!("{name} has no {part}"));
            let last = part.rsplit('.').next().unwrap();
            let is_rotated = ["q", "k", "q_rope", "k_rope"].contains(&last);
            let values = if is_rotated { neighbours(&values, head_dim) } else { values };
            assert_close(&format!("{name} {part}"), got, &values, LOGITS * rms(&values));
        };
        model.forward_traced(&ids, trace).unwrap();
        assert!(expected.is_empty(), "{name}: never computed: {:?}", expected.keys());
    }
}

#[test]
fn refuses_what_does_not_fit() {
    let mut model = open("tiny-llama2");
    let code = |result: pagellama::Result<Vec<f32>>| result.unwrap_err().code();
    assert_eq!(code(model.forward(&[])), "generate/bad-request");
    assert_eq!(code(model.forward(&[512])), "generate/bad-request");
    assert_eq!(code(model.forward(&[1; 257])), "generate/bad-request");
    assert_eq!(model.position(), 0);
}
