//! SentencePiece vocabularies against golden cases: Llama 2's, from `tokenizer.json` and as a GGUF file would carry it, and
//! those of the small models, from their folders and from their GGUF files.

use crate::common;
use pagellama::chat::{ChatFormat, Message};
use pagellama::sampling::Sampling;
use pagellama::tokenizer::Tokenizer;
use pagellama::tokenizer::gguf::{GgufVocabulary, build};
use pagellama::weights::loader::{self, TextFiles, VocabularyFile};
use pagellama::weights::native::NativeSource;
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
        vocabulary: VocabularyFile::Json(data("tokenizer.json")),
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

/// Each small model's folder, and a GGUF file with the same vocabulary.
const SMALL: [(&str, &str); 4] = [
    ("tiny-llama2", "gguf/tiny-llama2.F16.gguf"),
    ("tiny-llama2-mha", "gguf/tiny-llama2-mha.F16.gguf"),
    ("tiny-llama2-mha-llama3rope", "gguf/tiny-llama2-mha-llama3rope.F16.gguf"),
    ("stories260k", "gguf/stories260k.Q8_0.gguf"),
];

/// The text side of a checkpoint under `tests/data`.
fn text_files(name: &str) -> TextFiles {
    let mut source = NativeSource::open(&common::data(name)).unwrap();
    pollster::block_on(loader::open_text(&mut source)).unwrap()
}

/// `texts` (with BOS) and `tokenizer_cases` (without): text and ids.
fn golden_texts(golden: &Value) -> Vec<(String, Vec<u32>, bool)> {
    let read = |key: &str, with_bos| {
        let cases = golden[key].as_array().map(Vec::as_slice).unwrap_or_default().iter();
        cases.map(move |case| (case["text"].as_str().unwrap().to_owned(), ids(&case["ids"]), with_bos))
    };
    read("texts", true).chain(read("more", true)).chain(read("tokenizer_cases", false)).collect()
}

#[test]
fn small_models_have_their_ids_from_folder_and_file() {
    for (folder, file) in SMALL {
        let golden: Value = common::json(&format!("{folder}/golden.json"));
        let texts = golden_texts(&golden);
        assert!(!texts.is_empty());
        for name in [folder, file] {
            let tokenizer = Tokenizer::from_text_files(&text_files(name)).unwrap();
            assert_eq!(
                (tokenizer.bos(), tokenizer.eos(), tokenizer.stop_ids()),
                (Some(1), Some(2), &[2][..]),
                "{name}"
            );
            assert_eq!(tokenizer.vocab_size(), 512, "{name}");
            for (text, ids, with_bos) in &texts {
                assert_eq!(&tokenizer.encode(text, *with_bos, false).unwrap(), ids, "{name}: {text:?}");
                assert_eq!(&tokenizer.decode(ids).unwrap(), text, "{name}");
            }
        }
    }
}

#[test]
fn small_models_write_their_answers_and_chats_from_folder_and_file() {
    for (folder, file) in SMALL {
        let golden: Value = common::json(&format!("{folder}/golden.json"));
        for name in [folder, file] {
            let files = text_files(name);
            let tokenizer = Tokenizer::from_text_files(&files).unwrap();
            for text in ["texts", "more"].iter().flat_map(|key| golden[key].as_array().into_iter().flatten()) {
                let greedy = tokenizer.decode(&ids(&text["greedy"])).unwrap();
                assert_eq!(greedy, text["greedy_text"].as_str().unwrap(), "{name}");
            }
            let format = ChatFormat::from_text_files(&files, &tokenizer).unwrap().unwrap();
            for chat in golden["chats"].as_array().into_iter().flatten() {
                let messages: Vec<Message> = serde_json::from_value(chat["messages"].clone()).unwrap();
                let segments = format.render(&messages, true).unwrap();
                let prompt: String = segments.iter().map(|segment| segment.text.as_str()).collect();
                assert_eq!(prompt, chat["prompt"].as_str().unwrap(), "{name}");
                assert_eq!(tokenizer.encode_segments(&segments).unwrap(), ids(&chat["ids"]), "{name}");
            }
        }
    }
}

#[test]
fn every_gguf_file_has_its_ids() {
    let golden: Value = common::json("gguf/golden.json");
    for file in golden["files"].as_array().unwrap() {
        let name = format!("gguf/{}", file["file"].as_str().unwrap());
        let files = text_files(&name);
        let tokenizer = Tokenizer::from_text_files(&files).unwrap();
        let text = file["text"]["text"].as_str().unwrap();
        assert_eq!(tokenizer.encode(text, true, false).unwrap(), ids(&file["text"]["ids"]), "{name}");
        Sampling::defaults(&files).unwrap();
    }
}
