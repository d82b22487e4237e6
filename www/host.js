// The engine in its worker: the module that suits the device, and another one when a graphics device has gone away for good.

import { choose, onProcessor } from "./device.js";
import { takeTurn } from "./turns.js";

/** @import { Choice, Device } from "./device.js" */
/** @import { AdapterRequest, Count, GenerateOptions, ModelRequest, OpenOptions } from "./engine.js" */
/** @import { AdapterInfo, Engine, Info, Progress, Prompt, Result } from "./pkg/webgpu.js" */
/** What each of the modules exports. @typedef {typeof import("./pkg/webgpu.js")} Module */
/**
 * @typedef {object} Listener
 * @property {(text: string) => void} onText
 * @property {(progress: Progress) => void} onReload
 * @property {(info: Info) => void} onMove
 * @property {AbortSignal} signal
 */

/** After one of these there is no use in another attempt on WebGPU. */
const GONE = ["gpu/no-webgpu", "gpu/no-adapter", "gpu/lost", "gpu/lost-again"];

export class Host {
  /** The module that runs, and why that one. @type {(Choice & {exports: Module}) | undefined} */
  #running;
  /** @type {Engine | undefined} */
  #engine;
  /** What was opened. @type {{request: ModelRequest, options: OpenOptions} | undefined} */
  #opened;
  /** Where the adapters that are attached came from. @type {{source: AdapterRequest, name: string, weight: number}[]} */
  #adapters = [];

  /** The open model. */
  get engine() {
    if (!this.#engine) throw new Error("no model is loaded");
    return this.#engine;
  }

  /**
   * What the module exports: the one that runs, else the one for a device.
   * @param {Device} [device]
   */
  async exports(device = "auto") {
    this.#running ??= await start(await choose(device));
    return this.#running.exports;
  }

  /**
   * @param {ModelRequest} request
   * @param {OpenOptions} options
   * @param {(progress: Progress) => void} report
   * @param {AbortSignal} signal
   * @returns {Promise<Info>}
   */
  async open(request, options, report, signal) {
    await this.exports(options.device);
    this.#opened = { request, options };
    try {
      this.#engine = await this.#openInTurn(report, signal);
    } catch (error) {
      if (!this.#mayMove(error) || signal.aborted) throw error;
      await this.#move(report, signal);
    }
    return this.#info();
  }

  /**
   * @param {ModelRequest} request
   * @param {OpenOptions} options
   * @param {AbortSignal} signal
   */
  async preflight(request, options, signal) {
    const { preflight } = await this.exports(options.device);
    const foretold = await preflight({ model: request, options }, signal);
    return { ...foretold, reason: this.#running?.reason };
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
      if (!this.#mayMove(error)) throw error;
      const { begun } = /** @type {{begun?: number[]}} */ (error);
      await this.#move(onReload, signal);
      onMove(this.#info());
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
   * @param {(progress: Progress) => void} report
   * @param {AbortSignal} signal
   */
  async #openInTurn(report, signal) {
    if (!this.#running || !this.#opened) throw new Error("nothing was asked for");
    const { model_key, open } = this.#running.exports;
    const { request, options } = this.#opened;
    // What is stored needs no download, and a download that is not stored is of no use to another tab.
    const alone = "stored" in request || options.store === false;
    const turn = alone ? undefined : await takeTurn(model_key(request), report, signal);
    try {
      return await open({ model: request, options }, turn?.tell ?? report, signal);
    } finally {
      turn?.end();
    }
  }

  /** Whether the processor is to take over. @param {unknown} error */
  #mayMove(error) {
    const { code } = /** @type {{code?: string}} */ (Object(error));
    const { device = "auto" } = this.#opened?.options ?? {};
    return device === "auto" && this.#running?.module === "webgpu" && GONE.includes(code ?? "");
  }

  /**
   * Opens the model on the processor, with its adapters.
   * @param {(progress: Progress) => void} report
   * @param {AbortSignal} signal
   */
  async #move(report, signal) {
    this.#engine?.unload();
    this.#engine = undefined;
    this.#running = await start(onProcessor("lost"));
    const engine = await this.#openInTurn(report, signal);
    for (const { source, name, weight } of this.#adapters) await engine.attach_adapter(source, { name, weight }, signal);
    this.#engine = engine;
  }
}

/** @param {Choice} choice */
async function start(choice) {
  try {
    /** @type {Module} */
    const exports = await import(`./pkg/${choice.module}.js`);
    await exports.default();
    return { ...choice, exports };
  } catch (error) {
    const { message } = /** @type {Error} */ (error);
    const advice = "Check the connection and reload the page.";
    throw { code: "engine/start", message: `The engine could not be started (${message}).`, advice };
  }
}
