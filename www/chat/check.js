// "Will it run here?": asked before a download, answered below the button.

import { preflight } from "../engine.js";
import { fill, h } from "./dom.js";
import * as format from "./format.js";
import { errorNotice } from "./notice.js";

/** @import { OpenOptions } from "../engine.js" */
/** @import { Preflight } from "../pkg/webgpu.js" */
/** @import { Choice, ModelSession } from "./model-session.js" */
/** @import { Permits } from "./permits.js" */

/**
 * @typedef {object} CheckOptions
 * @property {(choice: Choice) => OpenOptions} opening what a model is loaded with
 * @property {Permits} permits
 * @property {ModelSession} session
 * @property {AbortSignal} signal ends what runs here
 */

/**
 * A button, and a place for what it finds out.
 *
 * @param {string} about what it is to be called beside others like it; nothing where it stands alone
 * @param {() => Choice} chosen throws what is wrong with it
 * @param {CheckOptions & {blocked: boolean}} options
 */
export function checker(about, chosen, { opening, permits, session, signal, blocked }) {
  const answer = h("div", { class: "check-answer", "aria-live": "polite" });
  const label = about ? `Check whether ${about} runs here` : null;
  const button = h("button", { type: "button", class: "button", disabled: blocked, "aria-label": label, onclick: () => ask() }, about ? "Check" : "Will it run here?");
  const ask = async () => {
    button.disabled = true;
    try {
      const choice = chosen();
      fill(answer, h("p", { class: "hint" }, "Reading the model's header and trying what it needs on this device …"));
      const foretold = await preflight({ model: permits.shown(choice), signal, ...opening(choice) });
      const beside = session.model && h("p", { class: "hint" }, "That is beside the model that is loaded now, which would make room for it.");
      fill(answer, h("p", {}, h("strong", {}, verdictOf(foretold)), " ", figuresOf(foretold)), beside);
    } catch (error) {
      if (!signal.aborted) fill(answer, errorNotice(error, {}));
    }
    button.disabled = false;
  };
  return { button, answer };
}

/** @param {Preflight} foretold */
function verdictOf({ verdict, context }) {
  if (verdict.kind === "likely_fits") return "It will probably run here.";
  if (verdict.kind === "fits_with_context") return `It will run here with a context of ${format.count(context)} tokens.`;
  return `It will not run here: ${verdict.because}.`;
}

/** @param {Preflight} foretold */
function figuresOf({ memory, context, speed, stored_bytes, reason }) {
  const total = memory.weights + memory.cache + memory.activations;
  const room = total > 0 && `It takes ${format.bytes(total)} of ${reason ? "main" : "graphics"} memory with ${format.count(context)} tokens of context and ${format.bytes(stored_bytes)} of storage.`;
  const pace = speed && `Some ${rate(speed.decode)} tokens a second written, ${rate(speed.prefill)} read.`;
  return [room, pace].filter(Boolean).join(" ");
}

/** @param {number} tokens a second */
function rate(tokens) {
  return tokens < 10 ? tokens.toFixed(1) : format.count(tokens);
}
