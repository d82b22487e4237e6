// Stands where the wasm engine stands (pkg/webgpu.js), so that the page, engine.js and worker.js run as they are.
//
// The model's address steers how it loads:  ?fail=CODE&message=TEXT   fails with that error after half of the download, which stays stored
//                                           &once                     ... but not when something is stored already
//                                           ?crowded=CODE             fails with that error while another model is stored, unless no copy is kept
//                                           ?full                     keeps no copy, for want of room
//                                           ?slow=N                   takes N milliseconds for each of 20 steps (about two seconds without N)
//                                           ?late                     takes a second before anything is stored
//                                           ?wait=REASON              waits for that ("network", "server") at half of the download
//                                           ?plain                    has no chat format
//                                           ?context=N                has a small context
//                                           ?rate=N                   says that it reads N tokens a second
//                                           ?untimed                  has an adapter that does not tell how long kernels take
//                                           ?busy                     looks at the kernels of a prompt without end
// ... and what is found in the store:       ?damaged=N                N parts are damaged; &lost: and cannot be fetched again
//                                           ?parts                    two files
//                                           ?stuck                    verifying and saving take until they are stopped
// Each step is stored as it comes, and the next load goes on from there.
// The last message steers the answer:       say: TEXT                 answers TEXT
//                                           burst: TEXT               answers TEXT in one piece
//                                           fail: CODE                fails in the middle
//                                           lose: TEXT                answers TEXT, and is loaded again in the middle of it, for two seconds
//                                           gone: TEXT                answers TEXT; graphics devices go away in the middle for good
//                                           long                      goes on until it is stopped
// An adapter whose address has "broken" in it is refused.
// Any other message is answered with a line that tells how many messages and which settings and adapters arrived.

/** @import { AdapterInfo, Engine, Info, KernelProfile, Profile, Progress, Prompt, Result, StoredModel, Verified } from "../types/pkg/webgpu.js" */

const BYTES = 98_362_432;
const STEP = BYTES / 20;
const PART = 4 * 1024 * 1024;
/** Stands in an answer where the graphics device goes away. */
const LOSS = "LOSS";
const LIMITS = { bytes_per_second: 100e9, flops_per_second: 4e12 };

/** Whether it stands for a module for the processor. */
const ON_PROCESSOR = import.meta.url.includes("/cpu");

/** Tells, for tests that count, that the engine was fetched and started. */
export default async function init() {
  return {};
}

/** What helpers start from. It computes nothing. */
export function compiled() {
  return new WebAssembly.Module(new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]));
}

/**
 * What is to be expected of a model: nothing good of one whose address says so.
 * @param {{model: {url?: string}, options: {context?: number}}} request
 */
export async function preflight({ model, options }) {
  const small = new URL(model.url ?? "", self.location.href).searchParams.has("small");
  const because = "there is no room for even one of its 30 layers";
  return {
    verdict: small ? { kind: "wont_fit", because } : { kind: "likely_fits" },
    context: options.context ?? 4096,
    memory: { weights: 90_000_000, cache: 90_000_000, activations: 10_000_000 },
    speed: { prefill: 41.8, decode: 9.94 },
    stored_bytes: 98_362_432,
    adapter: "Fake adapter",
  };
}

/**
 * @param {{model: {url?: string, hub?: string, files?: File[], stored?: string}, options: {context?: number, kv?: string, store?: boolean, tune?: boolean}}} request
 * @param {(progress: Progress) => void} progress
 * @param {AbortSignal} signal
 * @returns {Promise<Engine>}
 */
export async function open({ model, options }, progress, signal) {
  const id = model.stored ?? model_key(model);
  const name = nameOf(id);
  const steer = steering(id);
  const full = steer.has("full");
  const keep = options.store !== false && !full;
  const storing = { stored: keep, ...(full && { reason: "the disk is full." }) };
  if (model.url) await fetch(model.url, { signal }).catch(() => undefined);
  const models = await stored_models();
  if (keep && steer.has("crowded") && models.some((other) => other.id !== id)) throw failure(steer.get("crowded") ?? "", "There is no room for this model.");
  const there = models.find((one) => one.id === id)?.bytes ?? 0;
  const fails = steer.has("fail") && !(steer.has("once") && there > 0);
  if (steer.has("late")) await sleep(1000, signal);
  let waited = false;
  for (let done = 0; done <= BYTES; done += STEP) {
    /** @type {Progress} */
    const figures = { phase: model.stored || done < there ? "read" : "download", done, total: BYTES, ...storing };
    const half = done >= BYTES / 2;
    if (keep && figures.phase === "download") await put({ id, name, bytes: done, total: BYTES, complete: false, last_used: Date.now(), url: model.url });
    if (signal.aborted) throw failure("aborted", "Stopped.");
    if (fails && half) throw failure(steer.get("fail") ?? "", steer.get("message") ?? "It did not work.");
    if (half && steer.has("wait") && !waited) {
      /** @type {Progress} */
      const waits = { ...figures, waiting: { for: steer.get("wait") === "server" ? "server" : "network", seconds: 3 } };
      waited = true;
      progress(waits);
      await sleep(1500, signal);
      // Another connection goes on.
      progress(waits);
      await sleep(1500, signal);
    }
    progress(figures);
    await sleep(steer.has("slow") ? Number(steer.get("slow")) || 100 : 2, signal);
  }
  progress({ phase: "compile", done: 0, total: 0, ...storing });
  if (keep) await put({ id, name, bytes: BYTES, total: BYTES, complete: true, last_used: Date.now(), url: model.url });
  return new FakeEngine(id, name, steer.has("plain"), options.context ?? Number(steer.get("context") ?? 2048), { tuned: options.tune !== false, kv: options.kv ?? "f16", stored: keep });
}

/**
 * @param {{url?: string, hub?: string, files?: File[]}} model
 * @returns {string}
 */
export function model_key(model) {
  return model.url ?? model.hub ?? model.files?.[0]?.name ?? "";
}

/** @param {string} id */
function steering(id) {
  return new URLSearchParams(id.split("?")[1] ?? "");
}

/** @param {string} id */
function nameOf(id) {
  return (id.split("?")[0] ?? "").split("/").at(-1)?.replace(".gguf", "") ?? "fake";
}

/** What shows in answers of how the model was loaded. @typedef {{tuned: boolean, kv: string, stored: boolean}} Loaded */

/** @implements {Engine} */
class FakeEngine {
  /**
   * @param {string} id
   * @param {string} name
   * @param {boolean} plain
   * @param {number} context
   * @param {Loaded} loaded
   */
  constructor(id, name, plain, context, loaded) {
    this.id = id;
    this.name = name;
    this.plain = plain;
    this.context = context;
    this.loaded = loaded;
    /** @type {AdapterInfo[]} */
    this.adapters = [];
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
      stored: this.loaded.stored,
      device: { kind: ON_PROCESSOR ? "cpu" : "webgpu", software: ON_PROCESSOR, adapter: ON_PROCESSOR ? "processor" : "Fake adapter", variants: ["portable"], tuning_ms: this.loaded.tuned ? 2.5 : null, threads: ON_PROCESSOR ? 1 : null },
      sampling: { temperature: 0.7, top_k: 40, top_p: 0.95, min_p: 0, repetition_penalty: 1, seed: 0 },
    };
  }

  /**
   * @param {Prompt} prompt
   * @param {{max_tokens?: number, temperature?: number, seed?: number}} options
   * @param {(delta: string) => void} onText
   * @param {AbortSignal} signal
   * @param {(progress: Progress) => void} [onReload]
   * @returns {Promise<Result>}
   */
  async generate(prompt, options, onText, signal, onReload) {
    const prompt_tokens = this.count_tokens(prompt);
    if (prompt_tokens >= this.context) throw failure("generate/context-full", "The prompt does not fit.");
    const room = Math.min(options.max_tokens ?? Infinity, this.context - prompt_tokens);
    const pieces = answer(prompt, options, this.loaded, this.adapters);
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
      if (piece === LOSS) {
        onReload?.({ phase: "read", done: BYTES / 4, total: BYTES, stored: true });
        await sleep(2000, signal);
        onReload?.({ phase: "compile", done: BYTES, total: BYTES, stored: true });
        continue;
      }
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
    if ("ids" in prompt) return prompt.ids.length;
    const text = "messages" in prompt ? prompt.messages.map(({ content }) => content).join(" ") : "text" in prompt ? prompt.text : "";
    return text.split(/\s+/).filter(Boolean).length;
  }

  stats() {
    return {
      prefill_tokens_per_second: Number(steering(this.id).get("rate") ?? 180.2),
      decode_tokens_per_second: 23.4,
      time_to_first_token_ms: 412,
      gpu_bytes: 118_000_000,
      host_bytes: 21_000_000,
      dispatches_per_token: 331,
      submits_per_token: 1,
      readbacks_per_token: 1,
    };
  }

  /**
   * Two kernels that reach a part of the limits.
   * @param {number} tokens
   * @param {number} position
   * @returns {Promise<Profile>}
   */
  async profile(tokens, position) {
    await sleep(tokens > 1 && steering(this.id).has("busy") ? 1e9 : 5);
    const run = Math.min(tokens, 128);
    const timed = !steering(this.id).has("untimed");
    const kernel = (/** @type {string} */ name, /** @type {number} */ bytes, /** @type {number} */ flops, /** @type {number} */ part) => {
      const least = Math.max(bytes / LIMITS.bytes_per_second, flops / LIMITS.flops_per_second);
      /** @type {KernelProfile} */
      const figures = {
        kernel: name,
        dispatches: 30,
        microseconds: timed ? (least * 1e6) / part : null,
        weight_bytes: name === "attention" ? 0 : bytes,
        bytes,
        flops,
        bound: run > 1 ? "arithmetic" : "bandwidth",
        fraction: timed ? part : null,
      };
      return figures;
    };
    const product = kernel(run > 1 ? "matmul" : "matvec_slices", BYTES, 2 * 134_515_008 * run, 0.64);
    const attention = kernel("attention", (position + run) * 23_040, position * run * 69_120, 0.2);
    return { tokens: run, position, limits: LIMITS, kernels: [product, attention] };
  }

  async measure_adapter() {
    await sleep(5);
    return LIMITS;
  }

  /**
   * @param {{url?: string, hub?: string, files?: File[]}} source
   * @param {{name?: string, weight?: number}} options
   */
  async attach_adapter(source, { name, weight = 1 }) {
    const key = source.url ?? source.hub ?? source.files?.[0]?.webkitRelativePath.split("/")[0] ?? "";
    if (key.includes("broken")) throw failure("weights/adapter", "The adapter cannot be used: use_dora is not supported.");
    this.adapters.push({ name: name ?? key, weight, parameters: 1000 });
    return this.adapters;
  }

  /** @param {string} name */
  async detach_adapter(name) {
    return (this.adapters = this.adapters.filter((adapter) => adapter.name !== name));
  }

  /**
   * @param {string} name
   * @param {number} weight
   */
  async set_adapter_weight(name, weight) {
    return (this.adapters = this.adapters.map((adapter) => (adapter.name === name ? { ...adapter, weight } : adapter)));
  }

  unload() {}
  free() {}
}

/**
 * @param {Prompt} prompt
 * @param {object} options
 * @param {Loaded} loaded
 * @param {AdapterInfo[]} adapters
 * @returns {Iterable<string>}
 */
function answer(prompt, options, { tuned, kv }, adapters) {
  if ("ids" in prompt) return forever();
  if ("text" in prompt) return [" and", " so", " it", " went", " on."];
  const messages = "messages" in prompt ? prompt.messages : [];
  const last = messages.at(-1)?.content ?? "";
  if (last.startsWith("say: ")) return last.slice(5).match(/[\s\S]{1,4}/g) ?? [];
  if (last.startsWith("lose: ")) return [last.slice(6, 14), LOSS, last.slice(14)];
  if (last.startsWith("gone: ")) return ON_PROCESSOR ? [last.slice(14)] : [last.slice(6, 14), "FAIL gpu/lost-again"];
  if (last.startsWith("burst: ")) return [last.slice(7)];
  if (last.startsWith("fail: ")) return ["Half", " an", " answer", `FAIL ${last.slice(6)}`];
  if (last === "long") return forever();
  const said = `You sent ${messages.length} messages${tuned ? "" : ", untuned,"}${kv === "f16" ? "" : `, with a ${kv} cache,`}${adapters.map(({ name, weight }) => ` through ${weight} ${name}`).join("")} with ${JSON.stringify(options)}: ${messages.map(({ role, content }) => `${role}=${content}`).join(" | ")}`;
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

/**
 * @param {string} id
 * @param {string | undefined} token
 * @param {(progress: {done: number, total: number}) => void} progress
 * @param {AbortSignal} signal
 * @returns {Promise<Verified>}
 */
export async function verify_model(id, token, progress, signal) {
  const steer = steering(id);
  await readAll(steer, progress, signal);
  const count = Number(steer.get("damaged") ?? 0);
  const damaged = Array.from({ length: count }, (_, index) => ({ file: "model.gguf", start: index * PART, length: PART }));
  return { chunks: Math.ceil(BYTES / PART), damaged, repaired: steer.has("lost") ? 0 : count };
}

/**
 * @param {string} id
 * @param {string | undefined} token
 * @param {(progress: {done: number, total: number}) => void} progress
 * @param {AbortSignal} signal
 * @returns {Promise<File[]>}
 */
export async function export_model(id, token, progress, signal) {
  const steer = steering(id);
  await readAll(steer, progress, signal);
  const names = steer.has("parts") ? ["config.json", "model.safetensors"] : [`${nameOf(id)}.gguf`];
  return names.map((name) => new File([`bytes of ${name}`], name));
}

/**
 * @param {URLSearchParams} steer
 * @param {(progress: {done: number, total: number}) => void} progress
 * @param {AbortSignal} signal
 */
async function readAll(steer, progress, signal) {
  for (let done = 0; done <= BYTES; done += STEP) {
    progress({ done, total: BYTES });
    await sleep(steer.has("stuck") ? 1e9 : 2, signal);
    if (signal.aborted) throw failure("aborted", "Stopped.");
  }
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
      request.onsuccess = () => (opening.result.close(), resolve(request.result));
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

/**
 * @param {number} milliseconds
 * @param {AbortSignal} [signal] ends it early
 */
function sleep(milliseconds, signal) {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", resolve, { once: true });
  });
}
