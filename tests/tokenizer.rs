//! The Llama-2 tokenizer against its golden cases, from `tokenizer.json` and as a GGUF file would carry it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use pagellama::tokenizer::Tokenizer;
use pagellama::tokenizer::gguf::{GgufVocabulary, build};
use pagellama::weights::loader::TextFiles;
use serde_json::Value;

fn data(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/llama2-tokenizer/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&data(name)).unwrap()
}

fn ids(json: &Value) -> Vec<u32> {
    json.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn from_json() -> Tokenizer {
    Tokenizer::from_text_files(&TextFiles::HuggingFace {
        tokenizer: data("tokenizer.json"),
        tokenizer_config: Some(data("tokenizer_config.json")),
        generation_config: None,
        config: b"{}".to_vec(),
        chat_template: None,
    })
    .unwrap()
}

/// The same vocabulary in GGUF's form: a token's score falls with the place of the first merge that gives it (the
/// model's own scores are not in the file; runs of spaces have the lowest, whatever their ids).
fn from_scores() -> Tokenizer {
    let file = json("tokenizer.json");
    let mut tokens = vec![String::new(); 32000];
    for (token, id) in file["model"]["vocab"].as_object().unwrap() {
        tokens[id.as_u64().unwrap() as usize] = token.clone();
    }
    let mut scores = vec![0.0; 32000];
    for (rank, merge) in file["model"]["merges"].as_array().unwrap().iter().enumerate().rev() {
        let joined = merge.as_str().unwrap().replacen(' ', "", 1);
        scores[file["model"]["vocab"][&joined].as_u64().unwrap() as usize] = -(rank as f32);
    }
    let types: Vec<i64> = (0..32000)
        .map(|id| match id {
            0 => 2,
            1 | 2 => 3,
            3..259 => 6,
            _ => 1,
        })
        .collect();
    build(&GgufVocabulary {
        model: "llama",
        tokens: &tokens,
        scores: Some(&scores),
        token_types: Some(&types),
        bos: Some(1),
        eos: Some(2),
        unknown: Some(0),
        ..GgufVocabulary::default()
    })
    .unwrap()
}

fn golden_cases_hold(tokenizer: &Tokenizer) {
    let cases = json("cases.json");
    for case in cases["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let with_bos = tokenizer.encode(text, true, false).unwrap();
        assert_eq!(tokenizer.encode(text, false, false).unwrap(), ids(&case["ids"]), "{text:?}");
        assert_eq!(with_bos, ids(&case["ids_with_bos"]), "{text:?}");
        assert_eq!(tokenizer.decode(&with_bos).unwrap(), case["decoded"].as_str().unwrap(), "{text:?}");
        if let Some(parsed) = case.get("ids_special_parsed") {
            assert_eq!(tokenizer.encode(text, false, true).unwrap(), ids(parsed), "{text:?}");
        }
    }
    for case in cases["decode"].as_array().unwrap() {
        assert_eq!(tokenizer.decode(&ids(&case["ids"])).unwrap(), case["text"].as_str().unwrap(), "{}", case["name"]);
    }
}

#[test]
fn golden_cases_hold_from_tokenizer_json() {
    golden_cases_hold(&from_json());
}

#[test]
fn golden_cases_hold_from_gguf_scores() {
    golden_cases_hold(&from_scores());
}

#[test]
fn stream_shows_prefixes_of_the_text_only() {
    let tokenizer = from_json();
    for case in json("cases.json")["decode"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let (mut stream, mut shown) = (tokenizer.stream(), String::new());
        for id in ids(&case["ids"]) {
            shown.push_str(&stream.push(id).unwrap());
            assert!(text.starts_with(&shown), "{shown:?} of {text:?}");
        }
        shown.push_str(&stream.finish().unwrap());
        assert_eq!(shown, text);
    }
}
