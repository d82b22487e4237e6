// A model of several files from a server that misbehaves: what has arrived of one file does not depend on what becomes of another.

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, test } from "node:test";
import { assertSound, assertWhole, Rig, until } from "./support/faults.js";
import { launch } from "./support/browser.js";
import { open } from "./support/setup.js";

/** @import { Visit } from "./support/faults.js" */

const FOLDER = fileURLToPath(new URL("../data/tiny-llama2", import.meta.url));
const [FIRST, SECOND, THIRD] = [1, 2, 3].map((part) => `model-0000${part}-of-00003.safetensors`);
const FILES = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json", FIRST, SECOND, THIRD].map(String);

const [browser, rig] = await open(launch(), Rig.startFolder(FOLDER, FILES));
await rig.learn(await browser.newContext());
/** @type {Visit} */
let visit;
beforeEach(async () => {
  rig.server.publish(pathOf(SECOND), '"1"', []);
  rig.server.behave();
  visit = await rig.visit(await browser.newContext());
});
afterEach(() => visit.page.context().close());

/** @param {string | undefined} name */
function pathOf(name) {
  return `${rig.path}${name}`;
}

/** Bytes that were sent of a file. @param {string | undefined} name */
function sentOf(name) {
  return rig.server.sentOf(pathOf(name), [{ start: 0, length: Infinity }]);
}

/** Loads until the connection of the second file is silent in its middle, and stops. */
async function loadToSecond() {
  const half = rig.server.length(pathOf(SECOND)) >> 1;
  rig.server.fault = ({ path }) => (path === pathOf(SECOND) ? { stall: half } : undefined);
  await visit.begin();
  await until(() => sentOf(SECOND) >= half);
  await until(async () => held(await visit.stored()).includes(String(FIRST)));
  await visit.stop();
  rig.server.behave();
  const stored = await visit.stored();
  assertSound(stored, rig.source);
  return stored;
}

/** Names of the files that something is stored of. @param {import("./support/faults.js").Stored} stored */
function held({ chunks }) {
  return chunks.map(({ file }) => file);
}

test("a connection cut in the middle of the second file is made again, and the other files are fetched once", async () => {
  let cuts = 2;
  rig.server.fault = ({ path, start, end }) => (path === pathOf(SECOND) && cuts-- > 0 ? { cut: (end - start) >> 1 } : undefined);
  rig.assertWrites(await visit.load());
  assertWhole(await visit.stored(), rig.source);
  assert.ok(cuts <= 0, "it was cut");
  assert.equal(rig.server.sentTwice, 0, "bytes that had arrived were sent again");
  for (const name of [FIRST, THIRD]) assert.equal(sentOf(name), rig.server.length(pathOf(name)));
});

test("a download stopped in the middle of the second file goes on there", async () => {
  const { chunks } = await loadToSecond();
  rig.assertWrites(await visit.load());
  assertWhole(await visit.stored(), rig.source);
  // A file that is stored whole is asked for one byte, which tells whether it is still the same.
  for (const { file } of chunks) assert.ok(sentOf(file) <= 1, `${sentOf(file)} bytes of ${file} were sent again`);
});

test("a file that changes while the download is stopped takes the files of its version with it", async () => {
  await loadToSecond();
  rig.server.publish(pathOf(SECOND), '"2"', [rig.server.length(pathOf(SECOND)) - 1]);
  const { error } = await visit.load({ tokens: 0 });
  assert.equal(error, undefined);
  assertWhole(await visit.stored(), await rig.published());
});
