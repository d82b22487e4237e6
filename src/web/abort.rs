//! What JS stops, carried over to what runs here.

use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;
use web_sys::{AbortController, AbortSignal};

use crate::error::{Error, Result};
use crate::generate::Stop;

/// Ends a call: its generation at the next token, a load that it needs at once.
#[derive(Clone)]
pub struct Halt {
    /// Asks the generation to end.
    pub stop: Stop,
    loads: AbortController,
}

impl Halt {
    /// Of a call that nobody has stopped yet.
    pub fn new() -> Result<Self> {
        let refused = |_| Error::BadRequest { detail: "there is no AbortController here".to_owned() };
        Ok(Self { stop: Stop::default(), loads: AbortController::new().map_err(refused)? })
    }

    /// What ends a load.
    pub fn signal(&self) -> AbortSignal {
        self.loads.signal()
    }

    /// Ends the call.
    pub fn halt(&self) {
        self.stop.stop();
        self.loads.abort();
    }
}

/// Calls back when a signal is aborted, or was already, until it is dropped.
pub struct AbortWatch<'a> {
    signal: &'a AbortSignal,
    listener: Closure<dyn FnMut()>,
}

impl<'a> AbortWatch<'a> {
    /// Watches a signal.
    pub fn new(signal: &'a AbortSignal, mut aborted: impl FnMut() + 'static) -> Self {
        if signal.aborted() {
            aborted();
        }
        let listener = Closure::new(aborted);
        // Fails for no listener that is a function.
        drop(signal.add_event_listener_with_callback("abort", listener.as_ref().unchecked_ref()));
        Self { signal, listener }
    }
}

impl Drop for AbortWatch<'_> {
    fn drop(&mut self) {
        drop(self.signal.remove_event_listener_with_callback("abort", self.listener.as_ref().unchecked_ref()));
    }
}
