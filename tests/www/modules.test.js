// The engine's two modules for the processor give the same tokens in every format of weights whose products they round, of which there is a model here.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { loadAlone } from "./support/heap.js";
import { launch, serve, serveBlank, serveEngine } from "./support/page.js";
import { open } from "./support/setup.js";

const [browser, app, models, site] = await open(launch(), serveEngine(), serve([fileURLToPath(new URL("../data/gguf", import.meta.url))]), serveBlank());

const FILES = [
  ...["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"].map((format) => `tiny-llama2.${format}`),
  ...["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"].map((format) => `tiny-llama2-256.${format}`),
];

test("relaxed vectors compute what others do", async () => {
  const page = await browser.newPage();
  await page.goto(site.origin);
  assert.ok(await page.evaluate(async (address) => (await import(`${address}device.js`)).onProcessor("asked").module === "cpu-relaxed", app.address), "this browser has them");
  for (const file of FILES) {
    const order = { engine: app.address, model: `${models.origin}/${file}.gguf`, adapter: false, ids: [1, 5, 9, 13, 17, 21, 25] };
    const answers = [];
    for (const module of ["cpu", "cpu-relaxed"]) {
      const { answer, info, error } = await loadAlone(page, { ...order, module, options: { device: "cpu", store: false } });
      assert.deepEqual([error, info?.device.variants], [undefined, ["int8"]], file);
      answers.push(answer);
    }
    assert.equal(answers[0]?.length, 8, file);
    assert.deepEqual(answers[1], answers[0], file);
  }
  await page.close();
});
