// Chatting, as a visitor does it: streaming, stop, regenerate, edit, several chats, reload, settings, a full context.

import assert from "node:assert/strict";
import { test } from "node:test";
import { launch, serveApp, Visitor } from "./support/page.js";
import { open, visitEach } from "./support/setup.js";

const [browser, app] = await open(launch(), serveApp());
/** @type {Visitor} */
let visitor;
visitEach(browser, (arrived) => (visitor = arrived));

test("an answer streams, is announced once, and shows its speed", async () => {
  await visitor.begin(app.origin);
  const answer = await visitor.say("say: The **llama** hums.");
  assert.equal(await answer.locator("strong").innerText(), "llama");
  assert.match(await answer.locator("summary").innerText(), /23\.4 tokens\/s/);
  assert.equal(await visitor.chat.getByRole("status").innerText(), "Answer: The **llama** hums.");
  assert.equal(await visitor.chat.getByRole("log").getAttribute("aria-live"), "off");
});

test("a running answer grows, stops with Escape, and keeps what it has", async () => {
  await visitor.begin(app.origin);
  await visitor.field.fill("long");
  await visitor.field.press("Enter");
  await visitor.answers.getByText("word20").waitFor();
  await visitor.button("Stop").waitFor();
  await visitor.page.keyboard.press("Escape");
  await visitor.idle();
  const answer = visitor.answers.last();
  const text = await answer.locator(".body").innerText();
  await answer.getByText("Stopped").waitFor();
  await visitor.page.waitForTimeout(150);
  assert.equal(await answer.locator(".body").innerText(), text);
});

test("answering again replaces the last answer, with another seed", async () => {
  await visitor.begin(app.origin);
  const first = await (await visitor.say("hello")).locator(".body").innerText();
  await visitor.button("Answer again").click();
  await visitor.idle();
  assert.equal(await visitor.answers.count(), 1);
  const second = await visitor.answers.first().locator(".body").innerText();
  assert.notEqual(second, first);
  assert.match(second, /You sent 1 messages/);
});

test("an edited message takes the place of all that followed", async () => {
  await visitor.begin(app.origin);
  await visitor.say("first");
  await visitor.say("second");
  await visitor.chat.getByRole("article", { name: "You" }).first().hover();
  await visitor.button("Edit and send again").first().click();
  await visitor.chat.getByRole("textbox", { name: "Edit the message" }).fill("changed");
  await visitor.page.keyboard.press("Enter");
  await visitor.answers.getByText("user=changed").waitFor();
  await visitor.idle();
  assert.equal(await visitor.answers.count(), 1);
  assert.equal(await visitor.chat.getByText("second").count(), 0);
});

test("the model gets the system prompt and all turns", async () => {
  await visitor.begin(app.origin);
  await visitor.button("Settings").click();
  await visitor.chat.getByLabel("System prompt").fill("Be brief.");
  await visitor.chat.getByLabel("Temperature").fill("0.25");
  await visitor.chat.getByLabel("Seed").fill("7");
  await visitor.button("Save").click();
  await visitor.say("one");
  const text = await (await visitor.say("two")).locator(".body").innerText();
  assert.match(text, /You sent 4 messages with \{"temperature":0.25,"seed":7\}/);
  assert.match(text, /system=Be brief\. \| user=one \| assistant=.* \| user=two/);
});

test("settings survive a reload, begin the next chat, and go back to the model's", async () => {
  await visitor.begin(app.origin);
  await visitor.button("Settings").click();
  assert.equal(await visitor.chat.getByLabel("Temperature").getAttribute("placeholder"), "0.7");
  await visitor.chat.getByLabel("Temperature").fill("1.3");
  await visitor.button("Save").click();
  // A reload within the same moment may come before the write: a read of the same store comes after it.
  await visitor.page.evaluate(readPreferences);
  await visitor.page.reload();
  await visitor.field.waitFor();
  await visitor.chat.getByRole("navigation").getByRole("button", { name: "New chat" }).click();
  await visitor.button("Settings").click();
  assert.equal(await visitor.chat.getByLabel("Temperature").inputValue(), "1.3");
  await visitor.button("Reset to defaults").click();
  await visitor.button("Save").click();
  const text = await (await visitor.say("hello")).locator(".body").innerText();
  assert.match(text, /with \{"seed":\d+\}/);
});

/** In the page: reads the preferences of the only element's database. */
async function readPreferences() {
  const name = (await indexedDB.databases()).map(({ name }) => name ?? "").find((name) => name.includes("chat")) ?? "";
  const answer = (/** @type {IDBRequest} */ request) => new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
  const database = await answer(indexedDB.open(name));
  await answer(database.transaction("preferences").objectStore("preferences").getAll());
  database.close();
}

test("adapters are attached, weighed and taken away", async () => {
  await visitor.begin(app.origin);
  await visitor.button("Settings").click();
  const address = visitor.chat.getByLabel("Address or repository of an adapter");
  await address.fill("someone/broken");
  await address.press("Enter");
  await visitor.chat.getByText("use_dora is not supported").waitFor();
  await address.fill("someone/pirate");
  await visitor.button("Attach").click();
  await visitor.chat.getByText("Attached.").waitFor();
  const weight = visitor.chat.getByLabel("Weight of someone/pirate");
  assert.equal(await weight.inputValue(), "1");
  await weight.fill("0.5");
  await weight.press("Tab");
  await visitor.chat.getByText("Changed.").waitFor();
  await visitor.button("Save").click();
  assert.match(await (await visitor.say("hello")).locator(".body").innerText(), /through 0\.5 someone\/pirate/);
  await visitor.button("Settings").click();
  await visitor.button("Remove someone/pirate").click();
  await visitor.chat.getByText("Removed.").waitFor();
  await visitor.button("Save").click();
  assert.match(await (await visitor.say("again")).locator(".body").innerText(), /^You sent 3 messages with/);
});

test("a longer context loads the model again", async () => {
  await visitor.begin(app.origin);
  await visitor.button("Settings").click();
  await visitor.chat.getByLabel("Context length").fill("512");
  await visitor.button("Save").click();
  await visitor.chat.getByText("/ 512 tokens").waitFor();
});

test("fewer bits of the context load the model again and outlive a reload", async () => {
  await visitor.begin(app.origin);
  await visitor.button("Settings").click();
  const bits = visitor.chat.getByLabel("Bits of the context");
  assert.equal(await bits.inputValue(), "");
  await bits.selectOption("8 bits");
  await visitor.button("Save").click();
  await visitor.field.waitFor();
  assert.match(await (await visitor.say("one")).locator(".body").innerText(), /You sent 1 messages, with a q8 cache/);
  await visitor.page.evaluate(readPreferences);
  await visitor.page.reload();
  await visitor.field.waitFor();
  await visitor.button("Settings").click();
  assert.equal(await bits.inputValue(), "q8");
  await visitor.button("Reset to defaults").click();
  assert.equal(await bits.inputValue(), "");
});

test("measuring kernels can be turned off, which loads the model again and outlives a reload", async () => {
  await visitor.begin(app.origin);
  await visitor.button("Settings").click();
  const box = visitor.chat.getByLabel("Measure which kernels are fastest");
  assert.equal(await box.isChecked(), true);
  await box.uncheck();
  await visitor.button("Save").click();
  await visitor.field.waitFor();
  assert.match(await (await visitor.say("one")).locator(".body").innerText(), /You sent 1 messages, untuned, with/);
  await visitor.page.evaluate(readPreferences);
  await visitor.page.reload();
  await visitor.field.waitFor();
  await visitor.button("Settings").click();
  assert.equal(await box.isChecked(), false);
  await visitor.button("Reset to defaults").click();
  assert.equal(await box.isChecked(), true);
});

test("chats survive a reload, and the stored model comes back by itself", async () => {
  await visitor.begin(app.origin);
  await visitor.say("Tell me about wool");
  await visitor.chat.getByRole("navigation").getByRole("button", { name: "New chat" }).click();
  await visitor.say("And about hay");
  await visitor.page.reload();
  await visitor.field.waitFor();
  await visitor.answers.getByText("user=And about hay").waitFor();
  assert.match(await visitor.page.title(), /And about hay/);
  await visitor.button("Tell me about wool").click();
  await visitor.answers.getByText("user=Tell me about wool").waitFor();
  const text = await (await visitor.say("more")).locator(".body").innerText();
  assert.match(text, /You sent 3 messages/);
});

test("chats are renamed and deleted", async () => {
  await visitor.begin(app.origin);
  await visitor.say("hello");
  await visitor.button("hello").hover();
  await visitor.button("Rename hello").click();
  await visitor.chat.getByRole("textbox", { name: "Title" }).fill("Greetings");
  await visitor.page.keyboard.press("Enter");
  await visitor.button("Greetings").hover();
  await visitor.button("Delete Greetings").click();
  await visitor.button("Delete").click();
  await visitor.button("Greetings").waitFor({ state: "detached" });
  assert.equal(await visitor.answers.count(), 0);
  await visitor.page.reload();
  await visitor.field.waitFor();
  assert.equal(await visitor.button("Greetings").count(), 0);
});

test("an answer is copied as Markdown, a code block as code", async () => {
  await visitor.begin(app.origin);
  const markdown = "Look:\n\n```js\nlet a = 1 < 2;\n```";
  await visitor.say(`say: ${markdown}`);
  await visitor.button("Copy answer").click();
  assert.equal(await visitor.page.evaluate(() => navigator.clipboard.readText()), markdown);
  await visitor.button("Copy code").click();
  assert.equal(await visitor.page.evaluate(() => navigator.clipboard.readText()), "let a = 1 < 2;");
});

test("a failed answer offers the next step, and the question is not lost", async () => {
  await visitor.begin(app.origin);
  await visitor.field.fill("fail: gpu/lost");
  await visitor.field.press("Enter");
  const alert = visitor.chat.getByRole("alert");
  await alert.getByText("The graphics device was lost: a test says so.").waitFor();
  await alert.getByText("Do what a test would do.").waitFor();
  await visitor.chat.getByText("Half an answer").waitFor();
  await alert.getByRole("button", { name: "Try again" }).click();
  await visitor.field.waitFor();
  assert.equal(await visitor.chat.getByRole("article", { name: "You" }).count(), 1);
});

test("a device that goes away is told where the answer grows, which then goes on", async () => {
  await visitor.begin(app.origin);
  await visitor.field.fill("lose: The llama hums and goes on.");
  await visitor.field.press("Enter");
  const answer = visitor.answers.first();
  await answer.getByText("The graphics device went away. The model is being loaded again, then the answer goes on. 25%").waitFor();
  assert.match(await visitor.chat.getByRole("status").innerText(), /^The graphics device went away\./);
  // Shown with the next frame, which may be after the notice.
  await answer.locator(".body").getByText("The llam", { exact: true }).waitFor();
  await visitor.idle();
  assert.equal(await answer.locator(".body").innerText(), "The llama hums and goes on.");
  assert.equal(await answer.getByText("went away").count(), 0);
  assert.match(await visitor.chat.getByRole("status").innerText(), /^Answer: The llama hums and goes on\./);
});

test("an answer stops while its model is loaded again", async () => {
  await visitor.begin(app.origin);
  await visitor.field.fill("lose: The llama hums and goes on.");
  await visitor.field.press("Enter");
  await visitor.answers.first().getByText("went away").waitFor();
  await visitor.button("Stop").click();
  await visitor.idle();
  await visitor.answers.first().getByText("Stopped").waitFor();
  assert.equal(await visitor.answers.first().locator(".body").innerText(), "The llam");
  assert.equal(await visitor.answers.first().getByText("went away").count(), 0);
});

test("a device that is lost again and again offers smaller choices", async () => {
  await visitor.begin(app.origin);
  await visitor.field.fill("fail: gpu/lost-again");
  await visitor.field.press("Enter");
  const alert = visitor.chat.getByRole("alert");
  await alert.getByRole("button", { name: "Choose another model" }).waitFor();
  await alert.getByRole("button", { name: "Settings" }).waitFor();
  await alert.getByRole("button", { name: "Load with half the context" }).click();
  await visitor.chat.getByText("/ 1,024 tokens").waitFor();
  await visitor.page.reload();
  await visitor.chat.getByText("/ 1,024 tokens").waitFor();
});

test("a load without room for it offers smaller choices, each once", async (t) => {
  const full = await serveApp({ model: "models/full.gguf?fail=gpu/out-of-memory" });
  t.after(() => full.close());
  await visitor.page.goto(full.origin);
  await visitor.button("Download and start").click();
  const coarser = visitor.chat.getByRole("alert").getByRole("button", { name: "Load with 8 bits for the context" });
  await coarser.click();
  await visitor.chat.getByRole("alert").getByRole("button", { name: "Load with half the context" }).waitFor();
  assert.equal(await coarser.count(), 0);
  await visitor.button("Settings").first().click();
  assert.equal(await visitor.chat.getByLabel("Bits of the context").inputValue(), "q8");
});

test("a full context is said plainly, and the chat goes on without its oldest turns", async (t) => {
  const small = await serveApp({ model: "models/small.gguf?context=60" });
  t.after(() => small.close());
  await visitor.begin(small.origin);
  await visitor.say("say: one two three four five six seven eight nine ten");
  await visitor.say("say: one two three four five six seven eight nine ten");
  await visitor.field.fill("long");
  await visitor.field.press("Enter");
  await visitor.chat.getByText("The context is full.").waitFor();
  await visitor.button("Go on without the oldest turns").click();
  await visitor.chat.getByText("The model no longer sees what is above").waitFor();
  await visitor.chat.getByText("The context is full.").waitFor({ state: "detached" });
  const text = await (await visitor.say("hello")).locator(".body").innerText();
  assert.doesNotMatch(text, /ten/);
});

test("a model without a chat format goes on with the text", async (t) => {
  const plain = await serveApp({ model: "models/plain.gguf?plain" });
  t.after(() => plain.close());
  await visitor.page.goto(plain.origin);
  await visitor.button("Download and start").click();
  const field = visitor.chat.getByRole("textbox", { name: "Text to go on with" });
  await field.fill("Once upon a time");
  await field.press("Enter");
  await visitor.answers.getByText("and so it went on.").waitFor();
  await visitor.button("Go on").click();
  await visitor.answers.nth(1).waitFor();
});

test("what the browser refuses is told", async () => {
  await visitor.begin(app.origin);
  await visitor.say("hello");
  await visitor.page.evaluate(() => {
    const refuse = () => {
      throw new Error("The browser refuses.");
    };
    navigator.clipboard.writeText = refuse;
    IDBObjectStore.prototype.put = refuse;
  });
  await visitor.button("Copy answer").click();
  await visitor.button("Could not copy").waitFor();
  await visitor.button("hello").hover();
  await visitor.button("Rename hello").click();
  await visitor.page.keyboard.type("Greeting");
  await visitor.page.keyboard.press("Enter");
  await visitor.chat.getByRole("alert").getByText("The browser refuses.").waitFor();
});
