// Stands where the wasm engine stands (pkg/pagellama.js), so that the page, engine.js and worker.js run as they are.
//
// The model's address steers how it loads:  ?fail=CODE&message=TEXT   fails with that error after half of the download, which stays stored
//                                           ?slow                     takes about two seconds
//                                           ?plain                    has no chat format
//                                           ?context=N                has a small context
// The last message steers the answer:       say: TEXT                 answers TEXT
//                                           burst: TEXT               answers TEXT in one piece
//                                           fail: CODE                fails in the middle
//                                           long                      goes on until it is stopped
// Any other message is answered with a line that tells how many messages and which settings arrived.

/** @import { Engine, Info, Progress, Prompt, Result, StoredModel } from "../types/pkg/pagellama.js" */

const BYTES = 98_362_432;
const STEP = BYTES / 20;

/** Tells, for tests that count, that the engine was fetched and started. */
export default async function init() {
  return {};
}

/**
 * @param {{model: {url?: string, hub?: string, files?: File[], stored?: string}, options: {context?: number, store?: boolean}}} request
 * @param {(progress: Progress) => void} progress
 * @param {AbortSignal} signal
 * @returns {Promise<Engine>}
 */
export async function open({ model, options }, progress, signal) {
  const id = model.stored ?? model.url ?? model.hub ?? model.files?.[0]?.name ?? "";
  const steer = new URLSearchParams(id.split("?")[1] ?? "");
  if (model.url) await fetch(model.url, { signal }).catch(() => undefined);
  const phase = model.stored ? "read" : "download";
  for (let done = 0; done <= BYTES; done += STEP) {
    if (signal.aborted) throw failure("aborted", "Stopped.");
    progress({ phase, done, total: BYTES });
    if (steer.has("fail") && done >= BYTES / 2) {
      await put({ id, name: nameOf(id), bytes: done, complete: false, last_used: Date.now() });
      throw failure(steer.get("fail") ?? "", steer.get("message") ?? "It did not work.");
    }
    await sleep(steer.has("slow") ? 100 : 2);
  }
  progress({ phase: "compile", done: 0, total: 0 });
  const name = nameOf(id);
  if (options.store !== false) await put({ id, name, bytes: BYTES, complete: true, last_used: Date.now() });
  return new FakeEngine(id, name, steer.has("plain"), options.context ?? Number(steer.get("context") ?? 2048));
}

/** @param {string} id */
function nameOf(id) {
  return (id.split("?")[0] ?? "").split("/").at(-1)?.replace(".gguf", "") ?? "fake";
}

/** @implements {Engine} */
class FakeEngine {
  /**
   * @param {string} id
   * @param {string} name
   * @param {boolean} plain
   * @param {number} context
   */
  constructor(id, name, plain, context) {
    this.id = id;
    this.name = name;
    this.plain = plain;
    this.context = context;
  }

  /** @returns {Info} */
  info() {
    return {
      id: this.id,
      name: this.name,
      architecture: "llama",
      parameters: 134_515_008,
      weight_bytes: BYTES,
      context: this.context,
      chat: !this.plain,
      vocab_size: 49152,
      device: { kind: "webgpu", adapter: "Fake adapter", variants: ["portable"] },
      sampling: { temperature: 0.7, top_k: 40, top_p: 0.95, min_p: 0, repetition_penalty: 1, seed: 0 },
    };
  }

  /**
   * @param {Prompt} prompt
   * @param {{max_tokens?: number, temperature?: number, seed?: number}} options
   * @param {(delta: string) => void} onText
   * @param {AbortSignal} signal
   * @returns {Promise<Result>}
   */
  async generate(prompt, options, onText, signal) {
    const prompt_tokens = this.count_tokens(prompt);
    if (prompt_tokens >= this.context) throw failure("generate/context-full", "The prompt does not fit.");
    const room = Math.min(options.max_tokens ?? Infinity, this.context - prompt_tokens);
    const pieces = answer(prompt, options);
    let text = "";
    let count = 0;
    /** @type {Result["finish_reason"]} */
    let finish_reason = "stop";
    for (const piece of pieces) {
      if (signal.aborted || count >= room) {
        finish_reason = signal.aborted ? "abort" : "length";
        break;
      }
      if (piece.startsWith("FAIL ")) throw failure(piece.slice(5), "The graphics device was lost: a test says so.");
      await sleep(5);
      onText(piece);
      text += piece;
      count += 1;
    }
    const usage = { prompt_tokens, cached_tokens: 0, completion_tokens: count, context: this.context };
    return { text, ids: [], finish_reason, usage, stats: this.stats() };
  }

  /** Words, more or less. @param {Prompt} prompt */
  count_tokens(prompt) {
    const text = "messages" in prompt ? prompt.messages.map(({ content }) => content).join(" ") : "text" in prompt ? prompt.text : "";
    return text.split(/\s+/).filter(Boolean).length;
  }

  stats() {
    return {
      prefill_tokens_per_second: 180.2,
      decode_tokens_per_second: 23.4,
      time_to_first_token_ms: 412,
      gpu_bytes: 118_000_000,
      host_bytes: 21_000_000,
      dispatches_per_token: 331,
      submits_per_token: 1,
      readbacks_per_token: 1,
    };
  }

  unload() {}
  free() {}
}

/**
 * @param {Prompt} prompt
 * @param {object} options
 * @returns {Iterable<string>}
 */
function answer(prompt, options) {
  if ("text" in prompt) return [" and", " so", " it", " went", " on."];
  const messages = "messages" in prompt ? prompt.messages : [];
  const last = messages.at(-1)?.content ?? "";
  if (last.startsWith("say: ")) return last.slice(5).match(/[\s\S]{1,4}/g) ?? [];
  if (last.startsWith("burst: ")) return [last.slice(7)];
  if (last.startsWith("fail: ")) return ["Half", " an", " answer", `FAIL ${last.slice(6)}`];
  if (last === "long") return forever();
  const said = `You sent ${messages.length} messages with ${JSON.stringify(options)}: ${messages.map(({ role, content }) => `${role}=${content}`).join(" | ")}`;
  return said.match(/[\s\S]{1,6}/g) ?? [];
}

function* forever() {
  for (let i = 0; ; i++) yield `word${i} `;
}

/** @returns {Promise<StoredModel[]>} */
export async function stored_models() {
  return transact("readonly", (store) => store.getAll());
}

/** @param {string} id */
export async function delete_model(id) {
  await transact("readwrite", (store) => store.delete(id));
}

/** @param {StoredModel} model */
async function put(model) {
  await transact("readwrite", (store) => store.put(model));
}

/**
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest} act
 * @returns {Promise<any>}
 */
function transact(mode, act) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open("fake-models", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("models", { keyPath: "id" });
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const request = act(opening.result.transaction("models", mode).objectStore("models"));
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    };
  });
}

/**
 * @param {string} code
 * @param {string} message
 */
function failure(code, message) {
  return Object.assign(new Error(message), { code, advice: "Do what a test would do." });
}

/** @param {number} milliseconds */
function sleep(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
