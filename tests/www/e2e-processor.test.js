// A whole visit where there is no WebGPU: the model runs on the processor. In Chromium with WebGPU switched off, and in Firefox.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import { launchFirefox, launchWithoutWebGpu } from "./support/browser.js";
import { serve, Visitor } from "./support/page.js";
import { CONTENT_SECURITY_POLICY } from "./support/server.js";

/** @import { Browser } from "playwright-core" */

const DIST = fileURLToPath(new URL("../../dist", import.meta.url));
const GOLDEN = JSON.parse(readFileSync(new URL("../data/smollm2/golden.json", import.meta.url), "utf8"));
const { messages, greedy_text } = GOLDEN.prompts.find((/** @type {{name: string}} */ { name }) => name === "chat");
/** @type {string} What a float32 reference answers first; rounded activations may choose other words later. */
const BEGINNING = greedy_text.slice(0, 75);

/**
 * One visitor, step after step.
 * @param {string} name
 * @param {(version: number) => string} moduleOf which module a version of this browser runs
 * @param {() => Promise<Browser>} launch
 */
function visit(name, moduleOf, launch) {
  suite(name, () => {
    /** @type {Browser} */
    let browser;
    /** @type {import("./support/server.js").Server} */
    let site;
    /** @type {Visitor} */
    let visitor;
    let answer = "";
    const asked = (/** @type {RegExp} */ path) => site.requests.filter((request) => path.test(request));

    before(async () => {
      browser = await launch();
      site = await serve([DIST], {}, CONTENT_SECURITY_POLICY);
      visitor = await Visitor.arrive(browser);
    });
    after(async () => {
      await browser?.close();
      await site?.close();
    });

    test("the model downloads after a click and not before, and the page says where it runs", async () => {
      await visitor.page.goto(site.origin);
      await visitor.button("Download and start").waitFor();
      assert.deepEqual(asked(/gguf/), []);
      await visitor.button("Download and start").click();
      await visitor.field.waitFor();
      await visitor.chat.getByText(/It runs on the processor, since (this browser has no WebGPU|the browser found no graphics card that it could use)\./).waitFor();
      assert.equal(asked(/gguf/).length, 1);
      const module = moduleOf(Number.parseInt(browser.version(), 10));
      assert.deepEqual([...new Set(asked(/_bg\.wasm/))], [`/pkg/${module}_bg.wasm`], "no other module of the engine");
    });

    test("the first answer begins as the reference's", async (t) => {
      await visitor.button("Settings").click();
      await visitor.chat.getByLabel("Temperature").fill("0");
      await visitor.button("Save").click();
      const said = await visitor.say(messages[0].content);
      answer = await said.locator(".body").innerText();
      const figures = await visitor.figures(said);
      t.diagnostic(`${figures.Device}: ${figures.Writing}; ${figures.Reading}`);
      assert.equal(answer.slice(0, BEGINNING.length), BEGINNING);
      assert.match(figures.Device ?? "", /^Processor, (\d threads, )?since /);
    });

    test("asked for again, the answer is the same", async () => {
      await visitor.answers.last().hover();
      await visitor.button("Answer again").click();
      await visitor.idle();
      assert.equal(await visitor.answers.count(), 1);
      assert.equal(await visitor.answers.locator(".body").innerText(), answer);
    });

    test("the second turn reads only what is new", async () => {
      const figures = await visitor.figures(await visitor.say("Which is the largest?"));
      const reading = /([\d,]+) tokens \(([\d,]+) reused\)/.exec(figures.Reading ?? "");
      const [read, reused] = [Number(reading?.[1]), Number(reading?.[2])];
      assert.ok(reused > 60 && read > reused && read - reused < 30, figures.Reading);
    });

    test("an answer stops in the middle and keeps what it has", () => visitor.stopInTheMiddle());

    test("once the page is kept it asks its server for nothing, and then the server may go away", async () => {
      const begun = Date.now();
      for (let served = true; served; ) {
        assert.ok(Date.now() - begun < 60_000, "the service worker does not take over");
        const before = site.requests.length;
        await visitor.page.reload();
        await visitor.field.waitFor();
        served = site.requests.slice(before).some((path) => !/service-worker/.test(path));
      }
      await site.close();
      await visitor.page.reload();
      await visitor.field.waitFor();
      await visitor.newChat();
      assert.equal(await (await visitor.say(messages[0].content)).locator(".body").innerText(), answer);
    });

    test("nothing went wrong on the way", () => {
      assert.deepEqual(visitor.problems, []);
    });
  });
}

visit("Chromium without WebGPU", () => "cpu-relaxed", launchWithoutWebGpu);
// Of its extended support releases, 153 has relaxed vectors, and 140 has none.
visit("Firefox", (version) => (version >= 153 ? "cpu-relaxed" : "cpu"), launchFirefox);
