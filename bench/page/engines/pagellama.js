// This project's own engine, as it is built into dist/, on WebGPU or on the processor.

/** @import { Engine } from "../../measure.js" */
/** @import { Order } from "../visit.js" */

/** @param {Order} order @returns {Promise<Engine>} */
export async function load({ engine, model: url, context, threads: cores }) {
  const { load } = await import(/** @type {string} */ ("/engine.js"));
  const device = engine === "pagellama" ? "webgpu" : "cpu";
  const model = await load({ model: { url }, context, device, threads: engine === "pagellama-cpu" ? 1 : cores });
  const { kind, adapter, threads } = model.info.device;
  return {
    note: kind === "cpu" ? `WebAssembly, ${threads === 1 ? "one thread" : `${threads} threads`}` : `WebGPU: ${adapter}`,
    async generate({ ids }, count, onToken) {
      let text = "";
      for await (const piece of model.generate({ ids }, { max_tokens: count, ignore_eos: true, temperature: 0 })) {
        onToken();
        text += piece;
      }
      const { prompt_tokens, cached_tokens, completion_tokens } = model.lastResult.usage;
      return { prompt: prompt_tokens - cached_tokens, tokens: completion_tokens, text };
    },
    unload: () => model.unload(),
  };
}
