// A model that is loaded in a worker of its own, whose heap shows how much it took: a heap never shrinks.

/** @import { Page } from "playwright-core" */
/** @import { Info, Preflight, StoredModel } from "../types/pkg/webgpu.js" */

/** @typedef {{engine: string, module?: string, model: string, adapter: boolean, options?: object, ids?: number[], foretell?: boolean}} Order as heap-worker.js tells */
/**
 * @typedef {{before: number, after: number, foretold?: Preflight, info?: Info, answer?: number[], stored?: StoredModel[], error?: {code: string, message: string}}} Heap
 */

/**
 * @param {Page} page a blank one, with heap-worker.js beside it
 * @param {Order} order
 * @returns {Promise<Heap>}
 */
export function loadAlone(page, order) {
  return page.evaluate(
    (order) =>
      new Promise((resolve, reject) => {
        const worker = new Worker("/heap-worker.js", { type: "module" });
        worker.addEventListener("message", ({ data }) => (worker.terminate(), resolve(data)));
        worker.addEventListener("error", ({ message }) => reject(new Error(message)));
        worker.postMessage(order);
      }),
    order,
  );
}
