//! Chats as the official Llama-2 template renders them, and messages that try to steer the model.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use pagellama::chat::{ChatFormat, Message};
use pagellama::tokenizer::Tokenizer;
use pagellama::weights::loader::TextFiles;
use serde_json::Value;

fn data(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/llama2-tokenizer/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The tokenizer's files with the official template, or without one and with a name.
fn files(name: Option<&str>) -> TextFiles {
    TextFiles::HuggingFace {
        tokenizer: data("tokenizer.json"),
        tokenizer_config: name.is_none().then(|| data("tokenizer_config.json")),
        generation_config: None,
        config: serde_json::to_vec(&serde_json::json!({
            "_name_or_path": name.unwrap_or_default(), "bos_token_id": 1, "eos_token_id": 2
        }))
        .unwrap(),
        chat_template: None,
    }
}

fn golden_chats_hold(files: &TextFiles) {
    let tokenizer = Tokenizer::from_text_files(files).unwrap();
    let format = ChatFormat::from_text_files(files, &tokenizer).unwrap().unwrap();
    let golden: Value = serde_json::from_slice(&data("chat.json")).unwrap();
    for chat in golden["chats"].as_array().unwrap() {
        let messages: Vec<Message> = serde_json::from_value(chat["messages"].clone()).unwrap();
        let segments = format.render(&messages, true).unwrap();
        let prompt: String = segments.iter().map(|s| s.text.as_str()).collect();
        assert_eq!(prompt, chat["prompt"].as_str().unwrap(), "{}", chat["name"]);
        let ids: Vec<u32> = serde_json::from_value(chat["ids"].clone()).unwrap();
        assert_eq!(tokenizer.encode_segments(&segments).unwrap(), ids, "{}", chat["name"]);
    }
    for chat in golden["errors"].as_array().unwrap() {
        let messages: Vec<Message> = serde_json::from_value(chat["messages"].clone()).unwrap();
        assert_eq!(format.render(&messages, true).unwrap_err().code(), "text/template", "{}", chat["name"]);
    }
}

#[test]
fn golden_chats_hold_with_the_official_template() {
    golden_chats_hold(&files(None));
}

#[test]
fn golden_chats_hold_for_a_llama2_chat_model_without_template() {
    golden_chats_hold(&files(Some("meta-llama/Llama-2-7b-chat-hf")));
}
