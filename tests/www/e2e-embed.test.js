// examples/embed.html with the real engine, from another origin than the page's.

import assert from "node:assert/strict";
import { test } from "node:test";
import { EXAMPLE, foreign } from "./support/foreign.js";
import { launch, serveEngine, Visitor } from "./support/page.js";
import { open } from "./support/setup.js";

const [browser, app] = await open(launch(), serveEngine());

test("somebody else's page asks, downloads and chats", async (t) => {
  const site = await foreign(EXAMPLE, app.address.replace(/\/$/, ""));
  t.after(() => site.close());
  const visitor = await Visitor.arrive(browser);
  visitor.page.setDefaultTimeout(120_000);
  await visitor.page.goto(site.origin.replace("127.0.0.1", "localhost"));
  await visitor.button("Download and start").waitFor();
  assert.deepEqual(visitor.requests.filter((url) => /\.gguf|\.wasm|\/worker\.js/.test(url)), []);
  await visitor.button("Download and start").click();
  await visitor.field.waitFor();
  await visitor.field.fill("Say hello.");
  await visitor.field.press("Enter");
  const body = visitor.answers.first().locator(".body");
  await body.getByText(/\w{2,}\W+\w{2,}/).waitFor();
  if (await visitor.button("Stop").isVisible()) await visitor.button("Stop").click();
  await visitor.idle();
  t.diagnostic(await body.innerText());
  assert.ok(visitor.requests.some((url) => url.startsWith(app.address) && url.endsWith(".gguf")));
  assert.deepEqual(visitor.problems, []);
  await visitor.leave();
});
