// Runs the engine's wasm off the main thread. One worker serves one model; ending the worker frees all of it.
//
// page -> worker                                    answered by
//   open      {id, request, options}                progress*, then result (info) or error
//   generate  {id, prompt, options}                 text*, then result or error; progress* while a lost device is replaced
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

import init, { delete_model, export_model, model_key, open, preflight, stored_models, verify_model } from "./pkg/pagellama.js";
import { takeTurn } from "./turns.js";

/** @import { Call, Count, Reply } from "./engine.js" */
/** @import { Engine, HubChoice, Progress } from "./pkg/pagellama.js" */

/** Text is sent on at most this often, so that a fast model does not flood the page. Milliseconds. */
const TEXT_INTERVAL = 32;

/** The page's types know no worker; this is what we use of one. */
const scope = /** @type {{addEventListener(type: "message", listener: (event: MessageEvent) => void): void, postMessage(reply: Reply): void}} */ (
  /** @type {unknown} */ (self)
);

/** @type {Engine | undefined} */
let engine;

/** @type {Promise<unknown> | undefined} */
let started;

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
    started ??= init();
    await started;
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
      engine = await openInTurn(call, report, signal);
      return engine.info();
    case "generate":
      return generate(call, report, signal);
    case "count":
      return loaded().count_tokens(call.prompt);
    case "stats":
      return loaded().stats();
    case "profile":
      return loaded().profile(call.tokens, call.position);
    case "measure":
      return loaded().measure_adapter();
    case "preflight":
      return preflight({ model: call.request, options: call.options }, signal);
    case "attach":
      return loaded().attach_adapter(call.source, call.options, signal);
    case "detach":
      return loaded().detach_adapter(call.name);
    case "weigh":
      return loaded().set_adapter_weight(call.name, call.weight);
    case "stored":
      return stored_models();
    case "delete":
      return delete_model(call.model);
    case "verify":
      return verifyInTurn(call, report, signal);
    case "export":
      return export_model(call.model, call.token, report, signal);
    default:
      throw new Error(`no such call: ${call.type}`);
  }
}

/**
 * @param {Extract<Call, {type: "open"}>} call
 * @param {(progress: Progress) => void} report
 * @param {AbortSignal} signal
 */
async function openInTurn({ request, options }, report, signal) {
  // What is stored needs no download, and a download that is not stored is of no use to another tab.
  const alone = "stored" in request || options.store === false;
  const turn = alone ? undefined : await takeTurn(model_key(request), report, signal);
  try {
    return await open({ model: request, options }, turn?.tell ?? report, signal);
  } finally {
    turn?.end();
  }
}

/**
 * What verifying fetches again must not cross a download of the same model.
 *
 * @param {{model: string, token?: string}} call
 * @param {(progress: Count) => void} report
 * @param {AbortSignal} signal
 */
async function verifyInTurn({ model: id, token }, report, signal) {
  const { url } = (await stored_models()).find((model) => model.id === id) ?? {};
  // Files from disk have no address, and nothing to fetch them from.
  const turn = url === undefined ? undefined : await takeTurn(model_key({ url }), report, signal);
  const tell = (/** @type {Count} */ { done, total }) => turn?.tell({ phase: "read", done, total, stored: true });
  try {
    return await verify_model(id, token, turn ? tell : report, signal);
  } finally {
    turn?.end();
  }
}

/**
 * @param {Extract<Call, {type: "generate"}>} call
 * @param {(progress: Progress) => void} report
 * @param {AbortSignal} signal
 */
async function generate(call, report, signal) {
  let text = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const flush = () => {
    clearTimeout(timer);
    timer = undefined;
    if (text) post({ type: "text", id: call.id, text });
    text = "";
  };
  const onText = (/** @type {string} */ delta) => {
    text += delta;
    timer ??= setTimeout(flush, TEXT_INTERVAL);
  };
  const onReload = (/** @type {Progress} */ progress) => {
    // What was written before comes first.
    flush();
    report(progress);
  };
  try {
    return await loaded().generate(call.prompt, call.options, onText, signal, onReload);
  } finally {
    flush();
  }
}

function loaded() {
  if (!engine) throw new Error("no model is loaded");
  return engine;
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
