// A Hugging Face folder of Llama 2's form (float16 shards, the 32000-piece tokenizer, Llama 2's template), read as it is.
// `cargo xtask test` makes it; its weights are random, so its words mean nothing.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { launch, serveEngine, serveMadeModels, Visitor } from "./support/page.js";
import { open } from "./support/setup.js";

/** @type {{messages: {role: string, content: string}[], ids: number[], greedy: number[], greedy_text: string}} */
const GOLDEN = JSON.parse(readFileSync(new URL("../data/llama2-tiny/golden.json", import.meta.url), "utf8"));

const [browser, app, models] = await open(launch(), serveEngine(), serveMadeModels());

test("a Hugging Face folder chats by its address, and answers as the reference does", async (t) => {
  const visitor = await Visitor.arrive(browser);
  visitor.page.setDefaultTimeout(90_000);
  await visitor.page.goto(app.address);
  await visitor.chat.getByText("Use another model").click();
  await visitor.chat.getByLabel("From the web").fill(`${models.origin}/llama2-tiny/`);
  await visitor.button("Load").click();
  await visitor.field.waitFor();
  for (const part of [1, 2, 3, 4]) {
    assert.ok(models.requests.some((path) => path.endsWith(`model-0000${part}-of-00004.safetensors`)), `part ${part}`);
  }
  await visitor.button("Settings").click();
  await visitor.chat.getByLabel("Temperature").fill("0");
  await visitor.button("Save").click();

  await visitor.field.fill(GOLDEN.messages[0]?.content ?? "");
  await visitor.field.press("Enter");
  // The last word of the reference's text, as the page shows text from which Markdown took its part.
  await visitor.answers.getByText(GOLDEN.greedy_text.split(" ").at(-1) ?? "").waitFor();
  await visitor.button("Stop").click();
  await visitor.idle();
  await visitor.answers.hover();
  await visitor.answers.getByRole("button", { name: "Copy" }).click();
  const copied = await visitor.page.evaluate(() => navigator.clipboard.readText());
  assert.equal(copied.slice(0, GOLDEN.greedy_text.length), GOLDEN.greedy_text);
  const { Reading, Writing } = await visitor.figures(visitor.answers.first());
  assert.match(Reading ?? "", new RegExp(`\\b${GOLDEN.ids.length} tokens`));
  t.diagnostic(`${Writing}; ${Reading}`);
  assert.deepEqual(visitor.problems, []);
  await visitor.leave();
});

test("the API gives the reference's ids, pinned to WebGPU", async () => {
  const visitor = await Visitor.arrive(browser);
  await visitor.page.goto(`${app.address}models.json`);
  const given = await visitor.page.evaluate(
    async ({ engine, url, messages, count }) => {
      const { load } = await import(engine);
      const model = await load({ model: { url }, device: "webgpu", store: false });
      for await (const _ of model.generate({ messages }, { temperature: 0, max_tokens: count }));
      return { info: model.info, result: model.lastResult };
    },
    { engine: `${app.address}engine.js`, url: `${models.origin}/llama2-tiny/`, messages: GOLDEN.messages, count: GOLDEN.greedy.length },
  );
  assert.equal(given.info.device.kind, "webgpu");
  assert.deepEqual(given.result.ids, GOLDEN.greedy);
  assert.equal(given.result.text, GOLDEN.greedy_text);
  assert.equal(given.result.finish_reason, "length");
  await visitor.leave();
});
