// The engines of the speed benchmark. Each is a module of page/engines/, unless it is a program or there is a reason why it cannot
// take part.

/**
 * `reason`: why it is left out.
 * @typedef {{id: string, label: string, reason?: string}} Contestant
 */

/** This project's own engine, on each device: the others are compared with it. */
export const OURS = ["pagellama", "pagellama-cpu", "pagellama-threads"];

const FLARE =
  "left out: its published bindings do not parse (a comment in a comment; mended by hand for the trial); then its `load` panics on " +
  "this file and on any other of Q4_1, Q4_0 or F16 that was tried (`range end index 576 out of range for slice of length 0`), and " +
  "with a small file of Q8_0, which loads, its WebGPU kernel `attention_scores` asks for 16,416 bytes of workgroup memory, over the " +
  "16,384 of its device, so that each token is 0";

/** The one that is no page's: what a browser's engines are to be held against. */
export const OUTSIDE = "llama-cpp-cpu";

/** @type {Contestant[]} */
export const ENGINES = [
  { id: "pagellama", label: "pagellama, WebGPU" },
  { id: "pagellama-cpu", label: "pagellama, processor, one thread" },
  { id: "pagellama-threads", label: "pagellama, processor, all cores" },
  { id: "wllama-3", label: "wllama 3.13" },
  { id: "wllama-2", label: "wllama 2.4" },
  { id: "flare", label: "flare 0.2.21", reason: FLARE },
  { id: "transformers-wasm", label: "Transformers.js 4.3, WASM" },
  { id: "transformers-webgpu", label: "Transformers.js 4.3, WebGPU" },
  { id: OUTSIDE, label: "node-llama-cpp 3.22, CPU, outside the browser" },
];

/** What `--quick` measures. */
export const QUICK = [...OURS, "wllama-3"];
