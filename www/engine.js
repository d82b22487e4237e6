// The JavaScript API: load a model, generate text, stop. It hides the worker in which the engine runs.
//
//   import { load } from "https://host/path/engine.js";
//   const model = await load({ model: { hub: "owner/name" }, onProgress: console.log });
//   for await (const text of model.generate({ messages: [{ role: "user", content: "Hello!" }] })) show(text);
//   model.unload();
//
// It works from another origin than its own, if the server allows that (CORS). What is stored belongs to the page's origin.

import { canRun } from "./device.js";
import { startWorker } from "./start-worker.js";

/** @import { Device } from "./device.js" */
/** @import { AdapterInfo, FileDigests, HubChoice, Info, Preflight, Profile, Progress, Prompt, Recipe, Result, SamplingOptions, SpeedLimits, Stats, StoredModel, Verified, Waiting } from "./pkg/webgpu.js" */

/**
 * Where a model comes from: an address (a GGUF file, or a Hugging Face folder when it ends in "/"), a Hugging Face
 * repository, files from disk, or one that is already stored. With `digests` (by file name) other bytes are refused.
 *
 * `hub` is "owner/name" for the only model of a repository, "owner/name/file.gguf", or "owner/name/" for its safetensors; a
 * repository of several models is refused with an error whose `choices` can be asked for instead. `host` is the hub's address
 * (default https://huggingface.co). `token` is shown to the server of the model's address and to no other one.
 * @typedef {({url: string} | {hub: string, revision?: string, host?: string} | {files: File[]} | {stored: string})
 *   & {digests?: Record<string, FileDigests>, token?: string}} ModelRequest
 */
/**
 * `context`: tokens to make room for; without it the engine chooses. `kv`: number format of the key/value cache, "f16" unless it is
 * named: "q8" takes little more than half of the memory and is less exact, "f32" twice as much.
 * `store: false` keeps no copy in the browser. `connections`: how many requests fetch a file at a time (default 4). `tune: false`
 * takes the kernels that suit most adapters; otherwise the first load measures which are the fastest, in less than two seconds.
 * `device`: "auto" takes WebGPU, or the processor where no adapter gives a device or it is the processor itself, or where graphics
 * devices keep going away; `info.device` says which it is, and the reason. "webgpu" and "cpu" take that one or fail.
 * `threads`: how many compute on the processor, where the page is cross-origin isolated; otherwise it is one. By default half as
 * many as there are logical processors, at least two and at most eight.
 * `activations: "int8"` rounds what products take to bytes, which is not exact: on the processor it is the default and several times
 * faster than "f32"; on WebGPU it is for prompts alone, where device and weights allow it, and faster on GPUs that multiply bytes. `quantise` turns the weights of a Hugging Face folder into 8.5 or 4.5 bits each on their way: what is
 * stored is that copy, which the next load does not make again.
 * @typedef {{context?: number, kv?: KvFormat, device?: Device, threads?: number, store?: boolean, connections?: number, tune?: boolean, activations?: "f32" | "int8", quantise?: Recipe}} OpenOptions
 */
/**
 * Where a LoRA adapter comes from, a folder with `adapter_config.json` and `adapter_model.safetensors` as PEFT saves it: its address,
 * a Hugging Face repository, or files from disk. No copy of it is kept.
 * @typedef {{url: string} | {hub: string, revision?: string, host?: string, token?: string} | {files: File[]}} AdapterRequest
 */
/** @typedef {"f16" | "f32" | "q8"} KvFormat */
/** @typedef {SamplingOptions & {max_tokens?: number, ignore_eos?: boolean}} GenerateOptions */
/** Bytes, of how many; `waiting` while another tab has the model, whose figures they are. @typedef {{done: number, total: number, waiting?: Waiting}} Count */
/** What a call that takes a while can be given. @typedef {{onProgress?: (progress: Count) => void, signal?: AbortSignal}} LongCall */
/** `token`: for what is fetched again, shown to the model's own server alone. @typedef {LongCall & {token?: string}} StoredCall */
/**
 * A message to the worker; worker.js opens with their table.
 * @typedef {{type: "open", id: number, request: ModelRequest, options: OpenOptions}
 *   | {type: "preflight", id: number, request: ModelRequest, options: OpenOptions}
 *   | {type: "generate", id: number, prompt: Prompt, options: GenerateOptions}
 *   | {type: "count", id: number, prompt: Prompt}
 *   | {type: "stats", id: number}
 *   | {type: "profile", id: number, tokens: number, position: number}
 *   | {type: "measure", id: number}
 *   | {type: "attach", id: number, source: AdapterRequest, options: {name?: string, weight?: number}}
 *   | {type: "detach", id: number, name: string}
 *   | {type: "weigh", id: number, name: string, weight: number}
 *   | {type: "stored", id: number}
 *   | {type: "delete", id: number, model: string}
 *   | {type: "verify" | "export", id: number, model: string, token: string | undefined}
 *   | {type: "abort", id: number}} Call
 */
/**
 * A message from the worker.
 * @typedef {{type: "progress", id: number, progress: Progress | Count}
 *   | {type: "text", id: number, text: string}
 *   | {type: "moved", id: number, info: Info}
 *   | {type: "result", id: number, value: unknown}
 *   | {type: "error", id: number, error: {code: string, message: string, advice: string, choices?: HubChoice[]}}} Reply
 */
/**
 * A `Call` before it has its number, whichever kind it is.
 * @typedef {{type: Call["type"], request?: ModelRequest, options?: OpenOptions | GenerateOptions | {name?: string, weight?: number}, prompt?: Prompt, model?: string, token?: string | undefined, tokens?: number, position?: number, source?: AdapterRequest, name?: string, weight?: number}} Order
 */

/** How long a cancelled load may take to end by itself before its worker is ended for it. Milliseconds. */
const CANCEL_GRACE = 1500;

/**
 * An error with a stable `code` for programs, a `message` for people (a sentence), and `advice` on what to do. "hub/several"
 * also has `choices`.
 */
export class EngineError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {string} [advice]
   * @param {HubChoice[]} [choices]
   */
  constructor(code, message, advice = "", choices = undefined) {
    super(message);
    this.name = "EngineError";
    this.code = code;
    this.advice = advice;
    this.choices = choices;
  }
}

/**
 * Loads a model into a worker of its own. A `model` that is only a text is its address, as in `{url: model}`.
 *
 * @param {{model: ModelRequest | string, onProgress?: (progress: Progress) => void, signal?: AbortSignal} & OpenOptions} options
 * @returns {Promise<Model>}
 */
export async function load({ model, onProgress, signal, ...options }) {
  const request = requestFor(model);
  const worker = new Connection();
  try {
    const onReply = (/** @type {Reply} */ reply) => reply.type === "progress" && onProgress?.(/** @type {Progress} */ (reply.progress));
    const opened = worker.call({ type: "open", request, options }, { signal, onReply });
    const info = /** @type {Info} */ (await Promise.race([opened, lateCancel(signal)]));
    return new Model(worker, info);
  } catch (error) {
    worker.close();
    throw error;
  }
}

/**
 * Says, before anything is stored, whether a model will run here: from its header alone, of which a few MB are read, and from a layer
 * like its own that is timed on this device. Takes the memory that the model would need, for a moment.
 *
 * @param {{model: ModelRequest | string, signal?: AbortSignal} & OpenOptions} options as for `load`
 * @returns {Promise<Preflight>}
 */
export async function preflight({ model, signal, ...options }) {
  return /** @type {Preflight} */ (await callOnce({ type: "preflight", request: requestFor(model), options }, { signal }));
}

/**
 * A relative address means relative to the page, not to the worker's script.
 * @param {ModelRequest | string} model
 * @returns {ModelRequest}
 */
function requestFor(model) {
  const asked = typeof model === "string" ? { url: model } : model;
  return "url" in asked ? { ...asked, url: absolute(asked.url).href } : asked;
}

/**
 * Models that this origin has stored, complete or not.
 * @returns {Promise<StoredModel[]>}
 */
export async function storedModels() {
  return /** @type {StoredModel[]} */ (await callOnce({ type: "stored" }));
}

/**
 * Deletes a stored model.
 * @param {string} id
 * @returns {Promise<void>}
 */
export async function deleteModel(id) {
  await callOnce({ type: "delete", model: id });
}

/**
 * Reads all that is stored of a model; parts that are damaged are fetched again where that is possible. While another tab
 * loads the same model from the network, it waits.
 * @param {string} id
 * @param {StoredCall} [options]
 * @returns {Promise<Verified>}
 */
export async function verifyModel(id, options) {
  return /** @type {Verified} */ (await callOnce({ type: "verify", model: id, token: options?.token }, options));
}

/**
 * The files of a stored model, as they were published.
 * @param {string} id
 * @param {StoredCall} [options]
 * @returns {Promise<File[]>}
 */
export async function exportModel(id, options) {
  return /** @type {File[]} */ (await callOnce({ type: "export", model: id, token: options?.token }, options));
}

/**
 * How much this origin stores (models, and whatever else it keeps), how much it may, and whether the browser has
 * promised not to clear it away. A browser that does not tell leaves the figures out.
 * @returns {Promise<{usage?: number, quota?: number, persisted: boolean}>}
 */
export async function storage() {
  const [estimate, persisted] = await Promise.all([
    answerOf(() => navigator.storage.estimate()),
    answerOf(() => navigator.storage.persisted()),
  ]);
  return { usage: estimate?.usage, quota: estimate?.quota, persisted: persisted ?? false };
}

/**
 * Asks the browser to keep what is stored when disk space runs short; some ask the visitor.
 * @returns {Promise<boolean>} whether it promises to
 */
export async function keepStorage() {
  return (await answerOf(() => navigator.storage.persist())) ?? false;
}

/**
 * Asks the browser, before anything is downloaded, whether it can run a model at all.
 * @param {Device} [device] where it is to run
 * @returns {Promise<EngineError | undefined>} what is missing
 */
export async function missingSupport(device = "auto") {
  if (!canRun()) return new EngineError("engine/too-old", "This browser is too old to run a model.", "Use a current Chrome, Edge, Safari or Firefox.");
  if (device !== "webgpu" && globalThis.isSecureContext) return undefined;
  const gpu = /** @type {{gpu?: {requestAdapter(): Promise<unknown>}}} */ (/** @type {unknown} */ (navigator)).gpu;
  if (!gpu) {
    return globalThis.isSecureContext
      ? new EngineError("gpu/no-webgpu", "This browser has no WebGPU.", "Use a current Chrome, Edge, Safari or Firefox.")
      : new EngineError("gpu/no-webgpu", "WebGPU is not available on this address.", "Open the page over https, or on localhost.");
  }
  if (await gpu.requestAdapter().catch(() => null)) return undefined;
  const advice = "Turn on hardware acceleration in the browser's settings and update the graphics driver.";
  return new EngineError("gpu/no-adapter", "The browser found no usable graphics adapter.", advice);
}

/** A loaded model. */
export class Model {
  #worker;

  /**
   * @param {Connection} worker
   * @param {Info} info
   */
  constructor(worker, info) {
    this.#worker = worker;
    /** What was loaded, and on which device. @type {Info} */
    this.info = info;
    /** The LoRA adapters that are attached. @type {AdapterInfo[]} */
    this.adapters = [];
    /** How the last `generate` ended. @type {Result | undefined} */
    this.lastResult = undefined;
  }

  /**
   * Yields the answer's text in pieces. Aborting `signal`, or leaving the loop, stops the engine; an abort ends the loop
   * without an error and `lastResult.finish_reason` is "abort". Calls at the same time run one after another.
   *
   * When the graphics device goes away (driver reset, sleep, crash), the model is loaded again from where it came, which is the
   * store if it is kept there; `onReload` is told how far that is. The answer then goes on where it was. After a second loss within
   * a minute it goes on on the processor, unless WebGPU was asked for: that ends it with the error "gpu/lost-again", and the next call
   * tries again.
   *
   * @param {Prompt} prompt
   * @param {GenerateOptions & {signal?: AbortSignal, onReload?: (progress: Progress) => void}} [options]
   * @returns {AsyncGenerator<string, void, void>}
   */
  async *generate(prompt, { signal, onReload, ...options } = {}) {
    const left = new AbortController();
    const stop = signal ? AbortSignal.any([signal, left.signal]) : left.signal;
    let text = "";
    let finished = false;
    /** @type {unknown} */
    let failure;
    let wake = () => {};
    const onReply = (/** @type {Reply} */ reply) => {
      if (reply.type === "text") text += reply.text;
      else if (reply.type === "moved") this.info = reply.info;
      else if (reply.type === "progress") onReload?.(/** @type {Progress} */ (reply.progress));
      wake();
    };
    const ended = this.#worker
      .call({ type: "generate", prompt, options }, { signal: stop, onReply })
      .then((result) => void (this.lastResult = /** @type {Result} */ (result)), (error) => void (failure = error))
      .finally(() => {
        finished = true;
        wake();
      });
    try {
      for (;;) {
        if (text) {
          const ready = text;
          text = "";
          yield ready;
        } else if (finished) {
          break;
        } else {
          await new Promise((resolve) => (wake = () => resolve(undefined)));
        }
      }
      if (failure) throw failure;
    } finally {
      left.abort();
      await ended;
    }
  }

  /**
   * Tokens that a prompt takes, template included.
   * @param {Prompt} prompt
   * @returns {Promise<number>}
   */
  async countTokens(prompt) {
    return /** @type {number} */ (await this.#worker.call({ type: "count", prompt }));
  }

  /**
   * Figures about the last answer and about memory.
   * @returns {Promise<Stats>}
   */
  async stats() {
    return /** @type {Stats} */ (await this.#worker.call({ type: "stats" }));
  }

  /**
   * What each kernel takes to compute `tokens` tokens, or as many of them as are computed at once, after `position` others, and
   * how that compares with what the adapter can do. The next answer reads its prompt anew.
   * @param {{tokens: number, position: number}} run
   * @returns {Promise<Profile>}
   */
  async profile({ tokens, position }) {
    return /** @type {Profile} */ (await this.#worker.call({ type: "profile", tokens, position }));
  }

  /**
   * Measures what the adapter does at its best; takes less than a second.
   * @returns {Promise<SpeedLimits>}
   */
  async measureAdapter() {
    return /** @type {SpeedLimits} */ (await this.#worker.call({ type: "measure" }));
  }

  /**
   * Attaches a LoRA adapter, beside those that are: the model stays as it is, and `weight` times what the adapter makes of it is
   * added. Without a `name` it has that of its folder or repository. The next answer reads its prompt anew.
   * @param {AdapterRequest | string} source a text is the address of a folder
   * @param {{name?: string, weight?: number, signal?: AbortSignal}} [options]
   * @returns {Promise<AdapterInfo[]>} all that are attached now, as in `adapters`
   */
  async attachAdapter(source, { signal, ...options } = {}) {
    const asked = typeof source === "string" ? { url: source } : source;
    const request = "url" in asked ? { ...asked, url: folderAt(asked.url) } : asked;
    return this.#adapted({ type: "attach", source: request, options }, signal);
  }

  /**
   * Takes an adapter away again.
   * @param {string} name
   * @returns {Promise<AdapterInfo[]>} those that are left
   */
  async detachAdapter(name) {
    return this.#adapted({ type: "detach", name });
  }

  /**
   * Has an adapter count more or less: 1 is as it was trained.
   * @param {string} name
   * @param {number} weight
   * @returns {Promise<AdapterInfo[]>}
   */
  async setAdapterWeight(name, weight) {
    return this.#adapted({ type: "weigh", name, weight });
  }

  /**
   * @param {Order} order
   * @param {AbortSignal} [signal]
   */
  async #adapted(order, signal) {
    return (this.adapters = /** @type {AdapterInfo[]} */ (await this.#worker.call(order, { signal })));
  }

  /** Ends the worker, and with it frees all memory of the model: the heap of a wasm module cannot shrink. */
  unload() {
    this.#worker.close();
  }
}

/** A worker and the calls that wait for its answers. */
class Connection {
  #worker;
  #next = 1;
  /** @type {Map<number, {resolve(value: unknown): void, reject(error: Error): void, onReply?: (reply: Reply) => void}>} */
  #waiting = new Map();
  #closed = false;

  constructor() {
    this.#worker = startWorker("./worker.js");
    this.#worker.addEventListener("message", ({ data }) => this.#receive(/** @type {Reply} */ (data)));
    this.#worker.addEventListener("error", (event) => {
      event.preventDefault();
      const detail = event.message ? ` (${event.message})` : "";
      const advice = "Check the connection and reload the page.";
      this.#fail(new EngineError("engine/start", `The engine could not be started or stopped working${detail}.`, advice));
    });
  }

  /**
   * @param {Order} order
   * @param {{signal?: AbortSignal, onReply?: (reply: Reply) => void}} [options]
   * @returns {Promise<unknown>}
   */
  call(order, { signal, onReply } = {}) {
    if (this.#closed) return Promise.reject(unloaded());
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      const abort = () => this.#worker.postMessage({ type: "abort", id });
      const settle = () => signal?.removeEventListener("abort", abort);
      this.#waiting.set(id, {
        resolve: (value) => (settle(), resolve(value)),
        reject: (error) => (settle(), reject(error)),
        onReply,
      });
      this.#worker.postMessage({ ...order, id });
      if (signal?.aborted) abort();
      else signal?.addEventListener("abort", abort, { once: true });
    });
  }

  close() {
    this.#fail(unloaded());
  }

  /** @param {Reply} reply */
  #receive(reply) {
    const call = this.#waiting.get(reply.id);
    if (!call) return;
    if (reply.type === "progress" || reply.type === "text" || reply.type === "moved") {
      call.onReply?.(reply);
      return;
    }
    this.#waiting.delete(reply.id);
    if (reply.type === "result") call.resolve(reply.value);
    else call.reject(new EngineError(reply.error.code, reply.error.message, reply.error.advice, reply.error.choices));
  }

  /** @param {EngineError} error */
  #fail(error) {
    this.#closed = true;
    this.#worker.terminate();
    for (const call of this.#waiting.values()) call.reject(error);
    this.#waiting.clear();
  }
}

/** A relative address means relative to the page, not to the worker's script. @param {string} url */
function absolute(url) {
  return new URL(url, document.baseURI);
}

/** An adapter's address is a folder's, whether or not it says so. @param {string} address */
function folderAt(address) {
  const url = absolute(address);
  if (!url.pathname.endsWith("/")) url.pathname += "/";
  return url.href;
}

/**
 * A call that needs no model: a worker comes and goes.
 * @param {Order} order
 * @param {LongCall} [options]
 */
async function callOnce(order, { onProgress, signal } = {}) {
  const worker = new Connection();
  const onReply = (/** @type {Reply} */ reply) => reply.type === "progress" && onProgress?.(reply.progress);
  try {
    return await Promise.race([worker.call(order, { signal, onReply }), lateCancel(signal)]);
  } finally {
    worker.close();
  }
}

/**
 * What the browser's storage answers; nothing where there is none to ask (a page without https, a sandboxed frame).
 * @template T
 * @param {() => Promise<T>} ask
 * @returns {Promise<T | undefined>}
 */
async function answerOf(ask) {
  try {
    return await ask();
  } catch {
    return undefined;
  }
}

/**
 * Rejects a while after `signal` is aborted, for an engine that is too busy to notice.
 * @param {AbortSignal | undefined} signal
 * @returns {Promise<never>}
 */
function lateCancel(signal) {
  return new Promise((_, reject) => {
    const late = () => setTimeout(() => reject(new EngineError("aborted", "Stopped.", "Start again when you like.")), CANCEL_GRACE);
    if (signal?.aborted) late();
    else signal?.addEventListener("abort", late, { once: true });
  });
}

function unloaded() {
  return new EngineError("engine/unloaded", "The model was unloaded.", "Load it again.");
}
