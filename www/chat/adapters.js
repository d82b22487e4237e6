// The part of the settings for LoRA adapters of the model that is open: attach, weigh, take away. All of it holds at once.

import { fill, h, iconButton } from "./dom.js";
import { describe } from "./notice.js";
import { chooseFiles } from "./picker.js";
import { parseSource } from "./sources.js";

/** @import { AdapterRequest, Model } from "../engine.js" */
/** @import { AdapterInfo } from "../pkg/webgpu.js" */
/** @import { Permits } from "./permits.js" */

/**
 * Does one change at a time and tells of it; what was done shows once it is.
 * @typedef {(doing: string, done: string, work: () => Promise<unknown>) => Promise<void>} Change
 */

/**
 * @param {Model} model
 * @param {Permits | undefined} permits where repositories come from, and tokens for them
 * @returns {HTMLElement}
 */
export function adapterSection(model, permits) {
  const list = h("ul", { class: "list", "aria-label": "Attached adapters" });
  const news = h("p", { class: "hint", role: "status" });
  let busy = false;
  /** @type {Change} */
  const change = async (doing, done, work) => {
    if (busy) return;
    busy = true;
    fill(news, doing);
    try {
      await work();
      fill(news, done);
    } catch (error) {
      const { message, advice } = describe(error);
      fill(news, `${message} ${advice}`);
    }
    busy = false;
  };
  const show = () => fill(list, ...model.adapters.map((adapter) => row(adapter, model, change, remove)));
  const attach = (/** @type {() => AdapterRequest} */ source) => change("Attaching…", "Attached.", () => model.attachAdapter(source()).then(show));
  const remove = async (/** @type {string} */ name) => {
    await change("Removing…", "Removed.", () => model.detachAdapter(name).then(show));
    // The button that had the focus is gone.
    address.focus();
  };
  const address = h("input", { type: "text", class: "grow", "aria-label": "Address or repository of an adapter", autocomplete: "off", spellcheck: "false", autocapitalize: "off", placeholder: "owner/name or https://…" });
  const typed = () => {
    const choice = parseSource(address.value, permits?.hub);
    return /** @type {AdapterRequest} */ (permits?.shown(choice) ?? choice.request);
  };
  const fromWeb = () => attach(typed);
  address.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    // It would save the settings and close them.
    event.preventDefault();
    fromWeb();
  });
  const fromDisk = () => chooseFiles(true, (files) => attach(() => ({ files })));
  show();
  return h(
    "fieldset",
    { class: "adapters" },
    h("legend", {}, "Adapters"),
    h("p", { class: "hint" }, "LoRA adapters change how this model writes, in all chats, until it is loaded anew. No copy is kept."),
    list,
    h("div", { class: "row" }, address, h("button", { type: "button", class: "button", onclick: fromWeb }, "Attach")),
    h("div", { class: "row" }, h("button", { type: "button", class: "button", onclick: fromDisk }, "Choose an adapter's folder")),
    news,
  );
}

/**
 * @param {AdapterInfo} adapter
 * @param {Model} model
 * @param {Change} change
 * @param {(name: string) => void} remove
 */
function row({ name, weight }, model, change, remove) {
  const input = h("input", { type: "number", min: -4, max: 4, step: "any", "aria-label": `Weight of ${name}`, inputmode: "decimal" });
  // As it was given, and not as the nearest 32-bit number.
  input.value = String(Number(weight.toPrecision(6)));
  input.addEventListener("change", () => {
    if (input.value !== "" && input.checkValidity()) change("Changing…", "Changed.", () => model.setAdapterWeight(name, input.valueAsNumber));
  });
  return h("li", { class: "row" }, h("span", { class: "grow strong" }, name), input, iconButton("trash", `Remove ${name}`, () => remove(name)));
}
