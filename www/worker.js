// Runs the engine's wasm off the main thread. One worker serves one model; ending the worker frees all of it.
//
// page -> worker                                    answered by
//   open      {id, request, options}                progress*, then result (info) or error
//   generate  {id, prompt, options}                 text*, then result or error; progress* while a lost device is replaced, moved
//   count     {id, prompt}                          result (number) or error
//   stats     {id}                                  result or error
//   profile   {id, tokens, position}                result or error
//   preflight {id, request, options}                result (what is to be expected) or error
//   measure   {id}                                  result (the adapter's limits) or error
//   attach    {id, source, options}                 result (all adapters) or error
//   detach    {id, name}                            result (all adapters) or error
//   weigh     {id, name, weight}                    result (all adapters) or error
//   stored    {id}                                  result (list) or error
//   delete    {id, model}                           result or error
//   verify    {id, model, token}                    progress*, then result (what was found) or error
//   export    {id, model, token}                    progress*, then result (files) or error
//   abort     {id}                                  nothing: the call it names ends early
//
// worker -> page
//   progress  {id, progress}    text {id, text}    result {id, value}    error {id, error: {code, message, advice, choices?}}
//   moved     {id, info}: the model runs on another device from now on

import { Host } from "./host.js";

/** @import { Call, Count, Reply } from "./engine.js" */
/** @import { HubChoice, Info, Progress } from "./pkg/webgpu.js" */

/** Text is sent on at most this often, so that a fast model does not flood the page. Milliseconds. */
const TEXT_INTERVAL = 32;

/** The page's types know no worker; this is what we use of one. */
const scope = /** @type {{addEventListener(type: "message", listener: (event: MessageEvent) => void): void, postMessage(reply: Reply): void}} */ (
  /** @type {unknown} */ (self)
);

const host = new Host();

/** Calls run one after another: the engine is not re-entrant. @type {Promise<void>} */
let tail = Promise.resolve();

/** What `abort` may stop, by call. @type {Map<number, AbortController>} */
const running = new Map();

scope.addEventListener("message", ({ data }) => {
  const call = /** @type {Call} */ (data);
  if (call.type === "abort") {
    running.get(call.id)?.abort();
    return;
  }
  const controller = new AbortController();
  running.set(call.id, controller);
  tail = tail.then(() => answer(call, controller.signal));
});

/** @param {Reply} reply */
function post(reply) {
  scope.postMessage(reply);
}

/**
 * @param {Call} call
 * @param {AbortSignal} signal
 */
async function answer(call, signal) {
  try {
    post({ type: "result", id: call.id, value: await perform(call, signal) });
  } catch (error) {
    post({ type: "error", id: call.id, error: describe(error, signal) });
  } finally {
    running.delete(call.id);
  }
}

/**
 * @param {Call} call
 * @param {AbortSignal} signal
 * @returns {Promise<unknown>}
 */
async function perform(call, signal) {
  const report = (/** @type {Count} */ progress) => post({ type: "progress", id: call.id, progress });
  switch (call.type) {
    case "open":
      return host.open(call.request, call.options, report, signal);
    case "generate":
      return generate(call, report, signal);
    case "count":
      return host.engine.count_tokens(call.prompt);
    case "stats":
      return host.engine.stats();
    case "profile":
      return host.engine.profile(call.tokens, call.position);
    case "measure":
      return host.engine.measure_adapter();
    case "preflight":
      return host.preflight(call.request, call.options, signal);
    case "attach":
      return host.attach(call.source, call.options, signal);
    case "detach":
      return host.detach(call.name);
    case "weigh":
      return host.weigh(call.name, call.weight);
    case "stored":
      return (await host.exports()).stored_models();
    case "delete":
      return (await host.exports()).delete_model(call.model);
    case "verify":
      return host.verify(call.model, call.token, report, signal);
    case "export":
      return (await host.exports()).export_model(call.model, call.token, report, signal);
    default:
      throw new Error(`no such call: ${call.type}`);
  }
}

/**
 * @param {Extract<Call, {type: "generate"}>} call
 * @param {(progress: Progress) => void} report
 * @param {AbortSignal} signal
 */
async function generate({ id, prompt, options }, report, signal) {
  let text = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const flush = () => {
    clearTimeout(timer);
    timer = text ? setTimeout(flush, TEXT_INTERVAL) : undefined;
    if (text) post({ type: "text", id, text });
    text = "";
  };
  const onText = (/** @type {string} */ delta) => {
    text += delta;
    // The first piece, and what comes after a while, at once.
    if (timer === undefined) flush();
  };
  const onReload = (/** @type {Progress} */ progress) => {
    // What was written before comes first.
    flush();
    report(progress);
  };
  const onMove = (/** @type {Info} */ info) => post({ type: "moved", id, info });
  try {
    return await host.generate(prompt, options, { onText, onReload, onMove, signal });
  } finally {
    flush();
  }
}

/**
 * What the page gets to see of an error. One without a code is a defect: a trap in the wasm, or in this file.
 *
 * @param {unknown} thrown
 * @param {AbortSignal} signal
 * @returns {{code: string, message: string, advice: string, choices?: HubChoice[]}}
 */
function describe(thrown, signal) {
  // What the browser throws at an abort has no code of ours.
  if (thrown === signal.reason && signal.aborted) return { code: "aborted", message: "Stopped.", advice: "Start again when you like." };
  const error = /** @type {{code?: unknown, message?: unknown, advice?: unknown, choices?: HubChoice[]}} */ (Object(thrown));
  const message = typeof error.message === "string" ? error.message : String(thrown);
  if (typeof error.code !== "string") {
    return { code: "engine/crash", message: `The engine stopped unexpectedly (${message}).`, advice: "Load the model again." };
  }
  return { code: error.code, message, advice: typeof error.advice === "string" ? error.advice : "", choices: error.choices };
}
