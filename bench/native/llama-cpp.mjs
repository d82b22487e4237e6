// llama.cpp from npm, speaking as examples/llama.rs does with `generate`: a JSON object a line in, one a line out.
//
//   node llama-cpp.mjs MODEL CONTEXT cpu|vulkan

import { availableParallelism } from "node:os";
import { createInterface } from "node:readline";

const [, , modelPath, context, where] = process.argv;
// The checker of types knows no packages but the tests'.
const PACKAGE = "node-llama-cpp";
const { getLlama } = await import(PACKAGE);

const onGpu = where === "vulkan";
// llama.cpp passes over software adapters unless they are named by number, and then computes on the CPU without a word, while
// it still says that its device is Vulkan.
if (onGpu) process.env.GGML_VK_VISIBLE_DEVICES = "0";
const options = { build: "never", skipDownload: true, progressLogs: false, logLevel: "error" };
const llama = await getLlama({ ...options, gpu: onGpu ? "vulkan" : false });
const model = await llama.loadModel({ modelPath, gpuLayers: onGpu ? "max" : 0 });
const [adapter = "CPU"] = await llama.getGpuDeviceNames();
if (onGpu && (adapter === "CPU" || model.gpuLayers === 0)) throw new Error("it found no Vulkan device");
const threads = availableParallelism();
const sequence = (await model.createContext({ contextSize: Number(context), threads })).getSequence();

for await (const line of createInterface({ input: process.stdin })) {
  const { ids: prompt, max_tokens } = JSON.parse(line);
  await sequence.clearHistory();
  const begun = performance.now();
  let first = 0;
  const ids = [];
  for await (const id of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
    first ||= performance.now() - begun;
    if (ids.push(id) === max_tokens) break;
  }
  const usage = { prompt_tokens: prompt.length, cached_tokens: 0, completion_tokens: ids.length };
  const device = `${adapter}, ${model.gpuLayers} layers on a GPU, ${threads} threads`;
  console.log(JSON.stringify({ device, ids, text: model.detokenize(ids), stats: { time_to_first_token_ms: first }, usage }));
}
process.exit();
