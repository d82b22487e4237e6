// engine.js, as a developer calls it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { launch, serveApp, Visitor } from "./support/page.js";
import { open } from "./support/setup.js";

const [browser, app] = await open(launch(), serveApp());
const visitor = await Visitor.arrive(browser);
await visitor.page.goto(`${app.origin}/icon.svg`);
await visitor.page.goto(`${app.origin}/models.json`);

/**
 * Runs `body` in the page, with the module as `api` and a loaded model as `model`.
 * @param {string} body
 * @returns {Promise<any>}
 */
function run(body) {
  return visitor.page.evaluate(`(async () => {
    const api = await import("/engine.js");
    const ask = (content) => ({ messages: [{ role: "user", content }] });
    const model = await api.load({ model: { url: "models/api.gguf" } });
    try { ${body} } finally { model.unload(); }
  })()`);
}

test("generate yields the text, and keeps the result", async () => {
  const { text, result } = await run(`let text = "";
    for await (const piece of model.generate(ask("say: hello there"), { temperature: 0 })) text += piece;
    return { text, result: model.lastResult };`);
  assert.equal(text, "hello there");
  assert.equal(result.text, text);
  assert.equal(result.finish_reason, "stop");
});

test("a model is named by its address alone, relative to the page", async () => {
  const ids = await run(`const other = await api.load({ model: "models/other.gguf", store: false });
    other.unload();
    return [other.info.id, model.info.id];`);
  assert.deepEqual(ids, [`${app.origin}/models/other.gguf`, `${app.origin}/models/api.gguf`]);
});

test("a signal ends the loop without an error, and leaving the loop stops the engine", async () => {
  const reasons = await run(`const reasons = [];
    const stop = new AbortController();
    for await (const _ of model.generate(ask("long"), { signal: stop.signal })) stop.abort();
    reasons.push(model.lastResult.finish_reason);
    for await (const _ of model.generate(ask("long"))) break;
    reasons.push(model.lastResult.finish_reason);
    for await (const _ of model.generate(ask("long"), { signal: AbortSignal.abort() }));
    reasons.push(model.lastResult.finish_reason);
    return reasons;`);
  assert.deepEqual(reasons, ["abort", "abort", "abort"]);
});

test("calls at the same time wait for each other", async () => {
  const all = await run(`const collect = async (prompt) => {
      let text = "";
      for await (const piece of model.generate(prompt)) text += piece;
      return text;
    };
    return await Promise.all([collect(ask("say: one")), collect(ask("say: two")), model.countTokens(ask("a b c"))]);`);
  assert.deepEqual(all, ["one", "two", 3]);
});

test("adapters are named, weighed and listed; an address is a folder's, relative to the page", async () => {
  const [attached, weighed, code, left] = await run(`await model.attachAdapter("adapters/one?x");
    const attached = await model.attachAdapter({ hub: "owner/two" }, { name: "two", weight: 0.5 });
    const weighed = await model.setAdapterWeight("two", -1);
    const code = await model.attachAdapter("broken").catch((error) => error.code);
    await model.detachAdapter(attached[0].name);
    return [attached, weighed, code, model.adapters];`);
  const two = { name: "two", weight: -1, parameters: 1000 };
  assert.deepEqual(attached, [{ name: `${app.origin}/adapters/one/?x`, weight: 1, parameters: 1000 }, { ...two, weight: 0.5 }]);
  assert.deepEqual([weighed[1], code, left], [two, "weights/adapter", [two]]);
});

test("an answer whose device went away goes on, and its reload is told", async () => {
  const { text, phases } = await run(`let text = "";
    const phases = [];
    const onReload = ({ phase }) => phases.push(phase);
    for await (const piece of model.generate(ask("lose: The llama hums."), { onReload })) text += piece;
    return { text, phases };`);
  assert.equal(text, "The llama hums.");
  assert.deepEqual(phases, ["read", "compile"]);
});

test("errors carry code, message and advice", async () => {
  const error = await run(`try {
      for await (const _ of model.generate(ask("fail: gpu/lost")));
    } catch ({ name, code, message, advice }) { return { name, code, message, advice }; }`);
  assert.deepEqual(error, { name: "EngineError", code: "gpu/lost", message: "The graphics device was lost: a test says so.", advice: "Do what a test would do." });
});

test("an unloaded model refuses, and fails what is running", async () => {
  const codes = await run(`const running = model.generate(ask("long"));
    await running.next();
    model.unload();
    const code = (promise) => promise.then(() => "none", (error) => error.code);
    return [await code((async () => { for await (const _ of running); })()), await code(model.countTokens(ask("x")))];`);
  assert.deepEqual(codes, ["engine/unloaded", "engine/unloaded"]);
});

test("a load reports progress and is cancelled by its signal", async () => {
  const { phases, code } = await run(`const stop = new AbortController();
    const phases = [];
    const onProgress = ({ phase, done }) => { phases.push(phase); if (done > 1e7) stop.abort(); };
    const code = await api.load({ model: { url: "models/x.gguf?slow" }, onProgress, signal: stop.signal }).then(() => "none", (error) => error.code);
    return { phases, code };`);
  assert.equal(code, "aborted");
  assert.equal(phases[0], "download");
});

test("a cancelled load keeps what has come, and says so in its list", async () => {
  const { model, phases } = await run(`const [{ bytes, total, complete, url }] = (await api.storedModels()).filter(({ name }) => name === "x");
    const phases = new Set();
    (await api.load({ model: url, onProgress: ({ phase }) => phases.add(phase) })).unload();
    return { model: { total, complete, part: bytes > 0 && bytes < total }, phases: [...phases] };`);
  assert.deepEqual(model, { total: 98_362_432, complete: false, part: true });
  assert.deepEqual(phases, ["read", "download", "compile"]);
});

test("a stored model is verified and exported", async () => {
  const { found, files, steps } = await run(`let steps = 0;
    const onProgress = ({ done, total }) => (steps += done <= total);
    const files = await api.exportModel(model.info.id, { onProgress });
    const texts = files.map(async (file) => [file.name, await file.text()]);
    return { found: await api.verifyModel(model.info.id), files: await Promise.all(texts), steps };`);
  assert.deepEqual(found, { chunks: 24, damaged: [], repaired: 0 });
  assert.deepEqual(files, [["api.gguf", "bytes of api.gguf"]]);
  assert.ok(steps > 1);
});

test("verifying ends when its signal says so", async () => {
  const code = await run(`const id = location.origin + "/models/api.gguf?stuck";
    const stop = new AbortController();
    return api.verifyModel(id, { signal: stop.signal, onProgress: () => stop.abort() }).then(() => "none", (error) => error.code);`);
  assert.equal(code, "aborted");
});

test("storage tells its figures, and is undefined where nothing can be asked", async () => {
  const [figures, kept, none] = await run(`const figures = await api.storage();
    const kept = await api.keepStorage();
    Object.defineProperty(navigator, "storage", { value: undefined, configurable: true });
    const none = [await api.storage(), await api.keepStorage()];
    delete navigator.storage;
    return [figures, kept, none];`);
  assert.ok(figures.usage > 0 && figures.quota > figures.usage);
  assert.equal(typeof figures.persisted, "boolean");
  assert.equal(typeof kept, "boolean");
  assert.deepEqual(none, [{ usage: undefined, quota: undefined, persisted: false }, false]);
});

test("stored models are listed and deleted", async () => {
  const lists = await run(`const before = await api.storedModels();
    for (const { id } of before) await api.deleteModel(id);
    return [before.length, (await api.storedModels()).length];`);
  assert.deepEqual(lists, [2, 0]);
});
