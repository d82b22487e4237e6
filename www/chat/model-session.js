// The one model that an element has: none, on its way, ready, or failed.

import { load } from "../engine.js";

/** @import { Model, ModelRequest, OpenOptions } from "../engine.js" */
/** @import { Progress } from "../pkg/pagellama.js" */

/**
 * A model that can be chosen. `bytes` and `licence` where they are known beforehand.
 * @typedef {{request: ModelRequest, name: string, bytes?: number, licence?: string, store?: boolean}} Choice
 */
/**
 * @typedef {{kind: "none"} | {kind: "loading", choice: Choice} | {kind: "ready", choice: Choice, model: Model}
 *   | {kind: "failed", choice: Choice, error: unknown}} Phase
 */

export class ModelSession {
  /** @type {Phase} */
  phase = { kind: "none" };
  #cancel = new AbortController();
  #onChange;
  #onProgress;

  /** @param {{onChange: () => void, onProgress: (progress: Progress) => void}} listeners */
  constructor({ onChange, onProgress }) {
    this.#onChange = onChange;
    this.#onProgress = onProgress;
  }

  /** The loaded model, if there is one. */
  get model() {
    return this.phase.kind === "ready" ? this.phase.model : undefined;
  }

  /**
   * Loads a model in the place of the one before.
   * @param {Choice} choice
   * @param {OpenOptions} options
   */
  async load(choice, options) {
    this.#release();
    const { signal } = (this.#cancel = new AbortController());
    this.#enter({ kind: "loading", choice });
    const onProgress = (/** @type {Progress} */ progress) => void (signal.aborted || this.#onProgress(progress));
    try {
      const model = await load({ model: choice.request, store: choice.store ?? true, onProgress, signal, ...options });
      if (signal.aborted) model.unload();
      else this.#enter({ kind: "ready", choice, model });
    } catch (error) {
      if (!signal.aborted) this.#enter({ kind: "failed", choice, error });
    }
  }

  /** Back to no model: cancels a load, frees a loaded model, forgets a failure. */
  unload() {
    this.#release();
    this.#enter({ kind: "none" });
  }

  #release() {
    this.#cancel.abort();
    this.model?.unload();
  }

  /** @param {Phase} phase */
  #enter(phase) {
    this.phase = phase;
    this.#onChange();
  }
}
