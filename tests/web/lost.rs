//! The graphics device goes away while a model is open, and the model is there again.

use js_sys::{Array, Function, Object, Reflect, Uint8Array};
use pagellama::web::engine::{WebEngine, open};
use pagellama::web::manage::delete_model;
use serde_json::{Value, json};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_test::wasm_bindgen_test;
use web_sys::{AbortController, Blob, Url};

use super::engine::{STORY, file, from_js, js, keep_devices, nothing, picked, run, signal, thrown};

async fn opened(options: &Value) -> WebEngine {
    keep_devices();
    open(picked(&[file("lost.gguf", STORY)], options), nothing(), signal()).await.unwrap()
}

fn unstored() -> Value {
    json!({ "store": false, "tune": false })
}

/// What was told of an answer: pieces of text, and progress of what was loaded.
struct Told {
    result: Result<Value, JsValue>,
    text: String,
    progress: Value,
}

/// An answer whose device is destroyed when so many pieces of text are there, or before there is one.
async fn answered(engine: &WebEngine, options: &Value, losses: &[usize]) -> Told {
    let (pieces, progress) = (Array::new(), Array::new());
    let on_text = Function::new_with_args(
        "losses, text",
        "this.push(text);
         if (losses.includes(this.length)) self.devices.at(-1).destroy();",
    );
    let losses = js(&json!(losses));
    if Array::from(&losses).includes(&0.into(), 0) {
        run("self.devices.at(-1).destroy()");
    }
    let on_progress = Function::new_with_args("progress", "this.push(progress)").bind0(&progress);
    let prompt = js(&json!({ "text": "Once upon a time" }));
    let on_text: Function = on_text.bind1(&pieces, &losses).unchecked_into();
    let result = engine.generate(prompt, js(options), on_text, signal(), Some(on_progress)).await;
    let result = result.map(|result| from_js(&result));
    Told { result, text: String::from(pieces.join("")), progress: from_js(&progress) }
}

fn assert_same(told: &Told, whole: &Told, losses: &[usize]) {
    let (result, expected) = (told.result.as_ref().unwrap(), whole.result.as_ref().unwrap());
    for name in ["text", "ids", "finish_reason", "usage"] {
        assert_eq!(result[name], expected[name], "{name}, lost at {losses:?}");
    }
    assert_eq!(told.text, whole.text, "nothing is given out twice: lost at {losses:?}");
}

#[wasm_bindgen_test]
async fn an_answer_outlives_its_device_at_several_moments() {
    let greedy = json!({ "temperature": 0, "max_tokens": 50, "ignore_eos": true });
    let sampled = json!({ "temperature": 1, "top_p": 0.9, "repetition_penalty": 1.2, "seed": 5, "max_tokens": 50 });
    let mut id = String::new();
    for (options, moments) in [(greedy, &[0, 17][..]), (sampled, &[1, 2, 40])] {
        let engine = opened(&json!({ "tune": false })).await;
        let whole = answered(&engine, &options, &[]).await;
        assert_eq!(whole.progress, json!([]));
        engine.unload();
        for &moment in moments {
            let engine = opened(&json!({ "tune": false })).await;
            let told = answered(&engine, &options, &[moment]).await;
            assert_same(&told, &whole, &[moment]);
            let reports = told.progress.as_array().unwrap();
            assert!(reports.iter().all(|report| report["phase"] != "download"), "it comes from the store");
            let last = reports.last().unwrap();
            assert_eq!((&last["phase"], &last["done"]), (&json!("compile"), &json!(STORY.len())));
            assert_eq!(run("return self.devices.length"), 2);
            id = from_js(&engine.info().unwrap())["id"].as_str().unwrap().to_owned();
            engine.unload();
        }
    }
    delete_model(id).await.unwrap();
}

#[wasm_bindgen_test]
async fn an_answer_outlives_a_device_that_goes_with_what_was_mapped() {
    let options = json!({ "temperature": 0, "max_tokens": 20 });
    let engine = opened(&unstored()).await;
    let whole = answered(&engine, &options, &[]).await;
    engine.unload();
    let engine = opened(&unstored()).await;
    // When the seventh token is there, before it was read.
    run("const { mapAsync } = GPUBuffer.prototype;
         self.restore = () => { GPUBuffer.prototype.mapAsync = mapAsync };
         let calls = 0;
         GPUBuffer.prototype.mapAsync = function (...range) {
             const mapped = mapAsync.apply(this, range);
             return ++calls === 7 ? mapped.then(() => self.devices.at(-1).destroy()) : mapped;
         }");
    let told = answered(&engine, &options, &[]).await;
    run("self.restore()");
    assert_eq!(run("return self.devices.length"), 2);
    assert_same(&told, &whole, &[7]);
    engine.unload();
}

#[wasm_bindgen_test]
async fn what_is_not_stored_comes_again_from_where_it_came() {
    let options = json!({ "temperature": 0, "max_tokens": 20 });
    let blob = Blob::new_with_u8_array_sequence(&Array::of1(&Uint8Array::from(STORY))).unwrap();
    let url = Url::create_object_url_with_blob(&blob).unwrap();
    let served = js(&json!({ "model": { "url": url }, "options": unstored() }));
    for request in [picked(&[file("lost.gguf", STORY)], &unstored()), served] {
        keep_devices();
        let engine = open(request, nothing(), signal()).await.unwrap();
        let whole = answered(&engine, &options, &[]).await;
        let told = answered(&engine, &options, &[9]).await;
        assert_eq!(told.text, whole.text);
        assert_eq!(told.progress[0]["phase"], "download");
        engine.unload();
    }
}

#[wasm_bindgen_test]
async fn a_second_loss_at_once_is_told_and_the_next_request_tries_again() {
    let options = json!({ "temperature": 0, "max_tokens": 30 });
    let engine = opened(&unstored()).await;
    let whole = answered(&engine, &options, &[]).await;
    let told = answered(&engine, &options, &[4, 12]).await;
    let [code, message, _] = thrown(told.result);
    assert_eq!((&code[..], message.contains("twice within a minute")), ("gpu/lost-again", true), "{message}");
    assert!(whole.text.starts_with(&told.text) && !told.text.is_empty());
    let measured = engine.measure_adapter().await.unwrap();
    assert!(from_js(&measured)["bytes_per_second"].as_f64() > Some(0.0), "any request brings the device back");
    assert_eq!(answered(&engine, &options, &[]).await.text, whole.text);
    engine.unload();
}

/// A function that calls a method of `target` when it is called, whatever with.
fn calling(target: &JsValue, method: &str) -> Function {
    let bound: Object = Reflect::get(target, &method.into()).unwrap().unchecked_into();
    let call = Function::new_with_args("method, target", "return () => method.call(target)");
    call.call2(&JsValue::NULL, &bound, target).unwrap().unchecked_into()
}

#[wasm_bindgen_test]
async fn what_is_loaded_again_can_be_stopped() {
    let options = json!({ "temperature": 0, "max_tokens": 30 });
    let engine = opened(&unstored()).await;
    let whole = answered(&engine, &options, &[]).await;
    let controller = AbortController::new().unwrap();
    let abort = calling(controller.as_ref(), "abort");
    let destroy = Function::new_no_args("self.devices.at(-1).destroy()");
    let prompt = js(&json!({ "text": "Once upon a time" }));
    let stopped = engine.generate(prompt, js(&options), destroy, controller.signal(), Some(abort)).await.unwrap();
    let stopped = from_js(&stopped);
    assert_eq!(stopped["finish_reason"], "abort");
    let text = stopped["text"].as_str().unwrap();
    assert!(!text.is_empty() && whole.text.starts_with(text), "{text:?}");
    // The device is brought back for the next one.
    assert_eq!(answered(&engine, &options, &[]).await.text, whole.text);
    engine.unload();
}
