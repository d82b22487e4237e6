// What models are loaded with: the visitor's choices, which last.

/** @import { Device } from "../device.js" */
/** @import { KvFormat, OpenOptions } from "../engine.js" */
/** @import { Recipe } from "../pkg/webgpu.js" */
/** @import { Conversations } from "./conversations.js" */
/** @import { Choice } from "./model-session.js" */

/**
 * `device`: where models run. `context`: tokens to make room for. `kv`: number format of what is kept of them. `tune`: whether kernels are measured.
 * `quantise`: what a folder's weights are turned into. What is undefined is up to the element, and else to the engine.
 * @typedef {{device: Device | undefined, context: number | undefined, kv: KvFormat | undefined, tune: boolean, quantise: Recipe | undefined}} Loading
 */

/** A context that is half as long is offered down to this. Tokens. */
const LEAST_CONTEXT = 512;
/** What the engine makes room for where nobody says more, if the model has as many. Tokens. */
const DEFAULT_CONTEXT = 4096;

export class Opening {
  #chats;
  #options;
  #loading;

  /**
   * @param {Conversations} chats where they are kept
   * @param {OpenOptions} options what holds where nothing was chosen
   * @param {Loading} loading
   */
  constructor(chats, options, loading) {
    this.#chats = chats;
    this.#options = options;
    this.#loading = loading;
  }

  /** Whether the page leaves no choice of the device. */
  get pinned() {
    return (this.#options.device ?? "auto") !== "auto";
  }

  /** What was chosen. */
  get loading() {
    return this.#loading;
  }

  /**
   * With the choices of the last visit.
   * @param {Conversations} chats
   * @param {OpenOptions} options
   */
  static async open(chats, options) {
    const [device, context, kv, tune, quantise] = await Promise.all([
      chats.preference("device"),
      chats.preference("context"),
      chats.preference("kv"),
      chats.preference("tune"),
      chats.preference("quantise"),
    ]);
    return new Opening(chats, options, { device, context, kv, tune: tune ?? true, quantise });
  }

  /**
   * What a model is opened with.
   * @param {Choice} choice
   * @returns {OpenOptions}
   */
  of(choice) {
    const quantise = choice.quantise === undefined ? this.#loading.quantise : choice.quantise;
    return { ...this.#ofLoaded(), ...(quantise && { quantise }) };
  }

  /** Those options for which a loaded model has to be loaded again. */
  #ofLoaded() {
    const { device, context, kv, tune } = this.#loading;
    return { ...this.#options, ...(device && !this.pinned && { device }), ...(context && { context }), ...(kv && { kv }), tune };
  }

  /**
   * Takes new choices, and tells whether a loaded model was loaded with others.
   * @param {Partial<Loading>} changed
   */
  choose(changed) {
    const before = this.#ofLoaded();
    this.#loading = { ...this.#loading, ...changed };
    for (const key of /** @type {(keyof Loading)[]} */ (Object.keys(changed))) this.#chats.prefer(key, this.#loading[key]);
    const now = this.#ofLoaded();
    return /** @type {const} */ (["device", "context", "kv", "tune"]).some((key) => now[key] !== before[key]);
  }

  /**
   * Choices that take less memory than the present ones.
   * @param {number} [context] tokens that there was to be room for, where that is known
   * @returns {{shorter?: Partial<Loading>, coarser?: Partial<Loading>}}
   */
  smaller(context) {
    const present = this.#ofLoaded();
    const half = Math.floor((context ?? present.context ?? DEFAULT_CONTEXT) / 2);
    return { ...(half >= LEAST_CONTEXT && { shorter: { context: half } }), ...(present.kv !== "q8" && { coarser: { kv: "q8" } }) };
  }
}
