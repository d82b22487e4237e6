// One visit with one engine: it loads the model and, on a visit that finds the model stored, measures. It tells the server by
// requests how it goes: the browser is watched by nobody else, for devtools keep what a page fetches in that page's process.

import { measureAll } from "../measure.js";

/**
 * `model` and `folder`: addresses of the GGUF file, and of the same weights as ONNX.
 * `gpu`: whether it must be a graphics card that WebGPU is on.
 * @typedef {{engine: string, stored: boolean, model: string, folder: string, context: number, sizes: number[], threads: number, gpu: boolean}} Order
 */

/** @type {Order} */
const order = JSON.parse(decodeURIComponent(location.hash.slice(1)));
const tell = (/** @type {object} */ what) => fetch(`/told?${encodeURIComponent(JSON.stringify(what))}`);
const failed = (/** @type {unknown} */ error) => tell({ error: error instanceof Error ? `${error.name}: ${error.message}` : String(error) });

addEventListener("error", (event) => failed(event.error ?? event.message));
addEventListener("unhandledrejection", (event) => failed(event.reason));

await fetch("/begins");
// Meanwhile the driver looks at how much memory a page with nothing in it takes.
await new Promise((resolve) => setTimeout(resolve, 1000));
try {
  if (order.gpu) await findCard();
  const begun = performance.now();
  const since = () => (performance.now() - begun) / 1000;
  /** @type {{load(order: Order): Promise<import("../measure.js").Engine>}} */
  const { load } = await import(`./engines/${order.engine}.js`);
  const engine = await load(order);
  await tell({ load: since(), note: engine.note });
  if (order.stored) {
    const { sizes } = order;
    await measureAll(engine, sizes, ({ firstToken }) => tell({ visit: since(), firstToken }), (measurement) => tell({ measurement }));
  }
  await engine.unload();
  await tell({ done: true });
} catch (error) {
  await failed(error);
}

/** Errors unless the engine would take WebGPU by itself. Where there is no card, Chromium may leave the question unanswered. */
async function findCard() {
  const { choose } = await import(/** @type {string} */ ("./device.js"));
  const late = new Promise((resolve) => setTimeout(resolve, 20_000, "no answer"));
  // Chromium on Linux, just started, has none for the first who asks for any, as some engines do once and for all.
  const asked = Promise.resolve(navigator.gpu?.requestAdapter()).then(() => choose("auto", { measured: false }));
  const reason = await Promise.race([asked.then(({ reason }) => reason), late]);
  if (reason) throw new Error(`the browser has no graphics card for WebGPU: ${reason}`);
}
