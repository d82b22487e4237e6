// How fast models come from the browser's storage and from the network, against the least that either can take.
//
//   cargo xtask bench storage     prints Markdown tables; PAGELLAMA_ROUNDS and PAGELLAMA_BENCH_MODEL change what is measured

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Rig } from "../tests/www/support/faults.js";
import { launchProfile } from "../tests/www/support/browser.js";
import { ratios, shown, table } from "./statistics.js";

const MODEL = process.env.PAGELLAMA_BENCH_MODEL ?? "synthetic-500mb.gguf";
const ROUNDS = Number(process.env.PAGELLAMA_ROUNDS ?? 7);
/** Downloads take longer and vary less. */
const DOWNLOADS = Math.ceil(ROUNDS / 2);
const CONNECTIONS = [1, 2, 4, 8];
/** Of a server that gives each connection its share. Bytes a second. */
const RATE = 20e6;

const rig = await Rig.start(MODEL);
const profile = await mkdtemp(join(tmpdir(), "pagellama-"));
const context = await launchProfile(profile);
try {
  const url = `${rig.server.origin}/${MODEL}`;
  const { page } = await rig.visit(context);
  const load = (/** @type {object} */ options = {}, tokens = 0) =>
    page.evaluate(timedLoad, { engine: rig.app.address, url, options, tokens });
  const forget = () => page.evaluate(deleteAll, rig.app.address);
  console.log(`\n${MODEL}, ${(rig.server.length(`/${MODEL}`) / 1e6).toFixed(0)} MB; median (least to most)`);
  await load();
  await fromStorage(page, load);
  await fromNetwork(load, forget, `${RATE / 1e6} MB/s a connection`, RATE);
  await fromNetwork(load, forget, "as fast as the machine", undefined);
  console.log("\nA browser opens six connections to a host at most, so that eight are six.");
} finally {
  await context.close();
  await Promise.all([rig.close(), rm(profile, { recursive: true, maxRetries: 5 })]);
}

/**
 * @param {import("../tests/www/support/faults.js").Visit["page"]} page
 * @param {(options?: object, tokens?: number) => Promise<{ready: number, read: number, token: number}>} load
 */
async function fromStorage(page, load) {
  /** @type {Record<string, number[]>} */
  const times = { ready: [], read: [], token: [], uploaded: [], cursor: [], batches: [], digests: [] };
  const note = (/** @type {string} */ name, /** @type {number} */ time) => times[name]?.push(time);
  for (let round = 0; round < ROUNDS; round++) {
    const { ready, read, token } = await load({}, 1);
    note("ready", ready);
    note("read", read);
    note("token", token);
    note("uploaded", await page.evaluate(readAndUpload));
    for (const way of /** @type {const} */ (["cursor", "batches", "digests"])) note(way, await page.evaluate(plainRead, way));
  }
  const { ready = [], read = [], token = [], uploaded = [], cursor = [], batches = [], digests = [] } = times;
  const rows = [
    ["plain read, one record after the other", seconds(cursor), "1"],
    ["plain read, eight records at a time", seconds(batches), ratio(batches, cursor)],
    ["plain read and SHA-256", seconds(digests), ratio(digests, cursor)],
    ["load, until all weights are on the device", seconds(read), ratio(read, cursor)],
    ["load, until ready", seconds(ready), ratio(ready, cursor)],
  ];
  console.log(table("From storage", ["what", "time", "against a plain read"], rows));
  const device = [
    ["the same records read and written to GPU buffers, until the device has them", seconds(uploaded), "1"],
    ["load, until weights and pipelines are ready", seconds(ready), ratio(ready, uploaded)],
    ["from there to the first token", seconds(token), ratio(token, uploaded)],
  ];
  console.log(table("From storage to the device", ["what", "time", "against reading and uploading"], device));
  const share = digests.map((time, round) => (time - (cursor[round] ?? 0)) / (ready[round] ?? 1));
  console.log(`\nSHA-256 adds to the plain read, as a part of the load: ${shown(share, (part) => (part * 100).toFixed(1), " %")}`);
}

/**
 * @param {(options?: object) => Promise<{read: number}>} load
 * @param {() => Promise<void>} forget
 * @param {string} title
 * @param {number | undefined} rate
 */
async function fromNetwork(load, forget, title, rate) {
  const times = CONNECTIONS.map(() => /** @type {number[]} */ ([]));
  for (let round = 0; round < DOWNLOADS; round++) {
    for (const [index, connections] of CONNECTIONS.entries()) {
      await forget();
      rig.server.behave();
      rig.server.fault = () => ({ rate });
      times[index]?.push((await load({ connections })).read);
    }
  }
  const [one = []] = times;
  const rows = times.map((each, index) => [String(CONNECTIONS[index]), seconds(each), ratio(one, each)]);
  console.log(table(`From the network, ${title}`, ["connections", "time", "gain over one"], rows));
}

/**
 * In the page: loads the model. `read`: when all its bytes were there; `token`: from ready to the first token. Milliseconds.
 * @param {{engine: string, url: string, options: object, tokens: number}} order
 */
async function timedLoad({ engine, url, options, tokens }) {
  const { load } = await import(`${engine}engine.js`);
  const begun = performance.now();
  let read = 0;
  const onProgress = (/** @type {{phase: string}} */ { phase }) => {
    if (phase === "compile") read ||= performance.now() - begun;
  };
  const model = await load({ model: { url }, device: "webgpu", onProgress, ...options });
  const ready = performance.now() - begun;
  if (tokens > 0) {
    for await (const _ of model.generate({ text: "Once" }, { temperature: 0, max_tokens: tokens, ignore_eos: true }));
  }
  const token = performance.now() - begun - ready;
  await model.unload();
  return { ready, read, token };
}

/** In the page. @param {string} engine */
async function deleteAll(engine) {
  const { deleteModel, storedModels } = await import(`${engine}engine.js`);
  for (const { id } of await storedModels()) await deleteModel(id);
}

/**
 * In the page: reads all records with nothing between it and IndexedDB. Milliseconds.
 * @param {"cursor" | "batches" | "digests"} way
 */
async function plainRead(way) {
  const answer = (/** @type {IDBRequest} */ request) =>
    new Promise((resolve, reject) => {
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  const database = await answer(indexedDB.open("pagellama"));
  const begun = performance.now();
  const store = database.transaction("chunks").objectStore("chunks");
  /** @type {Promise<ArrayBuffer>[]} */
  const digests = [];
  let bytes = 0;
  if (way === "batches") {
    for (let range; ; ) {
      const [keys, records] = await Promise.all([answer(store.getAllKeys(range, 8)), answer(store.getAll(range, 8))]);
      for (const record of records) bytes += record.bytes.length;
      if (keys.length < 8) break;
      range = IDBKeyRange.lowerBound(keys.at(-1), true);
    }
  } else {
    await new Promise((resolve, reject) => {
      const cursor = store.openCursor();
      cursor.onerror = () => reject(cursor.error);
      cursor.onsuccess = () => {
        if (!cursor.result) return resolve(undefined);
        bytes += cursor.result.value.bytes.length;
        if (way === "digests") digests.push(crypto.subtle.digest("SHA-256", cursor.result.value.bytes));
        cursor.result.continue();
      };
    });
    await Promise.all(digests);
  }
  const time = performance.now() - begun;
  database.close();
  if (bytes === 0) throw new Error("nothing is stored");
  return time;
}

/**
 * In the page: reads all records and writes each to a GPU buffer, until the device has them all. Opening the device does not
 * count. Milliseconds.
 */
async function readAndUpload() {
  const answer = (/** @type {IDBRequest} */ request) =>
    new Promise((resolve, reject) => {
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  // Nothing else here needs the types of WebGPU.
  const gpu = /** @type {any} */ (navigator).gpu;
  const device = await (await gpu.requestAdapter({ powerPreference: "high-performance" })).requestDevice();
  const [STORAGE, COPY_DST] = [0x80, 0x08];
  const database = await answer(indexedDB.open("pagellama"));
  const begun = performance.now();
  const cursor = database.transaction("chunks").objectStore("chunks").openCursor();
  await new Promise((resolve, reject) => {
    cursor.onerror = () => reject(cursor.error);
    cursor.onsuccess = () => {
      if (!cursor.result) return resolve(undefined);
      const { bytes } = cursor.result.value;
      const size = bytes.length - (bytes.length % 4);
      device.queue.writeBuffer(device.createBuffer({ size, usage: STORAGE | COPY_DST }), 0, bytes, 0, size);
      cursor.result.continue();
    };
  });
  await device.queue.onSubmittedWorkDone();
  const time = performance.now() - begun;
  database.close();
  device.destroy();
  return time;
}

/** @param {number[]} times milliseconds */
function seconds(times) {
  return shown(times, (time) => (time / 1000).toFixed(2), " s");
}

/**
 * How many times longer.
 * @param {number[]} times
 * @param {number[]} base
 */
function ratio(times, base) {
  return shown(ratios(times, base), (times) => times.toFixed(2));
}
