//! Checkpoints become rows of named weights: formats, chunks, row order, progress.

use std::collections::HashMap;

use crate::common;
use crate::common::files::{GgufFile, MemorySource, gguf_string};
use crate::common::{GoldenFiles, data, json};
use pagellama::config::{ModelConfig, RopeScaling};
use pagellama::formats::{self, Format};
use pagellama::reference::Weights;
use pagellama::tokenizer::Tokenizer;
use pagellama::weights::gguf::{Array, Value};
use pagellama::weights::loader::{self, TextFiles};
use pagellama::weights::native::NativeSource;
use pagellama::weights::outline::outline;
use pagellama::weights::source::Source;
use pagellama::weights::{LayerRole, ROW_GROUP, Role, Sink, TensorSpec};
use pagellama::{Error, Result};

/// A sink that keeps the bytes and holds the loader to the contract.
#[derive(Debug, Default, PartialEq)]
struct Keeper {
    tensors: HashMap<Role, (TensorSpec, Vec<u8>)>,
    /// Tensors announced at each call.
    announced: Vec<usize>,
}

impl Sink for Keeper {
    async fn allocate(&mut self, tensors: &[TensorSpec]) -> Result<()> {
        self.announced.push(tensors.len());
        for spec in tensors {
            let before = self.tensors.insert(spec.role, (*spec, Vec::new()));
            assert!(before.is_none(), "{:?} is announced twice", spec.role);
        }
        Ok(())
    }

    fn write_rows(&mut self, role: Role, first_row: usize, bytes: &[u8]) -> Result<()> {
        let (spec, kept) = self.tensors.get_mut(&role).expect("an announced tensor");
        let row_bytes = spec.format.row_bytes(spec.columns);
        assert!(!bytes.is_empty() && bytes.len().is_multiple_of(row_bytes), "{role:?}: whole rows");
        assert_eq!(first_row * row_bytes, kept.len(), "{role:?}: rows in order");
        assert!(first_row.is_multiple_of(ROW_GROUP), "{role:?}: a group begins at {first_row}");
        kept.extend_from_slice(bytes);
        let rows = kept.len() / row_bytes;
        assert!(rows <= spec.rows, "{role:?}: {rows} rows");
        assert!(rows == spec.rows || rows.is_multiple_of(ROW_GROUP), "{role:?}: a group ends at {rows}");
        Ok(())
    }
}

fn load_into<S: Source, K: Sink>(source: &mut S, sink: &mut K) -> Result<ModelConfig> {
    pollster::block_on(async { loader::open(source).await?.load(source, sink, &mut |_, _| true).await })
}

/// Loads a checkpoint and checks that every weight arrived whole.
fn keep<S: Source>(source: &mut S) -> Keeper {
    let mut keeper = Keeper::default();
    let config = load_into(source, &mut keeper).unwrap();
    for role in Role::all(&config) {
        let (spec, bytes) = &keeper.tensors[&role];
        assert_eq!([spec.rows, spec.columns], role.shape(&config));
        assert_eq!(bytes.len(), spec.rows * spec.format.row_bytes(spec.columns), "{role:?} is whole");
    }
    keeper
}

fn weights(name: &str) -> (ModelConfig, Weights) {
    let mut weights = Weights::default();
    let config = load_into(&mut NativeSource::open(&data(name)).unwrap(), &mut weights).unwrap();
    (config, weights)
}

/// GGUF's name of a tensor, for those that the reference files hold.
fn role(name: &str) -> Role {
    let mut parts = name.split('.');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("token_embd"), ..) => Role::Embedding,
        (Some("output"), ..) => Role::Head,
        (Some("blk"), Some(layer), Some(part)) => {
            let names = [
                ("attn_q", LayerRole::Query),
                ("attn_k", LayerRole::Key),
                ("attn_v", LayerRole::Value),
                ("attn_output", LayerRole::AttentionOutput),
                ("ffn_gate", LayerRole::Gate),
                ("ffn_up", LayerRole::Up),
                ("ffn_down", LayerRole::Down),
            ];
            let (_, role) = names.iter().find(|(known, _)| *known == part).expect(name);
            Role::Layer(layer.parse().unwrap(), *role)
        }
        _ => panic!("{name} has no role"),
    }
}

#[test]
fn every_format_dequantises_as_the_gguf_package_does() {
    let golden: GoldenFiles = json("gguf/golden.json");
    let mut formats = Vec::new();
    for file in &golden.files {
        let name = format!("gguf/{}", file.file);
        let (_, weights) = weights(&name);
        let expected = common::safetensors(&data(&name.replace(".gguf", ".ref.safetensors")));
        for tensor in &file.reference_tensors {
            let spec = weights.spec(role(tensor)).unwrap();
            let (shape, values) = &expected[tensor];
            assert_eq!(*shape, [spec.rows, spec.columns], "{name} {tensor}");
            let exact = matches!(spec.format, Format::F32 | Format::F16 | Format::BF16);
            let tolerance = if exact { 0.0 } else { 1e-6 };
            for (i, (got, value)) in weights.get(spec.role).unwrap().iter().zip(values).enumerate() {
                let off = (got - value).abs();
                assert!(off <= tolerance * value.abs(), "{name} {tensor}: element {i} is {got}, not {value}");
            }
            formats.push(spec.format);
        }
    }
    for format in Format::ALL.iter().filter(|format| !matches!(format, Format::Iq4Nl | Format::Iq4Xs)) {
        assert!(formats.contains(format), "{} was never read", format.name());
    }
}

#[test]
fn random_blocks_dequantise_as_the_gguf_package_does() {
    let path = data("formats/blocks.safetensors");
    let (bytes, values) = (common::safetensors_u8(&path), common::safetensors(&path));
    for format in Format::ALL.into_iter().filter(|format| format.block_len() > 1) {
        let name = format.name();
        let (bytes, expected) = (&bytes[&format!("{name}.bytes")], &values[&format!("{name}.values")].1);
        let mut got = vec![0.0; expected.len()];
        formats::dequantise(format, bytes, &mut got).unwrap();
        for (i, (got, value)) in got.iter().zip(expected).enumerate() {
            assert!((got - value).abs() <= 1e-6 * value.abs(), "{name}: weight {i} is {got}, not {value}");
        }
    }
}

#[test]
fn what_is_quantised_here_is_what_the_gguf_package_writes() {
    let path = data("formats/blocks.safetensors");
    let (bytes, values) = (common::safetensors_u8(&path), common::safetensors(&path));
    let source = &values["source"].1;
    for format in [Format::Q8_0, Format::Q4_0] {
        let mut got = Vec::new();
        formats::quantise(format, source, &mut got).unwrap();
        let expected = &bytes[&format!("{}.quantised", format.name())];
        let differs = got.iter().zip(expected).position(|(a, b)| a != b);
        assert_eq!((got.len(), differs), (expected.len(), None), "{}", format.name());
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30] {
            let mut weights = [0.5; 64];
            weights[40] = bad;
            let mut got = Vec::new();
            formats::quantise(format, &weights, &mut got).unwrap();
            assert!(!formats::all_finite(format, &got), "{bad}");
            assert!(formats::all_finite(format, &got[..format.block_bytes()]), "{bad}");
        }
    }
    assert!(formats::quantise(Format::Q4K, source, &mut Vec::new()).is_err());
    assert!(formats::quantise(Format::Q4_0, &source[..33], &mut Vec::new()).is_err());
}

#[test]
fn a_model_in_parts_is_the_model() {
    for (name, parts) in [
        ("tiny-llama2.Q4_0", 3),
        ("tiny-llama2-mha.F16", 3),
        ("tiny-llama2-mha-llama3rope.F16", 2),
        ("tiny-llama2-mha-llama3rope.F16.apart", 3),
    ] {
        let whole = format!("gguf/{}.gguf", name.trim_end_matches(".apart"));
        let (config, expected) = weights(&whole);
        let first = format!("gguf/split/{name}-00001-of-{parts:05}.gguf");
        let (other_config, got) = weights(&first);
        assert_eq!(config, other_config, "{name}");
        for role in Role::all(&config) {
            assert_eq!(got.get(role).unwrap(), expected.get(role).unwrap(), "{name} {role:?}");
        }
        let text = |path: &str| pollster::block_on(loader::open_text(&mut NativeSource::open(&data(path)).unwrap()));
        let tokenizer = |path: &str| Tokenizer::from_text_files(&text(path).unwrap()).unwrap();
        let ids = |path: &str| tokenizer(path).encode("one two", true, false).unwrap();
        assert_eq!(ids(&first), ids(&whole));
        let known = pollster::block_on(outline(&mut NativeSource::open(&data(&first)).unwrap())).unwrap();
        assert!(known.tensors.iter().all(|spec| expected.spec(spec.role) == Some(*spec)), "{name}");
    }
}

#[test]
fn gguf_and_hugging_face_give_the_same_weights() {
    // Row order differs in the files (half-split against neighbours) and must not differ here.
    let (config, expected) = weights("tiny-llama2");
    for file in ["gguf/tiny-llama2.F32.gguf", "gguf/tiny-llama2.F16.gguf"] {
        let (other_config, got) = weights(file);
        assert_eq!(config, other_config, "{file}");
        for role in Role::all(&config) {
            common::assert_close(&format!("{file} {role:?}"), got.get(role).unwrap(), expected.get(role).unwrap(), 0.0);
        }
    }
}

#[test]
fn chunks_of_any_size_give_the_same_rows() {
    let gguf = std::fs::read(data("gguf/tiny-llama2.Q4_1.gguf")).unwrap();
    let sources = [MemorySource::gguf(gguf), MemorySource::folder(&data("tiny-llama2"))];
    for source in sources {
        let whole = keep(&mut source.clone());
        for (largest, seed) in [(1, 1), (7, 2), (100, 3), (1000, 4), (5000, 5), (40_000, 6), (200_000, 7)] {
            assert!(keep(&mut source.clone().chunked(largest, seed)) == whole, "chunks up to {largest}");
        }
    }
}

#[test]
fn heads_that_do_not_divide_the_row_group_are_reordered_whole() {
    // Head dimension 12: 32 rows end in the middle of a head, 96 do not.
    let (heads, head_dim, hidden) = (17, 12, 4);
    let mut source = MemorySource::folder(&data("tiny-llama2"));
    let config = serde_json::json!({
        "model_type": "llama", "vocab_size": 8, "hidden_size": hidden, "intermediate_size": 4,
        "num_hidden_layers": 1, "num_attention_heads": heads, "head_dim": head_dim, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": true,
    });
    *source.file("config.json") = config.to_string().into_bytes();
    source.files.remove("model.safetensors.index.json");
    let rows = heads * head_dim;
    let layer = |name: &str| format!("model.layers.0.{name}.weight");
    let shapes = [
        ("model.embed_tokens.weight".to_owned(), vec![8, hidden]),
        ("model.norm.weight".to_owned(), vec![hidden]),
        (layer("input_layernorm"), vec![hidden]),
        (layer("post_attention_layernorm"), vec![hidden]),
        (layer("self_attn.q_proj"), vec![rows, hidden]),
        (layer("self_attn.k_proj"), vec![rows, hidden]),
        (layer("self_attn.v_proj"), vec![rows, hidden]),
        (layer("self_attn.o_proj"), vec![hidden, rows]),
        (layer("mlp.gate_proj"), vec![4, hidden]),
        (layer("mlp.up_proj"), vec![4, hidden]),
        (layer("mlp.down_proj"), vec![hidden, 4]),
    ];
    source.files.insert("model.safetensors".to_owned(), counting_safetensors(&shapes));
    let mut weights = Weights::default();
    load_into(&mut source.chunked(300, 3), &mut weights).unwrap();
    let query = weights.get(Role::Layer(0, LayerRole::Query)).unwrap();
    let value = weights.get(Role::Layer(0, LayerRole::Value)).unwrap();
    for row in 0..rows {
        let (head, i) = (row / head_dim, row % head_dim);
        let from = head * head_dim + i / 2 + if i.is_multiple_of(2) { 0 } else { head_dim / 2 };
        assert_eq!(query[row * hidden], (from * hidden) as f32, "query row {row}");
        assert_eq!(value[row * hidden], (row * hidden) as f32, "value row {row}");
    }
}

/// A safetensors file whose tensors each count 0, 1, 2, ... in F32.
fn counting_safetensors(shapes: &[(String, Vec<usize>)]) -> Vec<u8> {
    let (mut header, mut body) = (serde_json::Map::new(), Vec::new());
    for (name, shape) in shapes {
        let start = body.len();
        let count = shape.iter().product::<usize>();
        body.extend((0..count).flat_map(|i| (i as f32).to_le_bytes()));
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [start, body.len()]});
        header.insert(name.clone(), entry);
    }
    let header = serde_json::Value::Object(header).to_string().into_bytes();
    [(header.len() as u64).to_le_bytes().to_vec(), header, body].concat()
}

#[test]
fn progress_counts_every_byte_once_and_can_stop() {
    for mut source in [
        MemorySource::folder(&data("tiny-llama2")).chunked(5000, 1),
        MemorySource::gguf(GgufFile::llama().bytes()).chunked(500, 1),
    ] {
        let is_weights = |name: &str| name.ends_with(".safetensors") && name != "debug.safetensors";
        let files = source.files.iter().filter(|(name, _)| is_weights(name) || name.ends_with(".gguf"));
        let weight_bytes: u64 = files.map(|(_, file)| file.len() as u64).sum();
        let mut told = Vec::new();
        let mut load = |stop_at: u64| {
            let progress = &mut |done: u64, total: u64| {
                told.push((done, total));
                done < stop_at
            };
            pollster::block_on(async {
                let opened = loader::open(&mut source).await?;
                opened.load(&mut source, &mut Keeper::default(), progress).await
            })
        };
        assert_eq!(load(weight_bytes / 2).unwrap_err(), Error::Aborted);
        load(u64::MAX).unwrap();
        assert!(told.iter().all(|(done, total)| done <= total));
        assert_eq!(told.last(), Some(&(weight_bytes, weight_bytes)));
    }
}

#[test]
fn tensors_with_gaps_and_others_between_them() {
    let mut file = GgufFile::llama();
    let plain = keep(&mut MemorySource::gguf(file.bytes()));
    file.alignment = 4096;
    file.set_u32("general.alignment", 4096);
    file.tensors.reverse();
    let mut strange = file.tensor("output.weight").clone();
    strange.name = "something.else".to_owned();
    strange.dtype = 24;
    file.tensors.insert(3, strange);
    file.version = 2;
    let spread = keep(&mut MemorySource::gguf(file.bytes()).chunked(3000, 9));
    assert!(plain.tensors == spread.tensors);
}

#[test]
fn a_gguf_is_tied_only_without_a_head() {
    let mut file = GgufFile::llama();
    let config = |file: &GgufFile| load_into(&mut MemorySource::gguf(file.bytes()), &mut Keeper::default()).unwrap();
    assert!(!config(&file).tied_embeddings);
    file.remove("output.weight");
    assert!(config(&file).tied_embeddings);
}

#[test]
fn rope_divisors_reach_the_final_configuration_from_anywhere_in_the_file() {
    let mut file = GgufFile::llama();
    let divisors: Vec<f32> = (1..=8).map(|i| i as f32).collect();
    file.add("rope_freqs.weight", vec![8], &divisors);
    let mut source = MemorySource::gguf(file.bytes()).chunked(100, 1);
    let opened = pollster::block_on(loader::open(&mut source)).unwrap();
    assert_eq!(opened.checkpoint().config.rope.scaling, RopeScaling::None);
    let config = load_into(&mut source, &mut Keeper::default()).unwrap();
    assert_eq!(config.rope.scaling, RopeScaling::Divisors(divisors.clone()));
    // A linear factor beside them applies on top, as in llama.cpp.
    file.set_string("llama.rope.scaling.type", "linear");
    file.set_f32("llama.rope.scaling.factor", 2.0);
    let config = load_into(&mut MemorySource::gguf(file.bytes()), &mut Keeper::default()).unwrap();
    assert_eq!(config.rope.scaling, RopeScaling::Divisors(divisors.iter().map(|divisor| 2.0 * divisor).collect()));
}

#[test]
fn metadata_of_every_type() {
    let mut file = GgufFile::llama();
    let array = |kind: u32, count: u64, bytes: &[u8]| [&kind.to_le_bytes()[..], &count.to_le_bytes(), bytes].concat();
    for (key, kind, bytes) in [
        ("u8", 0, vec![200]),
        ("i8", 1, vec![200]),
        ("u16", 2, 50_000u16.to_le_bytes().to_vec()),
        ("i16", 3, (-2i16).to_le_bytes().to_vec()),
        ("i32", 5, (-3i32).to_le_bytes().to_vec()),
        ("bool", 7, vec![1]),
        ("u64", 10, u64::MAX.to_le_bytes().to_vec()),
        ("i64", 11, i64::MIN.to_le_bytes().to_vec()),
        ("f64", 12, 0.5f64.to_le_bytes().to_vec()),
        ("strings", 9, array(8, 2, &[gguf_string("a"), gguf_string("é")].concat())),
        ("bytes", 9, array(0, 3, &[1, 2, 255])),
        ("bools", 9, array(7, 2, &[1, 0])),
        ("floats", 9, array(6, 1, &1.5f32.to_le_bytes())),
        ("none", 9, array(5, 0, &[])),
        ("nested", 9, array(9, 2, &[array(1, 1, &[255]), array(8, 0, &[])].concat())),
    ] {
        file.set(key, kind, bytes);
    }
    let mut source = MemorySource::gguf(file.bytes()).chunked(3, 1);
    let TextFiles::Gguf(metadata) = pollster::block_on(loader::open_text(&mut source)).unwrap() else {
        panic!("a GGUF's text is its metadata");
    };
    let integer = |key| metadata.get(key).cloned();
    assert_eq!(integer("u8"), Some(Value::Integer(200)));
    assert_eq!(integer("i8"), Some(Value::Integer(-56)));
    assert_eq!(metadata.u32("u16"), Some(50_000));
    assert_eq!(integer("i16"), Some(Value::Integer(-2)));
    assert_eq!((integer("i32"), metadata.u32("i32")), (Some(Value::Integer(-3)), None));
    assert_eq!(metadata.bool("bool"), Some(true));
    assert_eq!(integer("u64"), Some(Value::Integer(i64::MAX)));
    assert_eq!(integer("i64"), Some(Value::Integer(i64::MIN)));
    assert_eq!(metadata.f32("f64"), Some(0.5));
    assert_eq!(metadata.strings("strings"), Some(&["a".to_owned(), "é".to_owned()][..]));
    assert_eq!(metadata.integers("bytes"), Some(&[1, 2, 255][..]));
    assert_eq!(metadata.get("bools"), Some(&Value::Array(Array::Bools(vec![true, false]))));
    assert_eq!(metadata.f32s("floats"), Some(&[1.5][..]));
    assert_eq!(metadata.integers("none"), Some(&[][..]));
    let nested = Array::Nested(vec![Array::Integers(vec![-1]), Array::Strings(Vec::new())]);
    assert_eq!(metadata.get("nested"), Some(&Value::Array(nested)));
    assert_eq!(metadata.string("general.architecture"), Some("llama"));
    assert_eq!((metadata.string("u8"), metadata.u32("strings"), metadata.bool("absent")), (None, None, None));
}

#[test]
fn headers_as_different_writers_make_them() {
    let whole = |change: fn(&mut GgufFile)| {
        let mut file = GgufFile::llama();
        change(&mut file);
        let mut weights = Weights::default();
        let config = load_into(&mut MemorySource::gguf(file.bytes()), &mut weights);
        config.map(|config| (config, weights.get(Role::FinalNorm).unwrap().to_vec()))
    };
    let usual = whole(|_| {}).unwrap();
    let for_layers = |sizes: &[u32]| {
        let bytes: Vec<u8> = sizes.iter().flat_map(|size| size.to_le_bytes()).collect();
        [&4_u32.to_le_bytes()[..], &(sizes.len() as u64).to_le_bytes(), &bytes].concat()
    };
    assert_eq!(whole(|file| file.version = 2).unwrap(), usual);
    let aligned = whole(|file| {
        file.alignment = 4096;
        file.set_u32("general.alignment", 4096);
    });
    assert_eq!(aligned.unwrap(), usual);
    for (sizes, fits) in [(&[1][..], true), (&[1, 1, 1], true), (&[1, 2], false), (&[], false)] {
        let mut file = GgufFile::llama();
        file.set("llama.attention.head_count_kv", 9, for_layers(sizes));
        let got = load_into(&mut MemorySource::gguf(file.bytes()), &mut Weights::default());
        assert_eq!(got.is_ok_and(|config| config == usual.0), fits, "{sizes:?}");
    }
    // Those that have a usual value.
    let without = whole(|file| {
        file.unset("llama.vocab_size");
        let tokens = (0..40).flat_map(|id| gguf_string(id.to_string())).collect::<Vec<u8>>();
        let tokens = [&8_u32.to_le_bytes()[..], &40_u64.to_le_bytes(), &tokens].concat();
        file.set("tokenizer.ggml.tokens", 9, tokens);
    });
    assert_eq!(without.unwrap(), usual);
}

#[test]
fn text_alone_needs_no_weights() {
    let mut source = MemorySource::folder(&data("tiny-llama2"));
    source.files.retain(|name, _| name.starts_with("tokenizer"));
    let text = pollster::block_on(loader::open_text(&mut source)).unwrap();
    assert!(matches!(text, TextFiles::HuggingFace { config, chat_template: None, .. } if config == b"{}"));
    assert_eq!(pollster::block_on(loader::open(&mut source)).unwrap_err().code(), "weights/missing-file");
}
