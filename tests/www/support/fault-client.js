// What the tests of downloads do within a page: load a model, ask it for a few tokens, look into IndexedDB with bare hands.

/** @import { Progress } from "../types/pkg/webgpu.js" */
/** @import { ModelRequest, OpenOptions } from "../../../www/engine.js" */

/**
 * `engine`: the address of the engine's folder. `tokens`: how many it writes then (default 8).
 * @typedef {{engine: string, model: ModelRequest & {digests?: object}, options?: OpenOptions & {connections?: number}, tokens?: number}} Order
 * @typedef {{code: string, message: string, advice: string}} Failure
 * @typedef {{ids?: number[], error?: Failure, waits: NonNullable<Progress["waiting"]>[]}} Outcome
 * @typedef {{id: string, address: string, complete: boolean, files: StoredFile[]}} Manifest
 * @typedef {{name: string, length?: number, validator?: string, sha256?: string, chunks: StoredChunk[]}} StoredFile
 * @typedef {{start: number, length: number, sha256: string}} StoredChunk
 */
/** A chunk's record: its key, and what its bytes really are. @typedef {{id: string, file: string, start: number, length: number, sha256: string}} ChunkRecord */

const DATABASE = "pagellama";

/** @type {{outcome: Promise<Outcome>, stop: AbortController, last?: Progress} | undefined} */
let running;

/**
 * Starts to load a model. `finish` tells how it went.
 * @param {Order} order
 */
export function begin({ engine, model, options = {}, tokens = 8 }) {
  const stop = new AbortController();
  /** @type {Outcome} */
  const outcome = { waits: [] };
  const run = { stop, outcome: attempt(), last: /** @type {Progress | undefined} */ (undefined) };
  running = run;

  async function attempt() {
    try {
      const { load } = await import(`${engine}engine.js`);
      const onProgress = (/** @type {Progress} */ progress) => {
        run.last = progress;
        if (progress.waiting) outcome.waits.push(progress.waiting);
      };
      // What is tested here is the same for every device, and this one compiles no shaders.
      const loaded = await load({ model, device: "cpu", onProgress, signal: stop.signal, ...options });
      if (tokens > 0) {
        for await (const _ of loaded.generate({ text: "Once" }, { temperature: 0, max_tokens: tokens, ignore_eos: true }));
        outcome.ids = loaded.lastResult.ids;
      }
      await loaded.unload();
    } catch (error) {
      const { code, message, advice } = /** @type {Failure} */ (error);
      outcome.error = { code: code ?? "no code", message, advice };
    }
    return outcome;
  }
}

/** @returns {Promise<Outcome>} */
export async function finish() {
  if (!running) throw new Error("nothing was begun");
  return running.outcome;
}

/** What was told last. */
export function progress() {
  return running?.last;
}

export function cancel() {
  running?.stop.abort();
}

/**
 * Deletes a model by the engine's own way.
 * @param {string} engine
 * @param {string} id
 */
export async function deleteModel(engine, id) {
  await (await import(`${engine}engine.js`)).deleteModel(id);
}

/**
 * Has the engine read all that is stored of a model.
 * @param {string} engine
 * @param {string} id
 * @returns {Promise<import("../types/pkg/webgpu.js").Verified>}
 */
export async function verifyModel(engine, id) {
  return (await import(`${engine}engine.js`)).verifyModel(id);
}

/**
 * All that the store holds, read without the engine; each record with the SHA-256 of its bytes as they are.
 * @returns {Promise<{models: Manifest[], chunks: ChunkRecord[]}>}
 */
export async function stored() {
  if (!(await indexedDB.databases()).some(({ name }) => name === DATABASE)) return { models: [], chunks: [] };
  const database = await answer(indexedDB.open(DATABASE));
  try {
    // In one transaction, so that a download that goes on is seen at one moment.
    const transaction = database.transaction(["models", "chunks"]);
    const models = answer(transaction.objectStore("models").getAll());
    /** @type {{key: IDBValidKey, bytes: Uint8Array<ArrayBuffer>}[]} */
    const records = [];
    const cursor = transaction.objectStore("chunks").openCursor();
    await new Promise((resolve, reject) => {
      cursor.onerror = () => reject(cursor.error);
      cursor.onsuccess = () => {
        if (!cursor.result) return resolve(undefined);
        records.push({ key: cursor.result.key, bytes: cursor.result.value.bytes });
        cursor.result.continue();
      };
    });
    return { models: await models, chunks: await Promise.all(records.map(describe)) };
  } finally {
    database.close();
  }
}

/**
 * The manifests alone.
 * @returns {Promise<Manifest[]>}
 */
export async function manifests() {
  const database = await answer(indexedDB.open(DATABASE));
  try {
    return await answer(database.transaction("models").objectStore("models").getAll());
  } finally {
    database.close();
  }
}

/** @param {{key: IDBValidKey, bytes: Uint8Array<ArrayBuffer>}} record @returns {Promise<ChunkRecord>} */
async function describe({ key, bytes }) {
  const [id, file, start] = /** @type {[string, string, number]} */ (key);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const sha256 = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return { id, file, start, length: bytes.length, sha256 };
}

/**
 * Does harm to one record: changes a byte in its middle, drops its last byte, or deletes it.
 * @param {{id: string, file: string, start: number, harm: "change" | "shorten" | "delete"}} order
 */
export async function damage({ id, file, start, harm }) {
  const database = await answer(indexedDB.open(DATABASE));
  try {
    const store = database.transaction("chunks", "readwrite").objectStore("chunks");
    const key = [id, file, start];
    const record = await answer(store.get(key));
    if (harm === "change") record.bytes[record.bytes.length >> 1] ^= 1;
    if (harm === "shorten") record.bytes = record.bytes.slice(0, -1);
    await (harm === "delete" ? answer(store.delete(key)) : answer(store.put(record, key)));
    await new Promise((resolve) => (store.transaction.oncomplete = resolve));
  } finally {
    database.close();
  }
}

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
function answer(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
