// How much memory of the page's process storing a model takes: as much for 2 GB as for 0.5 GB.

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { deferred } from "./support/deferred.js";
import { FaultServer } from "./support/fault-server.js";
import { growth } from "./support/memory.js";
import { madeModel, serve, serveEngine } from "./support/page.js";
import { FULL, LONG_FORM } from "./support/random.js";
import { open } from "./support/setup.js";

const MIB = 2 ** 20;
const MODELS = FULL ? ["synthetic-500mb.gguf", "synthetic-2gb.gguf"] : ["synthetic-500mb.gguf"];
const LARGEST = MODELS.at(-1) ?? "";

const files = Object.fromEntries(MODELS.map((name) => [`/${name}`, madeModel(name)]));
const [app, server] = await open(serveEngine(), FaultServer.start(files));

/**
 * Stores a model in a browser of its own, and tells by how much the page's process grew. Bytes.
 * @param {string} name
 */
async function store(name) {
  const [begins, done] = [deferred(), deferred()];
  // The page runs by itself, and tells by requests when it begins and how it ended.
  const script = `
    import { begin, finish, manifests } from "/fault-client.js";
    await fetch("/begins");
    begin({ engine: "${app.address}", model: { url: "${server.origin}/${name}" }, options: { device: "webgpu" }, tokens: 0 });
    const { error } = await finish();
    const complete = !error && (await manifests())[0]?.complete;
    await fetch("/done?" + encodeURIComponent(JSON.stringify({ error, complete })));`;
  const tell = (/** @type {ReturnType<typeof deferred>} */ told) => (/** @type {URL} */ url) => {
    told.resolve(decodeURIComponent(url.search.slice(1)));
    return { body: "" };
  };
  const support = fileURLToPath(new URL("support", import.meta.url));
  const page = { body: `<!doctype html><title>Storing</title><script type="module">${script}</script>` };
  const site = await serve([support], { "/": page, "/begins": tell(begins), "/done": tell(done) });
  const profile = await mkdtemp(join(tmpdir(), "pagellama-"));
  try {
    const grown = await growth(`${site.origin}/`, profile, { begins: begins.promise, done: done.promise });
    const outcome = JSON.parse(await done.promise);
    assert.ok(outcome.complete, JSON.stringify(outcome.error));
    return grown;
  } finally {
    await site.close();
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

test(`a link that breaks every 5 MB carries ${LARGEST}`, LONG_FORM, async (t) => {
  server.behave();
  server.linkBreaksEvery = 5e6;
  const grown = await store(LARGEST);
  t.diagnostic(`${server.log.length} requests, the page's process grew by ${Math.round(grown / MIB)} MiB`);
  assert.equal(server.sentTwice, 0);
  assert.ok(grown < 256 * MIB, String(grown));
});
