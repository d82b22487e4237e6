//! Byte-level vocabularies in GGUF's form against Hugging Face's tokenizers library.

use crate::common::vocabulary::{Golden, Vocabulary};
use crate::common::{default_model, json};
use pagellama::chat::{ChatFormat, Message};
use pagellama::tokenizer::Tokenizer;
use pagellama::tokenizer::gguf::{GgufVocabulary, build};
use pagellama::weights::loader::{self, TextFiles};
use pagellama::weights::native::NativeSource;

fn holds(tokenizer: &Tokenizer, golden: &Golden) {
    for case in &golden.cases {
        let text = case.text.as_str();
        let parsed = case.ids_special_parsed.as_ref().unwrap_or(&case.ids);
        assert_eq!(tokenizer.encode(text, false, false).unwrap(), case.ids, "{text:?}");
        assert_eq!(&tokenizer.encode(text, false, true).unwrap(), parsed, "{text:?}, special tokens parsed");
        assert_eq!(tokenizer.decode(parsed).unwrap(), case.decoded, "{text:?}");
        assert_eq!(streamed(tokenizer, parsed), case.decoded, "{text:?}");
    }
    for case in &golden.decode {
        assert_eq!(tokenizer.decode(&case.ids).unwrap(), case.text, "{:?}", case.ids);
        assert_eq!(streamed(tokenizer, &case.ids), case.text, "{:?}", case.ids);
    }
}

/// The text of a stream's pieces.
fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut stream = tokenizer.stream();
    let mut text: String = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
    text.push_str(&stream.finish().unwrap());
    text
}

#[test]
fn words_are_cut_as_gpt2_cuts_them() {
    let vocabulary: Vocabulary = json("byte-level/default.json");
    let tokenizer = build(&vocabulary.gguf()).unwrap();
    holds(&tokenizer, &vocabulary.golden);
    assert_eq!(tokenizer.encode("a", true, false).unwrap(), tokenizer.encode("a", false, false).unwrap());
    assert_eq!(tokenizer.stop_ids(), [vocabulary.eos]);
    let unnamed = build(&GgufVocabulary { pre: None, ..vocabulary.gguf() }).unwrap();
    holds(&unnamed, &vocabulary.golden);
}

#[test]
fn words_are_cut_as_llama3_cuts_them() {
    let vocabulary: Vocabulary = json("byte-level/llama-bpe.json");
    let tokenizer = build(&vocabulary.gguf()).unwrap();
    holds(&tokenizer, &vocabulary.golden);
    let ids = tokenizer.encode("a", false, false).unwrap();
    assert_eq!(tokenizer.encode("a", true, false).unwrap(), [&[vocabulary.bos], ids.as_slice()].concat());
    let eot = vocabulary.tokens.iter().position(|token| token == "<|eot_id|>").unwrap() as u32;
    assert_eq!(tokenizer.stop_ids(), [eot, vocabulary.eos]);
}

#[test]
fn what_a_file_says_of_bos_and_eos_goes_before_the_habit() {
    let vocabulary: Vocabulary = json("byte-level/llama-bpe.json");
    let (bos, eos) = (vocabulary.bos, vocabulary.eos);
    for (add_bos, add_eos) in [(false, false), (false, true), (true, false), (true, true)] {
        let said = GgufVocabulary { add_bos: Some(add_bos), add_eos: Some(add_eos), ..vocabulary.gguf() };
        let ids = build(&said).unwrap().encode("a", true, false).unwrap();
        assert_eq!((ids.first() == Some(&bos), ids.last() == Some(&eos)), (add_bos, add_eos), "{ids:?}");
    }
    let nameless = GgufVocabulary { add_bos: Some(true), bos: None, ..vocabulary.gguf() };
    assert_eq!(build(&nameless).unwrap_err().code(), "text/tokenizer");
}

#[test]
fn unknown_ways_of_cutting_are_refused_by_name() {
    let vocabulary: Vocabulary = json("byte-level/default.json");
    let error = build(&GgufVocabulary { pre: Some("klingon"), ..vocabulary.gguf() }).unwrap_err();
    assert_eq!(error.code(), "text/tokenizer");
    assert!(error.to_string().contains("klingon"), "{error}");
}

fn smollm2() -> (TextFiles, Tokenizer) {
    let mut source = NativeSource::open(&default_model()).unwrap();
    let files = pollster::block_on(loader::open_text(&mut source)).unwrap();
    let tokenizer = Tokenizer::from_text_files(&files).unwrap();
    (files, tokenizer)
}

#[test]
fn smollm2_has_its_own_ids() {
    let (_, tokenizer) = smollm2();
    holds(&tokenizer, &json("smollm2/tokenizer_cases.json"));
    assert_eq!(tokenizer.vocab_size(), 49152);
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(1), Some(2)));
    let stops: Vec<_> = tokenizer.stop_ids().iter().filter_map(|&id| tokenizer.token_text(id)).collect();
    assert_eq!(stops, ["<|endoftext|>", "<|im_end|>"]);
    // The file says so: `tokenizer.ggml.add_bos_token` is false.
    assert_eq!(tokenizer.encode("Hi", true, false).unwrap(), tokenizer.encode("Hi", false, false).unwrap());
}

#[test]
fn smollm2_writes_the_reference_s_prompts() {
    #[derive(serde::Deserialize)]
    struct Prompts {
        prompts: Vec<Prompt>,
    }
    #[derive(serde::Deserialize)]
    struct Prompt {
        messages: Option<Vec<Message>>,
        prompt: Option<String>,
        text: Option<String>,
        ids: Vec<u32>,
    }
    let (files, tokenizer) = smollm2();
    let format = ChatFormat::from_text_files(&files, &tokenizer).unwrap().unwrap();
    for golden in json::<Prompts>("smollm2/golden.json").prompts {
        if let Some(text) = &golden.text {
            assert_eq!(tokenizer.encode(text, true, false).unwrap(), golden.ids, "{text:?}");
        }
        let Some(messages) = &golden.messages else { continue };
        let segments = format.render(messages, true).unwrap();
        let prompt: String = segments.iter().map(|segment| segment.text.as_str()).collect();
        assert_eq!(Some(&prompt), golden.prompt.as_ref());
        assert_eq!(tokenizer.encode_segments(&segments).unwrap(), golden.ids, "{prompt:?}");
    }
}

#[test]
fn smollm2_streams_whole_characters() {
    let (_, tokenizer) = smollm2();
    let text = "🙂🚀 👩‍💻 你好 ½ 🇫🇷 𝒳";
    let ids = tokenizer.encode(text, false, false).unwrap();
    let mut stream = tokenizer.stream();
    let pieces: Vec<String> = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
    assert_eq!(stream.finish().unwrap(), "", "every character was complete");
    assert!(pieces.iter().any(String::is_empty), "no character was cut: the text tests nothing");
    assert!(pieces.iter().all(|piece| text.contains(piece.as_str())), "{pieces:?}");
    assert_eq!(pieces.concat(), text);
}
