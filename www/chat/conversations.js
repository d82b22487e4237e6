// Conversations and preferences at rest, in IndexedDB; in memory where the browser stores nothing.

/** @import { Device } from "../device.js" */
/** @import { KvFormat } from "../engine.js" */
/** @import { Recipe, Result, SamplingOptions, Stats } from "../pkg/webgpu.js" */

/**
 * What differs from the model's defaults. `system` is the system prompt.
 * @typedef {SamplingOptions & {system?: string, max_tokens?: number}} Settings
 */
/**
 * How an answer came about, shown below it.
 * @typedef {{model: string, adapter: string, seed: number, stats: Stats, usage: Result["usage"]}} Origin
 */
/** @typedef {{role: "user" | "assistant", content: string, finish?: Result["finish_reason"], origin?: Origin}} Message */
/**
 * `from`: the first message that the model still sees. Times are milliseconds since 1970.
 * @typedef {{id: string, title: string, created: number, updated: number, settings: Settings, messages: Message[], from: number}} Conversation
 */
/**
 * `model`: the last one loaded, by the engine's id; `source` is where it came from. `settings`: what a new conversation
 * begins with. `context`, `kv`, `tune`, `quantise`: what models are loaded with, as in opening.js. `hub`: the address that
 * repositories come from. `licences`: those that were accepted, by name.
 * @typedef {{model: {id: string, name: string, source?: string} | undefined, settings: Settings | undefined, device: Device | undefined, context: number | undefined,
 *   kv: KvFormat | undefined, tune: boolean | undefined, quantise: Recipe | undefined, current: string | undefined, hub: string | undefined,
 *   licences: string[] | undefined}} Preferences
 */
/**
 * @typedef {object} Shelf
 * @property {(store: string, key: string) => Promise<unknown>} get
 * @property {(store: string) => Promise<unknown[]>} all
 * @property {(store: string, key: string, value: unknown) => Promise<void>} put
 * @property {(store: string, key: string) => Promise<void>} delete
 * @property {() => void} close
 */

/** Raised when the stores change; `upgrade` then brings older data along. */
const VERSION = 1;
const CONVERSATIONS = "conversations";
const PREFERENCES = "preferences";

/** One element's conversations. Elements with the same name on one origin share them. */
export class Conversations {
  #shelf;

  /**
   * @param {Shelf} shelf
   * @param {boolean} lasting whether they survive a reload
   */
  constructor(shelf, lasting) {
    this.#shelf = shelf;
    this.lasting = lasting;
  }

  /**
   * @param {string} name
   * @returns {Promise<Conversations>}
   */
  static async open(name) {
    try {
      return new Conversations(indexedDbShelf(await openDatabase(`pagellama-chats-${name}`)), true);
    } catch {
      // A private window, or storage that the embedding page blocks: chatting works all the same.
      return new Conversations(memoryShelf(), false);
    }
  }

  /** @returns {Promise<Conversation[]>} newest first */
  async list() {
    const all = /** @type {Conversation[]} */ (await this.#shelf.all(CONVERSATIONS));
    return all.sort((a, b) => b.updated - a.updated);
  }

  /** @param {Conversation} conversation */
  async put(conversation) {
    await this.#shelf.put(CONVERSATIONS, conversation.id, conversation);
  }

  /** @param {string} id */
  async delete(id) {
    await this.#shelf.delete(CONVERSATIONS, id);
  }

  /**
   * @template {keyof Preferences} K
   * @param {K} key
   * @returns {Promise<Preferences[K]>}
   */
  async preference(key) {
    return /** @type {Preferences[K]} */ (await this.#shelf.get(PREFERENCES, key));
  }

  /**
   * Never fails: a preference that is not kept costs the next visit a click.
   * @template {keyof Preferences} K
   * @param {K} key
   * @param {Preferences[K]} value
   */
  async prefer(key, value) {
    await this.#shelf.put(PREFERENCES, key, value).catch(() => undefined);
  }

  close() {
    this.#shelf.close();
  }
}

/**
 * @param {Settings} settings
 * @returns {Conversation}
 */
export function newConversation(settings) {
  const now = Date.now();
  const id = `${now.toString(36)}-${crypto.getRandomValues(new Uint32Array(1))[0]?.toString(36)}`;
  return { id, title: "", created: now, updated: now, settings: { ...settings }, messages: [], from: 0 };
}

/**
 * What the list calls a conversation that nobody has named.
 * @param {Conversation} conversation
 * @returns {string}
 */
export function titleOf(conversation) {
  const first = conversation.messages[0]?.content.trim().replace(/\s+/g, " ") ?? "";
  return conversation.title || (first.length > 60 ? `${first.slice(0, 59)}…` : first) || "New chat";
}

/**
 * @param {string} name
 * @returns {Promise<IDBDatabase>}
 */
function openDatabase(name) {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(name, VERSION);
    request.onupgradeneeded = () => {
      request.result.createObjectStore(CONVERSATIONS);
      request.result.createObjectStore(PREFERENCES);
    };
    request.onsuccess = () => {
      // A newer page in another tab wants to upgrade: let it.
      request.result.onversionchange = () => request.result.close();
      resolve(request.result);
    };
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("another tab keeps an older version open"));
  });
}

/**
 * @param {IDBDatabase} database
 * @returns {Shelf}
 */
function indexedDbShelf(database) {
  /**
   * One request in a transaction of its own; done once the transaction is.
   * @param {string} store
   * @param {IDBTransactionMode} mode
   * @param {(store: IDBObjectStore) => IDBRequest} act
   * @returns {Promise<any>}
   */
  const run = (store, mode, act) =>
    new Promise((resolve, reject) => {
      const transaction = database.transaction(store, mode);
      const request = act(transaction.objectStore(store));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  return {
    get: (store, key) => run(store, "readonly", (s) => s.get(key)),
    all: (store) => run(store, "readonly", (s) => s.getAll()),
    put: (store, key, value) => run(store, "readwrite", (s) => s.put(value, key)),
    delete: (store, key) => run(store, "readwrite", (s) => s.delete(key)),
    close: () => database.close(),
  };
}

/** @returns {Shelf} */
function memoryShelf() {
  /** @type {Map<string, unknown>} */
  const records = new Map();
  return {
    get: async (store, key) => records.get(`${store}/${key}`),
    all: async (store) => [...records].filter(([key]) => key.startsWith(`${store}/`)).map(([, value]) => value),
    put: async (store, key, value) => void records.set(`${store}/${key}`, structuredClone(value)),
    delete: async (store, key) => void records.delete(`${store}/${key}`),
    close: () => records.clear(),
  };
}
