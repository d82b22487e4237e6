// Graphics devices that go away or never come: the browser's GPU process crashes in the middle of an answer, and the answer is the same.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { launch, serve, serveEngine, Visitor } from "./support/page.js";
import { open } from "./support/setup.js";

const [browser, app, models] = await open(launch(), serveEngine(), serve([fileURLToPath(new URL("../data/gguf", import.meta.url))]));

test("an answer outlives a crash of the GPU process", async () => {
  const visitor = await Visitor.arrive(browser);
  const cdp = await browser.newBrowserCDPSession();
  await visitor.page.exposeFunction("crash", () => cdp.send("Browser.crashGpuProcess"));
  await visitor.page.goto(app.address);
  const url = JSON.stringify(`${models.origin}/stories260k.F16.gguf`);
  const [undisturbed, disturbed, phases] = await visitor.page.evaluate(`(async () => {
    const { load } = await import("./engine.js");
    const model = await load({ model: ${url}, device: "webgpu", tune: false });
    const phases = new Set();
    const answer = async (onText) => {
      let text = "";
      const options = { temperature: 0.8, seed: 3, max_tokens: 400, onReload: ({ phase }) => phases.add(phase) };
      for await (const piece of model.generate({ text: "Once upon a time" }, options)) {
        text += piece;
        onText(text);
      }
      return text;
    };
    const whole = await answer(() => {});
    let crashed = false;
    const again = await answer((text) => {
      if (!crashed && text.length > 40) crashed = !!crash();
    });
    model.unload();
    return [whole, again, [...phases]];
  })()`);
  assert.equal(disturbed, undisturbed);
  assert.deepEqual(phases, ["read", "compile"]);
});

test("after a second crash an answer goes on on the processor, where models run that no device is chosen for", async (t) => {
  // Chromium keeps WebGPU from an origin under which the GPU process crashed.
  const another = await launch();
  t.after(() => another.close());
  const visitor = await Visitor.arrive(another, { serviceWorkers: "block" });
  const cdp = await another.newBrowserCDPSession();
  await visitor.page.exposeFunction("crash", () => cdp.send("Browser.crashGpuProcess"));
  // A software adapter is not taken by itself.
  await visitor.alterDevice(['return "software"', "return undefined"]);
  await visitor.page.goto(app.address);
  const url = JSON.stringify(`${models.origin}/stories260k.F16.gguf`);
  const [undisturbed, disturbed, before, after] = await visitor.page.evaluate(`(async () => {
    const { load } = await import("./engine.js");
    const open = (device) => load({ model: ${url}, device, tune: false, kv: "f32", activations: "f32" });
    const answer = async (model, onText, onReload) => {
      let text = "";
      for await (const piece of model.generate({ text: "Once upon a time" }, { temperature: 0, max_tokens: 400, onReload })) {
        text += piece;
        onText(text);
      }
      return text;
    };
    const processor = await open("cpu");
    const whole = await answer(processor, () => {});
    processor.unload();
    const model = await open("auto");
    const { kind } = model.info.device;
    // The second one when the answer goes on after the first.
    let [crashes, reloads] = [0, 0];
    const onText = (text) => {
      if (text.length > 40 && crashes < 2 && crashes === reloads) crashes += !!crash();
    };
    const again = await answer(model, onText, ({ phase }) => (reloads += phase === "compile"));
    return [whole, again, kind, model.info.device];
  })()`);
  assert.equal(before, "webgpu");
  assert.equal(after.kind, "cpu");
  assert.equal(after.reason, "lost");
  assert.equal(disturbed, undisturbed);
});

/**
 * What a preflight and a load say of the device when device.js, there and in the worker, has other code in some places.
 * @param {import("node:test").TestContext} t
 * @param {[string, string][]} changes
 */
async function chosen(t, changes) {
  // One whose GPU process has not crashed.
  const another = await launch();
  t.after(() => another.close());
  const visitor = await Visitor.arrive(another, { serviceWorkers: "block" });
  await visitor.alterDevice(...changes);
  await visitor.page.goto(app.address);
  const { text, ...devices } = await visitor.page.evaluate(async (url) => {
    const { load, preflight } = await import(`${location.origin}/engine.js`);
    const { adapter, reason: foreseen } = await preflight({ model: { url } });
    const model = await load({ model: { url }, store: false });
    let text = "";
    for await (const piece of model.generate({ text: "Once upon a time" }, { temperature: 0, max_tokens: 8 })) text += piece;
    const { kind, reason } = model.info.device;
    return { foreseen, adapter, kind, reason, text };
  }, `${models.origin}/stories260k.F16.gguf`);
  assert.match(text, /\w+ \w+/);
  return devices;
}

/** What is asked of an adapter's name, and of the time that one without a name takes. */
const NAMED = 'if (fallback || SOFTWARE.test(name)) return "software";';
const MEASURED = 'if (name || !measured) return undefined;';
const FAST = "(await bytesPerSecond(opened).catch(() => 0)) > SLOW";
const REFUSED = 'GPUAdapter.prototype.requestDevice = () => Promise.reject(new DOMException("none left"));';
/** How measuring fails: a device goes away, and has no room. @type {[string, string][]} */
const FAILURES = [
  ["for (let count = 1;", "device.destroy(); for (let count = 1;"],
  ["const READ_BYTES = 1 << 25;", "const READ_BYTES = 2 ** 50;"],
];

/** What is foreseen and what runs on the processor. @param {string} reason */
const processor = (reason) => ({ foreseen: reason, adapter: "processor", kind: "cpu", reason });

test("where an adapter gives no device, models run on the processor", async (t) => {
  assert.deepEqual(await chosen(t, [[NAMED, REFUSED]]), processor("no-adapter"));
  assert.deepEqual(await chosen(t, [[NAMED, REFUSED], [MEASURED, ""]]), processor("no-adapter"));
});

test("an adapter that says nothing of itself is measured, and the processor taken where it is slow", async (t) => {
  const unnamed = /** @type {[string, string][]} */ ([[NAMED, ""], [MEASURED, ""]]);
  assert.deepEqual(await chosen(t, [...unnamed, [FAST, "(await bytesPerSecond(opened)) > Infinity"]]), processor("slow"));
  const { kind, reason } = await chosen(t, [...unnamed, [FAST, "(await bytesPerSecond(opened)) > 0"]]);
  assert.deepEqual({ kind, reason }, { kind: "webgpu", reason: undefined });
  // A device is soon done with nothing.
  for (const fails of FAILURES) assert.deepEqual(await chosen(t, [...unnamed, fails]), processor("slow"), fails[1]);
});
