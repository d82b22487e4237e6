// One measurement, with the same clock around every engine, and the rule by which slow engines are spared. It runs in pages
// and in Node.

import { prompt } from "./prompt.js";

/** @import { Prompt } from "./prompt.js" */

/**
 * What every engine is wrapped into. `generate` takes the prompt into an empty context and writes `count` tokens, the
 * likeliest each and past any end of text; it calls `onToken` when there is one more to show. It resolves to how many tokens
 * of the prompt were computed, how many were written, and their text; and when the first of them was there, in seconds from the
 * call, where only the engine can tell.
 *
 * @typedef {{prompt: number, tokens: number, text: string, firstToken?: number}} Written
 * @typedef {object} Engine
 * @property {string} note on what it runs
 * @property {(prompt: Prompt, count: number, onToken: () => void) => Promise<Written>} generate
 * @property {() => void | Promise<void>} unload
 */
/**
 * Tokens a second; `firstToken` in seconds from the call.
 * @typedef {{size: number, prefill: number, decode: number, firstToken: number, tokens: number, text: string}} Measurement
 */

/** What a prompt may take. Seconds. */
export const PROMPT_BUDGET = 600;
/** An engine that needs more than this for a token of its own is asked for no prompt longer than `SLOW_SIZE`. Seconds. */
export const SLOW_TOKEN = 4;
export const SLOW_SIZE = 256;
/** What the tokens after the first may take. Seconds. */
const DECODE_BUDGET = 20;
/** Tokens that are written for one measurement. A rate needs two. */
export const MOST_TOKENS = 32;
const LEAST_TOKENS = 3;

/** The context that every engine is opened with. @param {number[]} sizes of prompts */
export function contextFor(sizes) {
  return Math.ceil((Math.max(...sizes) + MOST_TOKENS) / 64) * 64;
}

/**
 * How many tokens to write after a prompt, judged by the measurement before; none when that would take too long.
 *
 * @param {number} size
 * @param {Pick<Measurement, "prefill" | "decode"> | undefined} last
 * @returns {number | undefined}
 */
export function plan(size, last) {
  if (!last) return LEAST_TOKENS;
  if (size / last.prefill > PROMPT_BUDGET) return undefined;
  if (1 / last.decode > SLOW_TOKEN && size > SLOW_SIZE) return undefined;
  return Math.min(MOST_TOKENS, Math.max(LEAST_TOKENS, 1 + Math.floor(DECODE_BUDGET * last.decode)));
}

/**
 * @param {Pick<Engine, "generate">} engine
 * @param {number} size of the prompt
 * @param {number} count of tokens to write
 * @param {number} turn no two prompts of an engine have the same one, lest one finds its beginning in a cache
 * @returns {Promise<Measurement>}
 */
export async function measure(engine, size, count, turn) {
  let first = 0;
  const begun = performance.now();
  const written = await engine.generate(prompt(size, turn), count, () => (first ||= performance.now()));
  const end = performance.now();
  if (written.prompt !== size) throw new Error(`it computed ${written.prompt} tokens of a prompt of ${size}`);
  if (written.tokens !== count) throw new Error(`it wrote ${written.tokens} tokens instead of ${count}`);
  if (!first && !written.firstToken) throw new Error("it wrote nothing");
  const { firstToken = (first - begun) / 1000, text } = written;
  const rest = (end - begun) / 1000 - firstToken;
  return { size, prefill: size / firstToken, decode: (count - 1) / rest, firstToken, tokens: count, text };
}

/**
 * Measures one prompt after the other, the shortest first: one that is not counted, which finds kernels and caches cold, then
 * each size. A size over the budget ends it: the longer ones are over it too.
 *
 * @param {Pick<Engine, "generate">} engine
 * @param {number[]} sizes
 * @param {(first: Measurement) => unknown} onFirst
 * @param {(measurement: Measurement) => unknown} onMeasurement
 */
export async function measureAll(engine, sizes, onFirst, onMeasurement) {
  const ascending = sizes.toSorted((one, other) => one - other);
  const shortest = Math.min(32, ...ascending);
  /** @type {Measurement} */
  let last = await measure(engine, shortest, plan(shortest, undefined) ?? 0, 0);
  await onFirst(last);
  for (const [index, size] of ascending.entries()) {
    const count = plan(size, last);
    if (count === undefined) break;
    last = await measure(engine, size, count, index + 1);
    await onMeasurement(last);
  }
}
