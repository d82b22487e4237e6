//! What is foretold of a model before it is loaded, against what its load then takes.

use std::path::{Path, PathBuf};

use crate::common::{data, default_model, on_webgpu};
use pagellama::generate::preflight::{Preflight, Verdict};
use pagellama::generate::{Engine, OpenOptions};
use pagellama::gpu::Gpu;
use pagellama::model::kv_cache::KvFormat;
use pagellama::weights::native::NativeSource;
use pagellama::weights::outline::outline;
use pollster::block_on;

fn source(path: &Path) -> NativeSource {
    NativeSource::open(path).unwrap()
}

fn on(gpu: &Gpu, path: &Path, options: &OpenOptions) -> Preflight {
    let outline = block_on(outline(&mut source(path))).unwrap();
    block_on(Preflight::on(gpu, &outline, options)).unwrap()
}

#[test]
fn memory_is_foretold() {
    let models: [(PathBuf, [usize; 2]); 4] = [
        (default_model(), [512, 2048]),
        (data("stories260k"), [128, 512]),
        (data("tiny-llama2"), [64, 256]),
        (data("gguf/split/tiny-llama2.Q4_0-00001-of-00003.gguf"), [64, 256]),
    ];
    for (path, contexts) in models {
        for (context, kv) in contexts.into_iter().zip([KvFormat::F16, KvFormat::Q8]) {
            let options = OpenOptions { context: Some(context), kv, ..on_webgpu() };
            let foretold = block_on(Preflight::of(&mut source(&path), &options)).unwrap();
            assert_eq!((&foretold.verdict, foretold.context), (&Verdict::LikelyFits, context));
            let engine = block_on(Engine::open(&mut source(&path), options, &mut |_| true)).unwrap();
            let (total, taken) = (foretold.memory.total() as f64, engine.stats().gpu_bytes as f64);
            assert!((total / taken - 1.0).abs() < 0.05, "{path:?} {context}: {total} foretold, {taken} taken");
            let speed = foretold.speed.unwrap();
            assert!(speed.prefill > 0.0 && speed.decode > 0.0 && speed.prefill.is_finite() && speed.decode.is_finite());
        }
    }
}

#[test]
fn nothing_is_left_behind() {
    let gpu = block_on(Gpu::open()).unwrap();
    let before = gpu.allocated_bytes();
    on(&gpu, &default_model(), &on_webgpu());
    assert_eq!((gpu.allocated_bytes(), gpu.check()), (before, Ok(())));
}

#[test]
fn adapters_with_lower_limits_hold_less() {
    let model = default_model();
    let verdict = |max_binding: u64, context: Option<usize>| {
        let gpu = block_on(Gpu::open_within(max_binding)).unwrap();
        let preflight = on(&gpu, &model, &OpenOptions { context, ..on_webgpu() });
        let opened = |context: Option<usize>| {
            // The same limit as a load would meet it.
            let options = OpenOptions { context, ..on_webgpu() };
            let gpu = Gpu::open_within(max_binding);
            block_on(Engine::open_on(gpu, &mut source(&model), options, &mut |_| true)).map(drop)
        };
        match &preflight.verdict {
            Verdict::LikelyFits => opened(context).unwrap(),
            Verdict::FitsWithContext => {
                assert_eq!(opened(context).unwrap_err().code(), "gpu/limit");
                opened(Some(preflight.context)).unwrap();
            }
            Verdict::WontFit { .. } => assert_eq!(opened(context).unwrap_err().code(), "gpu/limit"),
        }
        (preflight.verdict, preflight.context)
    };
    // 384 bytes of keys for each position of a layer.
    assert_eq!(verdict(1 << 26, Some(2048)), (Verdict::LikelyFits, 2048));
    assert_eq!(verdict(384 * 1024, Some(2048)), (Verdict::FitsWithContext, 1024));
    assert_eq!(verdict(384 * 1024, Some(1024)), (Verdict::LikelyFits, 1024));
    let (verdict, _) = verdict(20_000, Some(512));
    assert!(matches!(&verdict, Verdict::WontFit { because } if because.contains("limits")), "{verdict:?}");
}

#[test]
fn what_is_wrong_with_a_checkpoint_is_told() {
    let error = block_on(Preflight::of(&mut source(&data("prose.txt")), &on_webgpu())).unwrap_err();
    assert_eq!(error.code(), "weights/not-a-model");
    let options = OpenOptions { context: Some(1 << 20), ..on_webgpu() };
    let error = block_on(Preflight::of(&mut source(&data("tiny-llama2")), &options)).unwrap_err();
    assert_eq!(error.code(), "generate/bad-request");
}
