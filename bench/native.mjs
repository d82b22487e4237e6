// How fast engines are outside the browser, one after the other in each round, on the same file, prompts and number of tokens.
//
//   cargo xtask bench native [--rounds N] [--sizes 32,256]
//
// Each is a program that answers JSON lines (examples/llama.rs says which). When the first token was there they tell themselves;
// the rest is measured from here.

import { spawn } from "node:child_process";
import { basename } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { pss } from "../tests/www/support/memory.js";
import { OURS } from "./engines.js";
import { contextFor, measureAll } from "./measure.js";
import { prompt } from "./prompt.js";
import { compete, machine, markdown, write } from "./report.js";

/** @import { Engine, Measurement } from "./measure.js" */
/** @import { Contestant } from "./engines.js" */
/** @import { Report, Result, Round } from "./report.js" */

const { values: given } = parseArgs({
  options: {
    model: { type: "string", default: "" },
    llama: { type: "string", default: "" },
    rounds: { type: "string", default: "5" },
    sizes: { type: "string", default: "32,256,512,1024,2048" },
  },
});
const { model, llama } = given;
const sizes = given.sizes.split(",").map(Number);
const context = String(contextFor(sizes));
const peer = [process.execPath, fileURLToPath(new URL("native/llama-cpp.mjs", import.meta.url)), model, context];

/** @type {(Contestant & {command: string[], note?: string})[]} */
const ENGINES = [
  { id: OURS, label: "pagellama", note: "Vulkan on lavapipe", command: [llama, "generate", model, "--context", context] },
  { id: "llama-cpp-cpu", label: "node-llama-cpp 3.22, CPU", command: [...peer, "cpu"] },
  { id: "llama-cpp-vulkan", label: "node-llama-cpp 3.22, Vulkan", command: [...peer, "vulkan"] },
];

const rounds = Number(given.rounds);
/** @type {Report} */
const report = {
  title: `Speed outside the browser, ${basename(model)}`,
  about: [`${new Date().toISOString().slice(0, 10)}, ${machine()}, Mesa's lavapipe for Vulkan, Node ${process.version}; ${rounds} rounds.`],
  sizes,
  // Theirs is known when they run.
  results: ENGINES.map(({ id, label, note }) => ({ id, label, note, rounds: [] })),
};
const complete = given.sizes.split(",").length === 5;
await compete(report.results, rounds, measured, async () => complete && (await write("native", report)));
console.log(`\n${markdown(report)}`);
if (report.results.every(({ reason }) => reason)) process.exitCode = 1;

/** One engine's part of a round. @param {Result} result @returns {Promise<Round>} */
async function measured(result) {
  const [program = "", ...words] = ENGINES.find(({ id }) => id === result.id)?.command ?? [];
  const begun = performance.now();
  const child = spawn(program, words, { stdio: ["pipe", "pipe", "ignore"] });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const gone = Promise.race([ended, new Promise((_, reject) => child.once("error", reject))]);
  gone.catch(() => undefined);
  /** @type {Round} */
  const round = { measurements: [], memory: 0 };
  const watch = setInterval(() => (round.memory = Math.max(round.memory ?? 0, pss(child.pid ?? 0))), 250);
  try {
    const { note, generate } = engine(child, gone);
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
    child.stdin.end();
    child.kill();
    await ended;
  }
}

/**
 * @param {import("node:child_process").ChildProcessByStdio<import("node:stream").Writable, import("node:stream").Readable, null>} child
 * @param {Promise<unknown>} gone
 * @returns {Pick<Engine, "generate"> & {note: () => string}}
 */
function engine(child, gone) {
  let device = "";
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    note: () => device,
    async generate({ ids }, count) {
      child.stdin.write(`${JSON.stringify({ ids, max_tokens: count, ignore_eos: true, temperature: 0 })}\n`);
      const answered = await Promise.race([lines.next(), gone.then(() => ({ done: true, value: "" }))]);
      if (answered.done) throw new Error("the program has ended");
      const { error, text, usage, stats, ...more } = JSON.parse(answered.value);
      if (error) throw new Error(error.message);
      device = more.device;
      const { prompt_tokens, cached_tokens, completion_tokens: tokens } = usage;
      return { prompt: prompt_tokens - cached_tokens, tokens, text, firstToken: stats.time_to_first_token_ms / 1000 };
    },
  };
}
