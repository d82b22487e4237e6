// wllama 3: llama.cpp in WebAssembly, on WebGPU where the adapter has 16-bit floats in shaders, else on threads.

/** @import { Engine } from "../../measure.js" */
/** @import { Order } from "../visit.js" */

const FOLDER = "/node_modules/@wllama/wllama/esm";

/** @param {Order} order @returns {Promise<Engine>} */
export async function load({ model, context, threads }) {
  const { Wllama } = await import(`${FOLDER}/index.min.js`);
  /** @type {string[]} */
  const log = [];
  const note = (/** @type {unknown[]} */ ...words) => log.push(words.join(" "));
  const logger = { debug: note, log: note, warn: note, error: note };
  const wllama = new Wllama({ default: `${FOLDER}/wasm/wllama.wasm` }, { logger });
  await wllama.loadModelFromUrl(model, { n_ctx: context, n_threads: threads, n_parallel: 1 });
  return {
    note: weightsAreOn(log, "WebGPU") ? "WebGPU" : `WebAssembly, ${wllama.getNumThreads()} threads${await without16Bits()}`,
    async generate({ text: prompt }, count, onToken) {
      let text = "";
      const options = { prompt, max_tokens: count, temperature: 0, ignore_eos: true, cache_prompt: false };
      let usage;
      for await (const chunk of await wllama.createCompletion({ ...options, stream: true })) {
        const piece = chunk.choices[0]?.text ?? "";
        if (piece) onToken();
        text += piece;
        usage = chunk.usage ?? usage;
      }
      return { prompt: usage.prompt_tokens, tokens: usage.completion_tokens, text };
    },
    unload: () => wllama.exit(),
  };
}

/**
 * llama.cpp tells in which device's memory the weights are.
 * @param {string[]} log
 * @param {string} device
 */
function weightsAreOn(log, device) {
  return log.some((line) => line.includes(`${device} model buffer size`));
}

/** Why it fell back, where that is why. */
async function without16Bits() {
  const { gpu } = /** @type {{gpu?: {requestAdapter(): Promise<{features: Set<string>} | null>}}} */ (/** @type {unknown} */ (navigator));
  const adapter = await gpu?.requestAdapter();
  return adapter?.features.has("shader-f16") ? "" : "; its WebGPU needs shader-f16, which this adapter lacks";
}
