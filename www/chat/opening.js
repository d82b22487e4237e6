// What models are loaded with: the visitor's choices, which last.

/** @import { KvFormat, OpenOptions } from "../engine.js" */
/** @import { Recipe } from "../pkg/pagellama.js" */
/** @import { Conversations } from "./conversations.js" */
/** @import { Choice } from "./model-session.js" */

/**
 * `context`: tokens to make room for, unless the engine chooses. `kv`: number format of the cache of keys and values. `tune`:
 * whether kernels are measured. `quantise`: what a folder's weights are turned into.
 * @typedef {{context: number | undefined, kv: KvFormat, tune: boolean, quantise: Recipe | undefined}} Loading
 */

/** Those that need a loaded model to be loaded again. @type {("context" | "kv" | "tune")[]} */
const OF_LOADED = ["context", "kv", "tune"];

export class Opening {
  #chats;
  #options;
  /** @type {Loading} */
  loading;

  /**
   * @param {Conversations} chats where they are kept
   * @param {OpenOptions} options what holds where nothing was chosen
   * @param {Loading} loading
   */
  constructor(chats, options, loading) {
    this.#chats = chats;
    this.#options = options;
    this.loading = loading;
  }

  /**
   * With the choices of the last visit.
   * @param {Conversations} chats
   * @param {OpenOptions} options
   */
  static async open(chats, options) {
    const [context, kv, tune, quantise] = await Promise.all([
      chats.preference("context"),
      chats.preference("kv"),
      chats.preference("tune"),
      chats.preference("quantise"),
    ]);
    return new Opening(chats, options, { context: context ?? options.context, kv: kv ?? options.kv ?? "f16", tune: tune ?? true, quantise });
  }

  /**
   * What a model is opened with.
   * @param {Choice} choice
   * @returns {OpenOptions}
   */
  of(choice) {
    const { context, kv, tune } = this.loading;
    const quantise = choice.quantise === undefined ? this.loading.quantise : choice.quantise;
    return { ...this.#options, ...(context && { context }), kv, ...(quantise && { quantise }), tune };
  }

  /**
   * Takes new choices, and tells whether a loaded model was loaded with others.
   * @param {Partial<Loading>} changed
   */
  choose(changed) {
    const before = this.loading;
    this.loading = { ...before, ...changed };
    for (const key of /** @type {(keyof Loading)[]} */ (Object.keys(changed))) {
      if (this.loading[key] !== before[key]) void this.#chats.prefer(key, this.loading[key]);
    }
    return OF_LOADED.some((key) => this.loading[key] !== before[key]);
  }
}
