//! Checkpoints that are quantised while they stream into a store.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::common::upstream::{Server, list};
use crate::common::{Random, data};
use pagellama::config::ModelConfig;
use pagellama::formats::{self, Format};
use pagellama::reference::Weights;
use pagellama::store::memory::Memory;
use pagellama::store::quantised::Quantised;
use pagellama::store::read_through::ReadThrough;
use pagellama::weights::loader;
use pagellama::weights::native::NativeSource;
use pagellama::weights::recipe::{Plan, Recipe, header_end};
use pagellama::weights::source::Source;
use pagellama::weights::{LayerRole, Role};
use pagellama::{Error, Result};
use pollster::block_on;

type Reader = ReadThrough<Memory, Quantised<Server>>;

const FOLDERS: [&str; 3] = ["tiny-llama2", "tiny-llama2-mha", "stories260k"];
const RECIPES: [Recipe; 2] = [Recipe::Q8_0, Recipe::Q4_0];

fn server(folder: &str) -> Server {
    let entries = std::fs::read_dir(data(folder)).unwrap().map(|entry| entry.unwrap());
    let files: BTreeMap<String, Vec<u8>> =
        entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())).collect();
    Server { files, step: 10_000, ..Server::folder() }
}

fn open(store: &Memory, server: Server, recipe: Option<Recipe>) -> Reader {
    let traffic = Rc::default();
    let upstream = Quantised::new(server, recipe, Rc::clone(&traffic)).in_chunks_of(6120);
    block_on(ReadThrough::open(Some(Ok(store.clone())), upstream, traffic))
}

fn load<S: Source>(source: &mut S) -> Result<(ModelConfig, Weights)> {
    let mut weights = Weights::default();
    let loading = async { loader::open(source).await?.load(source, &mut weights, &mut |_, _| true).await };
    block_on(loading).map(|config| (config, weights))
}

/// Loads a folder into a store.
fn stored(folder: &str, recipe: Recipe) -> (Memory, Weights) {
    let store = Memory::default();
    let mut source = open(&store, server(folder), Some(recipe));
    let (_, weights) = load(&mut source).unwrap();
    block_on(source.finish()).unwrap();
    (store, weights)
}

/// The format that a recipe gives a matrix whose rows it can cut into blocks.
fn format(recipe: Recipe, role: Role) -> Format {
    match (recipe, role) {
        (Recipe::Q4_0, Role::Layer(..)) => Format::Q4_0,
        _ => Format::Q8_0,
    }
}

#[test]
fn every_matrix_is_its_quantised_self() {
    for (folder, recipe) in FOLDERS.into_iter().flat_map(|folder| RECIPES.map(|recipe| (folder, recipe))) {
        let (config, plain) = load(&mut NativeSource::open(&data(folder)).unwrap()).unwrap();
        let (_, got) = stored(folder, recipe);
        for role in Role::all(&config) {
            let [_, columns] = role.shape(&config);
            let mut expected = plain.get(role).unwrap().to_vec();
            let fits = columns.is_multiple_of(32) && !role.is_norm();
            assert_eq!(fits, !role.is_norm() && !matches!(role, Role::Layer(_, LayerRole::Down)), "{role:?}");
            if fits {
                let (format, mut bytes) = (format(recipe, role), Vec::new());
                formats::quantise(format, &expected, &mut bytes).unwrap();
                formats::dequantise(format, &bytes, &mut expected).unwrap();
                assert_eq!(got.spec(role).unwrap().format, format, "{folder} {role:?}");
            }
            assert_eq!(got.get(role).unwrap(), expected, "{folder} {recipe} {role:?}");
        }
    }
}

#[test]
fn the_second_load_needs_no_source() {
    for recipe in RECIPES {
        let (store, first) = stored("tiny-llama2", recipe);
        let manifest = list(&store).remove(0);
        assert!(manifest.complete && manifest.recipe == Some(recipe) && manifest.id.ends_with(&recipe.to_string()));
        let published: usize = server("tiny-llama2").files.values().map(Vec::len).sum();
        let part = manifest.bytes() as f64 / published as f64;
        assert!(part < 0.6, "{part} of what was published");
        let mut source: Reader = ReadThrough::stored(store, manifest, None, Rc::default());
        let (config, second) = load(&mut source).unwrap();
        for role in Role::all(&config) {
            assert_eq!(first.get(role).unwrap(), second.get(role).unwrap());
        }
    }
}

#[test]
fn copies_of_each_kind_lie_beside_each_other() {
    let store = Memory::default();
    for recipe in [None, Some(Recipe::Q8_0), Some(Recipe::Q4_0)] {
        for expected in [false, true] {
            let mut source = open(&store, server("tiny-llama2"), recipe);
            assert_eq!(source.is_stored(), expected, "{recipe:?}");
            load(&mut source).unwrap();
            block_on(source.finish()).unwrap();
        }
    }
    assert_eq!(list(&store).len(), 3);
}

#[test]
fn a_broken_download_goes_on_where_it_was() {
    const FIRST: &str = "model-00001-of-00003.safetensors";
    let whole = server("tiny-llama2");
    load(&mut open(&Memory::default(), whole.clone(), Some(Recipe::Q4_0))).unwrap();
    let all = whole.sent.borrow().len();
    let (_, expected) = stored("tiny-llama2", Recipe::Q4_0);
    for breaks_after in 1..all {
        let store = Memory::default();
        let broken = Server { breaks_after: Some(breaks_after), ..server("tiny-llama2") };
        let mut source = open(&store, broken, Some(Recipe::Q4_0));
        let error = load(&mut source).unwrap_err();
        block_on(source.abandon(&error));
        let kept = list(&store).first().map_or(0, |model| model.file(FIRST).map_or(0, |file| file.chunks.len()));
        let again = server("tiny-llama2");
        let mut source = open(&store, again.clone(), Some(Recipe::Q4_0));
        let (config, got) = load(&mut source).unwrap();
        block_on(source.finish()).unwrap();
        for role in Role::all(&config) {
            assert_eq!(got.get(role).unwrap(), expected.get(role).unwrap(), "{breaks_after} {role:?}");
        }
        let places = again.starts(FIRST);
        assert!(kept < 2 || places.iter().filter(|start| **start > 0 && **start < 10_000).count() == 0, "{places:?}");
    }
}

#[test]
fn damaged_chunks_are_made_again() {
    let (store, expected) = stored("tiny-llama2", Recipe::Q4_0);
    let manifest = list(&store).remove(0);
    let mut random = Random::new(3);
    for file in &manifest.files {
        for chunk in &file.chunks {
            let bytes = if random.below(2) == 0 { None } else { Some(vec![7; chunk.length as usize]) };
            store.damage(&manifest.id, &file.name, chunk.start, bytes);
        }
    }
    let mut source = open(&store, server("tiny-llama2"), Some(Recipe::Q4_0));
    let (config, got) = load(&mut source).unwrap();
    for role in Role::all(&config) {
        assert_eq!(got.get(role).unwrap(), expected.get(role).unwrap());
    }
    let mut source = open(&store, server("tiny-llama2"), Some(Recipe::Q4_0));
    let verified = block_on(source.verify(&mut |_, _| true)).unwrap();
    assert!(verified.damaged.is_empty() && verified.chunks > 20, "{verified:?}");
}

/// A safetensors file with this header, and `data` zeros behind it.
fn file(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
}

#[test]
fn runs_of_any_length_make_up_the_copy() {
    let source = std::fs::read(data("tiny-llama2/model-00002-of-00003.safetensors")).unwrap();
    let head = &source[..header_end(&source).unwrap() as usize];
    for recipe in RECIPES {
        let plan = Plan::new(recipe, head).unwrap();
        assert_eq!(plan.source_length(), source.len() as u64);
        let make = |start: u64, length: u32| {
            let range = plan.source_of(start, length);
            plan.make(start, length, &source[range.start as usize..range.end as usize]).unwrap()
        };
        let whole = make(0, plan.length() as u32);
        assert_eq!(whole.len() as u64, plan.length());
        let mut random = Random::new(9);
        for _ in 0..500 {
            let start = random.below(whole.len());
            let length = 1 + random.below(3000);
            let end = whole.len().min(start + length);
            assert_eq!(make(start as u64, length as u32), whole[start..end], "{start} {length}");
        }
    }
}

#[test]
fn a_copy_that_was_saved_to_files_is_read_as_it_is() {
    let source = std::fs::read(data("tiny-llama2/model-00002-of-00003.safetensors")).unwrap();
    let whole = |plan: &Plan, source: &[u8]| {
        let range = plan.source_of(0, plan.length() as u32);
        plan.make(0, plan.length() as u32, &source[range.start as usize..range.end as usize]).unwrap()
    };
    for recipe in RECIPES {
        let copy = whole(&Plan::new(recipe, &source).unwrap(), &source);
        assert!(copy.len() < source.len());
        assert_eq!(whole(&Plan::new(recipe, &copy).unwrap(), &copy), copy);
    }
}

#[test]
fn hostile_headers_are_refused() {
    let plan = |bytes: Vec<u8>| Plan::new(Recipe::Q4_0, &bytes).map(drop);
    let entry = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"model.norm.weight": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": {offsets}}}}}"#)
    };
    plan(file(&entry("F32", "[2]", "[0, 8]"), 8)).unwrap();
    let large = u64::MAX / 4;
    for (bytes, code) in [
        (vec![1, 2, 3], "weights/bad-header"),
        (u64::MAX.to_le_bytes().to_vec(), "weights/bad-header"),
        (100_u64.to_le_bytes().to_vec(), "weights/bad-header"),
        (file("{", 0), "weights/bad-header"),
        (file(&entry("F32", "[2]", "[800, 808]"), 808), "weights/bad-header"),
        (file(&entry("F32", "[2]", "[0, 9]"), 16), "weights/bad-header"),
        (file(&entry("F8_E4M3", "[2]", "[0, 2]"), 2), "weights/tensor-type"),
        (
            file(&entry("F32", &format!("[{large}]"), &format!("[0, {}]", large.wrapping_mul(4))), 0),
            "weights/bad-header",
        ),
    ] {
        assert_eq!(plan(bytes).unwrap_err().code(), code);
    }
    let mut short = server("tiny-llama2");
    short.files.get_mut("model-00001-of-00003.safetensors").unwrap().pop();
    let error = load(&mut open(&Memory::default(), short, Some(Recipe::Q8_0))).unwrap_err();
    assert!(matches!(error, Error::Truncated { .. }), "{error}");
    let mut infinite = server("tiny-llama2");
    let bytes = infinite.files.get_mut("model-00001-of-00003.safetensors").unwrap();
    let end = bytes.len();
    bytes[end - 2..].copy_from_slice(&[0, 0x7c]);
    let error = load(&mut open(&Memory::default(), infinite, Some(Recipe::Q8_0))).unwrap_err();
    assert!(matches!(error, Error::NotFinite { .. }), "{error}");
}
