//! How far a load is, on its way to JS.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use js_sys::{Date, Function};
use serde::Serialize;
use wasm_bindgen::JsValue;

use super::source::WebSource;
use super::{sentence, to_js};
use crate::generate::Progress;
use crate::store::traffic::{Traffic, Waiting};

/// Least time between two reports, in milliseconds.
const INTERVAL: f64 = 100.0;

/// Whether a model is kept, and why not if that was wanted.
#[derive(Serialize)]
pub struct Storage {
    /// Whether a copy is kept.
    pub stored: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// What the loader and the network tell of one load.
pub struct Report {
    /// Bytes that the loader has, of how many.
    loaded: Cell<(u64, u64)>,
    /// All weights were read.
    read: Cell<bool>,
    /// Whether a copy is to be kept.
    wanted: Cell<bool>,
    traffic: RefCell<Rc<Traffic>>,
    /// When JS was told last.
    last: Cell<f64>,
    /// Whom to tell, if anyone.
    to: Option<Function>,
}

/// What JS sees of it.
#[derive(Serialize)]
struct Told {
    phase: &'static str,
    done: u64,
    total: u64,
    #[serde(flatten)]
    storage: Storage,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<ToldWaiting>,
}

#[derive(Serialize)]
struct ToldWaiting {
    r#for: &'static str,
    seconds: f64,
}

impl Report {
    /// Tells `to`, if that is wanted.
    pub fn new(to: Option<Function>) -> Rc<Self> {
        Rc::new(Self {
            loaded: Cell::default(),
            read: Cell::default(),
            wanted: Cell::default(),
            traffic: RefCell::default(),
            last: Cell::default(),
            to,
        })
    }

    /// A load from this source begins.
    pub fn begin(self: &Rc<Self>, source: &WebSource) {
        self.loaded.set((0, 0));
        self.read.set(false);
        self.wanted.set(source.is_stored() || source.is_storing());
        self.traffic.replace(source.traffic().clone());
        // The traffic outlives the load in no other way than through its source.
        let report = Rc::downgrade(self);
        source.traffic().listen(move || {
            if let Some(report) = report.upgrade() {
                report.tell(false);
            }
        });
        self.tell(true);
    }

    /// Whether a copy is kept, as it stands now.
    pub fn keeps(&self) -> bool {
        self.wanted.get() && self.traffic.borrow().not_stored().is_none()
    }

    /// The same for JS, with the reason.
    pub fn storage(&self) -> Storage {
        let reason = self.traffic.borrow().not_stored().map(|reason| sentence(&reason));
        Storage { stored: self.keeps(), reason }
    }

    /// Whether all weights were read.
    pub fn is_read(&self) -> bool {
        self.read.get()
    }

    /// What the loader tells.
    pub fn take(&self, progress: Progress) {
        match progress {
            Progress::Weights { done, total } => self.loaded.set((done, total)),
            Progress::Kernels => self.read.set(true),
        }
        let (done, total) = self.loaded.get();
        self.tell(done == total);
    }

    fn tell(&self, now: bool) {
        let Some(to) = &self.to else { return };
        let traffic = self.traffic.borrow();
        let waiting = traffic.waiting();
        let time = Date::now();
        if !now && waiting.is_none() && time - self.last.get() < INTERVAL {
            return;
        }
        self.last.set(time);
        let (done, total) = self.loaded.get();
        let phase = match (self.read.get(), traffic.from_store()) {
            (true, _) => "compile",
            (false, true) => "read",
            (false, false) => "download",
        };
        let done = (done + traffic.in_flight()).min(total);
        let told = Told { phase, done, total, storage: self.storage(), waiting: waiting.map(ToldWaiting::from) };
        // What the page does with it is no reason to stop.
        drop(to_js(&told).and_then(|told| to.call1(&JsValue::NULL, &told)));
    }
}

impl From<Waiting> for ToldWaiting {
    fn from(waiting: Waiting) -> Self {
        match waiting {
            Waiting::Network(seconds) => Self { r#for: "network", seconds },
            Waiting::Server(seconds) => Self { r#for: "server", seconds },
        }
    }
}
