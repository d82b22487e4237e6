//! GGUF versions 2 and 3: the header, which holds everything about a model but its weights.
//!
//! Source: the format's description in ggml's repository (`docs/gguf.md`). All numbers are little-endian.

use std::collections::HashMap;

use super::cursor::Cursor;
use super::manifest::{Dtype, Stored};
use super::source::Source;
use crate::error::{Error, Result};
use crate::formats::Format;

/// A longer header is taken for damage: vocabularies of 256 000 tokens take less than 16 MiB.
const MAX_HEADER: u64 = 64 << 20;
/// No Llama model nests arrays at all.
const MAX_DEPTH: usize = 4;
/// Elements of an array that are read at a time.
const ARRAY_STEP: u64 = 4096;
/// ggml allows four dimensions.
const MAX_DIMENSIONS: u32 = 4;
const DEFAULT_ALIGNMENT: u64 = 32;

/// A value of the key/value part; integers and floats of all widths are widened.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Any integer type; a `u64` above `i64::MAX` is clamped (no key of ours is that large).
    Integer(i64),
    /// `f32` or `f64`.
    Float(f64),
    /// One byte, 0 or 1.
    Bool(bool),
    /// UTF-8.
    String(String),
    /// Elements of one type.
    Array(Array),
}

/// An array of the key/value part.
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    /// Any integer type.
    Integers(Vec<i64>),
    /// `f32`, or `f64` narrowed.
    Floats(Vec<f32>),
    /// One byte each.
    Bools(Vec<bool>),
    /// UTF-8.
    Strings(Vec<String>),
    /// Arrays of arrays.
    Nested(Vec<Array>),
}

/// The key/value part of a GGUF header. Getters give `None` for a missing key and for a value of another type.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    values: HashMap<String, Value>,
}

impl Metadata {
    /// The value under a key, of whatever type.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// A string.
    pub fn string(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Value::String(value) => Some(value),
            _ => None,
        }
    }

    /// An integer of any width that fits `u32`.
    pub fn u32(&self, key: &str) -> Option<u32> {
        match self.get(key)? {
            Value::Integer(value) => u32::try_from(*value).ok(),
            _ => None,
        }
    }

    /// A float of any width.
    pub fn f32(&self, key: &str) -> Option<f32> {
        match self.get(key)? {
            Value::Float(value) => Some(*value as f32),
            _ => None,
        }
    }

    /// A truth value.
    pub fn bool(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// An array of strings.
    pub fn strings(&self, key: &str) -> Option<&[String]> {
        match self.get(key)? {
            Value::Array(Array::Strings(values)) => Some(values),
            _ => None,
        }
    }

    /// An array of floats.
    pub fn f32s(&self, key: &str) -> Option<&[f32]> {
        match self.get(key)? {
            Value::Array(Array::Floats(values)) => Some(values),
            _ => None,
        }
    }

    /// An array of integers of any width.
    pub fn integers(&self, key: &str) -> Option<&[i64]> {
        match self.get(key)? {
            Value::Array(Array::Integers(values)) => Some(values),
            _ => None,
        }
    }
}

/// What stands before the weights.
#[derive(Debug)]
pub(super) struct Header {
    /// Hyper-parameters, tokenizer and chat template.
    pub metadata: Metadata,
    /// The tensor table, in the file's order.
    pub tensors: Vec<Stored>,
}

impl Header {
    /// Reads the header at the start of a file and leaves the cursor behind it.
    pub async fn read<S: Source>(cursor: &mut Cursor, source: &mut S) -> Result<Self> {
        Reader { cursor, source }.header().await
    }
}

/// The error of a header that cannot be what it says.
fn broken(detail: impl Into<String>) -> Error {
    Error::BadHeader { detail: detail.into() }
}

/// Types of metadata values, by their numbers in the file.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Type {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

impl Type {
    const ALL: [Type; 13] = [
        Type::U8,
        Type::I8,
        Type::U16,
        Type::I16,
        Type::U32,
        Type::I32,
        Type::F32,
        Type::Bool,
        Type::String,
        Type::Array,
        Type::U64,
        Type::I64,
        Type::F64,
    ];

    fn new(number: u32) -> Result<Self> {
        let found = usize::try_from(number).ok().and_then(|number| Self::ALL.get(number));
        found.copied().ok_or_else(|| broken(format!("{number} is not a metadata type")))
    }

    /// Bytes of a scalar; for strings and arrays, the least that one takes.
    fn size(self) -> u64 {
        match self {
            Type::U8 | Type::I8 | Type::Bool => 1,
            Type::U16 | Type::I16 => 2,
            Type::U32 | Type::I32 | Type::F32 => 4,
            Type::U64 | Type::I64 | Type::F64 | Type::String => 8,
            Type::Array => 12,
        }
    }
}

/// A scalar's value; `bytes` has the type's size.
fn scalar(kind: Type, bytes: &[u8]) -> Result<Value> {
    let mut wide = [0; 8];
    for (to, from) in wide.iter_mut().zip(bytes) {
        *to = *from;
    }
    let bits = u64::from_le_bytes(wide);
    Ok(match kind {
        Type::I8 => Value::Integer(i64::from(bits as i8)),
        Type::I16 => Value::Integer(i64::from(bits as i16)),
        Type::I32 => Value::Integer(i64::from(bits as i32)),
        Type::I64 => Value::Integer(bits as i64),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => Value::Integer(i64::try_from(bits).unwrap_or(i64::MAX)),
        Type::F32 => Value::Float(f64::from(f32::from_bits(bits as u32))),
        Type::F64 => Value::Float(f64::from_bits(bits)),
        Type::Bool if bits < 2 => Value::Bool(bits == 1),
        Type::Bool => return Err(broken(format!("{bits} is not a truth value"))),
        Type::String | Type::Array => return Err(broken("a string or array where a number was expected")),
    })
}

/// Reads header fields one by one. Nothing is allocated beyond what has really arrived.
struct Reader<'a, S> {
    cursor: &'a mut Cursor,
    source: &'a mut S,
}

impl<S: Source> Reader<'_, S> {
    async fn header(&mut self) -> Result<Header> {
        self.magic().await?;
        let version = self.u32().await?;
        if !(2..=3).contains(&version) {
            return Err(broken(format!("GGUF version {version} (2 and 3 can be read)")));
        }
        let (tensors, pairs) = (self.u64().await?, self.u64().await?);
        // The shortest entries: an empty name, no dimensions; an empty key and one byte.
        self.check_count("tensors", tensors, 24)?;
        self.check_count("metadata entries", pairs, 13)?;
        let metadata = self.metadata(pairs).await?;
        let tensors = self.tensors(tensors, alignment(&metadata)?).await?;
        Ok(Header { metadata, tensors })
    }

    async fn magic(&mut self) -> Result<()> {
        if self.cursor.length() < 24 || self.array::<4>().await? != *b"GGUF" {
            return Err(Error::NotAModel { detail: format!("{} is not a GGUF file", self.cursor.name()) });
        }
        Ok(())
    }

    async fn metadata(&mut self, pairs: u64) -> Result<Metadata> {
        let mut values = HashMap::new();
        for _ in 0..pairs {
            let key = self.string().await?;
            let kind = Type::new(self.u32().await?)?;
            let value = self.value(kind).await?;
            if values.contains_key(&key) {
                return Err(broken(format!("the key {key:?} stands twice")));
            }
            values.insert(key, value);
        }
        Ok(Metadata { values })
    }

    /// Reads the tensor table; offsets in it count from the aligned end of the header.
    async fn tensors(&mut self, count: u64, alignment: u64) -> Result<Vec<Stored>> {
        let mut tensors = Vec::new();
        for _ in 0..count {
            let tensor = self.tensor().await?;
            if !tensor.start.is_multiple_of(alignment) {
                return Err(broken(format!("tensor {} is not aligned to {alignment} bytes", tensor.name)));
            }
            tensors.push(tensor);
        }
        let data = self.cursor.position().next_multiple_of(alignment);
        for tensor in &mut tensors {
            let start = tensor.start.checked_add(data);
            tensor.start = start.ok_or_else(|| broken(format!("the offset of tensor {} is too large", tensor.name)))?;
        }
        Ok(tensors)
    }

    async fn tensor(&mut self) -> Result<Stored> {
        let name = self.string().await?;
        let dimensions = self.u32().await?;
        if dimensions > MAX_DIMENSIONS {
            return Err(broken(format!("tensor {name} has {dimensions} dimensions")));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(self.u64().await?);
        }
        // ggml counts dimensions from the innermost.
        shape.reverse();
        let dtype = dtype(self.u32().await?);
        Ok(Stored { name, dtype, shape, start: self.u64().await? })
    }

    async fn value(&mut self, kind: Type) -> Result<Value> {
        Ok(match kind {
            Type::String => Value::String(self.string().await?),
            Type::Array => Value::Array(self.elements(0).await?),
            kind => {
                let bytes = self.bytes(kind.size()).await?;
                scalar(kind, &bytes)?
            }
        })
    }

    async fn elements(&mut self, depth: usize) -> Result<Array> {
        let kind = Type::new(self.u32().await?)?;
        let count = self.u64().await?;
        self.check_count("array elements", count, kind.size())?;
        match kind {
            Type::String => {
                let mut strings = Vec::new();
                for _ in 0..count {
                    strings.push(self.string().await?);
                }
                Ok(Array::Strings(strings))
            }
            Type::Array if depth + 1 >= MAX_DEPTH => Err(broken("arrays are nested too deeply")),
            Type::Array => {
                let mut arrays = Vec::new();
                for _ in 0..count {
                    arrays.push(Box::pin(self.elements(depth + 1)).await?);
                }
                Ok(Array::Nested(arrays))
            }
            kind => self.scalars(kind, count).await,
        }
    }

    async fn scalars(&mut self, kind: Type, count: u64) -> Result<Array> {
        let mut array = match kind {
            Type::F32 | Type::F64 => Array::Floats(Vec::new()),
            Type::Bool => Array::Bools(Vec::new()),
            _ => Array::Integers(Vec::new()),
        };
        let mut left = count;
        while left > 0 {
            let step = left.min(ARRAY_STEP);
            let bytes = self.bytes(step * kind.size()).await?;
            for element in bytes.chunks_exact(kind.size() as usize) {
                match (&mut array, scalar(kind, element)?) {
                    (Array::Floats(floats), Value::Float(value)) => floats.push(value as f32),
                    (Array::Bools(bools), Value::Bool(value)) => bools.push(value),
                    (Array::Integers(integers), Value::Integer(value)) => integers.push(value),
                    _ => return Err(broken("an array of mixed types")),
                }
            }
            left -= step;
        }
        Ok(array)
    }

    async fn string(&mut self) -> Result<String> {
        let length = self.u64().await?;
        self.check_count("bytes of a string", length, 1)?;
        let bytes = self.bytes(length).await?;
        String::from_utf8(bytes).map_err(|_| broken("a string that is not UTF-8"))
    }

    async fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array().await?))
    }

    async fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array().await?))
    }

    async fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.cursor.array(self.source).await
    }

    async fn bytes(&mut self, count: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.cursor.take(self.source, count, &mut bytes).await?;
        Ok(bytes)
    }

    /// Refuses a count whose elements, each of at least `least` bytes, no header could hold.
    fn check_count(&self, what: &str, count: u64, least: u64) -> Result<()> {
        let room = MAX_HEADER.saturating_sub(self.cursor.position());
        if count > room / least {
            return Err(broken(format!("{count} {what} are more than a header holds")));
        }
        Ok(())
    }
}

/// Where tensors may begin: a power of two.
fn alignment(metadata: &Metadata) -> Result<u64> {
    const KEY: &str = "general.alignment";
    match metadata.get(KEY) {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(_) => match metadata.u32(KEY) {
            Some(alignment) if alignment.is_power_of_two() => Ok(u64::from(alignment)),
            _ => Err(broken(format!("{KEY} is not a power of two"))),
        },
    }
}

/// ggml's tensor types by their numbers; names of those that cannot be read serve the error message.
fn dtype(number: u32) -> Dtype {
    if let Some(format) = Format::of_gguf_type(number) {
        return Dtype::Known(format);
    }
    let name = match number {
        9 => "Q8_1",
        15 => "Q8_K",
        16..=19 | 21 | 22 | 29 => "IQ1, IQ2 or IQ3",
        28 => "F64",
        34 | 35 => "TQ (ternary)",
        39 => "MXFP4",
        other => return Dtype::Other(format!("number {other}")),
    };
    Dtype::Other(name.to_owned())
}
