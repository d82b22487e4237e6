// Workers that compute rows of a model's products beside the engine's own, where the page is isolated so that they can share memory.

import { startWorker } from "./start-worker.js";

/** @import { ModuleName } from "./device.js" */

/** More threads than that have too little to do each. */
const MOST = 8;
/** One that takes longer to start is done without. Milliseconds. */
const PATIENCE = 10_000;

/**
 * How many threads compute, the engine's own too.
 * @param {number} [asked]
 */
export function threadsOf(asked) {
  if (!globalThis.crossOriginIsolated) return 1;
  const { hardwareConcurrency: processors = 1 } = navigator;
  // Most have two for each core, of which the second adds little.
  const useful = Math.min(MOST, Math.max(Math.ceil(processors / 2), Math.min(2, processors)));
  return Math.max(1, Math.floor(Math.min(asked ?? useful, processors)));
}

/**
 * Starts helpers with a module that is compiled already; those that cannot start are done without.
 * @param {number} count
 * @param {ModuleName} name
 * @param {WebAssembly.Module} module
 * @returns {Promise<Worker[]>}
 */
export async function hire(count, name, module) {
  const hired = await Promise.all(Array.from({ length: count }, () => start(name, module)));
  return hired.filter((worker) => worker !== undefined);
}

/**
 * @param {ModuleName} name
 * @param {WebAssembly.Module} module
 * @returns {Promise<Worker | undefined>}
 */
async function start(name, module) {
  const worker = tryToStart();
  if (!worker) return undefined;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const ready = await new Promise((resolve) => {
    timer = setTimeout(resolve, PATIENCE, false);
    worker.addEventListener("message", ({ data }) => resolve(data === "ready"), { once: true });
    worker.addEventListener("error", () => resolve(false), { once: true });
    worker.postMessage({ name, module });
  });
  clearTimeout(timer);
  if (ready) return worker;
  worker.terminate();
  return undefined;
}

/** A page's policy may forbid more workers. */
function tryToStart() {
  try {
    return startWorker("./helper.js");
  } catch {
    return undefined;
  }
}
