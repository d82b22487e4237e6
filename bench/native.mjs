// How fast engines are outside the browser, one after the other in each round, on the same file, prompts and number of tokens.
//
//   cargo xtask bench native [--rounds N] [--sizes 32,256]
//
// Each is a program that answers JSON lines (program.js). When the first token was there they tell themselves; the rest is
// measured from here.

import { availableParallelism } from "node:os";
import { basename } from "node:path";
import { parseArgs } from "node:util";
import { contextFor } from "./measure.js";
import { llamaCpp, measureProgram } from "./program.js";
import { compete, finish, machine, ROUNDS, SIZES } from "./report.js";

/** @import { Contestant } from "./engines.js" */
/** @import { Report } from "./report.js" */

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
  { id: "llama-cpp-cpu", label: "node-llama-cpp 3.22, CPU", command: llamaCpp(model, contextFor(sizes), "cpu") },
  { id: "llama-cpp-vulkan", label: "node-llama-cpp 3.22, Vulkan", command: llamaCpp(model, contextFor(sizes), "vulkan") },
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
await compete(report.results, rounds, (result) => measureProgram(ENGINES.find(({ id }) => id === result.id)?.command ?? [], sizes, result));
await finish("native", report, ENGINES);
