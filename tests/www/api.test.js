// engine.js, as a developer calls it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, serveApp, Visitor } from "./support/page.js";

/** @type {import("playwright-core").Browser} */
let browser;
/** @type {import("./support/server.js").Server} */
let app;
/** @type {Visitor} */
let visitor;

before(async () => {
  [browser, app] = await Promise.all([launch(), serveApp()]);
  visitor = await Visitor.arrive(browser);
  await visitor.page.goto(`${app.origin}/icon.svg`);
  await visitor.page.goto(`${app.origin}/models.json`);
});
after(async () => {
  await browser.close();
  await app.close();
});

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

test("stored models are listed and deleted", async () => {
  const lists = await run(`const before = await api.storedModels();
    for (const { id } of before) await api.deleteModel(id);
    return [before.length, (await api.storedModels()).length];`);
  assert.deepEqual(lists, [1, 0]);
});
