// How fast engines are in the browser, one after the other in each round, on the same weights, prompts and number of tokens.
//
//   cargo xtask bench speed [--rounds N] [--engines a,b] [--sizes 32,256] [--quick] [--gpu]
//
// Everything is measured inside the page, with the same clock around every engine (measure.js). Each engine visits twice a
// round, each time in a browser of its own: with nothing stored, and again when it has the model. Only llama.cpp runs as a program,
// with the same clock but for the first token; its start and its memory are no browser's, and not held against one's.

import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { ARGUMENTS, EXECUTABLE, GPU_ARGUMENTS } from "../tests/www/support/browser.js";
import { deferred } from "../tests/www/support/deferred.js";
import { growth } from "../tests/www/support/memory.js";
import { serve } from "../tests/www/support/server.js";
import { ENGINES, OUTSIDE, QUICK } from "./engines.js";
import { contextFor } from "./measure.js";
import { llamaCpp, measureProgram } from "./program.js";
import { compete, finish, machine, ROUNDS, SIZES } from "./report.js";

/** @import { Order } from "./page/visit.js" */
/** @import { Report, Result, Round } from "./report.js" */

const HERE = fileURLToPath(new URL(".", import.meta.url));
/** The whole visit of an engine, however slow. Milliseconds. */
const PATIENCE = 60 * 60_000;

const { values: given } = parseArgs({
  options: {
    model: { type: "string" },
    onnx: { type: "string" },
    rounds: { type: "string" },
    engines: { type: "string" },
    sizes: { type: "string" },
    quick: { type: "boolean" },
    gpu: { type: "boolean" },
  },
});
const { model = "", onnx = "", quick, gpu = false } = given;
/** How it is started and watched: looking at a process's memory takes milliseconds of its time. */
const BROWSER = { kinds: ["renderer", "gpu-process"], every: 250, args: gpu ? GPU_ARGUMENTS : ARGUMENTS };
/** What the addresses of models begin with. */
const MODELS = [`/${basename(model)}`, `/${basename(onnx)}/`];
const rounds = Number(given.rounds ?? (quick ? 3 : ROUNDS));
const sizes = given.sizes?.split(",").map(Number) ?? (quick ? [256] : SIZES);
const chosen = given.engines?.split(",") ?? (quick ? QUICK : ENGINES.map(({ id }) => id));
const unknown = chosen.find((id) => !ENGINES.some((engine) => engine.id === id));
if (unknown) throw new Error(`there is no engine ${unknown}, only ${ENGINES.map(({ id }) => id).join(", ")}`);

/** @typedef {Partial<Round> & {begins?: boolean, done?: boolean, error?: string, note?: string, load?: number, measurement?: import("./measure.js").Measurement}} Told */
/** What becomes of what the page tells. @type {(told: Told) => void} */
let hear = () => {};
const heard = (/** @type {Told} */ told) => (hear(told), { body: "" });
const folders = [HERE, join(HERE, "../dist"), dirname(model), dirname(onnx)];
const server = await serve(folders, {
  // Beside what else is ours, so that it is not counted among the files of other engines.
  "/page/device.js": { type: "text/javascript", body: await readFile(join(HERE, "../dist/device.js")) },
  "/begins": () => heard({ begins: true }),
  "/told": (url) => heard(JSON.parse(decodeURIComponent(url.search.slice(1)))),
});

/** @type {Result[]} */
const results = ENGINES.filter(({ id }) => chosen.includes(id)).map((engine) => ({ ...engine, rounds: [] }));
/** @type {Report} */
const report = { title: `Speed in the browser, ${basename(model)}`, about: about(), sizes, results };

await compete(results, rounds, measured);
await server.close();
await finish(gpu ? "speed-gpu" : "speed", report, ENGINES);

/** One engine's part of a round. @param {Result} result @returns {Promise<Round>} */
async function measured(result) {
  if (result.id === OUTSIDE) {
    const { measurements } = await measureProgram(llamaCpp(model, contextFor(sizes), "cpu"), sizes, result);
    return { measurements };
  }
  const profile = await mkdtemp(join(tmpdir(), "pagellama-"));
  try {
    const from = server.requests.length;
    const cold = await visit(result, profile, false);
    const app = await appBytes(server.requests.slice(from));
    const again = server.requests.length;
    const { load: stored, memory = 0, ...round } = await visit(result, profile, true);
    const fetched = server.requests.slice(again).find((path) => MODELS.some((start) => path.startsWith(start)));
    if (fetched) throw new Error(`it has stored the model and asks for ${fetched} again`);
    return { ...round, cold: cold.load, stored, app, memory: Math.max(memory, cold.memory ?? 0) };
  } finally {
    await rm(profile, { recursive: true, maxRetries: 5 });
  }
}

/**
 * @param {Result} result
 * @param {string} profile a folder
 * @param {boolean} stored whether this profile has the model
 * @returns {Promise<Round & {load?: number}>}
 */
async function visit(result, profile, stored) {
  const threads = availableParallelism();
  const files = { model: `${server.origin}/${basename(model)}`, folder: `/${basename(onnx)}/` };
  /** @type {Order} */
  const order = { engine: result.id, stored, ...files, context: contextFor(sizes), sizes, threads, gpu };
  /** @type {Round & {load?: number}} */
  const round = { measurements: [] };
  const [begins, done] = [deferred(), deferred()];
  const late = setTimeout(() => done.reject(new Error("it took more than an hour")), PATIENCE);
  hear = ({ begins: began, done: ended, error, note, measurement, ...figures }) => {
    if (began) begins.resolve(undefined);
    if (error) done.reject(new Error(error));
    if (note) result.note = note;
    if (measurement) round.measurements.push(measurement);
    Object.assign(round, figures);
    console.log(result.label, JSON.stringify(measurement ?? { note, error, ...figures }));
    if (ended) done.resolve(undefined);
  };
  try {
    const address = `${server.origin}/page/visit.html#${encodeURIComponent(JSON.stringify(order))}`;
    round.memory = await growth(address, profile, { begins: begins.promise, done: done.promise }, BROWSER);
    return round;
  } finally {
    clearTimeout(late);
    hear = () => {};
  }
}

/** What the engine's own files have together, compressed: all that was asked for but the model's and ours. @param {string[]} requests */
async function appBytes(requests) {
  const ours = /^\/(begins|told|favicon\.ico|measure\.js|prompt\.js|page\/.*)$/;
  let bytes = 0;
  for (const path of new Set(requests)) {
    if (ours.test(path) || MODELS.some((start) => path.startsWith(start))) continue;
    for (const folder of folders) {
      const file = await readFile(join(folder, path)).catch(() => undefined);
      if (!file) continue;
      bytes += gzipSync(file).length;
      break;
    }
  }
  return bytes;
}

function about() {
  const browser = execFileSync(EXECUTABLE, ["--version"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  return [
    `${new Date().toISOString().slice(0, 10)}, ${machine()}, ${browser}, WebGPU on ${gpu ? "the machine's graphics card" : "its software adapter"}, Node ${process.version}; ${rounds} rounds.`,
  ];
}
