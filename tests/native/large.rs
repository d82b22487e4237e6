//! A model of Llama-2-7B's shape on the device, against a reference that holds one layer at a time.
//!
//! `cargo xtask test --full` makes the file, names it in `PAGELLAMA_7B` and asks for the ignored test.

#[path = "../../examples/make_model/synthetic/mod.rs"]
#[allow(dead_code, reason = "the example around it uses all of it")]
mod synthetic;

use std::path::Path;

use crate::common::{argmax, assert_close, on_webgpu, rms};
use pagellama::Result;
use pagellama::config::ModelConfig;
use pagellama::generate::{Engine, OpenOptions};
use pagellama::model::kv_cache::KvFormat;
use pagellama::reference::{self, Model, Weights};
use pagellama::weights::native::NativeSource;
use pagellama::weights::{LayerRole, Role, Sink, TensorSpec, loader};
use pollster::block_on;

const IDS: [u32; 8] = [1, 450, 4996, 17354, 1701, 29916, 12500, 29892];
/// The likeliest token after them: `tests/www/large.test.js` knows the browser's answer by it.
const NEXT: u32 = 11832;

/// Plays the forward pass as the weights of a file pass, which come in the order of use.
struct Passing {
    config: ModelConfig,
    specs: Vec<TensorSpec>,
    /// Those of the layer that is passing, or of what is before and behind the layers.
    weights: Weights,
    /// Rows of them that came.
    rows: usize,
    layer: usize,
    x: Vec<f32>,
}

impl Passing {
    fn begin(&mut self, roles: &[Role]) {
        let specs: Vec<TensorSpec> = self.specs.iter().copied().filter(|spec| roles.contains(&spec.role)).collect();
        self.weights = Weights::default();
        self.rows = specs.iter().map(|spec| spec.rows).sum();
        block_on(self.weights.allocate(&specs)).unwrap();
    }

    fn layer_roles(&self) -> Vec<Role> {
        LayerRole::ALL.map(|role| Role::Layer(self.layer, role)).to_vec()
    }

    /// All of what was begun is there.
    fn play(&mut self) -> Result<()> {
        if self.x.is_empty() {
            self.x = reference::embed(self.weights.get(Role::Embedding)?, self.config.hidden_size, &IDS)?;
            let roles = self.layer_roles();
            self.begin(&roles);
        } else if self.layer < self.config.layers {
            let mut model = Model::new(self.config.clone(), std::mem::take(&mut self.weights));
            self.x = model.layer(self.layer, &self.x, &mut |_, _| ())?;
            self.layer += 1;
            let roles = self.layer_roles();
            self.begin(if self.layer < self.config.layers { &roles } else { &[Role::FinalNorm, Role::Head] });
        } else {
            let gains = self.weights.get(Role::FinalNorm)?;
            let last = &self.x[self.x.len() - self.config.hidden_size..];
            let x = reference::rmsnorm(last, gains, self.config.rms_norm_eps);
            self.x = reference::matvec(self.weights.get(Role::Head)?, &x);
        }
        Ok(())
    }
}

impl Sink for Passing {
    async fn allocate(&mut self, tensors: &[TensorSpec]) -> Result<()> {
        self.specs = tensors.to_vec();
        self.begin(&[Role::Embedding]);
        Ok(())
    }

    fn write_rows(&mut self, role: Role, first_row: usize, bytes: &[u8]) -> Result<()> {
        let spec = self.weights.spec(role).expect("weights come in the order of use");
        self.weights.write_rows(role, first_row, bytes)?;
        self.rows -= bytes.len() / spec.format.row_bytes(spec.columns);
        if self.rows == 0 { self.play() } else { Ok(()) }
    }
}

fn reference_logits(path: &Path) -> Vec<f32> {
    let mut source = NativeSource::open(path).unwrap();
    let opened = block_on(loader::open(&mut source)).unwrap();
    let config = opened.checkpoint().config.clone();
    let (specs, weights, x) = (Vec::new(), Weights::default(), Vec::new());
    let mut passing = Passing { config, specs, weights, rows: 0, layer: 0, x };
    block_on(opened.load(&mut source, &mut passing, &mut |_, _| true)).unwrap();
    passing.x
}

#[test]
#[ignore = "takes 4 GB and some minutes"]
fn a_model_of_7b() {
    let path = std::env::var_os("PAGELLAMA_7B").expect("PAGELLAMA_7B names the file");
    let options = OpenOptions { context: Some(64), kv: KvFormat::F32, ..on_webgpu() };
    let mut source = NativeSource::open(Path::new(&path)).unwrap();
    let mut engine = block_on(Engine::open(&mut source, options, &mut |_| true)).unwrap();
    println!("{} bytes of weights, {} in all", engine.info().weight_bytes, engine.stats().gpu_bytes);
    let logits = block_on(engine.logits(&IDS)).unwrap();
    drop(engine);
    let expected = reference_logits(Path::new(&path));
    println!("logits of root mean square {}", rms(&expected));
    assert_eq!(argmax(&expected), NEXT);
    assert_close("last logits", &logits, &expected, 1e-3 * rms(&expected));
}

#[test]
fn a_small_model_passes_likewise() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("passing.gguf");
    let sizes = "hidden=64,intermediate=96,layers=3,heads=4,kv_heads=2,max_positions=64";
    synthetic::write(sizes, "gguf-q4_0", &folder).unwrap();
    let mut model = block_on(Model::open(&mut NativeSource::open(&folder).unwrap())).unwrap();
    assert_eq!(reference_logits(&folder), model.forward(&IDS).unwrap());
}
