//! What is foretold of a model, against the buffers that its load really makes in the browser.

use js_sys::Reflect;
use pagellama::web::engine::{open, preflight};
use serde_json::{Value, json};
use wasm_bindgen_test::wasm_bindgen_test;
use web_sys::File;

use super::engine::{file, from_js, nothing, picked, run, signal, tiny_folder};
use super::golden::data;

/// Counts the bytes of buffers that are alive.
const COUNT: &str = "
    const make = GPUDevice.prototype.createBuffer;
    self.bufferBytes = 0;
    self.stopCounting = () => { GPUDevice.prototype.createBuffer = make; };
    GPUDevice.prototype.createBuffer = function (descriptor) {
        const buffer = make.call(this, descriptor);
        self.bufferBytes += descriptor.size;
        const destroy = buffer.destroy;
        buffer.destroy = function () {
            buffer.destroy = () => {};
            self.bufferBytes -= descriptor.size;
            return destroy.call(buffer);
        };
        return buffer;
    };";

fn buffer_bytes() -> f64 {
    Reflect::get(&js_sys::global(), &"bufferBytes".into()).unwrap().as_f64().unwrap()
}

async fn foretold(files: &[File], options: &Value) -> Value {
    from_js(&preflight(picked(files, options), signal()).await.unwrap())
}

#[wasm_bindgen_test]
async fn memory_is_foretold() {
    let mixed = [file("mixed.gguf", data!("gguf/tiny-llama2-256.Q4_K_M-mix.gguf"))];
    let story = [file("story.gguf", data!("gguf/stories260k.Q8_0.gguf"))];
    let folder = tiny_folder();
    run(COUNT);
    for files in [&mixed[..], &story, &folder] {
        let longer = files.len() == 1;
        let cases = [(128, "q8", json!("q4_0")), (256, "f16", Value::Null)];
        for (context, kv, quantise) in cases.into_iter().take(1 + usize::from(longer)) {
            let options = json!({ "store": false, "tune": false, "context": context, "kv": kv, "quantise": quantise });
            let before = buffer_bytes();
            let foretold = foretold(files, &options).await;
            assert_eq!(foretold["verdict"]["kind"], "likely_fits");
            assert_eq!((&foretold["context"], buffer_bytes()), (&json!(context), before));
            assert!(foretold["speed"]["decode"].as_f64() > Some(0.0) && foretold["stored_bytes"].as_u64() > Some(0));
            let total: f64 =
                ["weights", "cache", "activations"].iter().filter_map(|part| foretold["memory"][*part].as_f64()).sum();
            let engine = open(picked(files, &options), nothing(), signal()).await.unwrap();
            let taken = buffer_bytes() - before;
            engine.unload();
            assert!((total / taken - 1.0).abs() < 0.05, "{total} foretold, {taken} taken");
        }
    }
    run("self.stopCounting()");
}

/// Bindings of adapters have at most so many bytes until `stopLowering`.
fn lower(most: u64) {
    run(&format!(
        "const of = Object.getOwnPropertyDescriptor(GPUSupportedLimits.prototype, 'maxStorageBufferBindingSize');
         self.stopLowering = () => Object.defineProperty(GPUSupportedLimits.prototype, 'maxStorageBufferBindingSize', of);
         Object.defineProperty(GPUSupportedLimits.prototype, 'maxStorageBufferBindingSize', {{
             ...of, get() {{ return Math.min({most}, of.get.call(this)); }},
         }});"
    ));
}

/// The code of the error with which a load ends, if it does.
async fn refusal(files: &[File], options: &Value) -> Option<String> {
    match open(picked(files, options), nothing(), signal()).await {
        Ok(engine) => {
            engine.unload();
            None
        }
        Err(error) => Reflect::get(&error, &"code".into()).unwrap().as_string(),
    }
}

fn with_context(context: u64) -> Value {
    json!({ "store": false, "tune": false, "context": context })
}

#[wasm_bindgen_test]
async fn verdicts_are_right_where_limits_are_low() {
    let story = [file("story.gguf", data!("gguf/stories260k.Q8_0.gguf"))];
    // 64 bytes of keys for each position of a layer; 64 rows of the widest product take 24 576.
    for (most, kind, context) in
        [(1 << 20, "likely_fits", 512), (64 * 384, "fits_with_context", 384), (8000, "wont_fit", 0)]
    {
        lower(most);
        let told = foretold(&story, &json!({ "store": false, "context": 512 })).await;
        assert_eq!((&told["verdict"]["kind"], told["context"].as_u64()), (&json!(kind), Some(context)), "{told}");
        assert_eq!(refusal(&story, &with_context(512)).await.is_none(), kind == "likely_fits");
        assert!(context == 0 || refusal(&story, &with_context(context)).await.is_none());
        run("self.stopLowering()");
    }
}

/// The device is full when buffers take more than `most` bytes, until `stopFilling`.
fn fill(most: f64) {
    run(&format!(
        "const device = GPUDevice.prototype;
         const {{ createBuffer, pushErrorScope, popErrorScope }} = device;
         const scopes = [];
         device.createBuffer = function (descriptor) {{
             const buffer = createBuffer.call(this, descriptor);
             const memory = scopes.findLast(({{ filter }}) => filter === 'out-of-memory');
             if (self.bufferBytes > {most}) memory.full = true;
             return buffer;
         }};
         device.pushErrorScope = function (filter) {{
             scopes.push({{ filter, full: false }});
             pushErrorScope.call(this, filter);
         }};
         device.popErrorScope = function () {{
             const {{ full }} = scopes.pop();
             return popErrorScope.call(this).then((error) => (full ? new GPUOutOfMemoryError('full') : error));
         }};
         self.stopFilling = () => Object.assign(device, {{ createBuffer, pushErrorScope, popErrorScope }});"
    ));
}

#[wasm_bindgen_test]
async fn verdicts_are_right_where_memory_is_short() {
    let story = [file("story.gguf", data!("gguf/stories260k.Q8_0.gguf"))];
    let of = |told: &Value, part: &str| told["memory"][part].as_f64().unwrap();
    run(COUNT);
    let room = foretold(&story, &with_context(512)).await;
    let (fixed, cache) = (of(&room, "weights") + of(&room, "activations"), of(&room, "cache"));
    let none = "there is no room for even one of its 5 layers";
    // With the context halved, some of the activations go, too.
    for (most, kind, context, because) in [
        (fixed + cache, "likely_fits", 512, ""),
        (fixed + 0.6 * cache, "fits_with_context", 256, ""),
        (fixed + 0.3 * cache, "wont_fit", 256, "and there is less"),
        (0.5 * fixed, "wont_fit", 0, none),
    ] {
        fill(most);
        let told = foretold(&story, &with_context(512)).await;
        let verdict = &told["verdict"];
        assert_eq!((&verdict["kind"], &told["context"]), (&json!(kind), &json!(context)), "{told}");
        assert!(verdict["because"].as_str().unwrap_or_default().contains(because), "{told}");
        let full = (kind != "likely_fits").then_some("gpu/out-of-memory");
        assert_eq!(refusal(&story, &with_context(512)).await.as_deref(), full);
        assert!(kind == "wont_fit" || refusal(&story, &with_context(context)).await.is_none());
        run("self.stopFilling()");
        assert_eq!(buffer_bytes(), 0.0, "everything was freed");
    }
    run("self.stopCounting()");
}
