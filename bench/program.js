// A program that answers JSON lines, as examples/llama.rs says: a prompt a line in, what became of it a line out.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { pss } from "../tests/www/support/memory.js";
import { measureAll } from "./measure.js";
import { prompt } from "./prompt.js";

/** @import { Engine, Measurement } from "./measure.js" */
/** @import { Result, Round } from "./report.js" */

/**
 * The command of llama.cpp.
 * @param {string} model
 * @param {number} context
 * @param {"cpu" | "vulkan"} where
 */
export function llamaCpp(model, context, where) {
  return [process.execPath, fileURLToPath(new URL("native/llama-cpp.mjs", import.meta.url)), model, String(context), where];
}

/**
 * A program's part of a round.
 * @param {string[]} command
 * @param {number[]} sizes
 * @param {Result} result which gets a note of what it runs on, unless it has one
 * @returns {Promise<Round>}
 */
export async function measureProgram(command, sizes, result) {
  const begun = performance.now();
  const { pid, note, generate, stop } = start(command);
  /** @type {Round} */
  const round = { measurements: [], memory: 0 };
  const watch = setInterval(() => (round.memory = Math.max(round.memory ?? 0, pss(pid ?? 0))), 250);
  try {
    // The first answer waits for the program's start and the model. Its prompt is in no other's way: turns count from 0.
    await generate(prompt(Math.min(32, ...sizes), -1), 1, () => {});
    round.visit = (performance.now() - begun) / 1000;
    result.note ??= note();
    const onMeasurement = (/** @type {Measurement} */ measurement) => {
      console.log(result.label, JSON.stringify(measurement));
      round.measurements.push(measurement);
    };
    await measureAll({ generate }, sizes, () => {}, onMeasurement);
    return round;
  } finally {
    clearInterval(watch);
    await stop();
  }
}

/**
 * Starts a program. `note` says what it runs on, once it has answered; `stop` ends it and waits until it is gone.
 *
 * @param {string[]} command
 * @returns {Pick<Engine, "generate"> & {pid: number | undefined, note: () => string, stop: () => Promise<unknown>}}
 */
export function start([program = "", ...words]) {
  const child = spawn(program, words, { stdio: ["pipe", "pipe", "ignore"] });
  /** Why nothing more comes of it. A program that cannot be started does not exit. @type {Promise<string>} */
  const ended = new Promise((resolve) => {
    child.once("exit", (code, signal) => resolve(`the program has ended (${signal ?? code})`));
    child.once("error", ({ message }) => resolve(`the program cannot be started: ${message}`));
  });
  // Writing to what is gone fails too, and says less.
  child.stdin.on("error", () => {});
  const gone = ended.then((why) => Promise.reject(new Error(why)));
  gone.catch(() => {});
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  let device = "";
  return {
    pid: child.pid,
    note: () => device,
    async generate({ ids }, count) {
      child.stdin.write(`${JSON.stringify({ ids, max_tokens: count, ignore_eos: true, temperature: 0 })}\n`);
      const answered = await Promise.race([lines.next(), gone]);
      if (answered.done) return gone;
      const { error, text, usage, stats, ...more } = JSON.parse(answered.value);
      if (error) throw new Error(error.message);
      device = more.device;
      const { prompt_tokens, cached_tokens, completion_tokens: tokens } = usage;
      return { prompt: prompt_tokens - cached_tokens, tokens, text, firstToken: stats.time_to_first_token_ms / 1000 };
    },
    stop() {
      child.stdin.end();
      child.kill();
      return ended;
    },
  };
}
