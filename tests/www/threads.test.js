// Threads on the processor: a page that is isolated has them, and the same tokens come of it; from the engine's own origin and another one.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { launch, serve, serveEngine } from "./support/page.js";
import { NOT_ISOLATED } from "./support/server.js";
import { open } from "./support/setup.js";

/** @import { Page } from "playwright-core" */

const BLANK = { "/": { body: "<!doctype html><title>Threads</title>" } };
const [browser, app, models, isolated, plain] = await open(
  launch(),
  serveEngine(),
  serve([fileURLToPath(new URL("../data/gguf", import.meta.url))]),
  serve([], BLANK),
  serve([], BLANK, NOT_ISOLATED),
);

/**
 * The threads of a model, what it writes, and the bytes that it takes.
 * @param {Page} page
 * @param {number} [threads]
 */
function told(page, threads) {
  return page.evaluate(
    async ([engine, url, threads]) => {
      const { load, preflight } = await import(`${engine}engine.js`);
      const asked = { model: { url }, device: "cpu", store: false, ...(threads ? { threads } : {}) };
      const { speed } = await preflight(asked);
      const model = await load(asked);
      const prompt = { ids: Array.from({ length: 50 }, (_, i) => 3 + ((i * 7) % 400)) };
      for await (const _ of model.generate(prompt, { temperature: 1, seed: 5, max_tokens: 20, ignore_eos: true }));
      const { ids, stats } = model.lastResult;
      model.unload();
      return { threads: model.info.device.threads, ids, memory: stats.host_bytes, timed: speed.decode > 0 };
    },
    /** @type {const} */ ([app.address, `${models.origin}/tiny-llama2.Q4_1.gguf`, threads]),
  );
}

test("threads write the same tokens, one after the other and all at once", async () => {
  const page = await browser.newPage();
  for (const origin of [isolated.origin, app.address]) {
    await page.goto(origin);
    const cores = await page.evaluate(() => navigator.hardwareConcurrency);
    const one = await told(page, 1);
    const all = await told(page);
    assert.deepEqual([one.threads, one.timed, one.ids.length], [1, true, 20]);
    assert.deepEqual([(all.threads ?? 0) > 1, all.timed], [cores > 1, true], `${cores} cores`);
    assert.deepEqual(all.ids, one.ids);
    assert.equal((await told(page, 1000)).threads, cores, "no more than the machine has");
  }
  await page.close();
});

test("a page that is not isolated has one thread", async () => {
  const page = await browser.newPage();
  await page.goto(plain.origin);
  assert.deepEqual([await page.evaluate(() => globalThis.crossOriginIsolated), (await told(page, 2)).threads], [false, 1]);
  await page.close();
});

test("a helper that cannot start is done without", async () => {
  const page = await browser.newPage();
  // What a helper starts from does not come.
  await page.route("**/helper.js", (route) => route.abort());
  await page.goto(isolated.origin);
  assert.equal((await told(page, 2)).threads, 1);
  await page.close();
});

test("a helper that ends in the middle is told, and the next load has another", { timeout: 45_000 }, async (t) => {
  const page = await browser.newPage();
  t.after(() => page.close());
  // The board's bytes come over with it, for each product once.
  const ends = 'let count = 0; const { set } = Uint8Array.prototype; Uint8Array.prototype.set = function (...all) { if (++count === 100) throw new Error("ended"); return set.apply(this, all); };';
  await page.route("**/helper.js", async (route) => {
    const body = `${ends}\n${await (await route.fetch()).text()}`;
    await route.fulfill({ body, headers: { "Content-Type": "text/javascript", "Cross-Origin-Embedder-Policy": "require-corp", "Access-Control-Allow-Origin": "*" } });
  });
  // Of the engine's own origin, Playwright does not get to see what a worker's worker asks for.
  await page.goto(isolated.origin);
  await assert.rejects(told(page, 2), /thread of the engine ended/);
  await page.unroute("**/helper.js");
  assert.equal((await told(page, 2)).threads, 2);
});
