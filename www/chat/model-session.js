// The one model that an element has: none, on its way, paused, ready, or failed.

import { load } from "../engine.js";
import { isFor } from "./sources.js";

/** @import { Model, ModelRequest, OpenOptions } from "../engine.js" */
/** @import { Progress, Recipe, StoredModel } from "../pkg/webgpu.js" */

/**
 * A model that can be chosen. `bytes` and `licence` where they are known beforehand. `address`: where a stored one came from.
 * `quantise`: what an unfinished copy has its weights turned into (null: nothing), whatever the settings say now.
 * @typedef {{request: ModelRequest, name: string, bytes?: number, licence?: string, store?: boolean, address?: string,
 *   quantise?: Recipe | null}} Choice
 */
/**
 * @typedef {{kind: "none"} | {kind: "loading", choice: Choice} | {kind: "paused", choice: Choice, progress?: Progress}
 *   | {kind: "ready", choice: Choice, model: Model} | {kind: "failed", choice: Choice, error: unknown}} Phase
 */

/** How a model is opened, and what is shown to its server. @typedef {OpenOptions & {token?: string}} LoadOptions */

/** Dispatches "change" whenever it enters another phase, and "stored" when the first bytes are there of a load that is stored. */
export class ModelSession extends EventTarget {
  /** @type {Phase} */
  phase = { kind: "none" };
  #cancel = new AbortController();
  /** Resolves once no load runs any more, be it cancelled a moment ago. @type {Promise<void>} */
  ended = Promise.resolve();
  /** @type {Progress | undefined} */
  #progress;
  #onProgress;

  /** @param {(progress: Progress) => void} onProgress */
  constructor(onProgress) {
    super();
    this.#onProgress = onProgress;
  }

  /** The loaded model, if there is one. */
  get model() {
    return this.phase.kind === "ready" ? this.phase.model : undefined;
  }

  /**
   * Whether a stored model is the one that is loaded, or that is being downloaded.
   * @param {StoredModel} model
   * @returns {boolean}
   */
  uses(model) {
    const { phase } = this;
    if (phase.kind === "ready") return phase.model.info.id === model.id;
    return (phase.kind === "loading" || phase.kind === "paused") && isFor(model, phase.choice);
  }

  /**
   * Loads a model in the place of the one before.
   * @param {Choice} choice
   * @param {LoadOptions} options
   */
  async load(choice, options) {
    this.#release();
    const { signal } = (this.#cancel = new AbortController());
    this.#enter({ kind: "loading", choice });
    // A load that was just cancelled may still be writing what it has.
    await this.ended;
    if (!signal.aborted) await (this.ended = this.#load(choice, options, signal));
  }

  /** Ends a load whose bytes stay stored; resolves once it has ended. */
  async pause() {
    if (this.phase.kind !== "loading") return;
    const { choice } = this.phase;
    this.#release();
    this.#enter({ kind: "paused", choice, progress: this.#progress });
    await this.ended;
  }

  /** Back to no model: cancels a load, frees a loaded model, forgets a failure. Resolves once a load has ended. */
  async unload() {
    this.#release();
    this.#enter({ kind: "none" });
    await this.ended;
  }

  /**
   * @param {Choice} choice
   * @param {LoadOptions} options
   * @param {AbortSignal} signal
   */
  async #load(choice, { token, ...options }, signal) {
    this.#progress = undefined;
    const onProgress = (/** @type {Progress} */ progress) => {
      if (signal.aborted) return;
      const begins = progress.done > 0 && !this.#progress?.done;
      this.#progress = progress;
      this.#onProgress(progress);
      if (begins && progress.stored) this.dispatchEvent(new Event("stored"));
    };
    try {
      const model = await load({ model: token === undefined ? choice.request : { ...choice.request, token }, store: choice.store ?? true, onProgress, signal, ...options });
      if (signal.aborted) model.unload();
      else this.#enter({ kind: "ready", choice, model });
    } catch (error) {
      if (!signal.aborted) this.#enter({ kind: "failed", choice, error });
    }
  }

  #release() {
    this.#cancel.abort();
    this.model?.unload();
  }

  /** @param {Phase} phase */
  #enter(phase) {
    this.phase = phase;
    this.dispatchEvent(new Event("change"));
  }
}
