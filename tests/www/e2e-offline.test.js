// The built page with the real engine, under a path of a plain static host: one visit, then without network and in a
// browser that was closed in between.

import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { launchProfile } from "./support/browser.js";
import { serve, Visitor } from "./support/page.js";
import { NOT_ISOLATED } from "./support/server.js";

/** @import { BrowserContext } from "playwright-core" */

const DIST = fileURLToPath(new URL("../../dist", import.meta.url));
const GOLDEN = JSON.parse(await readFile(new URL("../data/smollm2/golden.json", import.meta.url), "utf8"));
const { messages, greedy_text } = GOLDEN.prompts.find((/** @type {{name: string}} */ { name }) => name === "chat");
/** As many tokens as tell that the model reads the question: a software adapter writes three a second. */
const TOKENS = 12;

/** @type {string} */
let folder;
/** @type {import("./support/server.js").Server} */
let site;
/** @type {string} */
let address;
/** @type {BrowserContext | undefined} */
let profile;
/** @type {string} */
let answer;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "pagellama-offline-"));
  await mkdir(join(folder, "site/people"), { recursive: true });
  await symlink(DIST, join(folder, "site/people/chat"));
  site = await serve([join(folder, "site")], {}, NOT_ISOLATED);
  address = `${site.origin}/people/chat/`;
});
after(async () => {
  await profile?.close();
  await site.close();
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
});

async function arrive() {
  profile = await launchProfile(join(folder, "profile"));
  const page = await profile.newPage();
  page.setDefaultTimeout(180_000);
  const visitor = new Visitor(page);
  await page.goto(address);
  return visitor;
}

/** @param {Visitor} visitor */
async function ask(visitor) {
  return (await visitor.say(messages[0].content)).locator(".body").innerText();
}

test("a visit downloads and answers, on a host that isolates nothing", async (t) => {
  const visitor = await arrive();
  assert.equal(await visitor.page.evaluate(() => globalThis.crossOriginIsolated), false);
  await visitor.button("Download and start").click();
  await visitor.field.waitFor();
  await visitor.button("Settings").click();
  await visitor.chat.getByLabel("Temperature").fill("0");
  await visitor.chat.getByLabel("Longest answer").fill(String(TOKENS));
  await visitor.button("Save").click();
  answer = await ask(visitor);
  t.diagnostic(answer);
  assert.ok(answer.length > TOKENS && greedy_text.startsWith(answer), answer);
  await visitor.page.waitForFunction(() => navigator.serviceWorker.controller?.state === "activated");
  assert.deepEqual(visitor.problems, []);
  await profile?.close();
});

test("without the server, a browser that is started anew shows the page and gives the same answer", async () => {
  await site.close();
  const visitor = await arrive();
  await visitor.field.waitFor();
  await visitor.newChat();
  assert.equal(await ask(visitor), answer);
  assert.deepEqual(visitor.problems, []);
});
