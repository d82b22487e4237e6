//! Opening a model, again where that helps: while it loads, and when the device of an open one went away.

use std::rc::Rc;

use futures_channel::oneshot;
use futures_util::future::{Either, select};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::spawn_local;
use web_sys::AbortSignal;

use super::abort::AbortWatch;
use super::progress::{Report, Storage};
use super::request;
use super::source::WebSource;
use crate::error::{Error, Result};
use crate::generate::{Engine, OpenOptions};

/// How often a file may change at its source during one load.
const CHANGES: u32 = 2;

/// What came of it.
pub struct Opened {
    /// The open model.
    pub engine: Engine,
    /// Its identity, in the store if it is there.
    pub id: String,
    /// Its name, or its file's.
    pub name: String,
    /// Whether it is kept.
    pub storage: Storage,
}

/// Opens the model that a request of JS asks for, though the graphics device go away so many times.
pub async fn open(request: &JsValue, report: &Rc<Report>, signal: &AbortSignal, losses: u32) -> Result<Opened> {
    let (mut changes, mut refusals, mut lost) = (0, 0, 0);
    loop {
        let (source, options) = request::open(request, signal).await?;
        match attempt(source, options, report, signal).await {
            Ok(opened) => {
                if let Some(choice) = opened.engine.choice() {
                    // Where it cannot be kept, it is measured again.
                    drop(request::keep_choice(request, choice).await);
                }
                return Ok(opened);
            }
            // Begun again with the version that is there now.
            Err(Error::Changed { .. }) if changes < CHANGES => changes += 1,
            // Perhaps damaged on its way; nothing tells which part, so all of it comes once more.
            Err(Error::Digest { part: None, .. }) if refusals < 1 => refusals += 1,
            // The laptop slept while it downloaded: what is stored is read once more, for another device.
            Err(Error::DeviceLost { .. }) if lost < losses && report.keeps() => lost += 1,
            ended => return ended,
        }
    }
}

/// Opens a model whose device was lost from where it came: the store, if it is kept there. An abort is obeyed at once; what was begun
/// ends by itself at its next step, and is freed.
///
/// Errors: those of `open`, with `LostAgain` for another loss.
pub async fn open_again(request: JsValue, report: Rc<Report>, signal: &AbortSignal) -> Result<Opened> {
    let (to, opened) = oneshot::channel();
    let (abort, aborted) = oneshot::channel();
    let mut abort = Some(abort);
    let _watch = AbortWatch::new(signal, move || {
        if let Some(abort) = abort.take() {
            // The load may have ended.
            let _ = abort.send(());
        }
    });
    let signal = signal.clone();
    spawn_local(async move { drop(to.send(open(&request, &report, &signal, 0).await)) });
    match select(opened, aborted).await {
        Either::Left((Ok(opened), _)) => opened.map_err(lost_again),
        Either::Left((Err(_), _)) | Either::Right(_) => Err(Error::Aborted),
    }
}

/// What goes wrong when a model is opened again: a lost device is the second one.
pub fn lost_again(error: Error) -> Error {
    match error {
        Error::DeviceLost { detail } => Error::LostAgain { detail },
        other => other,
    }
}

async fn attempt(
    mut source: WebSource,
    options: OpenOptions,
    report: &Rc<Report>,
    signal: &AbortSignal,
) -> Result<Opened> {
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
    let name = engine.info().name.clone().unwrap_or_else(|| manifest.name.clone());
    Ok(Opened { id: manifest.id.clone(), name, storage: report.storage(), engine })
}
