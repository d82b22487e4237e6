// How much memory of the page's process storing a model takes: as much for 2 GB as for 0.5 GB.

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Rig } from "./support/faults.js";
import { growth } from "./support/memory.js";
import { launchProfile } from "./support/browser.js";
import { FULL } from "./support/random.js";

const MIB = 2 ** 20;
const MODELS = FULL ? ["synthetic-500mb.gguf", "synthetic-2gb.gguf"] : ["synthetic-500mb.gguf"];

/** @type {Rig} */
let rig;

before(async () => {
  rig = await Rig.start(...MODELS);
});
after(() => rig.close());

/**
 * Stores a model in a browser of its own, and tells by how much the page's process grew. Bytes.
 * @param {string} name
 */
async function store(name) {
  const profile = await mkdtemp(join(tmpdir(), "pagellama-"));
  const context = await launchProfile(profile);
  try {
    const visit = await rig.visit(context);
    let error;
    const grown = await growth(context, async () => {
      ({ error } = await visit.load({ model: { url: `${rig.server.origin}/${name}` }, tokens: 0 }));
    });
    assert.equal(error, undefined);
    const [model] = await visit.manifests();
    assert.ok(model?.complete, "it is stored");
    return grown;
  } finally {
    await context.close();
    await rm(profile, { recursive: true, maxRetries: 5 });
  }
}

test("storing a model takes less than 256 MiB, whatever its size", async (t) => {
  const grown = [];
  for (const name of MODELS) {
    grown.push(await store(name));
    t.diagnostic(`${name}: the page's process grew by ${Math.round((grown.at(-1) ?? 0) / MIB)} MiB`);
  }
  assert.ok(Math.max(...grown) < 256 * MIB, String(grown));
  assert.ok(Math.max(...grown) - Math.min(...grown) <= 64 * MIB, String(grown));
});

const LARGEST = MODELS.at(-1) ?? "";
test(`a link that breaks every 5 MB carries ${LARGEST}`, { skip: !FULL && "faults.test.js has a smaller one" }, async (t) => {
  rig.server.behave();
  rig.server.linkBreaksEvery = 5e6;
  const grown = await store(LARGEST);
  t.diagnostic(`${rig.server.log.length} requests, the page's process grew by ${Math.round(grown / MIB)} MiB`);
  assert.equal(rig.server.sentTwice, 0);
  assert.ok(grown < 256 * MIB, String(grown));
});
