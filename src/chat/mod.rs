//! Chat messages to a prompt, by the checkpoint's own template, such that no message can steer the model.

mod neutral;
mod template;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::tokenizer::Tokenizer;
use crate::tokenizer::added::{AddedTokens, Piece};
use crate::weights::loader::TextFiles;
use neutral::Disguise;
use template::Template;

/// One turn of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: one of [`ROLES`].
    pub role: String,
    /// What they say: plain text, whatever it contains.
    pub content: String,
}

/// Roles that templates know. Others are refused: templates write roles next to special tokens, so that a role is
/// nothing for a stranger to choose.
pub const ROLES: [&str; 7] = ["system", "user", "assistant", "tool", "developer", "function", "ipython"];

/// A stretch of a prompt. A prompt is its segments' texts put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The text.
    pub text: String,
    /// Whether special tokens' names in it are special tokens. [`ChatFormat::render`] trusts exactly the special tokens
    /// that the template itself wrote; messages, and the template's plain text around them, are not.
    pub trusted: bool,
}

/// How a checkpoint wants chats written.
#[derive(Debug)]
pub struct ChatFormat {
    template: Template,
    special: AddedTokens,
}

/// Llama 2's format, for chat checkpoints that carry no template: `<s>[INST] user [/INST] assistant </s>`, and a system
/// message inside the first `[INST]`.
const LLAMA2: &str = "\
{%- set given = messages[0]['role'] == 'system' -%}
{%- set turns = messages[1:] if given else messages -%}
{%- for message in turns -%}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) or message['role'] not in ['user', 'assistant'] -%}
{{- raise_exception('user and assistant must take turns, after at most one system message') -}}
{%- endif -%}
{%- set text = message['content'] -%}
{%- if loop.first and given -%}
{%- set text = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' + text -%}
{%- endif -%}
{{- bos_token + '[INST] ' + text.strip() + ' [/INST]' if message['role'] == 'user' else ' ' + text.strip() + ' ' + eos_token -}}
{%- endfor -%}";

/// Marks of Llama 2's format that are not tokens of their own.
const LLAMA2_TAGS: [&str; 4] = ["[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"];

impl ChatFormat {
    /// The format that a checkpoint's files give: its own template; Llama 2's when it is a Llama-2 chat model without
    /// one; `None` for models that only go on with a text.
    ///
    /// A checkpoint without template counts as a Llama-2 chat model when its vocabulary begins `<unk>`, `<s>`, `</s>` and
    /// has Llama 2's 32000 tokens (up to 16 more), and its name (`general.name`, `general.basename`,
    /// `general.finetune`, or `_name_or_path`) says both "llama" and "chat".
    pub fn from_text_files(files: &TextFiles, tokenizer: &Tokenizer) -> Result<Option<Self>> {
        let source = match own_template(files)? {
            Some(source) => source,
            None if is_llama2_chat(files, tokenizer) => LLAMA2.to_owned(),
            None => return Ok(None),
        };
        Self::new(source, tokenizer).map(Some)
    }

    /// A format given by a Jinja template, as Hugging Face's `apply_chat_template` reads it.
    pub fn new(template: String, tokenizer: &Tokenizer) -> Result<Self> {
        let name = |id: Option<u32>| id.and_then(|id| tokenizer.token_text(id)).unwrap_or_default();
        let template = Template::new(template, name(tokenizer.bos()), name(tokenizer.eos()))?;
        let special = tokenizer.added().iter().filter(|token| token.special).cloned().collect();
        Ok(Self { template, special: AddedTokens::new(special) })
    }

    /// Writes a chat as a prompt; with `add_generation_prompt`, up to where the assistant's answer begins.
    ///
    /// Special tokens' names in messages stay plain text, also where a message and its neighbours would spell one only
    /// together (see `neutral.rs`). Marks that are plain text to the tokenizer (`[INST]`) cannot be told from the
    /// template's own: [`ChatFormat::tags_in_content`] finds them.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<Vec<Segment>> {
        if let Some(message) = messages.iter().find(|m| !ROLES.contains(&m.role.as_str())) {
            return Err(refusal(format_args!("there is no role {:?}", message.role)));
        }
        if messages.is_empty() {
            return Err(refusal("there are no messages"));
        }
        let disguise = Disguise::new(&self.special, self.template.source(), messages)?;
        let prompt = self.template.render(&disguise.hide(messages), add_generation_prompt)?;
        let check = self.template.render(&disguise.blank(messages), add_generation_prompt)?;
        if !special_ids(&self.special, &prompt).eq(special_ids(&self.special, &check)) {
            return Err(refusal("a message would spell a special token together with the text around it"));
        }
        let segment = |piece: &Piece| match piece {
            Piece::Token(token) => Segment { text: token.text.clone(), trusted: true },
            Piece::Text(text) => Segment { text: disguise.restore(text), trusted: false },
        };
        Ok(self.special.split(&prompt, true).iter().map(segment).collect())
    }

    /// The marks of Llama 2's format that messages hold, when this format uses them.
    ///
    /// They are plain text to the tokenizer, so a message that holds them can look like several turns. Meta's reference
    /// refuses such chats; here they are encoded as any text, and a caller that takes messages from strangers
    /// can warn or refuse.
    pub fn tags_in_content(&self, messages: &[Message]) -> Vec<&'static str> {
        let used = |tag: &&str| self.template.source().contains(*tag);
        let held = |tag: &&str| messages.iter().any(|message| message.content.contains(*tag));
        LLAMA2_TAGS.into_iter().filter(used).filter(held).collect()
    }
}

/// An [`Error::Template`].
fn refusal(detail: impl std::fmt::Display) -> Error {
    Error::Template { detail: detail.to_string() }
}

/// The special tokens in a text, in order.
fn special_ids<'a>(special: &'a AddedTokens, text: &'a str) -> impl Iterator<Item = u32> {
    special.split(text, true).into_iter().filter_map(|piece| match piece {
        Piece::Token(token) => Some(token.id),
        Piece::Text(_) => None,
    })
}

/// The template that a checkpoint carries: in a file of its own, or in the tokenizer's configuration.
fn own_template(files: &TextFiles) -> Result<Option<String>> {
    match files {
        TextFiles::Gguf(metadata) => Ok(metadata.string("tokenizer.chat_template").map(str::to_owned)),
        TextFiles::HuggingFace { chat_template: Some(bytes), .. } => {
            let text = std::str::from_utf8(bytes).map_err(|e| refusal(format_args!("chat_template.jinja: {e}")))?;
            Ok(Some(text.to_owned()))
        }
        TextFiles::HuggingFace { tokenizer_config: Some(bytes), .. } => {
            let config: Value = serde_json::from_slice(bytes)
                .map_err(|e| Error::Tokenizer { detail: format!("tokenizer_config.json: {e}") })?;
            Ok(config.get("chat_template").and_then(chosen_template))
        }
        TextFiles::HuggingFace { .. } => Ok(None),
    }
}

/// `chat_template` is a string, or a list of named ones: the one called `default` is meant for chats.
fn chosen_template(json: &Value) -> Option<String> {
    if let Some(text) = json.as_str() {
        return Some(text.to_owned());
    }
    let list = json.as_array()?;
    let default = list.iter().find(|t| t.get("name").and_then(Value::as_str) == Some("default"));
    Some(default.or(list.first())?.get("template")?.as_str()?.to_owned())
}

fn is_llama2_chat(files: &TextFiles, tokenizer: &Tokenizer) -> bool {
    let begins = (0..3).map(|id| tokenizer.token_text(id).unwrap_or_default()).eq(["<unk>", "<s>", "</s>"]);
    let name = checkpoint_name(files).to_lowercase();
    begins && (32000..=32016).contains(&tokenizer.vocab_size()) && name.contains("llama") && name.contains("chat")
}

/// All that a checkpoint calls itself.
fn checkpoint_name(files: &TextFiles) -> String {
    match files {
        TextFiles::Gguf(metadata) => {
            let keys = ["general.name", "general.basename", "general.finetune"];
            keys.into_iter().filter_map(|key| metadata.string(key)).collect::<Vec<_>>().join(" ")
        }
        TextFiles::HuggingFace { tokenizer_config, config, .. } => {
            let name = |bytes: &[u8]| -> Option<String> {
                let json: Value = serde_json::from_slice(bytes).ok()?;
                Some(json.get("_name_or_path").or(json.get("name_or_path"))?.as_str()?.to_owned())
            };
            let names = [name(config), tokenizer_config.as_deref().and_then(name)];
            names.into_iter().flatten().collect::<Vec<_>>().join(" ")
        }
    }
}
