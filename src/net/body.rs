//! The bytes of an answer, read into buffers that are used again.
//!
//! Browsers collect what a fast line leaves behind too late: hundreds of megabytes, where a few buffers do.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::{ArrayBuffer, Function, Object, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{ReadableStream, ReadableStreamByobReader, ReadableStreamDefaultReader};

use crate::store::CHUNK_BYTES;

/// Most bytes of one read.
const PIECE: u32 = 1 << 20;
/// More buffers than a few connections need are left to the browser.
const SPARES: usize = 12;

/// Buffers that can be filled again.
#[derive(Debug, Default)]
pub struct Spares(RefCell<Vec<ArrayBuffer>>);

impl Spares {
    /// A buffer of this length with anything in it.
    pub fn take(&self, length: u32) -> ArrayBuffer {
        self.find(length).unwrap_or_else(|| ArrayBuffer::new(length))
    }

    fn find(&self, length: u32) -> Option<ArrayBuffer> {
        let mut spares = self.0.borrow_mut();
        spares.iter().position(|spare| spare.byte_length() == length).map(|place| spares.swap_remove(place))
    }

    /// Takes a buffer that nobody reads any more, if it is of a length that will be asked for again.
    pub fn put(&self, buffer: ArrayBuffer) {
        let mut spares = self.0.borrow_mut();
        if spares.len() < SPARES && [PIECE, CHUNK_BYTES].contains(&buffer.byte_length()) {
            spares.push(buffer);
        }
    }
}

/// Reads a body piece by piece.
#[derive(Debug)]
pub(super) enum BodyReader {
    /// Into a buffer of ours, which the browser has while it fills it.
    Own { reader: ReadableStreamByobReader, buffer: Option<ArrayBuffer>, spares: Rc<Spares> },
    /// As the browser gives it, where that is all it does; with what came beyond the last piece.
    Given { reader: ReadableStreamDefaultReader, left_over: Option<Uint8Array> },
}

impl BodyReader {
    pub fn new(body: &ReadableStream, spares: &Rc<Spares>) -> Self {
        match byob_reader(body) {
            Ok(reader) => {
                Self::Own { reader: reader.unchecked_into(), buffer: Some(spares.take(PIECE)), spares: spares.clone() }
            }
            Err(_) => Self::Given { reader: body.get_reader().unchecked_into(), left_over: None },
        }
    }

    /// At most `most` of the next bytes; none at the end.
    pub async fn read(&mut self, most: u32) -> Result<Option<Uint8Array>, JsValue> {
        match self {
            Self::Own { reader, buffer, .. } => {
                let own = buffer.take().unwrap_or_else(|| ArrayBuffer::new(PIECE));
                let view = Uint8Array::new_with_byte_offset_and_length(&own, 0, most.min(PIECE));
                let piece = step(JsFuture::from(reader.read_with_array_buffer_view(&view)).await?)?;
                *buffer = piece.as_ref().map(Uint8Array::buffer);
                Ok(piece)
            }
            Self::Given { reader, left_over } => {
                let piece = match left_over.take() {
                    Some(piece) => piece,
                    None => match step(JsFuture::from(reader.read()).await?)? {
                        Some(piece) => piece,
                        None => return Ok(None),
                    },
                };
                let (fits, length) = (piece.byte_length().min(most), piece.byte_length());
                *left_over = (fits < length).then(|| piece.subarray(fits, length));
                Ok(Some(piece.subarray(0, fits)))
            }
        }
    }
}

impl Drop for BodyReader {
    fn drop(&mut self) {
        if let Self::Own { buffer, spares, .. } = self
            && let Some(buffer) = buffer.take()
        {
            spares.put(buffer);
        }
    }
}

/// `body.getReader({mode: "byob"})`, which throws for a stream that is not one of bytes.
fn byob_reader(body: &ReadableStream) -> Result<JsValue, JsValue> {
    let options = Object::new();
    Reflect::set(&options, &"mode".into(), &"byob".into())?;
    let get_reader: Function = Reflect::get(body, &"getReader".into())?.dyn_into()?;
    get_reader.call1(body, &options)
}

/// The bytes of `{done, value}`; none at the end.
fn step(step: JsValue) -> Result<Option<Uint8Array>, JsValue> {
    if Reflect::get(&step, &"done".into())?.is_truthy() {
        return Ok(None);
    }
    Reflect::get(&step, &"value".into())?.dyn_into().map(Some)
}
