// Loads one model in a wasm of its own and tells what the heap's size was. A heap never shrinks: its size is its peak.
//
// It is given {engine, model, adapter}: the address of the engine's folder, the model's, and whether there is a graphics
// adapter. Without one the engine gets as far as the tokenizer, before any weight.
// It answers {before, after, info} or {before, after, error}, sizes in bytes.

self.addEventListener("message", async ({ data: { engine, model, adapter } }) => {
  const { default: init, heap_bytes, open } = await import(`${engine}pkg/pagellama.js`);
  await init();
  if (!adapter) Object.getPrototypeOf(Reflect.get(navigator, "gpu")).requestAdapter = async () => null;
  const before = heap_bytes();
  const request = { model: { url: model }, options: { device: "webgpu" } };
  const read = () => ({ before, after: heap_bytes() });
  try {
    const opened = await open(request, () => {}, new AbortController().signal);
    self.postMessage({ ...read(), info: opened.info() });
  } catch (thrown) {
    const error = /** @type {{code: string, message: string}} */ (thrown);
    self.postMessage({ ...read(), error: { code: error.code, message: error.message } });
  }
});
