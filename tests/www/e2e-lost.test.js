// The browser's GPU process crashes in the middle of an answer, and the answer is the same.

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
    const model = await load({ model: ${url}, tune: false });
    const phases = new Set();
    const answer = async (onText) => {
      let text = "";
      const options = { temperature: 0.8, seed: 3, max_tokens: 150, onReload: ({ phase }) => phases.add(phase) };
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
