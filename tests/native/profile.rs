//! What the profile says that kernels move and compute, against the sizes of the model, and the adapter's own limits.

use std::path::Path;

use crate::common::{argmax, data, on_webgpu};
use pagellama::config::ModelConfig;
use pagellama::formats::Format;
use pagellama::formats::tile;
use pagellama::generate::Engine;
use pagellama::gpu::cost::Cost;
use pagellama::gpu::profile::Profile;
use pagellama::model::kv_cache::KvFormat;
use pagellama::weights::loader;
use pagellama::weights::native::NativeSource;
use pollster::block_on;

/// (file or folder, format of its matrices): one with an embedding table apart from the head, one without.
const MODELS: [(&str, Format); 2] = [("gguf/tiny-llama2.Q8_0.gguf", Format::Q8_0), ("tiny-llama2-mha", Format::BF16)];

fn open(path: &Path) -> (Engine, ModelConfig) {
    let source = || NativeSource::open(path).unwrap();
    let config = block_on(loader::open(&mut source())).unwrap().checkpoint().config.clone();
    let engine = block_on(Engine::open(&mut source(), on_webgpu(), &mut |_| true)).unwrap();
    (engine, config)
}

fn profile(engine: &mut Engine, tokens: usize, position: usize) -> Profile {
    block_on(engine.profile(tokens, position)).unwrap()
}

fn sum(profile: &Profile, of: impl Fn(&str) -> bool) -> Cost {
    profile.kernels.iter().filter(|kernel| of(kernel.kernel)).map(|kernel| kernel.cost).sum()
}

#[test]
fn products_read_each_weight_once() {
    for (name, format) in MODELS {
        let (mut engine, config) = open(&data(name));
        let norms = (2 * config.layers + 1) * config.hidden_size * 4;
        // Two tiles of 32 rows are worked on together.
        let rows = config.vocab_size.next_multiple_of(64);
        let table = rows as u64 * tile::row_bytes(format, config.hidden_size);
        let apart = if config.tied_embeddings { 0 } else { table };
        let expected = engine.info().weight_bytes - norms as u64 - apart;
        for tokens in [1, 9] {
            let profile = profile(&mut engine, tokens, 3);
            let products = sum(&profile, |kernel| kernel.starts_with("mat"));
            assert_eq!(products.weight_bytes, expected, "{name}, {tokens} tokens");
            let embed = sum(&profile, |kernel| kernel == "embed");
            assert_eq!(embed.weight_bytes, tokens as u64 * tile::row_bytes(format, config.hidden_size));
            let all = sum(&profile, |_| true);
            assert_eq!(all.weight_bytes, products.weight_bytes + embed.weight_bytes);
            assert!(all.bytes > all.weight_bytes);
        }
    }
}

#[test]
fn products_do_two_operations_a_weight_and_token() {
    for (name, _) in MODELS {
        let (mut engine, config) = open(&data(name));
        let layer =
            config.hidden_size * (2 * config.query_size() + 2 * config.kv_size() + 3 * config.intermediate_size);
        let head = config.vocab_size * config.hidden_size;
        for tokens in [1, 9] {
            let products = sum(&profile(&mut engine, tokens, 0), |kernel| kernel.starts_with("mat"));
            // The head works on the last token alone.
            assert_eq!(products.flops, 2 * (tokens * config.layers * layer + head) as u64, "{name}, {tokens} tokens");
        }
    }
}

/// As the kernel for software adapters does, on which these tests run.
#[test]
fn attention_reads_every_position_once_and_computes_with_each_twice() {
    for (name, _) in MODELS {
        let (mut engine, config) = open(&data(name));
        let attention =
            |engine: &mut Engine, position| sum(&profile(engine, 1, position), |kernel| kernel == "attention");
        let near = attention(&mut engine, 10);
        // Beyond 64 positions another four parts have something to leave: mixed values, a maximum and a sum for each head.
        let parts = (config.layers * 4 * 4 * (config.query_size() + 2 * config.heads)) as u64;
        for (position, parts) in [(60, 0), (110, parts)] {
            let far = attention(&mut engine, position);
            let more = position - 10;
            let vectors = (more * config.layers * 2 * config.kv_heads) as u64;
            let bytes = vectors * KvFormat::default().vector_bytes(config.head_dim) + parts;
            assert_eq!(far.bytes - near.bytes, bytes, "{name}, {position}");
            assert_eq!(far.flops - near.flops, (more * config.layers * 4 * config.query_size()) as u64, "{name}");
        }
    }
}

#[test]
fn a_profile_compares_with_the_limits_and_changes_no_answer() {
    let (mut engine, config) = open(&data(MODELS[0].0));
    let before = block_on(engine.logits(&[1, 5, 9])).unwrap();
    let limits = block_on(engine.measure_adapter()).unwrap();
    assert!(limits.bytes_per_second > 1e6 && limits.flops_per_second > 1e6, "{limits:?}");
    let profile = profile(&mut engine, 10_000, 0);
    assert_eq!(profile.limits, limits);
    assert!(profile.tokens > 1 && profile.tokens < 10_000, "a chunk, not {}", profile.tokens);
    assert!(profile.kernels.is_sorted_by(|one, other| one.microseconds >= other.microseconds));
    for kernel in &profile.kernels {
        assert!(kernel.dispatches > 0 && kernel.cost.bytes > 0, "{kernel:?}");
        assert_eq!(kernel.microseconds.is_some(), kernel.fraction.is_some(), "{kernel:?}");
    }
    let rope = profile.kernels.iter().find(|kernel| kernel.kernel == "rope").unwrap();
    assert_eq!(rope.dispatches, config.layers);
    let after = block_on(engine.logits(&[1, 5, 9])).unwrap();
    assert_eq!(argmax(&after), argmax(&before));
    assert_eq!(after, before);
}
