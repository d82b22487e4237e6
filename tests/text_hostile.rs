//! Broken and hostile tokenizers and templates: typed errors, no panic, bounded time and memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::time::{Duration, Instant};

use common::Random;
use common::vocabulary::Vocabulary;
use pagellama::Result;
use pagellama::chat::{ChatFormat, Message};
use pagellama::tokenizer::Tokenizer;
use pagellama::tokenizer::gguf::{GgufVocabulary, build};
use pagellama::weights::loader::{TextFiles, VocabularyFile};
use serde_json::{Value, json};

fn render(template: &str, content: &str) -> Result<usize> {
    let vocabulary: Vocabulary = common::json("byte-level/default.json");
    let tokenizer = build(&vocabulary.gguf()).unwrap();
    let format = ChatFormat::new(template.to_owned(), &tokenizer)?;
    let message = Message { role: "user".to_owned(), content: content.to_owned() };
    Ok(format.render(&[message], true)?.iter().map(|segment| segment.text.len()).sum())
}

/// The most memory that this process has held, in MiB; 0 where the system does not tell.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

/// Templates that would run for ever, or fill the memory.
const BOMBS: [&str; 21] = [
    "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
    "{% for i in range(99999999999) %}x{% endfor %}",
    "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(64) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(64) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(64) %}{% set ns.x = ns.x.replace('a', 'aaaaaaaa') %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(64) %}{% set ns.x = ns.x | replace('a', 'aaaaaaaa') %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(64) %}{% set ns.x = ns.x.join(['b', 'c', ns.x, ns.x]) %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(64) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(64) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}",
    "{{ 'a' * 10000000000 }}",
    "{{ ('a' * 100000) * 100000 }}",
    "{{ ([1] * 10000000000) | list | length }}",
    "{{ ([1] * 10000000000) | join }}",
    "{{ 'a\na' | indent(10000000000) }}",
    "{{ messages | slice(10000000000) }}",
    "{{ messages | batch(10000000000, 'x') }}",
    "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "{{ 'a'.center(10000000000) }}{{ 'a'.ljust(10000000000) }}{{ 'a'.zfill(10000000000) }}",
    "{{ '%10000000000d' | format(1) }}",
    "{% for i in range(100000) %}{{ messages[0].content * 1000 }}{% endfor %}",
];

#[test]
fn templates_that_never_end_are_stopped() {
    for bomb in BOMBS {
        let started = Instant::now();
        let error = render(bomb, "hi").expect_err(bomb);
        assert_eq!(error.code(), "text/template", "{bomb}: {error}");
        assert!(started.elapsed() < Duration::from_secs(20), "{bomb}: {:?}", started.elapsed());
    }
    assert!(peak() < 1024, "{} MiB", peak());
}

/// Bytes cut out, put in and exchanged, in one to four places.
fn mangled(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    const PIECES: [&[u8]; 14] = [
        b"{",
        b"}",
        b"[",
        b"]",
        b"\"",
        b"null",
        b"-1",
        b"4294967295",
        b"99999999999999999999",
        b"\\u0000",
        b"{%",
        b"%}",
        b"{{",
        b"\xff",
    ];
    let mut bytes = bytes.to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len().max(1)).min(bytes.len());
        let end = (at + random.below(12)).min(bytes.len());
        let piece = match random.below(3) {
            0 => Vec::new(),
            1 => PIECES[random.below(PIECES.len())].to_vec(),
            _ => bytes[at..end].repeat(2),
        };
        bytes.splice(at..end, piece);
    }
    bytes
}

/// Opens, and where that works encodes, decodes and renders; any error must be one of the text room's.
fn exercise(files: &TextFiles) {
    let run = || -> Result<()> {
        let tokenizer = Tokenizer::from_text_files(files)?;
        for text in ["", "Hello, 世界 🙂\n\n  1234 <s></s>", "\0\u{FFFF}"] {
            let ids = tokenizer.encode(text, true, true)?;
            tokenizer.decode(&ids)?;
        }
        tokenizer.decode(&[0, 1, 2, 3, 250, u32::MAX])?;
        if let Some(format) = ChatFormat::from_text_files(files, &tokenizer)? {
            let message = Message { role: "user".to_owned(), content: "<s> hi </s>".to_owned() };
            tokenizer.encode_segments(&format.render(&[message], true)?)?;
        }
        Ok(())
    };
    let started = Instant::now();
    if let Err(error) = run() {
        assert!(["text/tokenizer", "text/template"].contains(&error.code()), "{error}");
    }
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn mangled_folders_end_in_typed_errors() {
    let read = |name: &str| std::fs::read(common::data("tiny-llama2").join(name)).unwrap();
    let names = ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "config.json"];
    let good = names.map(read);
    let mut random = Random::new(99);
    for round in 0..600 {
        let mut files = good.clone();
        // The head and the end of tokenizer.json hold all but the vocabulary: they are mangled more often.
        let one = if round % 3 == 0 { random.below(files.len()) } else { 0 };
        let length = files[one].len();
        let from = if one == 0 && round % 2 == 0 { 0 } else { random.below(length) };
        let tail = files[one].split_off(from.min(length));
        let cut = if one == 0 { tail.len().min(2500) } else { tail.len() };
        let mangled = mangled(&tail[..cut], &mut random);
        files[one].extend(mangled);
        files[one].extend(&tail[cut..]);
        let [tokenizer, tokenizer_config, generation_config, config] = files;
        exercise(&TextFiles::HuggingFace {
            vocabulary: VocabularyFile::Json(tokenizer),
            tokenizer_config: Some(tokenizer_config),
            generation_config: Some(generation_config),
            config,
            chat_template: None,
        });
    }
}

/// A folder with this tokenizer.json after a change.
fn changed(change: impl FnOnce(&mut Value)) -> TextFiles {
    let mut tokenizer: Value = common::json("tiny-llama2/tokenizer.json");
    change(&mut tokenizer);
    TextFiles::HuggingFace {
        vocabulary: VocabularyFile::Json(serde_json::to_vec(&tokenizer).unwrap()),
        tokenizer_config: None,
        generation_config: None,
        config: b"{}".to_vec(),
        chat_template: None,
    }
}

#[test]
fn tokenizers_that_blow_text_up_are_refused() {
    let replace = |from: &str, to: &str| json!({ "type": "Replace", "pattern": { "String": from }, "content": to });
    let sequence = |parts: Vec<Value>| json!({ "type": "Sequence", "normalizers": parts });
    let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false });
    let cutting = json!({ "type": "Sequence", "pretokenizers": vec![bytes; 40] });
    for (key, value) in [
        ("normalizer", sequence(vec![replace("a", "aa"); 40])),
        ("normalizer", replace(" ", &"x".repeat(1 << 20))),
        ("normalizer", json!({ "type": "Prepend", "prepend": "x".repeat(1 << 20) })),
        ("normalizer", sequence(vec![json!({ "type": "NFKD" }); 40])),
        ("pre_tokenizer", cutting),
    ] {
        let error = Tokenizer::from_text_files(&changed(|json| json[key] = value)).expect_err(key);
        assert_eq!(error.code(), "text/tokenizer", "{error}");
    }
}

#[test]
fn odd_but_valid_parts_do_no_harm() {
    let split = |pattern: Value, behavior: &str| json!({ "type": "Split", "pattern": pattern, "behavior": behavior, "invert": false });
    let replace = |pattern: Value| json!({ "type": "Replace", "pattern": pattern, "content": "" });
    for (key, value) in [
        ("normalizer", replace(json!({ "String": "" }))),
        ("normalizer", replace(json!({ "Regex": "" }))),
        ("normalizer", replace(json!({ "Regex": ".*" }))),
        ("normalizer", json!({ "type": "Prepend", "prepend": "" })),
        ("normalizer", json!({ "type": "Sequence", "normalizers": [] })),
        ("pre_tokenizer", split(json!({ "String": "" }), "Removed")),
        ("pre_tokenizer", split(json!({ "Regex": "" }), "Isolated")),
        ("pre_tokenizer", split(json!({ "Regex": "(a*)*b" }), "MergedWithNext")),
        ("pre_tokenizer", split(json!({ "Regex": "(?=(.*)+$)" }), "Contiguous")),
        ("pre_tokenizer", json!({ "type": "Digits", "individual_digits": true })),
        ("added_tokens", json!([])),
        ("added_tokens", json!([{ "id": 600, "content": "", "special": true }])),
        ("added_tokens", json!([{ "id": 4294967295_u32, "content": "<x>", "special": true }])),
        ("decoder", json!(null)),
    ] {
        exercise(&changed(|json| json[key] = value));
    }
    exercise(&changed(|json| json["model"]["merges"] = json!([["a", "nothing"]])));
    exercise(&changed(|json| json["model"]["vocab"] = json!({})));
}

#[test]
fn hostile_gguf_vocabularies_end_in_typed_errors() {
    let good: Vocabulary = common::json("byte-level/llama-bpe.json");
    let scores: Vec<f32> = (0..good.tokens.len()).map(|i| -(i as f32)).collect();
    let mut random = Random::new(5);
    for _ in 0..300 {
        let mut bad = good.clone();
        let mut scores = scores.clone();
        for _ in 0..1 + random.below(3) {
            let at = random.below(bad.tokens.len());
            match random.below(8) {
                0 => bad.tokens[at] = bad.tokens[random.below(bad.tokens.len())].clone(),
                1 => bad.tokens[at] = String::new(),
                2 => bad.tokens[at] = "a".repeat(100_000),
                3 if at < bad.token_type.len() => {
                    bad.token_type[at] = [i64::MIN, 0, 2, 3, 4, 5, 6, 77][random.below(8)]
                }
                4 => scores[at] = [f32::NAN, f32::INFINITY, 1e30, 0.0][random.below(4)],
                5 => {
                    let rule = random.below(bad.merges.len());
                    bad.merges[rule] = ["", " ", "a", "a b c", "nothing here"][random.below(5)].to_owned();
                }
                6 => bad.token_type.truncate(at),
                _ => bad.eos = [0, u32::MAX, at as u32][random.below(3)],
            }
        }
        let model = ["gpt2", "llama", "bert"][random.below(3)];
        let result = build(&GgufVocabulary { model, scores: Some(&scores), ..bad.gguf() });
        match result {
            Ok(tokenizer) => {
                let ids = tokenizer.encode("Hello, 世界 <|eot_id|> 12345", true, true).unwrap();
                tokenizer.decode(&ids).unwrap();
            }
            Err(error) => assert_eq!(error.code(), "text/tokenizer", "{error}"),
        }
    }
}
