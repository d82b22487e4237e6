//! The exports as the page's worker uses them: open, chat, stop, unload, and what is thrown.

use std::rc::Rc;

use futures_channel::oneshot;
use js_sys::{Array, Function, Object, Promise, Reflect, Uint8Array};
use pagellama::web::engine::{WebEngine, open};
use pagellama::web::manage::{delete_model, stored_models};
use serde_json::{Value, json};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use wasm_bindgen_test::wasm_bindgen_test;
use web_sys::{AbortController, AbortSignal, Blob, File, Url};

use super::golden::data;
use crate::common::{Golden, GoldenStory};

const TINY: &[u8] = data!("gguf/tiny-llama2.Q4_1.gguf");
pub(super) const STORY: &[u8] = data!("gguf/stories260k.F16.gguf");

pub(super) fn signal() -> AbortSignal {
    AbortController::new().unwrap().signal()
}

/// A value of JS from JSON.
pub(super) fn js(value: &Value) -> JsValue {
    js_sys::JSON::parse(&value.to_string()).unwrap()
}

pub(super) fn from_js(value: &JsValue) -> Value {
    serde_json::from_str(&String::from(js_sys::JSON::stringify(value).unwrap())).unwrap()
}

pub(super) fn nothing() -> Function {
    Function::new_no_args("")
}

pub(super) fn run(body: &str) -> JsValue {
    Function::new_no_args(body).call0(&JsValue::NULL).unwrap()
}

pub(super) fn file(name: &str, bytes: &[u8]) -> File {
    File::new_with_u8_array_sequence(&Array::of1(&Uint8Array::from(bytes)), name).unwrap()
}

/// The request to open picked files, without storing them unless asked.
pub(super) fn picked(files: &[File], options: &Value) -> JsValue {
    let request = js(&json!({ "model": {}, "options": options }));
    let model = Reflect::get(&request, &"model".into()).unwrap();
    Reflect::set(&model, &"files".into(), &files.iter().collect::<Array>()).unwrap();
    request
}

pub(super) fn tiny_folder() -> [File; 7] {
    [
        file("config.json", data!("tiny-llama2/config.json")),
        file("tokenizer.json", data!("tiny-llama2/tokenizer.json")),
        file("tokenizer_config.json", data!("tiny-llama2/tokenizer_config.json")),
        file("model.safetensors.index.json", data!("tiny-llama2/model.safetensors.index.json")),
        file("model-00001-of-00003.safetensors", data!("tiny-llama2/model-00001-of-00003.safetensors")),
        file("model-00002-of-00003.safetensors", data!("tiny-llama2/model-00002-of-00003.safetensors")),
        file("model-00003-of-00003.safetensors", data!("tiny-llama2/model-00003-of-00003.safetensors")),
    ]
}

async fn opened(bytes: &[u8]) -> WebEngine {
    let request = picked(&[file("tiny.gguf", bytes)], &json!({ "store": false, "tune": false }));
    open(request, nothing(), signal()).await.unwrap()
}

/// Generates greedily past every end.
async fn generate(engine: &WebEngine, prompt: &Value, tokens: usize) -> Value {
    let options = json!({ "temperature": 0, "ignore_eos": true, "max_tokens": tokens });
    from_js(&engine.generate(js(prompt), js(&options), nothing(), signal(), None).await.unwrap())
}

/// Code, message and advice of what was thrown.
pub(super) fn thrown<T>(result: Result<T, JsValue>) -> [String; 3] {
    let error = result.err().expect("an error");
    assert!(error.is_instance_of::<js_sys::Error>());
    let property = |name: &str| Reflect::get(&error, &name.into()).unwrap().as_string().unwrap();
    let [code, message, advice] = ["code", "message", "advice"].map(property);
    for sentence in [&message, &advice] {
        // One that begins with the name of a file or an address keeps it as it is.
        let first = sentence.split(' ').next().unwrap();
        let begins = first.contains('.') || first.starts_with(char::is_uppercase);
        assert!(begins && sentence.ends_with('.'), "{code}: {sentence:?}");
    }
    [code, message, advice]
}

fn golden() -> Golden {
    serde_json::from_slice(data!("tiny-llama2/golden.json")).unwrap()
}

/// Keeps every device that is opened from now on in `self.devices`.
pub(super) fn keep_devices() {
    run("self.devices = [];
         self.realRequest ??= GPUAdapter.prototype.requestDevice;
         GPUAdapter.prototype.requestDevice = async function (...all) {
             const device = await self.realRequest.apply(this, all);
             self.devices.push(device);
             return device;
         }");
}

/// Why the only device that was kept was lost; waits until it is.
async fn loss() -> String {
    let lost: Promise =
        run("return self.devices.length == 1 ? self.devices[0].lost : Promise.reject()").unchecked_into();
    let lost = JsFuture::from(lost).await.unwrap();
    Reflect::get(&lost, &"reason".into()).unwrap().as_string().unwrap()
}

#[wasm_bindgen_test]
async fn a_picked_file_opens_is_stored_and_opens_again_by_its_id() {
    let reports = Rc::new(std::cell::RefCell::new(Vec::new()));
    let kept = reports.clone();
    let progress = Closure::<dyn FnMut(JsValue)>::new(move |report| kept.borrow_mut().push(from_js(&report)));
    let request = picked(&[file("stored.gguf", TINY)], &json!({}));
    let engine = open(request, progress.as_ref().unchecked_ref::<Function>().clone(), signal()).await.unwrap();
    let last = reports.borrow().last().cloned().unwrap();
    assert_eq!(
        (&last["phase"], &last["done"], &last["total"]),
        (&json!("compile"), &json!(TINY.len()), &json!(TINY.len()))
    );
    assert!(reports.borrow().iter().any(|report| report["phase"] == "download"));

    let info = from_js(&engine.info().unwrap());
    let id = info["id"].as_str().unwrap().to_owned();
    assert_eq!((&info["architecture"], &info["stored"]), (&json!("llama"), &json!(true)));
    assert_eq!((&info["vocab_size"], &info["context"], &info["chat"]), (&json!(512), &json!(256), &json!(true)));
    assert_eq!(info["device"]["kind"], "webgpu");
    assert!(info["device"]["adapter"].is_string() && info["device"]["variants"][0].is_string());
    assert!(info["parameters"].as_u64() > Some(100_000) && info["weight_bytes"].as_u64() > Some(100_000));
    engine.unload();
    drop(engine);

    let find = async || {
        let models = from_js(&stored_models().await.unwrap());
        models.as_array().unwrap().iter().find(|model| model["id"] == id.as_str()).cloned()
    };
    let stored = find().await.unwrap();
    assert_eq!((&stored["complete"], &stored["bytes"]), (&json!(true), &json!(TINY.len())));
    let request = js(&json!({ "model": { "stored": id }, "options": { "kv": "f32", "context": 64 } }));
    let again = open(request.clone(), nothing(), signal()).await.unwrap();
    let info = from_js(&again.info().unwrap());
    assert_eq!((info["id"].as_str(), &info["context"]), (Some(id.as_str()), &json!(64)));
    again.unload();

    delete_model(id.clone()).await.unwrap();
    assert_eq!(find().await, None);
    assert_eq!(thrown(open(request, nothing(), signal()).await)[0], "store/corrupt");
}

#[wasm_bindgen_test]
async fn a_url_generates_what_the_reference_does() {
    let golden: GoldenStory = serde_json::from_slice(data!("stories260k/golden.json")).unwrap();
    let blob = Blob::new_with_u8_array_sequence(&Array::of1(&Uint8Array::from(STORY))).unwrap();
    let url = Url::create_object_url_with_blob(&blob).unwrap();
    let request = js(&json!({ "model": { "url": url }, "options": { "store": false, "device": "webgpu" } }));
    let engine = open(request, nothing(), signal()).await.unwrap();
    let pieces = Array::new();
    let on_text = Function::new_with_args("text", "this.push(text)").bind0(&pieces);
    // As JS writes what is not given.
    let options = run("return {temperature: 0, max_tokens: 100, ignore_eos: undefined, seed: undefined}");
    let prompt = json!({ "text": "Once upon a time" });
    let result = engine.generate(js(&prompt), options, on_text, signal(), None).await.unwrap();
    let result = from_js(&result);
    assert_eq!(result["ids"], json!(golden.greedy[..100]));
    assert_eq!(result["finish_reason"], "length");
    let text = result["text"].as_str().unwrap();
    assert_eq!(String::from(pieces.join("")), text);
    assert!(pieces.length() > 50, "text comes in pieces");
    assert!(golden.full_text.contains(text), "{text:?}");
    let usage = &result["usage"];
    assert_eq!(usage["prompt_tokens"], engine.count_tokens(js(&prompt)).unwrap());
    assert_eq!((&usage["completion_tokens"], &usage["cached_tokens"]), (&json!(100), &json!(0)));
    let stats = &result["stats"];
    for name in ["prefill_tokens_per_second", "decode_tokens_per_second", "time_to_first_token_ms", "gpu_bytes"] {
        assert!(stats[name].as_f64() > Some(0.0), "{name}: {stats}");
    }
    for name in ["submits_per_token", "readbacks_per_token"] {
        assert_eq!(stats[name].as_f64(), Some(1.0), "{name}");
    }
    assert_eq!(&from_js(&engine.stats().unwrap()), stats);
    engine.unload();
}

#[wasm_bindgen_test]
async fn a_picked_folder_chats_and_reuses_what_it_has_seen() {
    let request = picked(&tiny_folder(), &json!({ "store": false, "kv": "f32" }));
    let engine = open(request, nothing(), signal()).await.unwrap();
    let golden: Value = serde_json::from_slice(data!("tiny-llama2/golden.json")).unwrap();
    let chat = &golden["chats"][0];
    let first = json!({ "messages": chat["messages"] });
    assert_eq!(engine.count_tokens(js(&first)).unwrap(), chat["ids"].as_array().unwrap().len());
    let answer = generate(&engine, &first, 5).await;
    assert_eq!(answer["ids"][0], chat["last_logits_top5"][0][0]);

    let again = generate(&engine, &first, 5).await;
    assert_eq!(again["ids"], answer["ids"]);
    assert_eq!(again["usage"]["cached_tokens"], chat["ids"].as_array().unwrap().len() - 1);
    engine.unload();
}

#[wasm_bindgen_test]
async fn a_folder_is_quantised_on_its_way_into_the_store() {
    let load = async |request: JsValue| {
        let engine = open(request, nothing(), signal()).await.unwrap();
        let info = from_js(&engine.info().unwrap());
        let answer = generate(&engine, &json!({ "ids": [1, 260, 270, 280] }), 24).await;
        engine.unload();
        (info, answer["ids"].clone())
    };
    let id = |info: &Value| info["id"].as_str().unwrap().to_owned();
    let (plain, _) = load(picked(&tiny_folder(), &json!({ "tune": false }))).await;
    let asked = json!({ "tune": false, "quantise": "q4_0" });
    let (info, first) = load(picked(&tiny_folder(), &asked)).await;
    assert!(info["weight_bytes"].as_u64() < plain["weight_bytes"].as_u64().map(|bytes| bytes * 3 / 5));
    let models = from_js(&stored_models().await.unwrap());
    let model = models.as_array().unwrap().iter().find(|model| model["id"] == info["id"]).unwrap();
    assert_eq!((&model["recipe"], &model["complete"]), (&json!("q4_0"), &json!(true)));
    assert!(id(&plain) != id(&info) && models.as_array().unwrap().iter().any(|model| model["id"] == plain["id"]));
    // From the store alone.
    let request = js(&json!({ "model": { "stored": id(&info) }, "options": { "tune": false } }));
    assert_eq!(load(request).await.1, first);
    for info in [plain, info] {
        delete_model(id(&info)).await.unwrap();
    }
}

#[wasm_bindgen_test]
async fn picked_adapters_come_and_go() {
    const F16: &[u8] = data!("gguf/tiny-llama2.F16.gguf");
    let request = picked(&[file("base.gguf", F16)], &json!({ "store": false, "kv": "f32", "tune": false }));
    let engine = open(request, nothing(), signal()).await.unwrap();
    let golden: Value = serde_json::from_slice(data!("lora-tiny-llama2/golden.json")).unwrap();
    let prompt = json!({ "ids": golden["prompts"][0]["ids"] });
    let base = generate(&engine, &prompt, 8).await["ids"].clone();
    let adapter = [
        file("adapter_config.json", data!("lora-tiny-llama2/adapter_config.json")),
        file("adapter_model.safetensors", data!("lora-tiny-llama2/adapter_model.safetensors")),
    ];
    let source = Reflect::get(&picked(&adapter, &json!({})), &"model".into()).unwrap();
    let attached = engine.attach_adapter(source.clone(), js(&json!({ "name": "one" })), signal()).await.unwrap();
    assert_eq!(from_js(&attached), json!([{ "name": "one", "weight": 1, "parameters": 5520 }]));
    let adapted = generate(&engine, &prompt, 8).await["ids"].clone();
    assert_eq!(adapted.as_array().unwrap()[..], golden["prompts"][0]["greedy"].as_array().unwrap()[..8]);
    assert_ne!(adapted, base);
    let twice = engine.attach_adapter(source, js(&json!({ "name": "one" })), signal()).await.unwrap_err();
    assert_eq!(Reflect::get(&twice, &"code".into()).unwrap(), "generate/bad-request");
    let weighed = from_js(&engine.set_adapter_weight("one".into(), 0.5).await.unwrap());
    assert_eq!(weighed[0]["weight"], 0.5);
    assert_eq!(from_js(&engine.detach_adapter("one".into()).await.unwrap()), json!([]));
    assert_eq!(generate(&engine, &prompt, 8).await["ids"], base);
    engine.unload();
}

#[wasm_bindgen_test]
async fn kernels_are_measured_once_and_not_at_all_if_that_is_not_wanted() {
    // Of a shape that no other test opens with a store.
    const F16: &[u8] = data!("gguf/tiny-llama2-mha.F16.gguf");
    let device = async |options: Value| {
        let engine = open(picked(&[file("tuned.gguf", F16)], &options), nothing(), signal()).await.unwrap();
        let info = from_js(&engine.info().unwrap());
        engine.unload();
        (info["device"].clone(), info["id"].as_str().unwrap().to_owned())
    };
    let (off, _) = device(json!({ "store": false, "tune": false })).await;
    assert_eq!((&off["variants"], &off["tuning_ms"]), (&json!(["matvec_quads", "matmul_quads"]), &Value::Null));
    let (first, id) = device(json!({})).await;
    assert!(first["tuning_ms"].as_f64().unwrap() > 0.0);
    let (again, _) = device(json!({})).await;
    assert_eq!((&again["variants"], &again["tuning_ms"]), (&first["variants"], &Value::Null));
    let (unkept, _) = device(json!({ "store": false })).await;
    assert!(unkept["tuning_ms"].is_f64(), "nothing is read where nothing is to be stored");
    delete_model(id).await.unwrap();
}

#[wasm_bindgen_test]
async fn activations_are_rounded_only_where_that_is_asked_for() {
    const Q4_0: &[u8] = data!("gguf/tiny-llama2-256.Q4_0.gguf");
    let variants = async |options: Value| {
        let engine = open(picked(&[file("rounded.gguf", Q4_0)], &options), nothing(), signal()).await.unwrap();
        let answer = generate(&engine, &json!({ "ids": [1, 5, 9, 13, 17] }), 4).await;
        assert_eq!(answer["ids"].as_array().unwrap().len(), 4);
        let info = from_js(&engine.info().unwrap());
        engine.unload();
        info["device"]["variants"].clone()
    };
    let exact = variants(json!({ "store": false, "tune": false })).await;
    assert_eq!(exact, json!(["matvec_quads", "matmul_quads"]));
    let rounded = variants(json!({ "store": false, "tune": false, "activations": "int8" })).await;
    assert_eq!(rounded, json!(["matvec_quads", "matmul_quads", "matmul_bytes"]));
}

#[wasm_bindgen_test]
async fn an_abort_ends_the_prompt_at_its_next_chunk() {
    let engine = opened(TINY).await;
    let ids: Vec<u32> = (0..200).map(|i| 3 + i % 400).collect();
    let controller = AbortController::new().unwrap();
    let count = Function::new_with_args(
        "controller",
        "const real = GPUQueue.prototype.submit;
         self.submits = 0;
         self.stopCounting = () => { GPUQueue.prototype.submit = real; return self.submits; };
         GPUQueue.prototype.submit = function (...all) {
             if (++self.submits == 2) controller.abort();
             return real.apply(this, all);
         }",
    );
    count.call1(&JsValue::NULL, &controller).unwrap();
    let options = js(&json!({ "temperature": 0 }));
    let result =
        engine.generate(js(&json!({ "ids": ids })), options, nothing(), controller.signal(), None).await.unwrap();
    assert_eq!(run("return self.stopCounting()"), 2);
    let result = from_js(&result);
    assert_eq!((&result["finish_reason"], &result["ids"], &result["text"]), (&json!("abort"), &json!([]), &json!("")));

    // What was computed until then is of use, and right.
    let golden = golden();
    let prompt = &golden.prompts[2];
    let after = generate(&engine, &json!({ "ids": ids[..70] }), 1).await;
    assert_eq!(after["usage"]["cached_tokens"], 64);
    assert_eq!(after["ids"], generate(&opened(TINY).await, &json!({ "ids": ids[..70] }), 1).await["ids"]);
    assert_eq!(generate(&engine, &json!({ "ids": prompt.ids }), 3).await["finish_reason"], "length");
    engine.unload();
}

#[wasm_bindgen_test]
async fn an_abort_ends_an_answer_at_its_next_token() {
    let engine = opened(STORY).await;
    let controller = AbortController::new().unwrap();
    let on_text =
        Function::new_with_args("text", "this.count = (this.count ?? 0) + 1; if (this.count == 3) this.abort()");
    // Not the controller itself, so that what is counted stays the test's own.
    let target: Object = run("return {}").unchecked_into();
    let abort = Function::new_with_args("controller", "return () => controller.abort()");
    Reflect::set(&target, &"abort".into(), &abort.call1(&JsValue::NULL, &controller).unwrap()).unwrap();
    let prompt = json!({ "text": "Once upon a time" });
    let options = js(&json!({ "temperature": 0, "max_tokens": 50 }));
    let stopped =
        engine.generate(js(&prompt), options, on_text.bind0(&target), controller.signal(), None).await.unwrap();
    let stopped = from_js(&stopped);
    assert_eq!(stopped["finish_reason"], "abort");
    let ids = stopped["ids"].as_array().unwrap();
    assert!((3..8).contains(&ids.len()), "{ids:?}");

    let whole = generate(&engine, &prompt, 20).await;
    assert_eq!(&whole["ids"].as_array().unwrap()[..ids.len()], ids);
    let signal = AbortSignal::abort();
    let none = engine.generate(js(&prompt), js(&json!({})), nothing(), signal, None).await.unwrap();
    assert_eq!(from_js(&none)["finish_reason"], "abort");
    engine.unload();
}

#[wasm_bindgen_test]
async fn an_abort_ends_the_opening() {
    let controller = AbortController::new().unwrap();
    let progress = Function::new_with_args("report", "this()");
    let abort = Function::new_with_args("controller", "return () => controller.abort()");
    let abort = abort.call1(&JsValue::NULL, &controller).unwrap();
    let request = picked(&[file("stopped.gguf", TINY)], &json!({}));
    let error = thrown(open(request, progress.bind0(&abort), controller.signal()).await);
    assert_eq!(error[0], "aborted");
    let models = from_js(&stored_models().await.unwrap());
    let rest = models.as_array().unwrap().iter().find(|model| model["name"] == "stopped.gguf").unwrap();
    assert_eq!(rest["complete"], false, "what came stays, to go on from");
    delete_model(rest["id"].as_str().unwrap().to_owned()).await.unwrap();
}

#[wasm_bindgen_test]
async fn a_load_outlives_its_device() {
    keep_devices();
    // The first device is gone as soon as it is there, as after a sleep.
    run("const request = GPUAdapter.prototype.requestDevice;
         GPUAdapter.prototype.requestDevice = async function (...all) {
             const device = await request.apply(this, all);
             if (self.devices.length === 1) {
                 const lost = Promise.resolve({reason: 'unknown', message: 'asleep'});
                 Object.defineProperty(device, 'lost', {value: lost});
                 device.destroy();
             }
             return device;
         }");
    let lost = open(picked(&[file("lost.gguf", TINY)], &json!({ "store": false })), nothing(), signal()).await;
    run("self.devices = []");
    let engine = open(picked(&[file("lost.gguf", TINY)], &json!({})), nothing(), signal()).await;
    let devices = run("GPUAdapter.prototype.requestDevice = self.realRequest; return self.devices.length");
    assert_eq!(thrown(lost)[0], "gpu/lost", "nothing was stored to go on from");
    let engine = engine.unwrap();
    assert_eq!(devices.as_f64(), Some(2.0));
    engine.unload();
    delete_model(from_js(&engine.info().unwrap())["id"].as_str().unwrap().to_owned()).await.unwrap();
}

#[wasm_bindgen_test]
async fn unloading_destroys_the_device_and_loading_again_works() {
    keep_devices();
    let engine = opened(TINY).await;
    engine.unload();
    assert_eq!(loss().await, "destroyed");
    let options = js(&json!({}));
    let [code, message, _] =
        thrown(engine.generate(js(&json!({ "ids": [1] })), options, nothing(), signal(), None).await);
    assert_eq!((&code[..], message.contains("unloaded")), ("generate/bad-request", true), "{message}");
    assert_eq!(thrown(engine.count_tokens(js(&json!({ "ids": [1] }))))[0], "generate/bad-request");
    engine.unload();

    keep_devices();
    let engine = opened(TINY).await;
    assert_eq!(generate(&engine, &json!({ "ids": [1, 2] }), 2).await["finish_reason"], "length");
    // As `free()` does.
    drop(engine);
    assert_eq!(loss().await, "destroyed");
}

#[wasm_bindgen_test]
async fn unloading_ends_an_answer() {
    keep_devices();
    let engine = Rc::new(opened(STORY).await);
    let (done, answer) = oneshot::channel();
    let (started, first) = oneshot::channel();
    let mut started = Some(started);
    let on_text = Closure::<dyn FnMut(JsValue)>::new(move |_| {
        if let Some(started) = started.take() {
            started.send(()).unwrap();
        }
    });
    let running = engine.clone();
    let to: Function = on_text.as_ref().unchecked_ref::<Function>().clone();
    spawn_local(async move {
        let options = js(&json!({ "temperature": 0 }));
        let prompt = js(&json!({ "text": "Once upon a time" }));
        drop(done.send(running.generate(prompt, options, to, signal(), None).await));
    });
    first.await.unwrap();
    let second = engine.generate(js(&json!({ "ids": [1] })), js(&json!({})), nothing(), signal(), None).await;
    let [code, message, _] = thrown(second);
    assert_eq!((&code[..], message.contains("already")), ("generate/bad-request", true), "{message}");
    engine.unload();
    assert_eq!(from_js(&answer.await.unwrap().unwrap())["finish_reason"], "abort");
    assert_eq!(loss().await, "destroyed");
}

#[wasm_bindgen_test]
async fn what_goes_wrong_is_thrown_with_what_to_do() {
    let open_code = async |request: JsValue| thrown(open(request, nothing(), signal()).await)[0].clone();
    let options = json!({ "store": false });
    assert_eq!(open_code(picked(&[file("photo.jpg", b"x")], &options)).await, "weights/not-a-model");
    assert_eq!(open_code(picked(&[file("x.gguf", b"not one")], &options)).await, "weights/not-a-model");
    assert_eq!(open_code(picked(&[file("cut.gguf", &TINY[..90_000])], &options)).await, "net/truncated");
    assert_eq!(open_code(picked(&[file("a.gguf", TINY)], &json!({ "kv": "q3" }))).await, "generate/bad-request");
    let long = json!({ "store": false, "context": 257 });
    assert_eq!(open_code(picked(&[file("a.gguf", TINY)], &long)).await, "generate/bad-request");
    assert_eq!(open_code(JsValue::UNDEFINED).await, "generate/bad-request");
    let gone = json!({ "model": { "url": "/gone/" }, "options": { "store": false } });
    assert_eq!(open_code(js(&gone)).await, "weights/missing-file");

    let engine = opened(TINY).await;
    let code = async |prompt: Value, options: Value| {
        thrown(engine.generate(js(&prompt), js(&options), nothing(), signal(), None).await)[0].clone()
    };
    assert_eq!(code(json!({ "ids": vec![3; 257] }), json!({})).await, "generate/context-full");
    assert_eq!(code(json!({ "ids": [] }), json!({})).await, "generate/bad-request");
    assert_eq!(code(json!({ "ids": [512] }), json!({})).await, "generate/bad-request");
    assert_eq!(code(json!({}), json!({})).await, "generate/bad-request");
    assert_eq!(code(json!({ "ids": [1] }), json!({ "temperature": -1 })).await, "generate/bad-request");
    let twice = json!([{ "role": "user", "content": "a" }, { "role": "user", "content": "b" }]);
    assert_eq!(code(json!({ "messages": twice }), json!({})).await, "text/template");
    // None of it is the end of the engine.
    assert_eq!(generate(&engine, &json!({ "ids": [1] }), 2).await["finish_reason"], "length");
    engine.unload();
}
