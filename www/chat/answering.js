// From a conversation to the next answer: prompt, stream, stop, and what to do when the context is full.

import { placeName } from "./place.js";

/** @import { Model } from "../engine.js" */
/** @import { Progress, Prompt } from "../pkg/webgpu.js" */
/** @import { Conversation, Message } from "./conversations.js" */

/** A running answer is saved this often, so that a crash loses little. Milliseconds. */
const SAVE_INTERVAL = 2000;

/**
 * @typedef {object} AnsweringEvents
 * @property {(message: Message) => void} begin an empty answer was appended
 * @property {(message: Message) => void} grow its text is longer
 * @property {(progress: Progress) => void} reload it waits: the graphics device went away, and the model is loaded again
 * @property {(message: Message) => void} end it is complete, or was stopped
 * @property {(error: unknown) => void} fail
 * @property {(conversation: Conversation) => void} save
 */

/** Answers one conversation at a time. */
export class Answering {
  /** @type {AbortController | undefined} */
  #running;
  /** @type {Promise<void>} */
  #ended = Promise.resolve();
  #events;

  /** @param {AnsweringEvents} events */
  constructor(events) {
    this.#events = events;
  }

  get busy() {
    return this.#running !== undefined;
  }

  /** Stops the running answer, if there is one; resolves when it has ended. */
  stop() {
    this.#running?.abort();
    return this.#ended;
  }

  /**
   * Appends the model's next answer to the conversation.
   * @param {Model} model
   * @param {string} name what the answer's figures call the model
   * @param {Conversation} conversation
   */
  async answer(model, name, conversation) {
    await this.stop();
    const { signal } = (this.#running = new AbortController());
    // Whoever waits for the end waits for no more than that: a defect in a listener is told once, by `fail`.
    this.#ended = this.#answer(model, name, conversation, signal)
      .catch((error) => this.#events.fail(error))
      .finally(() => (this.#running = undefined));
    await this.#ended;
  }

  /**
   * @param {Model} model
   * @param {string} name
   * @param {Conversation} conversation
   * @param {AbortSignal} signal
   */
  async #answer(model, name, conversation, signal) {
    const { system: _, seed = randomSeed(), ...sampling } = conversation.settings;
    const prompt = promptOf(conversation, model.info.chat);
    /** @type {Message} */
    const message = { role: "assistant", content: "" };
    conversation.messages.push(message);
    this.#events.begin(message);
    /** @type {unknown} */
    let failure;
    let saved = Date.now();
    const onReload = (/** @type {Progress} */ progress) => this.#events.reload(progress);
    try {
      for await (const text of model.generate(prompt, { ...sampling, seed, signal, onReload })) {
        message.content += text;
        this.#events.grow(message);
        if (Date.now() - saved > SAVE_INTERVAL) {
          saved = Date.now();
          this.#events.save(conversation);
        }
      }
      const result = model.lastResult;
      if (result) {
        const { device } = model.info;
        message.finish = result.finish_reason;
        message.origin = { model: name, adapter: placeName(device), seed, stats: result.stats, usage: result.usage };
      }
    } catch (error) {
      message.finish = "abort";
      // Unloading in the middle of an answer is a way of stopping it.
      if (/** @type {{code?: string}} */ (error).code !== "engine/unloaded") failure = error;
    }
    if (!message.content) conversation.messages.splice(conversation.messages.indexOf(message), 1);
    conversation.updated = Date.now();
    this.#events.save(conversation);
    this.#events.end(message);
    if (failure) this.#events.fail(failure);
  }
}

/**
 * What the model is given: the messages with the system prompt in front, or, for a model without a chat format, one text.
 *
 * @param {Conversation} conversation
 * @param {boolean} chat whether the model has a chat format
 * @param {number} [from] the first message to include
 * @returns {Prompt}
 */
function promptOf({ messages, settings, from: first }, chat, from = first) {
  const seen = messages.slice(from);
  if (!chat) return { text: seen.map((message) => message.content).join("") };
  /** @type {{role: string, content: string}[]} */
  const turns = settings.system ? [{ role: "system", content: settings.system }] : [];
  for (const { role, content } of seen) {
    const last = turns.at(-1);
    // After an answer that failed, two messages of the same side follow each other; templates want turns.
    if (last?.role === role) last.content += `\n\n${content}`;
    else turns.push({ role, content });
  }
  return { messages: turns };
}

/**
 * Tokens that the conversation takes so far.
 * @param {Model} model
 * @param {Conversation} conversation
 * @param {number} [from]
 * @returns {Promise<number>}
 */
export async function measure(model, conversation, from = conversation.from) {
  const prompt = promptOf(conversation, model.info.chat, from);
  const empty = "messages" in prompt ? !prompt.messages.some(({ role }) => role !== "system") : false;
  return empty ? 0 : model.countTokens(prompt);
}

/**
 * Moves the conversation's start to the first turn from which everything takes half of the context at most, so that there
 * is room to go on. The system prompt stays in front.
 *
 * @param {Model} model
 * @param {Conversation} conversation
 * @returns {Promise<boolean>} whether anything could be left out
 */
export async function dropOldest(model, conversation) {
  const before = conversation.from;
  for (let from = before + 1; from < conversation.messages.length; from++) {
    if (model.info.chat && conversation.messages[from]?.role !== "user") continue;
    conversation.from = from;
    if ((await measure(model, conversation)) <= model.info.context / 2) break;
  }
  return conversation.from > before;
}

/** An answer that is asked for again should differ; with a seed of one's own it will not. */
function randomSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
}
