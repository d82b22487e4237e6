//! `tokenizer.model` files against SentencePiece itself, and against hostile bytes.

use std::collections::HashMap;

use crate::common::files::MemorySource;
use crate::common::{Random, data};
use pagellama::chat::{ChatFormat, Message};
use pagellama::tokenizer::Tokenizer;
use pagellama::weights::loader::{self, TextFiles, VocabularyFile};
use pagellama::weights::source::Kind;
use serde_json::{Value, json};

fn read(name: &str) -> Vec<u8> {
    std::fs::read(data("llama2-tokenizer").join(name)).unwrap()
}

fn cases(name: &str) -> Value {
    serde_json::from_slice(&read(name)).unwrap()
}

fn ids(json: &Value) -> Vec<u32> {
    serde_json::from_value(json.clone()).unwrap()
}

/// The text side of a folder without a `tokenizer.json`.
fn folder(files: &[(&str, Vec<u8>)]) -> TextFiles {
    let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone()));
    let mut source = MemorySource::new(Kind::HuggingFace, HashMap::from_iter(files));
    pollster::block_on(loader::open_text(&mut source)).unwrap()
}

fn llama2() -> TextFiles {
    let names = ["tokenizer.model", "tokenizer_config.json"];
    folder(&names.map(|name| (name, read(name))))
}

#[test]
fn texts_are_cut_as_sentence_piece_does() {
    let tokenizer = Tokenizer::from_text_files(&llama2()).unwrap();
    let golden = cases("sentence_piece.json");
    assert!(golden.as_array().unwrap().len() > 70);
    for case in golden.as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        assert_eq!(tokenizer.encode(text, false, false).unwrap(), ids(&case["ids"]), "{text:?}");
    }
}

#[test]
fn golden_cases_of_llama2_hold() {
    let files = llama2();
    let tokenizer = Tokenizer::from_text_files(&files).unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.vocab_size()), (Some(1), Some(2), 32000));
    for case in cases("cases.json")["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let with_bos = tokenizer.encode(text, true, false).unwrap();
        assert_eq!(with_bos, ids(&case["ids_with_bos"]), "{text:?}");
        assert_eq!(tokenizer.decode(&with_bos).unwrap(), case["decoded"].as_str().unwrap(), "{text:?}");
    }
    let format = ChatFormat::from_text_files(&files, &tokenizer).unwrap().unwrap();
    for chat in cases("chat.json")["chats"].as_array().unwrap() {
        let messages: Vec<Message> = serde_json::from_value(chat["messages"].clone()).unwrap();
        let ids_of = |messages: &[Message]| tokenizer.encode_segments(&format.render(messages, false).unwrap());
        assert_eq!(ids_of(&messages).unwrap(), ids(&chat["ids"]), "{}", chat["prompt"]);
    }
}

#[test]
fn a_file_alone_begins_texts_with_bos() {
    let tokenizer = Tokenizer::from_text_files(&folder(&[("tokenizer.model", read("tokenizer.model"))])).unwrap();
    assert_eq!(tokenizer.encode("Hello", true, false).unwrap(), [1, 15043]);
    let config = json!({"add_bos_token": false, "add_eos_token": true}).to_string().into_bytes();
    let files = folder(&[("tokenizer.model", read("tokenizer.model")), ("tokenizer_config.json", config)]);
    assert_eq!(Tokenizer::from_text_files(&files).unwrap().encode("Hello", true, false).unwrap(), [15043, 2]);
}

#[test]
fn tokens_that_were_added_later_are_found() {
    let listed = json!({"added_tokens_decoder": {
        "32000": {"content": "<|im_start|>", "special": true},
        "32001": {"content": "<plain>", "special": false},
    }});
    let added = json!({"<|im_start|>": 32000, "<plain>": 32001});
    for (name, json) in [("tokenizer_config.json", listed), ("added_tokens.json", added)] {
        let files = folder(&[("tokenizer.model", read("tokenizer.model")), (name, json.to_string().into_bytes())]);
        let tokenizer = Tokenizer::from_text_files(&files).unwrap();
        assert_eq!(tokenizer.encode("<|im_start|>Hello", false, true).unwrap(), [32000, 15043], "{name}");
        let plain = tokenizer.encode("<|im_start|>Hello", false, false).unwrap();
        assert!(!plain.contains(&32000), "{name}: text of a user never becomes a special token");
        assert_eq!(tokenizer.is_special(32001), name == "added_tokens.json");
    }
}

/// A protobuf field: length-delimited, or a number.
fn field(number: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = varint(number << 3 | 2);
    bytes.extend(varint(value.len() as u32));
    bytes.extend(value);
    bytes
}

fn number(number: u32, value: u32) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

fn varint(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 127 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[test]
fn other_kinds_of_vocabularies_are_refused_by_name() {
    let open = |extra: Vec<u8>| {
        let model = [read("tokenizer.model"), extra].concat();
        let vocabulary = VocabularyFile::SentencePiece { model, added: None };
        let (tokenizer_config, generation_config, chat_template) = (None, None, None);
        let config = b"{}".to_vec();
        let files = TextFiles::HuggingFace { vocabulary, tokenizer_config, generation_config, config, chat_template };
        Tokenizer::from_text_files(&files).map(drop)
    };
    assert!(open(Vec::new()).is_ok());
    for (extra, said) in [
        (field(2, &number(3, 1)), "byte-pair"),
        (field(3, &number(4, 1)), "white space"),
        (field(3, &number(5, 0)), "white space"),
        (field(3, &field(2, b"a map")), "characters"),
        (field(1, &field(1, "▁the".as_bytes())), "twice"),
        (field(2, &number(41, 99999)), "99999"),
        (vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], "tokenizer.model"),
    ] {
        let error = open(extra).unwrap_err();
        assert!(error.code() == "text/tokenizer" && error.to_string().contains(said), "{error}");
    }
}

#[test]
fn mangled_files_end_in_typed_errors() {
    // A short one, so that what is mangled matters.
    let pieces = ["<unk>", "<s>", "</s>", "a", "b", "ab", "▁", "▁a"];
    let kinds = [2, 3, 3, 1, 1, 1, 1, 1];
    let mut good: Vec<u8> = pieces
        .iter()
        .zip(kinds)
        .flat_map(|(piece, kind)| field(1, &[field(1, piece.as_bytes()), number(3, kind)].concat()))
        .collect();
    good.extend(field(2, &number(3, 2)));
    good.extend(field(3, &number(4, 0)));
    let open = |bytes: Vec<u8>| {
        let tokenizer = Tokenizer::from_text_files(&folder(&[("tokenizer.model", bytes)]))?;
        tokenizer.encode("ab a", true, false)
    };
    assert_eq!(open(good.clone()).unwrap(), [1, 6, 5, 7]);
    let mut random = Random::new(17);
    for _ in 0..4000 {
        let mut bytes = good.clone();
        for _ in 0..1 + random.below(4) {
            let at = random.below(bytes.len());
            match random.below(3) {
                0 => bytes[at] = random.bits() as u8,
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, random.bits() as u8),
            }
        }
        if let Err(error) = open(bytes) {
            assert_eq!(error.code(), "text/tokenizer", "{error}");
        }
    }
}
