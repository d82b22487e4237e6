// A 4-bit model of Llama-2-7B's shape, 3.8 GB: what is foretold of it, and that it then runs, or is refused as was foretold.

import assert from "node:assert/strict";
import { test } from "node:test";
import { loadAlone } from "./support/heap.js";
import { launch, serveBlank, serveEngine, serveMadeModels } from "./support/page.js";
import { LONG_FORM } from "./support/random.js";
import { open } from "./support/setup.js";

const MB = 2 ** 20;
/** A prompt, and the token that the reference in tests/native/large.rs finds the likeliest to follow. */
const IDS = [1, 450, 4996, 17354, 1701, 29916, 12500, 29892];
const NEXT = 11832;

const [browser, app, models, site] = await open(launch(), serveEngine(), serveMadeModels(), serveBlank());
const page = await browser.newPage();
page.setDefaultTimeout(0);
await page.goto(site.origin);

test("a model of Llama-2-7B's shape runs where its preflight says so", LONG_FORM, async (t) => {
  // A test's browser keeps what it stores in memory, of which there is less.
  const options = { store: false, tune: false, context: 64 };
  const order = { engine: app.address, model: `${models.origin}/llama2-7b.gguf`, adapter: true, options, ids: IDS, foretell: true };
  const { before, after, foretold, info, answer, error } = await loadAlone(page, order);
  t.diagnostic(`${JSON.stringify(foretold)}; heap ${(before / MB).toFixed(1)} MiB, then ${(after / MB).toFixed(1)} MiB`);
  if (foretold?.verdict.kind !== "likely_fits") {
    assert.match(String(error?.code), /^gpu\/(out-of-memory|limit)$/);
    return;
  }
  assert.equal(info?.device.kind, "webgpu", error?.message);
  assert.equal(answer?.[0], NEXT);
  assert.ok(after - before < 64 * MB);
});
