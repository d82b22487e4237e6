// A whole visit with the real engine on WebGPU: download, two turns, stop, and a second visit without the network.
// One visitor, step after step, as the model on a software adapter takes its time.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { launch, serveEngine, Visitor } from "./support/page.js";
import { open } from "./support/setup.js";

/** @import { Route } from "playwright-core" */

const GOLDEN = JSON.parse(readFileSync(new URL("../data/smollm2/golden.json", import.meta.url), "utf8"));
const { messages, greedy_text } = GOLDEN.prompts.find((/** @type {{name: string}} */ { name }) => name === "chat");
/** @type {string} */
const QUESTION = messages[0].content;
/** @type {string} What a float32 reference answers, until it ends its turn. */
const ANSWER = greedy_text.split("<|im_end|>")[0];

const [browser, app] = await open(launch(), serveEngine());
const visitor = await Visitor.arrive(browser);
visitor.page.setDefaultTimeout(180_000);
visitor.page.context().on("request", (request) => {
  if (request.url().includes("/models/")) ranges.push(request.headers().range ?? "whole");
});
visitor.page.on("console", (message) => {
  if (message.type() === "error") visitor.problems.push(`console: ${message.text()}`);
});

/** Weights that were asked for so far, from the network. */
const weights = () => visitor.requests.filter((url) => url.includes("/models/"));

/** The parts of the weights that were asked for, as `bytes=0-1`. @type {string[]} */
const ranges = [];

/** Holds a part of the weights back for longer than it takes to come. @param {Route} route */
async function slowly(route) {
  await sleep(500);
  await route.continue();
}

/** Pins the chat to WebGPU, and keeps what the engine tells about the device that it runs on. */
function pinDevice() {
  const pin = () => document.querySelector("llama-chat")?.setAttribute("device", "webgpu");
  // After the page is parsed and before its modules run.
  document.addEventListener("readystatechange", pin, { once: true });
  globalThis.Worker = class extends Worker {
    /** @param {ConstructorParameters<typeof Worker>} given */
    constructor(...given) {
      super(...given);
      this.addEventListener("message", ({ data }) => {
        if (data.value?.device) Reflect.set(globalThis, "device", data.value.device);
      });
    }
  };
}

test("the default model downloads with progress, after a click and not before", async () => {
  await visitor.page.addInitScript(pinDevice);
  await visitor.page.goto(app.address);
  await visitor.button("Download and start").waitFor();
  assert.deepEqual(weights(), []);
  // From this machine it would be over before its rate is known.
  await visitor.page.context().route("**/models/**", slowly);
  await visitor.button("Download and start").click();
  await visitor.chat.getByRole("progressbar", { name: "Downloading" }).waitFor();
  await visitor.chat.getByText(/\d MB of 98\.4 MB · [\d.]+ MB\/s · .+ left/).waitFor();
  await visitor.field.waitFor();
  await visitor.page.context().unroute("**/models/**", slowly);
  const parts = ranges.map((range) => (/^bytes=(\d+)-(\d+)$/.exec(range) ?? assert.fail(range)).slice(1).map(Number));
  parts.sort(([a = 0], [b = 0]) => a - b);
  parts.forEach(([start], index) => assert.equal(start, index ? (parts[index - 1]?.[1] ?? 0) + 1 : 0, "each byte once"));
  assert.ok((parts.at(-1)?.[1] ?? 0) + 1 >= 98_362_432);
});

test("the model is on WebGPU, as asked", async () => {
  assert.equal(await visitor.chat.getAttribute("device"), "webgpu");
  assert.equal(await visitor.page.evaluate(() => Reflect.get(globalThis, "device").kind), "webgpu");
});

test("the first answer is the reference's", async (t) => {
  await visitor.button("Settings").click();
  await visitor.chat.getByLabel("Temperature").fill("0");
  await visitor.button("Save").click();
  const answer = await visitor.say(QUESTION);
  assert.equal(await answer.locator(".body").innerText(), ANSWER);
  const figures = await visitor.figures(answer);
  t.diagnostic(`${figures.Device}: ${figures["Writing"]}; ${figures["Reading"]}`);
  assert.ok(figures.Device);
});

test("the second turn reads only what is new", async () => {
  const figures = await visitor.figures(await visitor.say("Which is the largest?"));
  const reading = /([\d,]+) tokens \(([\d,]+) reused\)/.exec(figures["Reading"] ?? "");
  const [read, reused] = [Number(reading?.[1]), Number(reading?.[2])];
  // The template's head, the question and the answer are in the cache; the second question and its frame are not.
  assert.ok(reused > 60 && read > reused && read - reused < 30, figures["Reading"]);
});

test("an answer stops in the middle and keeps what it has", () => visitor.stopInTheMiddle());

test("reading a long message stops too, and leaves no answer", async () => {
  await visitor.newChat();
  await visitor.field.fill("The llama looked over the wall and hummed. ".repeat(40));
  await visitor.field.press("Enter");
  await visitor.button("Stop").click();
  await visitor.idle();
  assert.equal(await visitor.answers.count(), 0);
  assert.equal(await visitor.chat.getByRole("article", { name: "You" }).count(), 1);
});

test("the second visit loads from this browser, with the weights' address blocked", async () => {
  await visitor.page.context().route("**/models/**", (route) => route.abort());
  const before = weights().length;
  await visitor.page.reload();
  await visitor.field.waitFor();
  await visitor.newChat();
  await visitor.field.fill(QUESTION);
  await visitor.field.press("Enter");
  await visitor.answers.getByText(ANSWER.slice(0, 30)).waitFor();
  await visitor.button("Stop").click();
  await visitor.idle();
  assert.deepEqual(weights().slice(before), []);
});

test("nothing went wrong on the way", () => {
  assert.deepEqual(visitor.problems, []);
});
