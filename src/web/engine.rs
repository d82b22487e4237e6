//! The engine as JS sees it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use js_sys::Function;
use serde::{Deserialize, Serialize};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::AbortSignal;

use super::progress::{Report, Storage};
use super::request::{self, from_js};
use super::source::WebSource;
use super::{JsResult, js_error, to_js};
use crate::error::{Error, Result};
use crate::generate::preflight::Preflight;
use crate::generate::{AdapterInfo, Engine, Generation, Info, OpenOptions, Options, Stats, Stop};

/// How often a file may change at its source during one load.
const CHANGES: u32 = 2;
/// How often the graphics device may go away during one load.
const LOSSES: u32 = 3;

/// A model that is open.
#[wasm_bindgen(js_name = Engine)]
pub struct WebEngine {
    /// Not here while it generates, nor once it is unloaded.
    engine: RefCell<Option<Engine>>,
    unloaded: Cell<bool>,
    /// Ends the generation that is running.
    stop: RefCell<Stop>,
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

/// Opens a model: `{model, options}` says which and how.
#[wasm_bindgen]
pub async fn open(request: JsValue, progress: Function, signal: AbortSignal) -> JsResult<WebEngine> {
    opened(&request, progress, &signal).await.map_err(js_error)
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

async fn opened(request: &JsValue, progress: Function, signal: &AbortSignal) -> Result<WebEngine> {
    let report = Report::new(progress);
    let (mut changes, mut refusals, mut losses) = (0, 0, 0);
    loop {
        let (source, options) = request::open(request, signal).await?;
        match attempt(source, options, &report, signal).await {
            Ok(engine) => {
                engine.keep_choice(request).await;
                return Ok(engine);
            }
            // Begun again with the version that is there now.
            Err(Error::Changed { .. }) if changes < CHANGES => changes += 1,
            // Perhaps damaged on its way; nothing tells which part, so all of it comes once more.
            Err(Error::Digest { part: None, .. }) if refusals < 1 => refusals += 1,
            // The laptop slept while it downloaded: what is stored is read once more, for another device.
            Err(Error::DeviceLost { .. }) if losses < LOSSES && report.keeps() => losses += 1,
            ended => return ended,
        }
    }
}

async fn attempt(
    mut source: WebSource,
    options: OpenOptions,
    report: &Rc<Report>,
    signal: &AbortSignal,
) -> Result<WebEngine> {
    report.begin(&source);
    let mut go_on = |progress| {
        report.take(progress);
        !signal.aborted()
    };
    let engine = match Engine::open(&mut source, options, &mut go_on).await {
        Ok(engine) => source.finish().await.map(|()| engine),
        // With all weights read, the copy is good: another context or a freer device may do.
        Err(error) if report.is_read() => {
            drop(source.finish().await);
            return Err(error);
        }
        Err(error) => Err(error),
    };
    let engine = match engine {
        Ok(engine) => engine,
        Err(error) => {
            source.abandon(&error).await;
            return Err(error);
        }
    };
    let manifest = source.manifest();
    let info = engine.info().clone();
    Ok(WebEngine {
        id: manifest.id.clone(),
        name: info.name.clone().unwrap_or_else(|| manifest.name.clone()),
        storage: report.storage(),
        info,
        stats: Cell::new(engine.stats()),
        stop: RefCell::default(),
        unloaded: Cell::new(false),
        engine: RefCell::new(Some(engine)),
    })
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

    /// Generates from `{messages}`, `{text}` or `{ids}`, giving each piece of text to `on_text`.
    pub async fn generate(
        &self,
        prompt: JsValue,
        options: JsValue,
        on_text: Function,
        signal: AbortSignal,
    ) -> JsResult<JsValue> {
        let mut engine = self.engine.take().ok_or_else(|| js_error(self.absent()))?;
        let stop = Stop::default();
        self.stop.replace(stop.clone());
        let generated = {
            let _watch = AbortWatch::new(&signal, stop.clone());
            generate(&mut engine, &prompt, &options, &on_text, &stop).await
        };
        self.stats.set(engine.stats());
        self.give_back(engine);
        to_js(&generated.map_err(js_error)?)
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
        let mut engine = self.engine.take().ok_or_else(|| js_error(self.absent()))?;
        let profiled = engine.profile(tokens, position).await;
        self.give_back(engine);
        to_js(&profiled.map_err(js_error)?)
    }

    /// How fast the adapter is at its best: `{bytes_per_second, flops_per_second}`.
    pub async fn measure_adapter(&self) -> JsResult<JsValue> {
        let engine = self.engine.take().ok_or_else(|| js_error(self.absent()))?;
        let measured = engine.measure_adapter().await;
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
        self.stop.borrow().stop();
        self.engine.take();
    }

    /// Keeps the kernels that were measured for the next load.
    async fn keep_choice(&self, request: &JsValue) {
        let choice = self.engine.borrow().as_ref().and_then(|engine| engine.choice().cloned());
        if let Some(choice) = choice {
            // Where it cannot be kept, it is measured again.
            drop(request::keep_choice(request, &choice).await);
        }
    }

    /// Changes the adapters while nothing else runs.
    async fn adapting(&self, change: impl AsyncFnOnce(&mut Engine) -> Result<()>) -> JsResult<JsValue> {
        let mut engine = self.engine.take().ok_or_else(|| js_error(self.absent()))?;
        let changed = change(&mut engine).await;
        let adapters: Vec<AdapterInfo> = engine.adapters();
        self.give_back(engine);
        changed.map_err(js_error)?;
        to_js(&adapters)
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

async fn generate(
    engine: &mut Engine,
    prompt: &JsValue,
    options: &JsValue,
    on_text: &Function,
    stop: &Stop,
) -> Result<Generation> {
    let options: Options = from_js(options)?;
    let request = options.request(from_js(prompt)?, &engine.info().sampling);
    // What the page does with it is no reason to stop.
    let mut on_text = |text: &str| drop(on_text.call1(&JsValue::NULL, &text.into()));
    engine.generate(&request, &mut on_text, stop).await
}

/// Carries a signal's abort over to a [`Stop`] until it is dropped.
struct AbortWatch<'a> {
    signal: &'a AbortSignal,
    listener: Closure<dyn FnMut()>,
}

impl<'a> AbortWatch<'a> {
    fn new(signal: &'a AbortSignal, stop: Stop) -> Self {
        if signal.aborted() {
            stop.stop();
        }
        let listener = Closure::new(move || stop.stop());
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
