// Loads one model in a wasm of its own and tells what the heap's size was. A heap never shrinks: its size is its peak.
//
// It is given {engine, module, model, adapter, options, ids, foretell}: the address of the engine's folder, which of its modules (WebGPU's
// unless it is named), the model's address, whether there is a graphics adapter, what it is opened with, tokens to go on from, and whether its preflight is made first. Without an adapter the engine gets as far as the tokenizer, before any
// weight.
// It answers {before, after, foretold, info, answer, stored} or {before, after, foretold, error}, sizes in bytes.

self.addEventListener("message", async ({ data: { engine, module = "webgpu", model, adapter, options, ids, foretell } }) => {
  const { default: init, heap_bytes, open, preflight, stored_models } = await import(`${engine}pkg/${module}.js`);
  await init();
  if (!adapter) Object.getPrototypeOf(Reflect.get(navigator, "gpu")).requestAdapter = async () => null;
  const before = heap_bytes();
  const request = { model: { url: model }, options: { device: "webgpu", ...options } };
  /** @type {object | undefined} */
  let foretold;
  const read = () => ({ before, after: heap_bytes(), foretold });
  try {
    const { signal } = new AbortController();
    if (foretell) foretold = await preflight(request, signal);
    const opened = await open(request, () => {}, signal);
    const found = { ...read(), info: opened.info(), stored: await stored_models() };
    const greedy = { temperature: 0, max_tokens: 8, ignore_eos: true };
    const answer = ids && (await opened.generate({ ids }, greedy, () => {}, signal));
    self.postMessage({ ...found, answer: answer?.ids });
  } catch (thrown) {
    const error = /** @type {{code: string, message: string}} */ (thrown);
    self.postMessage({ ...read(), error: { code: error.code, message: error.message } });
  }
});
