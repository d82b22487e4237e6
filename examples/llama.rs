//! Llama in the terminal, on the same shaders as the page, or on the processor.
//!
//! `cargo run --release --example llama -- COMMAND MODEL [--device auto|webgpu|cpu] [--threads N] [--context N]
//! [--kv f16|f32|q8] [--activations f32|int8] [--tune] [--quantise q8_0|q4_0] [--lora DIR[=WEIGHT]]...`
//!
//! MODEL is a GGUF file or a Hugging Face folder. `--activations` says whether products are exact, as they are on WebGPU, or take
//! activations in 8 bits, as they do on the processor, where `--threads` says how many threads compute (one, unless it is named). `--tune` first measures which kernels are the fastest, `--quantise` reads a
//! folder's weights in fewer bits than it has, `--lora` attaches a LoRA adapter, a folder as PEFT saves it; several add up.
//! `chat` talks; `preflight` says whether the model will run here, and how fast; `perplexity` reads a text on standard input and
//! says how well the model foretells each token of it, a folder as published and in each of the fewer bits; the other commands
//! read one JSON object a line on standard input and write one a line on standard output, errors as
//! `{"error": {"code", "message"}}` with a non-zero exit code at the end:
//!
//! - `tokenize` `{"text", "add_special": false, "parse_special": false}` -> `{"ids"}`
//! - `render` `{"messages", "add_generation_prompt": true}` -> `{"prompt", "ids"}`
//! - `logits` `{"ids"}` -> `{"logits"}` of the last position
//! - `generate` `{"ids" | "prompt" | "messages", "max_tokens", "ignore_eos": false, sampling options}` ->
//!   `{"ids", "text", "finish_reason", "stats", "usage"}`
//! - `profile` `{"tokens", "position": 0}` -> what each kernel of one run takes, as the page's `model.profile` gives it

use std::error::Error as StdError;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pagellama::chat::{ChatFormat, Message, Segment};
use pagellama::cpu::Helpers;
use pagellama::generate::preflight::Preflight;
use pagellama::generate::{Device, Engine, OpenOptions, Options, Progress, Prompt, Stop};
use pagellama::gpu::tune::Tuning;
use pagellama::model::kv_cache::KvFormat;
use pagellama::ops::ActivationFormat;
use pagellama::store::disk;
use pagellama::tokenizer::Tokenizer;
use pagellama::weights::loader;
use pagellama::weights::native::NativeSource;
use pagellama::weights::recipe::Recipe;
use pagellama::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const USAGE: &str = "usage: llama chat|preflight|perplexity|tokenize|render|logits|generate|profile MODEL \
    [--device auto|webgpu|cpu] [--threads N] [--context N] [--kv f16|f32|q8] [--activations f32|int8] [--tune] [--quantise q8_0|q4_0] [--lora DIR[=WEIGHT]]...";

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    match pollster::block_on(run(&arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            match error.downcast_ref::<Error>() {
                Some(error) if arguments.command != "chat" => println!("{}", error_object(error)),
                Some(error) => eprintln!("{error}. {}", error.advice()),
                None => eprintln!("{error}"),
            }
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    command: String,
    model: PathBuf,
    options: OpenOptions,
    quantise: Option<Recipe>,
    adapters: Vec<(String, f32)>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> std::result::Result<Self, String> {
        let (mut positional, mut options) = (Vec::new(), OpenOptions::default());
        let (mut quantise, mut adapters) = (None, Vec::new());
        while let Some(word) = words.next() {
            match word.as_str() {
                "--context" => {
                    let value = words.next().and_then(|value| value.parse().ok());
                    options.context = Some(value.ok_or("--context needs a number")?);
                }
                "--kv" => {
                    let kv = words.next().and_then(|name| KvFormat::named(&name));
                    options.kv = kv.ok_or("--kv is f16, f32 or q8")?;
                }
                "--device" => {
                    let device = words.next().and_then(|name| Device::named(&name));
                    options.device = device.ok_or("--device is auto, webgpu or cpu")?;
                }
                "--activations" => {
                    let format = words.next().and_then(|name| ActivationFormat::named(&name));
                    options.activations = Some(format.ok_or("--activations is f32 or int8")?);
                }
                "--threads" => {
                    let threads = words.next().and_then(|value| value.parse::<usize>().ok());
                    let others = threads.and_then(|threads| threads.checked_sub(1)).filter(|others| *others < 256);
                    options.helpers = Helpers::threads(others.ok_or("--threads needs a number, from 1 on")?);
                }
                "--quantise" => {
                    let recipe = words.next().and_then(|name| Recipe::named(&name));
                    quantise = Some(recipe.ok_or("--quantise is q8_0 or q4_0")?);
                }
                "--tune" => options.tuning = Tuning::On(Vec::new()),
                "--lora" => adapters.push(adapter(&words.next().ok_or("--lora needs a folder")?)),
                option if option.starts_with("--") => return Err(format!("unknown option {option}")),
                _ => positional.push(word),
            }
        }
        let [command, model] = <[String; 2]>::try_from(positional).map_err(|_| "a command and a model are needed")?;
        if !["chat", "preflight", "perplexity", "tokenize", "render", "logits", "generate", "profile"]
            .contains(&command.as_str())
        {
            return Err(format!("unknown command {command}"));
        }
        Ok(Self { command, model: PathBuf::from(model), options, quantise, adapters })
    }

    /// Opens the model, its weights in fewer bits if so asked.
    async fn open(&self, quantise: Option<Recipe>) -> Result<Engine> {
        let options = self.options.clone();
        match quantise {
            Some(recipe) => {
                Engine::open(&mut disk::quantised(&self.model, recipe).await?, options, &mut show_progress).await
            }
            None => Engine::open(&mut NativeSource::open(&self.model)?, options, &mut show_progress).await,
        }
    }
}

/// `DIR` or `DIR=WEIGHT`; a folder's own name may have a `=` that no number follows.
fn adapter(word: &str) -> (String, f32) {
    let weighted = word.rsplit_once('=').and_then(|(folder, weight)| Some((folder, weight.parse().ok()?)));
    let (folder, weight) = weighted.unwrap_or((word, 1.0));
    (folder.to_owned(), weight)
}

/// Runs the command; false when a line failed.
async fn run(arguments: &Arguments) -> std::result::Result<bool, Box<dyn StdError>> {
    if arguments.command == "preflight" {
        let foretold = match arguments.quantise {
            Some(recipe) => {
                Preflight::of(&mut disk::quantised(&arguments.model, recipe).await?, &arguments.options).await?
            }
            None => Preflight::of(&mut NativeSource::open(&arguments.model)?, &arguments.options).await?,
        };
        println!("{}", to_json(&foretold)?);
        return Ok(true);
    }
    if arguments.command == "perplexity" {
        return perplexities(arguments).await;
    }
    if let "tokenize" | "render" = arguments.command.as_str() {
        let files = loader::open_text(&mut NativeSource::open(&arguments.model)?).await?;
        let tokenizer = Tokenizer::from_text_files(&files)?;
        if arguments.command == "tokenize" {
            return each_line(|line| tokenize(&tokenizer, line));
        }
        let chat = ChatFormat::from_text_files(&files, &tokenizer)?;
        return each_line(|line| render(&tokenizer, chat.as_ref(), line));
    }
    let mut engine = arguments.open(arguments.quantise).await?;
    for (folder, weight) in &arguments.adapters {
        engine.attach(&mut NativeSource::open(Path::new(folder))?, folder, *weight).await?;
    }
    let device = &engine.info().device;
    if let Some(milliseconds) = device.tuning_ms {
        eprintln!("kernels: {}, chosen in {milliseconds:.0} ms", device.variants.join(", "));
    }
    match arguments.command.as_str() {
        "logits" => each_line(|line| {
            let Ids { ids } = parse(line)?;
            Ok(json!({ "logits": pollster::block_on(engine.logits(&ids))? }))
        }),
        "generate" => each_line(|line| generate(&mut engine, line)),
        "profile" => each_line(|line| {
            let Profile { tokens, position } = parse(line)?;
            to_json(&pollster::block_on(engine.profile(tokens, position))?)
        }),
        _ => chat(&mut engine),
    }
}

/// The perplexity of the text on standard input: of a folder, as published and quantised in each way.
async fn perplexities(arguments: &Arguments) -> std::result::Result<bool, Box<dyn StdError>> {
    let text = std::io::read_to_string(std::io::stdin())?;
    let mut recipes = vec![arguments.quantise];
    if arguments.model.is_dir() && arguments.quantise.is_none() {
        recipes.extend([Some(Recipe::Q8_0), Some(Recipe::Q4_0)]);
    }
    let mut published = None;
    for recipe in recipes {
        let mut engine = arguments.open(recipe).await?;
        let mut ids = engine.prompt_ids(&Prompt::Text(text.clone()))?;
        ids.truncate(engine.info().context);
        let perplexity = perplexity(&mut engine, &ids).await?;
        let ratio = perplexity / *published.get_or_insert(perplexity);
        let weights = recipe.map_or_else(|| "as published".to_owned(), |recipe| recipe.to_string());
        let weight_bytes = engine.info().weight_bytes;
        let tokens = ids.len() - 1;
        println!(
            "{}",
            json!({ "weights": weights, "weight_bytes": weight_bytes, "tokens": tokens, "perplexity": perplexity, "ratio": ratio })
        );
    }
    Ok(true)
}

/// `e` to the mean surprise at each token after the first, given those before it.
async fn perplexity(engine: &mut Engine, ids: &[u32]) -> Result<f64> {
    if ids.len() < 2 {
        return Err(Error::BadRequest { detail: "the text has no two tokens".to_owned() });
    }
    let mut surprise = 0.0;
    for next in 1..ids.len() {
        let logits = engine.logits(&ids[..next]).await?;
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum();
        let chosen = logits.get(ids[next] as usize).copied().unwrap_or(f32::NEG_INFINITY);
        surprise += sum.ln() - f64::from(chosen - largest);
    }
    Ok((surprise / (ids.len() - 1) as f64).exp())
}

/// Answers each line of standard input with a line; false when one was an error.
fn each_line(mut answer: impl FnMut(&str) -> Result<Value>) -> std::result::Result<bool, Box<dyn StdError>> {
    let mut all_good = true;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let value = answer(&line).unwrap_or_else(|error| {
            all_good = false;
            error_object(&error)
        });
        let mut output = std::io::stdout().lock();
        writeln!(output, "{value}")?;
        output.flush()?;
    }
    Ok(all_good)
}

fn error_object(error: &Error) -> Value {
    json!({ "error": { "code": error.code(), "message": error.to_string() } })
}

fn parse<'a, T: Deserialize<'a>>(line: &'a str) -> Result<T> {
    serde_json::from_str(line).map_err(|error| Error::BadRequest { detail: error.to_string() })
}

fn to_json(value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| Error::BadRequest { detail: error.to_string() })
}

#[derive(Deserialize)]
struct Ids {
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Profile {
    tokens: usize,
    #[serde(default)]
    position: usize,
}

#[derive(Deserialize)]
struct Tokenize {
    text: String,
    #[serde(default)]
    add_special: bool,
    #[serde(default)]
    parse_special: bool,
}

fn tokenize(tokenizer: &Tokenizer, line: &str) -> Result<Value> {
    let Tokenize { text, add_special, parse_special } = parse(line)?;
    Ok(json!({ "ids": tokenizer.encode(&text, add_special, parse_special)? }))
}

#[derive(Deserialize)]
struct Render {
    messages: Vec<Message>,
    #[serde(default = "yes")]
    add_generation_prompt: bool,
}

fn yes() -> bool {
    true
}

fn render(tokenizer: &Tokenizer, chat: Option<&ChatFormat>, line: &str) -> Result<Value> {
    let Render { messages, add_generation_prompt } = parse(line)?;
    let segments: Vec<Segment> = chat.ok_or(Error::NoChatFormat)?.render(&messages, add_generation_prompt)?;
    let prompt: String = segments.iter().map(|segment| segment.text.as_str()).collect();
    Ok(json!({ "prompt": prompt, "ids": tokenizer.encode_segments(&segments)? }))
}

#[derive(Deserialize)]
struct Generate {
    ids: Option<Vec<u32>>,
    prompt: Option<String>,
    messages: Option<Vec<Message>>,
    #[serde(flatten)]
    options: Options,
}

fn generate(engine: &mut Engine, line: &str) -> Result<Value> {
    let Generate { ids, prompt, messages, options } = parse(line)?;
    let prompt = match (ids, prompt, messages) {
        (Some(ids), None, None) => Prompt::Ids(ids),
        (None, Some(text), None) => Prompt::Text(text),
        (None, None, Some(messages)) => Prompt::Messages(messages),
        _ => return Err(Error::BadRequest { detail: "exactly one of ids, prompt and messages is needed".to_owned() }),
    };
    let request = options.request(prompt, &engine.info().sampling.clone());
    let generation = pollster::block_on(engine.generate(&request, &mut |_| {}, &Stop::default()))?;
    to_json(&generation)
}

fn show_progress(progress: Progress) -> bool {
    match progress {
        Progress::Weights { done, total } => eprint!("\rreading weights: {} of {} MB", done >> 20, total >> 20),
        Progress::Kernels => eprintln!("\npreparing kernels"),
    }
    true
}

/// Talks in the terminal until the end of input.
fn chat(engine: &mut Engine) -> std::result::Result<bool, Box<dyn StdError>> {
    let info = engine.info().clone();
    eprintln!("{} on {}", info.name.as_deref().unwrap_or("model"), info.device.adapter);
    let mut messages = Vec::new();
    let mut input = std::io::stdin().lock();
    loop {
        eprint!("> ");
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            eprintln!();
            return Ok(true);
        }
        let text = line.trim().to_owned();
        if text.is_empty() {
            continue;
        }
        let prompt = if info.chat {
            messages.push(Message { role: "user".to_owned(), content: text });
            Prompt::Messages(messages.clone())
        } else {
            Prompt::Text(text)
        };
        let request = Options::default().request(prompt, &info.sampling);
        let mut print = |piece: &str| {
            print!("{piece}");
            // A closed terminal ends the program at the next line that is read.
            let _ = std::io::stdout().flush();
        };
        let generation = match pollster::block_on(engine.generate(&request, &mut print, &Stop::default())) {
            Ok(generation) => generation,
            Err(error @ (Error::ContextFull { .. } | Error::Template { .. })) => {
                eprintln!("{error}. {}\n[a new chat begins]", error.advice());
                messages.clear();
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        println!();
        let stats = generation.stats;
        eprintln!("[{:.1} tokens/s, {:?}]", stats.decode_tokens_per_second, generation.finish_reason);
        messages.push(Message { role: "assistant".to_owned(), content: generation.text });
    }
}
