// A program that answers JSON lines, as examples/llama.rs says: a prompt a line in, what became of it a line out.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** @import { Engine } from "./measure.js" */

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
