//! Random damage to every kind of file that the engine reads: no panic, typed errors, and no allocation that the file's own size
//! does not justify.
//!
//! Each reader gets three seconds, or as many as `PAGELLAMA_FUZZ_SECONDS` says (`cargo xtask test --full` says 660). What once failed
//! lies in `tests/data/fuzz/READER/` and is read first; a new failure is written to `target/fuzz/READER/`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use common::files::{GgufFile, MemorySource};
use common::{Random, data};
use pagellama::tokenizer::Tokenizer;
use pagellama::weights::loader::{self, TextFiles, VocabularyFile};
use pagellama::weights::lora::Adapter;
use pagellama::weights::outline::outline;
use pagellama::weights::recipe::{Plan, Recipe};
use pagellama::weights::source::Kind;
use pagellama::weights::{Role, Sink, TensorSpec};
use pagellama::{Error, Result};
use peak_alloc::PeakAlloc;
use pollster::block_on;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// One reader at a time, so that the allocator's count is of its own.
static ALONE: Mutex<()> = Mutex::new(());

/// Bytes that a reader may hold besides, for each byte of the file and at all: strings of no length, tables, a regular expression.
const BYTES_PER_BYTE: usize = 40;
const BYTES_AT_ALL: usize = 4 << 20;

/// A reader of hostile bytes.
struct Reader {
    name: &'static str,
    seeds: Vec<Vec<u8>>,
    /// Where most of what can go wrong stands: the first so many bytes.
    head: usize,
    read: fn(Vec<u8>) -> Result<()>,
}

/// Takes weights and forgets them.
struct Nowhere;

impl Sink for Nowhere {
    async fn allocate(&mut self, _tensors: &[TensorSpec]) -> Result<()> {
        Ok(())
    }

    fn write_rows(&mut self, _role: Role, _first_row: usize, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(data(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn load(mut source: MemorySource) -> Result<()> {
    block_on(outline(&mut source.clone()))?;
    block_on(async { loader::open(&mut source).await?.load(&mut source, &mut Nowhere, &mut |_, _| true).await })
        .map(drop)
}

/// A small folder with one of its files exchanged.
fn folder(file: &str, bytes: Vec<u8>) -> MemorySource {
    let names = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
    let mut files: HashMap<String, Vec<u8>> =
        names.iter().map(|name| ((*name).to_owned(), read(&format!("tiny-llama2-mha/{name}")))).collect();
    files.insert(file.to_owned(), bytes);
    MemorySource::new(Kind::HuggingFace, files)
}

fn build(vocabulary: VocabularyFile, tokenizer_config: Option<Vec<u8>>) -> Result<()> {
    let (generation_config, chat_template, config) = (None, None, b"{}".to_vec());
    let files = TextFiles::HuggingFace { vocabulary, tokenizer_config, generation_config, config, chat_template };
    let tokenizer = Tokenizer::from_text_files(&files)?;
    let ids = tokenizer.encode("Hello, <s> wörld\n", true, false)?;
    tokenizer.decode(&ids).map(drop)
}

/// Reads a seed, damaged again and again, for the time that is given.
fn fuzz(reader: Reader) {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let Reader { name, seeds, head, .. } = &reader;
    let known = data(&format!("fuzz/{name}"));
    let known =
        std::fs::read_dir(&known).into_iter().flatten().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    known.chain(seeds.iter().cloned()).for_each(|bytes| check(&reader, bytes));
    let seconds = std::env::var("PAGELLAMA_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(3.0);
    // A run of another length has other cases.
    let (started, mut random) = (Instant::now(), Random::new(name.len() as u64 + seconds as u64));
    let mut cases = 0;
    while started.elapsed() < Duration::from_secs_f64(seconds) {
        let seed = &seeds[random.below(seeds.len())];
        check(&reader, damaged(seed, *head, &mut random));
        cases += 1;
    }
    println!("{name}: {cases} cases");
    assert!(cases > 10, "{name}: only {cases} cases");
}

fn check(reader: &Reader, bytes: Vec<u8>) {
    let (length, kept) = (bytes.len(), bytes.clone());
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let result = catch_unwind(AssertUnwindSafe(|| (reader.read)(bytes)));
    let held = ALLOCATOR.peak_usage().saturating_sub(before);
    let wrong = match &result {
        Err(_) => Some("it panicked".to_owned()),
        Ok(Err(error)) if matches!(error, Error::Gpu { .. } | Error::Aborted) => Some(format!("{error}")),
        Ok(_) if held > length * BYTES_PER_BYTE + BYTES_AT_ALL => Some(format!("{length} bytes made it hold {held}")),
        Ok(_) => None,
    };
    let Some(wrong) = wrong else { return };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz").join(reader.name);
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{length}-{held}.bin"));
    std::fs::write(&path, kept).unwrap();
    eprintln!("{}: {wrong}; the case is in {}", reader.name, path.display());
    match result {
        Err(panic) => resume_unwind(panic),
        Ok(_) => panic!("{wrong}"),
    }
}

/// A few bytes exchanged, put in, left out or repeated, mostly in the head.
fn damaged(seed: &[u8], head: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..1 + random.below(5) {
        let most = if random.below(8) == 0 { bytes.len() } else { bytes.len().min(head) };
        let at = random.below(most.max(1));
        let end = bytes.len().min(at + 1 + random.below(16));
        let number = interesting(random);
        match random.below(8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at.min(end)..end)),
            2 => drop(bytes.splice(at.min(end)..at.min(end), number)),
            3 | 4 => bytes.iter_mut().skip(at).zip(number).for_each(|(byte, new)| *byte = new),
            5 => {
                let piece = bytes[at.min(end)..end].repeat(1 + random.below(4));
                drop(bytes.splice(at.min(end)..end, piece));
            }
            _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
        }
    }
    bytes
}

/// Numbers that lengths and counts go wrong at, as bytes and as digits, and what separates things in JSON.
fn interesting(random: &mut Random) -> Vec<u8> {
    const NUMBERS: [u64; 12] =
        [0, 1, 127, 255, 65_535, 1 << 31, u32::MAX as u64, 1 << 32, 1 << 53, 1 << 63, u64::MAX - 1, u64::MAX];
    const TEXTS: [&str; 12] = ["{", "}", "[", "]", "\"", ":", ",", "null", "-1", "1e999", "\\ud800", "true"];
    let number = NUMBERS[random.below(NUMBERS.len())];
    match random.below(5) {
        0 => number.to_le_bytes().to_vec(),
        1 => (number as u32).to_le_bytes().to_vec(),
        2 => number.to_string().into_bytes(),
        3 => TEXTS[random.below(TEXTS.len())].as_bytes().to_vec(),
        _ => vec![random.bits() as u8; 1 + random.below(4)],
    }
}

#[test]
fn gguf_files() {
    let mut seeds = vec![GgufFile::llama().bytes()];
    seeds.extend(
        ["tiny-llama2.Q4_1", "split/tiny-llama2.Q4_0-00001-of-00003"].map(|name| read(&format!("gguf/{name}.gguf"))),
    );
    let read = |bytes| load(MemorySource::gguf(bytes));
    fuzz(Reader { name: "gguf", seeds, head: 24_000, read });
}

#[test]
fn vocabularies_in_gguf_files() {
    let seeds = vec![read("gguf/tiny-llama2.Q4_1.gguf")];
    let read = |bytes| {
        let text = block_on(loader::open_text(&mut MemorySource::gguf(bytes)))?;
        Tokenizer::from_text_files(&text)?.encode("Hello", true, true).map(drop)
    };
    fuzz(Reader { name: "gguf-vocabulary", seeds, head: 24_000, read });
}

#[test]
fn safetensors_files() {
    let seeds = vec![read("tiny-llama2-mha/model.safetensors")];
    fuzz(Reader { name: "safetensors", seeds, head: 3000, read: |bytes| load(folder("model.safetensors", bytes)) });
}

#[test]
fn plans_of_quantised_copies() {
    let read_plan = |bytes: Vec<u8>| {
        let plan = Plan::new(Recipe::Q4_0, &bytes)?;
        let range = plan.source_of(0, 8192);
        let source = bytes.get(range.start as usize..).unwrap_or_default();
        plan.make(0, 8192, source).map(drop)
    };
    let seeds = vec![read("tiny-llama2-mha/model.safetensors")];
    fuzz(Reader { name: "plan", seeds, head: 3000, read: read_plan });
}

#[test]
fn lists_of_shards() {
    let seeds = vec![read("tiny-llama2/model.safetensors.index.json")];
    let read = |bytes| load(folder("model.safetensors.index.json", bytes));
    fuzz(Reader { name: "index", seeds, head: 3000, read });
}

#[test]
fn configurations() {
    let seeds =
        ["tiny-llama2-mha", "tiny-llama2-mha-llama3rope"].map(|name| read(&format!("{name}/config.json"))).to_vec();
    fuzz(Reader { name: "config", seeds, head: 3000, read: |bytes| load(folder("config.json", bytes)) });
}

#[test]
fn vocabularies() {
    let seeds = vec![read("tiny-llama2/tokenizer.json")];
    fuzz(Reader { name: "tokenizer", seeds, head: 20_000, read: |bytes| build(VocabularyFile::Json(bytes), None) });
}

#[test]
fn configurations_of_vocabularies() {
    let seeds = vec![read("tiny-llama2/tokenizer_config.json")];
    let read = |bytes| build(VocabularyFile::Json(crate::read("tiny-llama2/tokenizer.json")), Some(bytes));
    fuzz(Reader { name: "tokenizer-config", seeds, head: 3000, read });
}

#[test]
fn vocabularies_of_sentence_piece() {
    // The first pieces, and what follows the last.
    let whole = read("llama2-tokenizer/tokenizer.model");
    let seeds = vec![[&whole[..6000], &whole[whole.len() - 60..]].concat()];
    let read = |model| build(VocabularyFile::SentencePiece { model, added: None }, None);
    fuzz(Reader { name: "sentence-piece", seeds, head: 8000, read });
}

/// An adapter with one of its files exchanged.
fn adapter(file: &str, bytes: Vec<u8>) -> Result<()> {
    let names = ["adapter_config.json", "adapter_model.safetensors"];
    let mut files: HashMap<String, Vec<u8>> =
        names.iter().map(|name| ((*name).to_owned(), read(&format!("lora-tiny-llama2/{name}")))).collect();
    files.insert(file.to_owned(), bytes);
    let model = block_on(outline(&mut MemorySource::gguf(read("gguf/tiny-llama2.Q4_0.gguf"))))?;
    block_on(Adapter::read(&mut MemorySource::new(Kind::HuggingFace, files), &model.config)).map(drop)
}

#[test]
fn adapters() {
    let seeds = vec![read("lora-tiny-llama2/adapter_model.safetensors")];
    let read = |bytes| adapter("adapter_model.safetensors", bytes);
    fuzz(Reader { name: "adapter", seeds, head: 3000, read });
}

#[test]
fn configurations_of_adapters() {
    let seeds = vec![read("lora-tiny-llama2/adapter_config.json")];
    fuzz(Reader { name: "adapter-config", seeds, head: 3000, read: |bytes| adapter("adapter_config.json", bytes) });
}
