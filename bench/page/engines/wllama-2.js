// wllama 2: llama.cpp in WebAssembly, on threads.

/** @import { Engine } from "../../measure.js" */
/** @import { Order } from "../visit.js" */

const FOLDER = "/node_modules/wllama-2/esm";

/** @param {Order} order @returns {Promise<Engine>} */
export async function load({ model, context, threads }) {
  const { Wllama } = await import(`${FOLDER}/index.min.js`);
  const names = ["single-thread/wllama.wasm", "multi-thread/wllama.wasm"];
  const wllama = new Wllama(Object.fromEntries(names.map((name) => [name, `${FOLDER}/${name}`])), { suppressNativeLog: true });
  await wllama.loadModelFromUrl(model, { n_ctx: context, n_threads: threads });
  return {
    note: `WebAssembly, ${wllama.getNumThreads()} threads`,
    // Its `createCompletion` does just this, but takes text only.
    async generate({ ids }, count, onToken) {
      await wllama.kvClear();
      await wllama.samplingInit({ temp: 0 });
      const { nPast } = await wllama.decode(ids, {});
      const decoder = new TextDecoder();
      let text = "";
      let tokens = 0;
      for (;;) {
        const { token, piece } = await wllama.samplingSample();
        onToken();
        text += decoder.decode(piece, { stream: true });
        tokens += 1;
        if (tokens === count) return { prompt: nPast, tokens, text };
        await wllama.samplingAccept([token]);
        await wllama.decode([token], {});
      }
    },
    unload: () => wllama.exit(),
  };
}
