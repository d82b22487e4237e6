// Tabs closed and browsers killed in the middle of a download: the next one goes on with what was stored.

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { assertSound, assertWhole, FILE, Rig, until } from "./support/faults.js";
import { kill } from "./support/profile.js";
import { FULL, Random, SEED } from "./support/random.js";
import { launch, launchProfile } from "./support/browser.js";

/** @import { BrowserContext, Page } from "playwright-core" */
/** @import { Visit } from "./support/faults.js" */

const PATH = `/${FILE}`;
/** Slow enough that a moment of the download can be met, on each connection. Bytes a second. */
const RATE = 10e6;
const random = new Random(SEED);

/** @type {Rig} */
let rig;
/** A profile on disk. @type {string} */
let profile;
/** @type {BrowserContext} */
let context;

before(async () => {
  console.log(`seed: PAGELLAMA_SEED=${SEED}`);
  rig = await Rig.start(FILE);
  const browser = await launch();
  await rig.learn(await browser.newContext());
  await browser.close();
});
after(() => rig.close());
beforeEach(async () => {
  profile = await mkdtemp(join(tmpdir(), "pagellama-"));
  context = await launchProfile(profile);
});
afterEach(async () => {
  await context.close();
  await rm(profile, { recursive: true, force: true, maxRetries: 5 });
});

/**
 * Downloads the model, interrupted so many times at random moments; whole downloads in between are deleted.
 * @param {number} times
 * @param {(visit: Visit) => Promise<void>} interrupt ends the tab, at least
 */
async function downloadInterrupted(times, interrupt) {
  for (let left = times; left >= 0; left--) {
    const visit = await rig.visit(context);
    const before = await visit.stored();
    assertSound(before, rig.source);
    rig.server.behave();
    if (left > 0) rig.server.fault = () => ({ rate: RATE });
    await visit.begin();
    if (left === 0) rig.assertWrites(await visit.finish());
    else await someTime(visit);
    assert.equal(rig.server.sentOf(PATH, before.chunks), 0, "chunks that were stored were sent again");
    if (left === 0) assertWhole(await visit.stored(), rig.source);
    else await interrupt(visit);
  }
}

/** Waits until a random part of the rest was sent; starts over when there is no rest. @param {Visit} visit */
async function someTime(visit) {
  const enough = random.between(0, 6e6);
  const arrived = async () => (await visit.call("progress"))?.phase === "compile";
  await until(async () => rig.server.sent >= enough || (await arrived()));
  if (!(await arrived())) return;
  await visit.finish();
  const [model] = (await visit.stored()).models;
  if (model) await visit.call("deleteModel", rig.app.address, model.id);
}

/** Ends the tab's process at once. @param {Page} page */
async function crash(page) {
  const devtools = await page.context().newCDPSession(page);
  const crashed = page.waitForEvent("crash");
  // Nobody is left to answer.
  devtools.send("Page.crash").catch(() => undefined);
  await crashed;
}

const closings = FULL ? 24 : 5;
test(`a tab closed or crashed at ${closings} random moments`, async (t) => {
  let crashes = 0;
  await downloadInterrupted(closings, async ({ page }) => {
    if (random.fraction() < 0.5) {
      await crash(page);
      crashes += 1;
    }
    await page.close();
  });
  t.diagnostic(`${crashes} of them crashed`);
});

const kills = FULL ? 10 : 2;
test(`a browser killed at ${kills} random moments`, async () => {
  await downloadInterrupted(kills, async () => {
    await kill(profile);
    context = await launchProfile(profile);
  });
});
