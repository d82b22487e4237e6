// Transformers.js: ONNX Runtime, on WebGPU or on WebAssembly threads.

/** @import { Engine } from "../../measure.js" */
/** @import { Order } from "../visit.js" */

const PACKAGES = "/node_modules";

/** @param {Order} order @param {"webgpu" | "wasm"} device @returns {Promise<Engine>} */
export async function loadOn({ folder, threads }, device) {
  const { AutoModelForCausalLM, AutoTokenizer, Tensor, env } = await import(`${PACKAGES}/@huggingface/transformers/dist/transformers.min.js`);
  // A model hub of one model, whose files it keeps in the browser's cache as it would keep any other's.
  Object.assign(env, { remoteHost: `${location.origin}/`, remotePathTemplate: "{model}/" });
  Object.assign(env.backends.onnx.wasm, { wasmPaths: `${PACKAGES}/onnxruntime-web/dist/`, numThreads: threads });
  const name = folder.replaceAll(/^\/|\/$/g, "");
  const [model, tokenizer] = await Promise.all([
    AutoModelForCausalLM.from_pretrained(name, { device, dtype: "q4" }),
    // Not needed here, but by anyone with a text, and the other engines load theirs too.
    AutoTokenizer.from_pretrained(name),
  ]);
  return {
    note: device === "wasm" ? `WebAssembly, ${threads} threads` : "WebGPU",
    async generate({ ids }, count, onToken) {
      const numbers = (/** @type {number[]} */ of) => new Tensor("int64", BigInt64Array.from(of, BigInt), [1, of.length]);
      // The first thing that a streamer is given is the prompt.
      let prompt = 0;
      const streamer = {
        put: (/** @type {bigint[][]} */ [tokens = []]) => {
          if (prompt === 0) prompt = tokens.length;
          else onToken();
        },
        end: () => {},
      };
      const options = { max_new_tokens: count, min_new_tokens: count, do_sample: false, streamer };
      const output = await model.generate({ inputs: numbers(ids), attention_mask: numbers(ids.map(() => 1)), ...options });
      const written = output.tolist()[0].slice(ids.length);
      return { prompt, tokens: written.length, text: tokenizer.decode(written) };
    },
    unload: () => model.dispose(),
  };
}
