// What is measured, in which order, and what a slow adapter is spared. Small sizes come first, so that each one tells how
// long the next will take.

import * as format from "../chat/format.js";

/** @import { Model } from "../engine.js" */
/** @import { Profile, Result, SpeedLimits } from "../pkg/webgpu.js" */

/**
 * `tokens` were read at `tokens_per_second`; the first token of an answer came after `time_to_first_token_ms`.
 * @typedef {{tokens: number, tokens_per_second: number, time_to_first_token_ms: number}} Prefill
 */
/**
 * `tokens` were written after `context` others. Each moves `bytes_per_token`, nearly all of them to be read; at that speed this is
 * `bandwidth_fraction` of what the adapter can read.
 * @typedef {{context: number, tokens: number, tokens_per_second: number, bytes_per_token: number, bandwidth_fraction: number}} Decode
 */
/**
 * What was measured so far.
 * @typedef {object} Measured
 * @property {SpeedLimits} [adapter] its limits
 * @property {Prefill[]} prefill
 * @property {Decode[]} decode
 * @property {{what: string, why: string}[]} left_out
 * @property {Profile[]} profiles
 */
/**
 * @typedef {object} MeasureOptions
 * @property {AbortSignal} signal stops it; what was measured until then stays
 * @property {(step: number, of: number, text: string) => void} tell what begins now
 * @property {(measured: Measured) => void} show something was measured
 */

/** Prompts to read; after each, writing goes on at a larger context. Tokens. */
const STAGES = [
  { prefill: 32, context: 32 },
  { prefill: 256, context: 512 },
  { prefill: 1024, context: 2048 },
];
/** Tokens to write at each context. */
const WRITTEN = 64;
/** Tokens of a prompt whose kernels are looked at: the engine computes no more at once. */
const PROFILED = 128;
const PROFILING = "Looking at the kernels of a prompt";
/** How long a measurement may take to be begun at all, and when it is ended. Milliseconds. */
const BUDGET = 15_000;
const LIMIT = 25_000;
const TOO_LONG = "it takes too long here";
/** How long writing is watched at most. Milliseconds. */
const WRITING = 8_000;
/** A prompt is read again until that took so long, at most `TIMES` times. Milliseconds. */
const READING = 1_500;
const TIMES = 5;

/**
 * @param {Model} model
 * @param {MeasureOptions} options
 * @returns {Promise<void>}
 */
export async function measure(model, options) {
  await new Measurement(model, options).run();
}

class Measurement {
  #model;
  #signal;
  #tell;
  #show;
  /** @type {Measured} */
  #measured = { prefill: [], decode: [], left_out: [], profiles: [] };
  #step = 0;
  /** How fast the last prompt was read, a millisecond. @type {number | undefined} */
  #rate;
  /** So that no prompt begins as one before it. */
  #prompts = 0;

  /**
   * @param {Model} model
   * @param {MeasureOptions} options
   */
  constructor(model, { signal, tell, show }) {
    this.#model = model;
    this.#signal = signal;
    this.#tell = tell;
    this.#show = show;
  }

  async run() {
    this.#begin("Warming up");
    const warm = await this.#generate(this.#prompt(32), 4, LIMIT);
    this.#rate = rateOf(warm);
    this.#begin("Measuring the graphics adapter");
    this.#measured.adapter = await this.#inTime(this.#model.measureAdapter());
    this.#show(this.#measured);
    for (const { prefill, context } of STAGES) {
      this.#begin(reading(prefill));
      const ids = await this.#read(prefill, context);
      this.#show(this.#measured);
      this.#begin(writing(context));
      await this.#write(ids.slice(0, context), prefill);
      this.#show(this.#measured);
    }
    this.#begin(PROFILING);
    await this.#profilePrompt();
    this.#show(this.#measured);
  }

  /** @param {string} text */
  #begin(text) {
    this.#signal.throwIfAborted();
    // Warming up, the adapter, and the kernels of a prompt.
    this.#tell(this.#step++, 3 + 2 * STAGES.length, text);
  }

  /**
   * Reads prompts of `tokens` tokens.
   * @param {number} tokens
   * @param {number} room how many tokens the prompts have in all
   * @returns {Promise<number[]>} the last prompt, which the engine may still know
   */
  async #read(tokens, room) {
    let ids = this.#prompt(Math.max(tokens, room));
    const what = reading(tokens);
    if (!this.#fits(what, tokens, tokens + 1)) return ids;
    /** @type {Result[]} */
    const results = [];
    const started = performance.now();
    do {
      if (results.length > 0) ids = this.#prompt(ids.length);
      const result = await this.#generate(ids.slice(0, tokens), 1, LIMIT);
      if (!result) {
        this.#leaveOut(what, TOO_LONG);
        return ids;
      }
      results.push(result);
    } while (results.length < TIMES && performance.now() - started < READING);
    results.sort((a, b) => a.stats.prefill_tokens_per_second - b.stats.prefill_tokens_per_second);
    const median = results[results.length >> 1];
    if (!median) return ids;
    this.#rate = rateOf(median) ?? this.#rate;
    const { prefill_tokens_per_second: tokens_per_second, time_to_first_token_ms } = median.stats;
    this.#measured.prefill.push({ tokens, tokens_per_second, time_to_first_token_ms });
    return ids;
  }

  /**
   * Writes after `ids`, of which the first `read` were read before.
   * @param {number[]} ids
   * @param {number} read
   */
  async #write(ids, read) {
    const context = ids.length;
    const what = writing(context);
    const known = this.#measured.prefill.some(({ tokens }) => tokens === read) ? read : 0;
    if (!this.#fits(what, context - known, context + WRITTEN + 1)) return;
    const there = await this.#generate(ids, 1, LIMIT);
    // One more than is counted: speed is told from the second token on.
    const result = there && (await this.#generate(ids, WRITTEN + 1, WRITING));
    const tokens_per_second = result?.stats.decode_tokens_per_second ?? 0;
    if (!result || tokens_per_second <= 0) return this.#leaveOut(what, TOO_LONG);
    const profile = await this.#inTime(this.#model.profile({ tokens: 1, position: context }));
    if (!profile) return this.#leaveOut(what, TOO_LONG);
    const bytes_per_token = profile.kernels.reduce((sum, { bytes }) => sum + bytes, 0);
    const bandwidth_fraction = (bytes_per_token * tokens_per_second) / profile.limits.bytes_per_second;
    const tokens = result.usage.completion_tokens;
    this.#measured.decode.push({ context, tokens, tokens_per_second, bytes_per_token, bandwidth_fraction });
    this.#measured.profiles.push(profile);
  }

  /** Looks at the kernels of a prompt. */
  async #profilePrompt() {
    const tokens = Math.min(PROFILED, this.#model.info.context);
    // They run once unmeasured, and again at least once.
    if (!this.#fits(PROFILING, 2 * tokens, tokens)) return;
    const profile = await this.#inTime(this.#model.profile({ tokens, position: 0 }));
    if (profile) this.#measured.profiles.push(profile);
    else this.#leaveOut(PROFILING, TOO_LONG);
  }

  /**
   * Waits for what the engine does not stop in the middle of, which goes on until the model is unloaded.
   * @template T
   * @param {Promise<T>} work
   * @returns {Promise<T | undefined>} nothing if it is late
   */
  #inTime(work) {
    const ended = AbortSignal.any([this.#signal, AbortSignal.timeout(LIMIT)]);
    return new Promise((resolve, reject) => {
      ended.addEventListener("abort", () => (this.#signal.aborted ? reject(this.#signal.reason) : resolve(undefined)), { once: true });
      work.then(resolve, reject);
    });
  }

  /**
   * Whether something can be measured here, and in time; otherwise it is left out.
   * @param {string} what
   * @param {number} read tokens to be read for it
   * @param {number} room tokens that the context must have room for
   */
  #fits(what, read, room) {
    const { context } = this.#model.info;
    const needed = this.#rate ? read / this.#rate : Infinity;
    if (room > context) this.#leaveOut(what, `the model’s context has room for ${format.count(context)}`);
    else if (needed > BUDGET) this.#leaveOut(what, Number.isFinite(needed) ? `it would take about ${Math.ceil(needed / 1000)} s here` : TOO_LONG);
    else return true;
    return false;
  }

  /**
   * @param {string} what
   * @param {string} why
   */
  #leaveOut(what, why) {
    this.#measured.left_out.push({ what, why });
  }

  /**
   * Greedily, and past every end.
   * @param {number[]} ids
   * @param {number} most tokens to generate
   * @param {number} limit milliseconds until it is ended
   * @returns {Promise<Result | undefined>} nothing if not a token came in time
   */
  async #generate(ids, most, limit) {
    const signal = AbortSignal.any([this.#signal, AbortSignal.timeout(limit)]);
    const text = this.#model.generate({ ids }, { temperature: 0, max_tokens: most, ignore_eos: true, signal });
    // The text is of no use; it has to be taken to come to the end.
    while (!(await text.next()).done);
    this.#signal.throwIfAborted();
    const result = this.#model.lastResult;
    return result && result.usage.completion_tokens > 0 ? result : undefined;
  }

  /** @param {number} length @returns {number[]} */
  #prompt(length) {
    const vocabulary = this.#model.info.vocab_size;
    const first = 17 * ++this.#prompts;
    return Array.from({ length }, (_, index) => (first + 7919 * index) % vocabulary);
  }
}

/**
 * Tokens read a millisecond.
 * @param {Result | undefined} result
 */
function rateOf(result) {
  const rate = result?.stats.prefill_tokens_per_second ?? 0;
  return rate > 0 ? rate / 1000 : undefined;
}

/** @param {number} tokens */
function reading(tokens) {
  return `Reading ${format.count(tokens)} tokens`;
}

/** @param {number} context */
function writing(context) {
  return `Writing after ${format.count(context)} tokens`;
}
