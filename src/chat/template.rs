//! Jinja templates as Hugging Face's `apply_chat_template` runs them, within bounds on work and output.
//!
//! The engine's fuel counts instructions, output and the items that filters read. It counts neither lists that grow by
//! being added to themselves nor how deep lists lie in lists: a template made to do so can still hang or end the worker
//! that it runs in, which the page survives.

use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, ErrorKind, context};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use super::{Message, refusal};
use crate::error::Result;

/// Instructions and data (64 bytes a unit) that one rendering may use: far more than long chats need, a second at most.
const FUEL: u64 = 1_000_000;
/// Longest prompt in bytes, and longest JSON within one; no context holds as much.
const MAX_OUTPUT: usize = 16 << 20;

/// A chat template with the names of the tokens that it writes.
#[derive(Debug)]
pub(super) struct Template {
    source: String,
    bos: String,
    eos: String,
}

impl Template {
    /// Fails when the template is not valid Jinja.
    pub(super) fn new(source: String, bos: String, eos: String) -> Result<Self> {
        let template = Self { source, bos, eos };
        template.environment()?.template_from_str(&template.source).map_err(reason)?;
        Ok(template)
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    fn environment(&self) -> Result<Environment<'_>> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(reason)?;
        environment.set_syntax(syntax);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", to_json);
        Ok(environment)
    }

    /// The prompt as one text.
    pub(super) fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let environment = self.environment()?;
        let template = environment.template_from_str(&self.source).map_err(reason)?;
        let list: Vec<Value> =
            messages.iter().map(|m| context! { role => m.role.as_str(), content => m.content.as_str() }).collect();
        let context = context! {
            messages => list,
            add_generation_prompt => add_generation_prompt,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
            tools => (),
            documents => (),
        };
        let mut output = Bounded(Vec::new());
        template.render_captured_to(context, &mut output).map_err(reason)?;
        String::from_utf8(output.0).map_err(refusal)
    }
}

/// The template's own words where it raised an exception, otherwise the engine's.
fn reason(error: minijinja::Error) -> crate::Error {
    match (error.kind(), error.detail()) {
        (ErrorKind::InvalidOperation, Some(detail)) => refusal(detail),
        _ => refusal(error),
    }
}

/// Grows to [`MAX_OUTPUT`] bytes.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            return Err(io::Error::other("the prompt is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn raise_exception(message: String) -> std::result::Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=indent)`.
fn to_json(value: Value, options: Kwargs) -> std::result::Result<Value, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    let mut bytes = Bounded(Vec::new());
    let done = match indent {
        Some(indent) => {
            let indent = " ".repeat(indent.min(16));
            let formatter = PrettyFormatter::with_indent(indent.as_bytes());
            value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter))
        }
        None => value.serialize(&mut Serializer::with_formatter(&mut bytes, Spaced)),
    };
    let failed = |e: String| minijinja::Error::new(ErrorKind::BadSerialization, e);
    done.map_err(|e| failed(e.to_string()))?;
    String::from_utf8(bytes.0).map(Value::from).map_err(|e| failed(e.to_string()))
}

/// JSON on one line with Python's spaces: `{"a": [1, 2]}`.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Today's date (UTC) by a `strftime` format; templates use day, month and year.
fn strftime_now(format: String) -> std::result::Result<String, minijinja::Error> {
    let (year, month, day) = civil(unix_seconds().div_euclid(86400));
    let seconds = unix_seconds().rem_euclid(86400);
    let name = MONTHS.get(month.saturating_sub(1) as usize).copied().unwrap_or_default();
    let mut text = String::new();
    let mut letters = format.chars();
    while let Some(c) = letters.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        match letters.next() {
            Some('d') => text.push_str(&format!("{day:02}")),
            Some('m') => text.push_str(&format!("{month:02}")),
            Some('Y') => text.push_str(&format!("{year:04}")),
            Some('y') => text.push_str(&format!("{:02}", year.rem_euclid(100))),
            Some('b') => text.push_str(name.get(..3).unwrap_or_default()),
            Some('B') => text.push_str(name),
            Some('H') => text.push_str(&format!("{:02}", seconds / 3600)),
            Some('M') => text.push_str(&format!("{:02}", seconds / 60 % 60)),
            Some('S') => text.push_str(&format!("{:02}", seconds % 60)),
            Some('%') => text.push('%'),
            other => {
                let detail = format!("strftime_now does not know {other:?}");
                return Err(minijinja::Error::new(ErrorKind::InvalidOperation, detail));
            }
        }
    }
    Ok(text)
}

/// Year, month and day of a number of days since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(target_arch = "wasm32")]
fn unix_seconds() -> i64 {
    (js_sys::Date::now() / 1000.0) as i64
}

#[cfg(not(target_arch = "wasm32"))]
fn unix_seconds() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs() as i64)
}
