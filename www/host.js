// The engine in its worker: the module that suits the device, and another one when a graphics device has gone away for good.

import { choose, onProcessor } from "./device.js";
import { hire, threadsOf } from "./helpers.js";
import { takeTurn } from "./turns.js";

/** @import { Choice, Device, Reason } from "./device.js" */
/** @import { AdapterRequest, Count, GenerateOptions, ModelRequest, OpenOptions } from "./engine.js" */
/** @import { AdapterInfo, Engine, Info, Progress, Prompt, Result } from "./pkg/webgpu.js" */
/** What each of the modules exports. @typedef {typeof import("./pkg/webgpu.js")} Module */
/** A module that runs, and why that one; those that compute with it. @typedef {Choice & {exports: Module, helpers?: Worker[]}} Running */
/**
 * @typedef {object} Listener
 * @property {(text: string) => void} onText
 * @property {(progress: Progress) => void} onReload
 * @property {(info: Info) => void} onMove
 * @property {AbortSignal} signal
 */

/** After these errors there is no use in another attempt on WebGPU. @type {Record<string, Reason>} */
const GONE = { "gpu/no-webgpu": "no-webgpu", "gpu/no-adapter": "no-adapter", "gpu/lost": "lost", "gpu/lost-again": "lost" };

export class Host {
  /** @type {Running | undefined} */
  #running;
  /** @type {Engine | undefined} */
  #engine;
  /** What was opened. @type {{request: ModelRequest, options: OpenOptions} | undefined} */
  #opened;
  /** Where the adapters that are attached came from. @type {{source: AdapterRequest, name: string, weight: number}[]} */
  #adapters = [];

  /** The open model. */
  get engine() {
    if (!this.#engine) throw failure("engine/unloaded", "No model is loaded.", "Load it again.");
    return this.#engine;
  }

  /** What the module exports that runs, for calls that need no device. */
  async exports() {
    this.#running ??= await start(await choose("auto", { measured: false }));
    return this.#running.exports;
  }

  /** The module for a device, if none runs yet. @param {Device} [device] */
  async #start(device = "auto") {
    return (this.#running ??= await start(await choose(device)));
  }

  /**
   * @param {ModelRequest} request
   * @param {OpenOptions} options
   * @param {(progress: Progress) => void} report
   * @param {AbortSignal} signal
   * @returns {Promise<Info>}
   */
  async open(request, options, report, signal) {
    const running = await this.#start(options.device);
    this.#opened = { request, options };
    try {
      this.#engine = await this.#openInTurn(running, report, signal);
    } catch (error) {
      const reason = signal.aborted ? undefined : this.#whyMove(error, options);
      if (!reason) throw error;
      await this.#move(reason, report, signal);
    }
    return this.#info();
  }

  /**
   * @param {ModelRequest} request
   * @param {OpenOptions} options
   * @param {AbortSignal} signal
   */
  async preflight(request, options, signal) {
    const running = await this.#start(options.device);
    try {
      return await foresee(running, request, options, signal);
    } catch (error) {
      const reason = signal.aborted ? undefined : this.#whyMove(error, options);
      if (!reason) throw error;
      this.#running = await start(onProcessor(reason));
      return foresee(this.#running, request, options, signal);
    }
  }

  /**
   * What verifying fetches again must not cross a download of the same model.
   *
   * @param {string} id
   * @param {string | undefined} token
   * @param {(progress: Count) => void} report
   * @param {AbortSignal} signal
   */
  async verify(id, token, report, signal) {
    const { model_key, stored_models, verify_model } = await this.exports();
    const { url } = (await stored_models()).find((model) => model.id === id) ?? {};
    // Files from disk have no address, and nothing to fetch them from.
    const turn = url === undefined ? undefined : await takeTurn(model_key({ url }), report, signal);
    const tell = (/** @type {Count} */ { done, total }) => turn?.tell({ phase: "read", done, total, stored: true });
    try {
      return await verify_model(id, token, turn ? tell : report, signal);
    } finally {
      turn?.end();
    }
  }

  /**
   * When the graphics device has gone away for good, the answer goes on on the processor where it was.
   *
   * @param {Prompt} prompt
   * @param {GenerateOptions} options
   * @param {Listener} listener
   * @returns {Promise<Result>}
   */
  async generate(prompt, options, { onText, onReload, onMove, signal }) {
    try {
      return await this.engine.generate(prompt, options, onText, signal, onReload);
    } catch (error) {
      const reason = this.#whyMove(error, this.#opened?.options);
      if (!reason) throw error;
      const { begun } = /** @type {{begun?: number[]}} */ (error);
      try {
        await this.#move(reason, onReload, signal);
        onMove(this.#info());
      } catch (failed) {
        // An answer that is stopped meanwhile is ended where it was begun, which takes no device.
        if (!signal.aborted) throw failed;
      }
      return this.engine.generate(prompt, { ...options, begun }, onText, signal, onReload);
    }
  }

  /**
   * @param {AdapterRequest} source
   * @param {{name?: string, weight?: number}} options
   * @param {AbortSignal} signal
   */
  async attach(source, options, signal) {
    const attached = await this.engine.attach_adapter(source, options, signal);
    const { name, weight } = /** @type {AdapterInfo} */ (attached.at(-1));
    this.#adapters.push({ source, name, weight });
    return attached;
  }

  /** @param {string} name */
  async detach(name) {
    const left = await this.engine.detach_adapter(name);
    this.#adapters = this.#adapters.filter((adapter) => adapter.name !== name);
    return left;
  }

  /**
   * @param {string} name
   * @param {number} weight
   */
  async weigh(name, weight) {
    const attached = await this.engine.set_adapter_weight(name, weight);
    for (const adapter of this.#adapters) if (adapter.name === name) adapter.weight = weight;
    return attached;
  }

  #info() {
    const info = this.engine.info();
    return { ...info, device: { ...info.device, reason: this.#running?.reason } };
  }

  /**
   * @param {Running} running
   * @param {(progress: Progress) => void} report
   * @param {AbortSignal} signal
   */
  async #openInTurn(running, report, signal) {
    const { model_key, open } = running.exports;
    const { request, options } = /** @type {{request: ModelRequest, options: OpenOptions}} */ (this.#opened);
    // What is stored needs no download, and a download that is not stored is of no use to another tab.
    const alone = "stored" in request || options.store === false;
    const turn = alone ? undefined : await takeTurn(model_key(request), report, signal);
    try {
      const helpers = await helpersOf(running, options);
      return await open({ model: request, options, helpers }, turn?.tell ?? report, signal);
    } finally {
      turn?.end();
    }
  }

  /**
   * Why the processor is to take over, if it is.
   * @param {unknown} error
   * @param {OpenOptions} [options] of what was asked for
   */
  #whyMove(error, { device = "auto" } = {}) {
    const { code = "" } = /** @type {{code?: string}} */ (Object(error));
    return device === "auto" && this.#running?.module === "webgpu" ? GONE[code] : undefined;
  }

  /**
   * Opens the model on the processor, with its adapters. When that fails all is as it was.
   * @param {Reason} reason
   * @param {(progress: Progress) => void} report
   * @param {AbortSignal} signal
   */
  async #move(reason, report, signal) {
    const before = this.#engine;
    const running = await start(onProcessor(reason));
    /** @type {Engine | undefined} */
    let engine;
    try {
      engine = await this.#openInTurn(running, report, signal);
      if (before && !isSame(before.info(), engine.info())) {
        throw failure("net/changed", "The model changed at its source.", "Load it again.");
      }
      for (const { source, name, weight } of this.#adapters) await engine.attach_adapter(source, { name, weight }, signal);
    } catch (error) {
      engine?.unload();
      for (const helper of running.helpers ?? []) helper.terminate();
      throw error;
    }
    before?.unload();
    this.#running = running;
    this.#engine = engine;
  }
}

/**
 * Whether two devices hold the same model. What is not kept may have no identity that lasts: its id ends in the time of the request.
 * @param {Info} one
 * @param {Info} other
 */
function isSame(one, other) {
  const sizes = (/** @type {Info} */ { parameters, vocab_size, name }) => `${parameters} ${vocab_size} ${name}`;
  const noIdentity = [one, other].every(({ id }) => /#\d+(\.\d+)?$/.test(id));
  return one.id === other.id || (noIdentity && sizes(one) === sizes(other));
}

/**
 * @param {string} code
 * @param {string} message
 * @param {string} advice
 */
function failure(code, message, advice) {
  return { code, message, advice };
}

/**
 * What a load would take.
 * @param {Running} running
 * @param {ModelRequest} request
 * @param {OpenOptions} options
 * @param {AbortSignal} signal
 */
async function foresee(running, request, options, signal) {
  const helpers = await helpersOf(running, options);
  return { ...(await running.exports.preflight({ model: request, options, helpers }, signal)), reason: running.reason };
}

/**
 * Who computes with a module for the processor.
 * @param {Running} running
 * @param {OpenOptions} options
 */
async function helpersOf(running, { threads }) {
  if (running.module === "webgpu") return [];
  const count = threadsOf(threads) - 1;
  const there = (running.helpers ??= []);
  if (there.length < count) there.push(...(await hire(count - there.length, running.module, running.exports.compiled())));
  return there.slice(0, count);
}

/** @param {Choice} choice @returns {Promise<Running>} */
async function start(choice) {
  try {
    /** @type {Module} */
    const exports = await import(`./pkg/${choice.module}.js`);
    await exports.default();
    return { ...choice, exports };
  } catch (error) {
    const { message } = /** @type {Error} */ (error);
    throw failure("engine/start", `The engine could not be started (${message}).`, "Check the connection and reload the page.");
  }
}
