// How fast engines are outside the browser, one after the other in each round, on the same file, prompts and number of tokens.
//
//   cargo xtask bench native [--rounds N] [--sizes 32,256]
//
// Each is a program that answers JSON lines (program.js). When the first token was there they tell themselves; the rest is
// measured from here.

import { availableParallelism } from "node:os";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { pss } from "../tests/www/support/memory.js";
import { contextFor, measureAll } from "./measure.js";
import { start } from "./program.js";
import { prompt } from "./prompt.js";
import { compete, finish, machine, ROUNDS, SIZES } from "./report.js";

/** @import { Measurement } from "./measure.js" */
/** @import { Contestant } from "./engines.js" */
/** @import { Report, Result, Round } from "./report.js" */

const { values: given } = parseArgs({
  options: {
    model: { type: "string", default: "" },
    llama: { type: "string", default: "" },
    rounds: { type: "string" },
    sizes: { type: "string" },
  },
});
const { model, llama } = given;
const sizes = given.sizes?.split(",").map(Number) ?? SIZES;
const context = String(contextFor(sizes));
const cores = String(availableParallelism());
const peer = [process.execPath, fileURLToPath(new URL("native/llama-cpp.mjs", import.meta.url)), model, context];

/** @type {(Contestant & {command: string[], note?: string})[]} */
const ENGINES = [
  { id: "pagellama", label: "pagellama, Vulkan", note: "on lavapipe", command: [llama, "generate", model, "--context", context, "--device", "webgpu"] },
  { id: "pagellama-cpu", label: "pagellama, processor", note: "one thread", command: [llama, "generate", model, "--context", context, "--device", "cpu"] },
  {
    id: "pagellama-threads",
    label: "pagellama, processor",
    note: `${cores} threads`,
    command: [llama, "generate", model, "--context", context, "--device", "cpu", "--threads", cores],
  },
  { id: "llama-cpp-cpu", label: "node-llama-cpp 3.22, CPU", command: [...peer, "cpu"] },
  { id: "llama-cpp-vulkan", label: "node-llama-cpp 3.22, Vulkan", command: [...peer, "vulkan"] },
];

const rounds = Number(given.rounds ?? ROUNDS);
/** @type {Report} */
const report = {
  title: `Speed outside the browser, ${basename(model)}`,
  about: [`${new Date().toISOString().slice(0, 10)}, ${machine()}, Mesa's lavapipe for Vulkan, Node ${process.version}; ${rounds} rounds.`],
  sizes,
  // Theirs is known when they run.
  results: ENGINES.map(({ id, label, note }) => ({ id, label, note, rounds: [] })),
};
await compete(report.results, rounds, measured);
await finish("native", report, ENGINES);

/** One engine's part of a round. @param {Result} result @returns {Promise<Round>} */
async function measured(result) {
  const begun = performance.now();
  const { pid, note, generate, stop } = start(ENGINES.find(({ id }) => id === result.id)?.command ?? []);
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
