//! What is on its way to a reader, for whoever shows progress.

use std::cell::{Cell, RefCell};

use crate::error::Error;

/// Why nothing comes just now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Waiting {
    /// There is no connection, or it broke; tried again in so many seconds.
    Network(f64),
    /// The server asks for patience; tried again in so many seconds.
    Server(f64),
}

/// Figures that change while chunks are fetched; shared by who fetches, who reads and who shows them.
#[derive(Default)]
pub struct Traffic {
    /// Bytes that have come from the network and were not handed to the reader yet.
    in_flight: Cell<u64>,
    from_store: Cell<bool>,
    waiting: Cell<Option<Waiting>>,
    not_stored: RefCell<Option<Error>>,
    listener: RefCell<Option<Box<dyn Fn()>>>,
}

impl Traffic {
    /// Calls `listener` at each change.
    pub fn listen(&self, listener: impl Fn() + 'static) {
        self.listener.replace(Some(Box::new(listener)));
    }

    /// Bytes that have come from the network and were not handed to the reader yet.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.get()
    }

    /// Whether the last chunk that was handed to the reader came from the store.
    pub fn from_store(&self) -> bool {
        self.from_store.get()
    }

    /// Why nothing comes just now, if so.
    pub fn waiting(&self) -> Option<Waiting> {
        self.waiting.get()
    }

    /// Why nothing is stored although that was asked for, if so.
    pub fn not_stored(&self) -> Option<Error> {
        self.not_stored.borrow().clone()
    }

    /// Nothing more is stored.
    pub fn refuse(&self, reason: Error) {
        self.not_stored.replace(Some(reason));
    }

    /// Bytes came from the network.
    pub fn came(&self, bytes: u64) {
        self.waiting.set(None);
        self.in_flight.set(self.in_flight.get() + bytes);
        self.changed();
    }

    /// Bytes that came were handed on, or were of no use.
    pub fn went(&self, bytes: u64) {
        self.in_flight.set(self.in_flight.get().saturating_sub(bytes));
    }

    /// The reader was given a chunk.
    pub fn handed(&self, from_store: bool) {
        self.from_store.set(from_store);
    }

    /// Nothing comes for a while, or something does again.
    pub fn wait(&self, waiting: Option<Waiting>) {
        self.waiting.set(waiting);
        self.changed();
    }

    fn changed(&self) {
        if let Some(listener) = &*self.listener.borrow() {
            listener();
        }
    }
}
