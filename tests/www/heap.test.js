// How large the wasm heap grows while a model loads on the GPU road: a few chunks and the tokenizer, whatever the model's size.

import assert from "node:assert/strict";
import { test } from "node:test";
import { loadAlone } from "./support/heap.js";
import { launch, serveBlank, serveEngine, serveMadeModels } from "./support/page.js";
import { open } from "./support/setup.js";

/** @import { Heap } from "./support/heap.js" */

/** A chunk of a model's file, as it is downloaded and stored. Bytes. */
const CHUNK = 4 * 2 ** 20;
const MB = 2 ** 20;

const [browser, app, models, site] = await open(launch(), serveEngine(), serveMadeModels(), serveBlank());
const page = await browser.newPage();
await page.goto(site.origin);

/**
 * Loads a model in a worker of its own.
 * @param {string} model its address
 * @param {{adapter?: boolean}} [options] whether there is a graphics adapter
 * @returns {Promise<Heap>}
 */
function load(model, { adapter = true } = {}) {
  return loadAlone(page, { engine: app.address, model, adapter });
}

test("loading takes three chunks and the tokenizer at most, as much for 98 MB as for 1 GB", async (t) => {
  const list = await (await fetch(`${app.address}models.json`)).json();
  const addresses = [new URL(list.default.url, app.address).href, `${models.origin}/synthetic-1gb.gguf`];
  const rests = [];
  for (const address of addresses) {
    const alone = await load(address, { adapter: false });
    assert.equal(alone.error?.code, "gpu/no-adapter");
    // The chunk that held the file's header has been in the heap by then.
    const tokenizer = Math.max(0, alone.after - alone.before - CHUNK);
    const runs = { download: await load(address), "from the store": await load(address) };
    for (const [name, { before, after, info, error }] of Object.entries(runs)) {
      assert.equal(info?.device.kind, "webgpu", error?.message);
      const rest = after - before - tokenizer;
      const figures = `${info.name}, ${(info.weight_bytes / 1e6).toFixed(0)} MB, ${name}: heap ${mb(before)}, then ${mb(after)}; tokenizer ${mb(tokenizer)}, all else ${mb(rest)}`;
      t.diagnostic(figures);
      assert.ok(rest <= 3 * CHUNK, figures);
      rests.push(rest);
    }
  }
  assert.ok(Math.max(...rests) - Math.min(...rests) <= 8 * MB, rests.map(mb).join(", "));
});

/** @param {number} bytes */
function mb(bytes) {
  return `${(bytes / MB).toFixed(1)} MiB`;
}
