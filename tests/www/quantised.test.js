// A Hugging Face folder of F16 shards that is turned into 4 bits on its way into the store: what it takes there and in the wasm heap,
// and that the second load makes the same text of what is stored alone. With PAGELLAMA_FULL the folder is TinyLlama's shape, 2.2 GB.

import assert from "node:assert/strict";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { loadAlone } from "./support/heap.js";
import { launch, madeModel, serveBlank, serveEngine, serveMadeModels } from "./support/page.js";
import { open } from "./support/setup.js";


const FOLDER = process.env.PAGELLAMA_FULL ? "tinyllama-1.1b" : "llama2-tiny";
const MB = 2 ** 20;

const [browser, app, models, site] = await open(launch(), serveEngine(), serveMadeModels(), serveBlank());
const page = await browser.newPage();
page.setDefaultTimeout(0);
await page.goto(site.origin);

/** Loads the folder in a worker of its own and writes a few tokens. */
function load() {
  const options = { quantise: "q4_0", tune: false, context: 64 };
  const order = { engine: app.address, model: `${models.origin}/${FOLDER}/`, adapter: true, options, ids: [1, 450, 4996, 17354] };
  return loadAlone(page, order);
}

test("a folder is stored in 4 bits, in a bounded heap, and read again without its server", async (t) => {
  const first = await load();
  assert.equal(first.info?.device.kind, "webgpu", first.error?.message);
  const [model] = first.stored ?? assert.fail("nothing is stored");
  const published = readdirSync(madeModel(FOLDER)).reduce((sum, file) => sum + statSync(join(madeModel(FOLDER), file)).size, 0);
  const figures = `${(published / 1e6).toFixed(0)} MB published, ${((model?.bytes ?? 0) / 1e6).toFixed(0)} MB stored, heap ${(first.before / MB).toFixed(1)} MiB, then ${(first.after / MB).toFixed(1)} MiB`;
  t.diagnostic(figures);
  assert.deepEqual([model?.recipe, model?.complete], ["q4_0", true]);
  // Embedding and head keep 8 bits, and are most of the small one.
  assert.ok((model?.bytes ?? Infinity) < published * (process.env.PAGELLAMA_FULL ? 0.35 : 0.6), figures);
  // The vocabulary, one chunk as published, one of the copy, and what they are made with.
  assert.ok(first.after - first.before < 64 * MB, figures);

  await models.close();
  const again = await load();
  assert.equal(again.info?.device.kind, "webgpu", again.error?.message);
  assert.deepEqual(again.answer, first.answer);
  assert.equal(first.answer?.length, 8);
});
