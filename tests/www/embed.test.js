// <llama-chat> in somebody else's page, from another origin: examples/embed.html and pages like it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { EXAMPLE, foreign } from "./support/foreign.js";
import { until } from "./support/faults.js";
import { launch, serve, serveApp, Visitor } from "./support/page.js";
import { open } from "./support/setup.js";

const [browser, app] = await open(launch(), serveApp());

test("the example asks first, then chats from another origin", async (t) => {
  const site = await foreign(EXAMPLE, app.origin);
  t.after(() => site.close());
  const visitor = await Visitor.arrive(browser);
  await visitor.page.goto(site.origin);
  await visitor.button("Download and start").waitFor();
  const offer = await visitor.chat.getByRole("region", { name: "Suggested model" }).innerText();
  assert.match(offer, /98\.4 MB · Apache-2\.0 licence/);
  assert.match(offer, new RegExp(`for ${new URL(site.origin).host}`));
  await visitor.chat.getByText("Use another model").click();
  await visitor.page.waitForTimeout(300);
  const early = visitor.requests.filter((url) => /\.gguf|\.wasm|pkg|\/worker\.js/.test(url));
  assert.deepEqual(early, []);
  await visitor.button("Download and start").click();
  await visitor.field.waitFor();
  const text = await (await visitor.say("hello")).locator(".body").innerText();
  assert.match(text, /system=You are a friendly llama keeper/);
  assert.deepEqual(visitor.problems, []);
  await visitor.leave();
});

test("it works in a cross-origin isolated page too", async (t) => {
  const site = await serve([], { "/": { body: EXAMPLE.replaceAll("http://localhost:8080", app.origin) } });
  t.after(() => site.close());
  const visitor = await Visitor.arrive(browser);
  await visitor.begin(site.origin);
  await visitor.say("hello");
  await visitor.leave();
});

test("an element that cannot start says why", async (t) => {
  const site = await foreign(EXAMPLE.replace(/<llama-chat[^>]*>/, '<llama-chat hub="not a repository">'), app.origin);
  t.after(() => site.close());
  const visitor = await Visitor.arrive(browser);
  await visitor.page.goto(site.origin);
  const alert = visitor.chat.getByRole("alert");
  await alert.getByText("This is neither an address nor a repository.").waitFor();
  await visitor.page.addInitScript(() => {
    IDBObjectStore.prototype.getAll = () => {
      throw new Error("The chats cannot be read.");
    };
  });
  await visitor.page.goto(app.origin);
  await alert.getByText("The chats cannot be read.").waitFor();
  assert.deepEqual(visitor.problems, []);
  await visitor.leave();
});

test("a return visit asks again, and knows that no download is needed", async (t) => {
  const site = await foreign(EXAMPLE, app.origin);
  t.after(() => site.close());
  const visitor = await Visitor.arrive(browser);
  await visitor.begin(site.origin);
  await visitor.say("hello");
  await visitor.page.reload();
  await visitor.button("Start").click();
  await visitor.field.waitFor();
  await visitor.chat.getByText("system=You are a friendly llama keeper").first().waitFor();
  await visitor.leave();
});

test("attributes choose the model and describe it", async (t) => {
  const site = await foreign(`<!doctype html><script type="module" src="${app.origin}/widget.js"></script>
    <llama-chat model="${app.origin}/models/mine.gguf" model-name="My llama" model-bytes="1500000000" model-licence="MIT" context="512"></llama-chat>`, app.origin);
  t.after(() => site.close());
  const visitor = await Visitor.arrive(browser);
  await visitor.page.goto(site.origin);
  await visitor.chat.getByText("1.50 GB · MIT licence").waitFor();
  await visitor.button("Download and start").click();
  await visitor.chat.getByText("/ 512 tokens").waitFor();
  assert.ok(visitor.requests.includes(`${app.origin}/models/mine.gguf`));
  assert.ok(!visitor.requests.some((url) => url.endsWith("models.json")));
  await visitor.leave();
});

test("a download leaves the title of somebody else's page alone", async (t) => {
  const slow = await serveApp({ model: "models/slow.gguf?slow" });
  const site = await foreign(`<!doctype html><title>Mine</title><script type="module" src="${slow.origin}/widget.js"></script><llama-chat></llama-chat>`, slow.origin);
  t.after(() => Promise.all([slow.close(), site.close()]));
  const visitor = await Visitor.arrive(browser);
  await visitor.page.goto(site.origin);
  await visitor.page.evaluate(() => {
    /** @type {string[]} */
    const told = [];
    Reflect.set(globalThis, "told", told);
    document.addEventListener("llama-title", (event) => told.push(/** @type {CustomEvent<string>} */ (event).detail));
  });
  await visitor.button("Download and start").click();
  await visitor.field.waitFor();
  /** @type {string[]} */
  const told = await visitor.page.evaluate("told");
  assert.ok(told.includes("50%"), told.join(", "));
  assert.equal(told.at(-1), "");
  assert.equal(await visitor.page.title(), "Mine");
  await visitor.leave();
});

test("two elements do not meet, and removing one ends its worker", async (t) => {
  const site = await foreign(`<!doctype html><script type="module" src="${app.origin}/widget.js"></script>
    <llama-chat chats="a"></llama-chat><llama-chat chats="b"></llama-chat>`, app.origin);
  t.after(() => site.close());
  const visitor = await Visitor.arrive(browser);
  await visitor.begin(site.origin);
  await visitor.say("only in the first");
  const second = visitor.page.locator("llama-chat").nth(1);
  await second.getByRole("button", { name: "Download and start" }).click();
  await second.getByRole("textbox", { name: "Message" }).waitFor();
  assert.equal(await second.getByText("only in the first").count(), 0);
  await until(() => visitor.page.workers().length === 2);
  await visitor.field.fill("long");
  await visitor.field.press("Enter");
  await visitor.answers.getByText("word5").waitFor();
  const gone = visitor.page.workers()[0]?.waitForEvent("close");
  await visitor.page.evaluate(() => document.querySelector("llama-chat")?.remove());
  await gone;
  await until(() => visitor.page.workers().length === 1);
  // An element that only moves keeps its chat.
  await visitor.page.evaluate(() => {
    const element = document.querySelector("llama-chat");
    if (element) document.body.prepend(element);
  });
  await visitor.field.waitFor();
  assert.deepEqual(visitor.problems, []);
  await visitor.leave();
});
