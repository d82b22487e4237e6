// What can go wrong with a store: harm to its records, no room, a model deleted or opened twice while it downloads.

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { CHUNK } from "./support/fault-server.js";
import { assertEmpty, assertFails, assertSound, assertWhole, FILE, Rig, until } from "./support/faults.js";
import { launch, launchProfile } from "./support/browser.js";
import { FULL, LONG_FORM, Random, SEED } from "./support/random.js";
import { open } from "./support/setup.js";

/** @import { ChunkRecord } from "./support/fault-client.js" */
/** @import { Visit } from "./support/faults.js" */

const PATH = `/${FILE}`;
const random = new Random(SEED);

console.log(`seed: PAGELLAMA_SEED=${SEED}`);
const [browser, rig] = await open(launch(), Rig.start(FILE));
await rig.learn(await browser.newContext());
/** @type {Visit} */
let visit;
beforeEach(async () => {
  rig.server.behave();
  visit = await rig.visit(await browser.newContext());
});
afterEach(() => visit.page.context().close());

/** Downloads the model. Whatever is sent from here on is counted anew. */
async function download() {
  const { error } = await visit.load({ tokens: 0 });
  assert.equal(error, undefined);
  const stored = await visit.stored();
  assertWhole(stored, rig.source);
  rig.server.behave();
  return stored;
}

/**
 * Starts a slow download and waits until so many bytes were sent.
 * @param {number} bytes
 * @param {number} [rate] bytes a second, on each connection
 */
async function beginSlowly(bytes, rate = 5e6) {
  rig.server.fault = () => ({ rate });
  await visit.begin();
  await until(() => rig.server.sent > bytes);
}

/** Different chunks, in a random order. @param {ChunkRecord[]} chunks @param {number} count */
function pick(chunks, count) {
  const order = chunks.map((chunk) => ({ chunk, place: random.fraction() }));
  return order.sort((one, other) => one.place - other.place).slice(0, count).map(({ chunk }) => chunk);
}

test("chunks that were changed, cut short or deleted are fetched again alone", async () => {
  const { models, chunks } = await download();
  const harmed = pick(chunks, 3);
  for (const [index, harm] of ["change", "shorten", "delete"].entries()) await visit.call("damage", { ...harmed[index], harm });
  rig.assertWrites(await visit.load({ model: { stored: models[0]?.id ?? "" } }));
  assertWhole(await visit.stored(), rig.source);
  assert.equal(rig.server.sentOf(PATH, harmed), harmed.reduce((sum, { length }) => sum + length, 0));
  assert.equal(rig.server.sent, rig.server.sentOf(PATH, harmed));
});

for (const harm of ["change", "delete"]) {
  const form = harm === "change" ? {} : LONG_FORM;
  test(`with the server gone, an error names the chunk after its ${harm}; with the server back it is mended`, form, async () => {
    const [harmed] = pick((await download()).chunks.slice(1), 1);
    await visit.call("damage", { ...harmed, harm });
    rig.server.fault = () => ({ gone: true });
    const { message } = assertFails(await visit.load(), "store/corrupt");
    assert.ok(message.includes(FILE) && message.includes(String(harmed?.start)), message);
    rig.server.behave();
    rig.assertWrites(await visit.load());
    assertWhole(await visit.stored(), rig.source);
    assert.equal(rig.server.sent, harmed?.length);
  });
}

test("a model is verified: damage is found without a load, and mended alone when the server is there", async () => {
  const { models, chunks } = await download();
  const harmed = pick(chunks, 2).sort((one, other) => one.start - other.start);
  for (const [index, harm] of ["change", "delete"].entries()) await visit.call("damage", { ...harmed[index], harm });
  const damaged = harmed.map(({ file, start, length }) => ({ file, start, length }));
  const verify = () => visit.call("verifyModel", rig.app.address, models[0]?.id);

  rig.server.fault = () => ({ status: 404 });
  assert.deepEqual(await verify(), { chunks: chunks.length, damaged, repaired: 0 });
  rig.server.behave();
  assert.deepEqual(await verify(), { chunks: chunks.length, damaged, repaired: 2 });
  assert.equal(rig.server.sent, harmed.reduce((sum, { length }) => sum + length, 0));
  assertWhole(await visit.stored(), rig.source);
  rig.server.behave();
  assert.deepEqual(await verify(), { chunks: chunks.length, damaged: [], repaired: 0 });
  assert.deepEqual(rig.server.log, []);
});

test("a browser without room refuses before the download, and says how much to free", async (t) => {
  const profile = await mkdtemp(join(tmpdir(), "pagellama-"));
  // Chromium tells pages that 10 GiB are free whatever is true, unless it is asked not to.
  const context = await launchProfile(profile, ["--disable-features=StaticStorageQuota"]);
  t.after(async () => {
    await context.close();
    await rm(profile, { recursive: true, maxRetries: 5 });
  });
  const tab = await rig.visit(context);
  await quota(tab, 20e6);
  const { message } = assertFails(await tab.load(), "store/no-space");
  assert.match(message, /\d+(\.\d+)? [MG]i?B/);
  assert.deepEqual((await tab.stored()).chunks, []);
  assert.ok(rig.server.sent <= 4 * CHUNK, `${rig.server.sent} bytes were sent in vain`);
  await quota(tab, 200e6);
  rig.assertWrites(await tab.load());
  assertWhole(await tab.stored(), rig.source);
});

test("a quota that ends in the middle keeps what is stored, and the download goes on when there is room", async () => {
  await quota(visit, 25e6);
  assertFails(await visit.load(), "store/quota");
  const stored = await visit.stored();
  assertSound(stored, rig.source);
  assert.ok(stored.chunks.length > 0, "something is stored");
  rig.server.behave();
  await quota(visit, 200e6);
  rig.assertWrites(await visit.load());
  assertWhole(await visit.stored(), rig.source);
  assert.equal(rig.server.sentOf(PATH, stored.chunks), 0);
});

/**
 * Sets how much the page may store.
 * @param {Visit} tab
 * @param {number} bytes
 */
async function quota({ page }, bytes) {
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Storage.overrideQuotaForOrigin", { origin: rig.site.origin, quotaSize: bytes });
}

test("a download that is stopped and started again and again sends nothing twice", async () => {
  for (let stop = 0; stop < (FULL ? 5 : 2); stop++) {
    const before = await visit.stored();
    rig.server.behave();
    await beginSlowly(random.between(1, 3 * CHUNK));
    await visit.stop();
    assertSound(await visit.stored(), rig.source);
    assert.equal(rig.server.sentOf(PATH, before.chunks), 0);
  }
  const before = await visit.stored();
  await download();
  assert.equal(rig.server.sentOf(PATH, before.chunks), 0);
});

test("deleting a model while it downloads leaves nothing of it, and it can be downloaded again", async () => {
  const other = await rig.visit(visit.page.context());
  // The other tab starts an engine of its own first.
  await beginSlowly(2 * CHUNK, 1e6);
  const [model] = (await other.stored()).models;
  assert.ok(model && !model.complete);
  await other.call("deleteModel", rig.app.address, model.id);
  rig.server.fault = () => undefined;
  const outcome = await visit.finish();
  // It goes on without keeping a copy, and says so; or it ends.
  if (outcome.error) assertFails(outcome, "store/unavailable");
  else assert.equal((await visit.call("progress")).stored, false);
  assertEmpty(await visit.stored());
  rig.assertWrites(await visit.load());
  assertWhole(await visit.stored(), rig.source);
});

test("two tabs that open the same model do one download", async () => {
  const other = await rig.visit(visit.page.context());
  rig.server.fault = () => ({ rate: 10e6 });
  await Promise.all([visit.begin(), other.begin()]);
  const outcomes = [await visit.finish(), await other.finish()];
  for (const outcome of outcomes) rig.assertWrites(outcome);
  assert.ok(outcomes.some(({ waits }) => waits.some((wait) => wait.for === "tab")), "one is told that it waits for the other");
  assertWhole(await visit.stored(), rig.source);
  assert.equal(rig.server.sent, rig.server.length(PATH));
});

test("when the tab that downloads is closed, the one that waits goes on", async () => {
  const other = await rig.visit(visit.page.context());
  await beginSlowly(CHUNK);
  await other.begin();
  await until(() => rig.server.sent > 6 * CHUNK);
  await visit.page.close();
  visit = other;
  rig.assertWrites(await other.finish());
  assertWhole(await other.stored(), rig.source);
  // What was on its way to the closed tab is lost, at most one chunk of each connection.
  const again = rig.server.sent - rig.server.length(PATH);
  assert.ok(again <= 4 * CHUNK, `${again} bytes were sent again`);
  assert.equal(rig.server.log.filter(({ start }) => start === 0).length, 1, "it did not start again");
});
