//! Chats as the official Llama-2 template renders them, and as transformers renders what other templates use.

use crate::common;
use crate::common::vocabulary::Vocabulary;
use pagellama::Result;
use pagellama::chat::{ChatFormat, Message};
use pagellama::tokenizer::Tokenizer;
use pagellama::tokenizer::gguf::build;
use pagellama::weights::loader::{TextFiles, VocabularyFile};
use serde_json::{Value, json};

fn data(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/llama2-tokenizer/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The tokenizer's files with the official template, or without one and with a name.
fn files(name: Option<&str>) -> TextFiles {
    TextFiles::HuggingFace {
        vocabulary: VocabularyFile::Json(data("tokenizer.json")),
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

/// A tokenizer whose texts begin with `<|begin_of_text|>` and end with `<|end_of_text|>`.
fn tokenizer() -> Tokenizer {
    build(&common::json::<Vocabulary>("byte-level/llama-bpe.json").gguf()).unwrap()
}

fn rendered(template: &str, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
    let format = ChatFormat::new(template.to_owned(), &tokenizer())?;
    let segments = format.render(messages, add_generation_prompt)?;
    Ok(segments.iter().map(|segment| segment.text.as_str()).collect())
}

fn user(content: &str) -> Vec<Message> {
    vec![Message { role: "user".to_owned(), content: content.to_owned() }]
}

#[test]
fn templates_render_as_transformers_renders_them() {
    let golden: Value = common::json("chat/chats.json");
    let messages: Vec<Message> = serde_json::from_value(golden["messages"].clone()).unwrap();
    for chat in golden["chats"].as_array().unwrap() {
        let got =
            rendered(chat["template"].as_str().unwrap(), &messages, chat["add_generation_prompt"].as_bool().unwrap());
        match chat["prompt"].as_str() {
            Some(prompt) => assert_eq!(got.unwrap(), prompt, "{}", chat["name"]),
            None => {
                let error = got.unwrap_err();
                assert_eq!(error.code(), "text/template", "{}", chat["name"]);
                assert!(error.to_string().contains(chat["error"].as_str().unwrap()), "{error}");
            }
        }
    }
}

#[test]
fn templates_know_the_date() {
    let date = rendered("{{ strftime_now('%d %b %Y|%y-%m-%d|%B|%H:%M:%S|%%') }}", &user("x"), true).unwrap();
    let parts: Vec<&str> = date.split('|').collect();
    assert_eq!((parts.len(), parts[4]), (5, "%"), "{date}");
    let days = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / 86400;
    let years = 1970 + days * 400 / 146_097;
    let year: u64 = parts[0].rsplit(' ').next().unwrap().parse().unwrap();
    assert!(year == years || year == years + 1, "{date}");
    assert!(parts[2].starts_with(&parts[0][3..6]), "{date}");
    assert!(parts[1].starts_with(&format!("{:02}-", year % 100)), "{date}");
    let error = rendered("{{ strftime_now('%Q') }}", &user("x"), true).unwrap_err();
    assert_eq!(error.code(), "text/template");
}

/// The format of a folder with these templates in `tokenizer_config.json` and `chat_template.jinja`.
fn format_of(chat_template: Value, jinja: Option<&str>) -> Result<Option<ChatFormat>> {
    let files = TextFiles::HuggingFace {
        vocabulary: VocabularyFile::Json(data("tokenizer.json")),
        tokenizer_config: Some(
            serde_json::to_vec(&json!({ "chat_template": chat_template, "bos_token": "<s>", "eos_token": "</s>" }))
                .unwrap(),
        ),
        generation_config: None,
        config: b"{}".to_vec(),
        chat_template: jinja.map(|text| text.as_bytes().to_vec()),
    };
    ChatFormat::from_text_files(&files, &Tokenizer::from_text_files(&files).unwrap())
}

#[test]
fn a_folder_s_template_is_found_wherever_it_stands() {
    let first = |format: Result<Option<ChatFormat>>| -> Option<String> {
        format.unwrap().map(|format| format.render(&user("hi"), true).unwrap().remove(0).text)
    };
    assert_eq!(first(format_of(json!("one"), None)).as_deref(), Some("one"));
    let named = json!([{ "name": "tool_use", "template": "tools" }, { "name": "default", "template": "chat" }]);
    assert_eq!(first(format_of(named.clone(), None)).as_deref(), Some("chat"));
    let unnamed = json!([{ "name": "rag", "template": "documents" }]);
    assert_eq!(first(format_of(unnamed, None)).as_deref(), Some("documents"));
    assert_eq!(first(format_of(named, Some("of its own"))).as_deref(), Some("of its own"));
    assert_eq!(first(format_of(Value::Null, None)), None, "no template, and no name that says Llama 2");
    assert_eq!(first(format_of(json!([]), None)), None);
    let broken = format_of(json!("{% for %}"), None).unwrap_err();
    assert_eq!(broken.code(), "text/template");
}

#[test]
fn chats_that_say_nothing_are_refused() {
    for messages in [vec![], vec![Message { role: "<|im_start|>".to_owned(), content: String::new() }]] {
        assert_eq!(rendered("{{ messages[0].content }}", &messages, true).unwrap_err().code(), "text/template");
    }
}

#[test]
fn llama2_marks_in_messages_are_reported() {
    let files = files(None);
    let tokenizer = Tokenizer::from_text_files(&files).unwrap();
    let format = ChatFormat::from_text_files(&files, &tokenizer).unwrap().unwrap();
    let golden: Value = serde_json::from_slice(&data("chat.json")).unwrap();
    for chat in golden["chats"].as_array().unwrap() {
        let messages: Vec<Message> = serde_json::from_value(chat["messages"].clone()).unwrap();
        let mut expected: Vec<String> = serde_json::from_value(chat["tags_in_content"].clone()).unwrap_or_default();
        let mut found: Vec<String> = format.tags_in_content(&messages).into_iter().map(str::to_owned).collect();
        expected.retain(|tag| tag.starts_with('[') || tag.starts_with("<<")); // the others are special tokens
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{}", chat["name"]);
    }
}
