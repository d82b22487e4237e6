// The page of measurements with the real engine on WebGPU, and a model so small that a software adapter measures it all.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { launch, serveEngine, Visitor } from "./support/page.js";
import { open } from "./support/setup.js";

const TINY = await readFile(new URL("../data/gguf/stories260k.F16.gguf", import.meta.url));

const [browser, app] = await open(launch(), serveEngine());

test("a model is loaded, measured and compared with the adapter's limits", async (t) => {
  const visitor = await Visitor.arrive(browser);
  visitor.page.setDefaultTimeout(60_000);
  const list = { default: { name: "Stories", url: "models/tiny.gguf", bytes: TINY.length, licence: "MIT" } };
  await visitor.page.context().route("**/models.json", (route) => route.fulfill({ json: list }));
  await visitor.page.context().route("**/models/tiny.gguf", (route) => route.fulfill({ body: TINY }));
  await visitor.page.goto(`${app.address}bench.html`);
  await visitor.page.getByRole("button", { name: "Download and measure" }).click();
  await visitor.page.getByRole("button", { name: "Measure again" }).waitFor();
  await visitor.page.getByRole("button", { name: "Copy as JSON" }).click();
  await visitor.page.getByRole("button", { name: "Copied" }).waitFor();
  /** @type {import("../../www/bench/report.js").Report} */
  const report = JSON.parse(await visitor.page.evaluate(() => navigator.clipboard.readText()));
  const { device, adapter, prefill, decode, left_out, profiles } = report;
  t.diagnostic(`${device.adapter}: ${JSON.stringify(adapter)} ${JSON.stringify(decode)}`);
  assert.equal(device.kind, "webgpu");
  assert.ok(adapter && adapter.bytes_per_second > 1e6 && adapter.flops_per_second > 1e6);
  // Its context has room for 512 tokens.
  assert.equal(left_out.length, 3);
  assert.deepEqual(prefill.map(({ tokens }) => tokens), [32, 256]);
  assert.deepEqual(decode.map(({ context }) => context), [32]);
  for (const { tokens_per_second, bytes_per_token, bandwidth_fraction } of decode) {
    assert.ok(tokens_per_second > 0 && bytes_per_token > 0 && bandwidth_fraction > 0);
  }
  assert.deepEqual(profiles.map(({ position }) => position), [32, 0]);
  for (const { kernels } of profiles) {
    assert.ok(kernels.length >= 5);
    for (const kernel of kernels) assert.ok(kernel.bytes > 0 && (kernel.microseconds === null || kernel.microseconds > 0), JSON.stringify(kernel));
  }
  assert.deepEqual(visitor.problems, []);
  await visitor.leave();
});
