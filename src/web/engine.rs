//! The engine as JS sees it.

use std::cell::{Cell, RefCell};

use js_sys::{Function, Reflect};
use serde::{Deserialize, Serialize};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use web_sys::AbortSignal;
use web_time::Instant;

use super::abort::{AbortWatch, Halt};
use super::opening::{self, Opened};
use super::progress::{Report, Storage};
use super::request::{self, from_js};
use super::{JsResult, js_error, to_js};
use crate::error::{Error, Result};
use crate::generate::preflight::Preflight;
use crate::generate::{Answer, Engine, FinishReason, Generation, Info, Losses, Options, Stats, Stop};

/// How often the graphics device may go away during one load.
const LOSSES: u32 = 3;

/// A model that is open.
#[wasm_bindgen(js_name = Engine)]
pub struct WebEngine {
    /// Not here while it generates, nor once it is unloaded. Its device may be gone: the next call brings another one.
    engine: RefCell<Option<Engine>>,
    unloaded: Cell<bool>,
    /// Ends the call that is running.
    halt: RefCell<Option<Halt>>,
    /// What it was opened by.
    request: JsValue,
    losses: RefCell<Losses>,
    id: String,
    name: String,
    info: Info,
    stats: Cell<Stats>,
    storage: Storage,
}

/// How an adapter is to be attached.
#[derive(Deserialize)]
#[serde(default)]
struct AdapterOptions {
    /// By default that of its folder or repository.
    name: Option<String>,
    weight: f32,
}

impl Default for AdapterOptions {
    fn default() -> Self {
        Self { name: None, weight: 1.0 }
    }
}

/// What was generated of an answer before, by another module of the engine.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Begun {
    begun: Vec<u32>,
}

/// An error that ended an answer, with what was `begun` of it: another module can go on.
fn unfinished(error: Error, answer: &Answer) -> JsValue {
    let object = js_error(error);
    if let Ok(begun) = to_js(&answer.generated()) {
        // A new object takes any property.
        drop(Reflect::set(&object, &"begun".into(), &begun));
    }
    object
}

/// Opens a model: `{model, options}` says which and how.
#[wasm_bindgen]
pub async fn open(request: JsValue, progress: Function, signal: AbortSignal) -> JsResult<WebEngine> {
    let report = Report::new(Some(progress));
    let opened = opening::open(&request, &report, &signal, LOSSES).await.map_err(js_error)?;
    Ok(WebEngine::new(request, opened))
}

/// Whether the model of `{model, options}` will run here, by its header and a rehearsal: a [`Preflight`].
#[wasm_bindgen]
pub async fn preflight(request: JsValue, signal: AbortSignal) -> JsResult<JsValue> {
    let foretold = async {
        let (mut source, options) = request::look_at(&request, &signal).await?;
        Preflight::of(&mut source, &options).await
    };
    to_js(&foretold.await.map_err(js_error)?)
}

/// What JS sees of an open model.
#[derive(Serialize)]
struct WebInfo<'a> {
    id: &'a str,
    #[serde(flatten)]
    info: &'a Info,
    name: &'a str,
    #[serde(flatten)]
    storage: &'a Storage,
}

#[wasm_bindgen(js_class = Engine)]
impl WebEngine {
    /// What is known about the model.
    pub fn info(&self) -> JsResult<JsValue> {
        to_js(&WebInfo { id: &self.id, info: &self.info, name: &self.name, storage: &self.storage })
    }

    /// Speed and cost of the last generation.
    pub fn stats(&self) -> JsResult<JsValue> {
        to_js(&self.stats.get())
    }

    /// Generates from `{messages}`, `{text}` or `{ids}`, giving each piece of text to `on_text`. When the graphics device went away
    /// the model is loaded again, which `on_reload` is told of as `open` tells of a load, and the answer goes on.
    pub async fn generate(
        &self,
        prompt: JsValue,
        options: JsValue,
        on_text: Function,
        signal: AbortSignal,
        on_reload: Option<Function>,
    ) -> JsResult<JsValue> {
        let mut engine = self.take()?;
        let generated = self.generated(&mut engine, &prompt, &options, &on_text, &signal, on_reload).await;
        self.stats.set(engine.stats());
        self.give_back(engine);
        to_js(&generated?)
    }

    /// Attaches a LoRA adapter from `{url}`, `{hub}` or `{files}`, with `{name, weight}`; gives all that are attached.
    pub async fn attach_adapter(&self, source: JsValue, options: JsValue, signal: AbortSignal) -> JsResult<JsValue> {
        let attach = async |engine: &mut Engine| {
            let AdapterOptions { name, weight } = from_js(&options)?;
            let mut source = request::adapter(&source, &signal).await?;
            let name = name.unwrap_or_else(|| source.manifest().name.clone());
            engine.attach(&mut source, &name, weight).await
        };
        self.adapting(attach).await
    }

    /// Takes an adapter away again; gives those that are left.
    pub async fn detach_adapter(&self, name: String) -> JsResult<JsValue> {
        self.adapting(async |engine: &mut Engine| engine.detach(&name).await).await
    }

    /// Has an adapter count more or less; gives all that are attached.
    pub async fn set_adapter_weight(&self, name: String, weight: f32) -> JsResult<JsValue> {
        self.adapting(async |engine: &mut Engine| engine.set_adapter_weight(&name, weight).await).await
    }

    /// What each kernel takes to compute `tokens` tokens, or as many as are computed at once, after `position` others. Forgets the
    /// conversation.
    pub async fn profile(&self, tokens: usize, position: usize) -> JsResult<JsValue> {
        let mut engine = self.take()?;
        let profiled =
            self.outliving(&mut engine, None, None, async |engine, _| engine.profile(tokens, position).await);
        let profiled = profiled.await;
        self.give_back(engine);
        to_js(&profiled.map_err(js_error)?)
    }

    /// How fast the adapter is at its best: `{bytes_per_second, flops_per_second}`.
    pub async fn measure_adapter(&self) -> JsResult<JsValue> {
        let mut engine = self.take()?;
        let measured = self.outliving(&mut engine, None, None, async |engine, _| engine.measure_adapter().await).await;
        self.give_back(engine);
        to_js(&measured.map_err(js_error)?)
    }

    /// Number of tokens that a prompt takes.
    pub fn count_tokens(&self, prompt: JsValue) -> JsResult<usize> {
        let engine = self.engine.borrow();
        let counted = match engine.as_ref() {
            Some(engine) => from_js(&prompt).and_then(|prompt| engine.prompt_ids(&prompt)),
            None => Err(self.absent()),
        };
        counted.map(|ids| ids.len()).map_err(js_error)
    }

    /// Stops what runs and frees the device's memory; that of wasm goes with the worker.
    pub fn unload(&self) {
        self.unloaded.set(true);
        if let Some(halt) = self.halt.take() {
            halt.halt();
        }
        self.engine.take();
    }
}

impl WebEngine {
    fn new(request: JsValue, Opened { engine, id, name, storage }: Opened) -> Self {
        Self {
            id,
            name,
            storage,
            request,
            info: engine.info().clone(),
            stats: Cell::new(engine.stats()),
            halt: RefCell::default(),
            losses: RefCell::default(),
            unloaded: Cell::new(false),
            engine: RefCell::new(Some(engine)),
        }
    }

    async fn generated(
        &self,
        engine: &mut Engine,
        prompt: &JsValue,
        options: &JsValue,
        on_text: &Function,
        signal: &AbortSignal,
        on_reload: Option<Function>,
    ) -> JsResult<Generation> {
        let mut answer = self.asked(prompt, options).map_err(js_error)?;
        // What the page does with it is no reason to stop.
        let mut on_text = |text: &str| drop(on_text.call1(&JsValue::NULL, &text.into()));
        let finish_reason = self.outliving(engine, Some(signal), on_reload, async |engine, stop| {
            engine.go_on(&mut answer, &mut on_text, stop).await
        });
        let finish_reason = match finish_reason.await {
            // While the model was loaded again.
            Err(Error::Aborted) => FinishReason::Abort,
            Err(error) => return Err(unfinished(error, &answer)),
            Ok(finish_reason) => finish_reason,
        };
        engine.end(answer, finish_reason, &mut on_text).map_err(js_error)
    }

    /// The answer that is asked for, which may have been begun elsewhere.
    fn asked(&self, prompt: &JsValue, options: &JsValue) -> Result<Answer> {
        let Begun { begun } = from_js(options)?;
        let options: Options = from_js(options)?;
        Ok(Answer::begun(options.request(from_js(prompt)?, &self.info.sampling), begun))
    }

    /// Does some work, on another device when the one before it goes away.
    async fn outliving<T>(
        &self,
        engine: &mut Engine,
        signal: Option<&AbortSignal>,
        on_reload: Option<Function>,
        mut work: impl AsyncFnMut(&mut Engine, &Stop) -> Result<T>,
    ) -> Result<T> {
        let halt = Halt::new()?;
        self.halt.replace(Some(halt.clone()));
        let halting = halt.clone();
        let _watch = signal.map(|signal| AbortWatch::new(signal, move || halting.halt()));
        loop {
            match work(engine, &halt.stop).await {
                Err(Error::DeviceLost { detail }) => {
                    // Whatever the browser still holds for it is of use to others.
                    engine.device_end()();
                    self.losses.borrow_mut().lost(detail, Instant::now())?;
                    self.replace(engine, on_reload.clone(), &halt.signal()).await?;
                    self.losses.borrow_mut().replaced(Instant::now());
                }
                done => return done,
            }
        }
    }

    /// Changes the adapters; gives all that are attached then.
    async fn adapting(&self, change: impl AsyncFnMut(&mut Engine) -> Result<()>) -> JsResult<JsValue> {
        let mut engine = self.take()?;
        let mut change = change;
        let changed = self.outliving(&mut engine, None, None, async |engine, _| change(engine).await).await;
        let adapters = engine.adapters();
        self.give_back(engine);
        changed.map_err(js_error)?;
        to_js(&adapters)
    }

    /// Opens the model once more, in the place of one whose device is gone, with the adapters that were attached to that.
    async fn replace(&self, engine: &mut Engine, on_reload: Option<Function>, signal: &AbortSignal) -> Result<()> {
        let opened = opening::open_again(self.request.clone(), Report::new(on_reload), signal).await?;
        if !self.is_same(&opened) {
            return Err(Error::Changed { url: self.id.clone() });
        }
        let mut other = opened.engine;
        other.adopt_adapters(engine).await.map_err(opening::lost_again)?;
        *engine = other;
        Ok(())
    }

    /// Whether a model is the one that was opened first. What is not kept may have no identity that lasts.
    fn is_same(&self, other: &Opened) -> bool {
        let sizes = |info: &Info| (info.parameters, info.weight_bytes, info.vocab_size);
        // Of a server that tells nothing of versions, an id is the time at which it was asked.
        let is_time = |id: &str| id.rsplit_once('#').is_some_and(|(_, time)| time.parse::<f64>().is_ok());
        let no_identity = is_time(&self.id) && is_time(&other.id);
        self.id == other.id || (no_identity && sizes(&self.info) == sizes(other.engine.info()))
    }

    fn take(&self) -> JsResult<Engine> {
        self.engine.take().ok_or_else(|| js_error(self.absent()))
    }

    fn give_back(&self, engine: Engine) {
        if !self.unloaded.get() {
            self.engine.replace(Some(engine));
        }
    }

    fn absent(&self) -> Error {
        let detail = if self.unloaded.get() { "the model was unloaded" } else { "the model is generating already" };
        Error::BadRequest { detail: detail.into() }
    }
}
