// The view for choosing a model: the one on offer, those that are stored, one from the web, one from disk.

import { catalogList } from "./catalog.js";
import { checker } from "./check.js";
import { fill, h, icon } from "./dom.js";
import * as format from "./format.js";
import { hubSetting } from "./hub.js";
import { errorNotice } from "./notice.js";
import { addressOf, fromFiles, isFor, parseSource, sourceOf } from "./sources.js";
import { manager } from "./stored.js";

/** @import { EngineError, OpenOptions } from "../engine.js" */
/** @import { StoredModel } from "../pkg/webgpu.js" */
/** @import { Preferences } from "./conversations.js" */
/** @import { Choice, ModelSession } from "./model-session.js" */
/** @import { Permits } from "./permits.js" */

/**
 * @typedef {object} PickerOptions
 * @property {ShadowRoot} root where dialogs go
 * @property {Choice | undefined} offer the model to begin with
 * @property {Preferences["model"]} last the model of the last visit
 * @property {ModelSession} session
 * @property {boolean} agreed whether something may be downloaded yet, be it the engine itself
 * @property {EngineError | undefined} missing why no model can run here
 * @property {Permits} permits
 * @property {(choice: Choice) => OpenOptions} opening what a model is loaded with
 * @property {(choice: Choice) => void} choose
 * @property {(model: StoredModel) => void} remove
 * @property {AbortSignal} signal ends what runs here
 * @property {(() => void) | undefined} back
 */

/**
 * @param {PickerOptions} options
 * @returns {HTMLElement}
 */
export function picker(options) {
  const problem = h("div", { "aria-live": "polite" });
  const attempt = (/** @type {() => Choice} */ make) => {
    try {
      problem.replaceChildren();
      options.choose(make());
    } catch (error) {
      problem.replaceChildren(errorNotice(error, {}));
      problem.scrollIntoView({ block: "nearest" });
    }
  };
  const blocked = options.missing !== undefined;
  const offer = options.offer && !isLoaded(options.offer, options) ? offerCard(options.offer, options, blocked) : undefined;
  const known = catalogList({ ...options, blocked });
  const show = (/** @type {StoredModel[]} */ models) => (offer?.show(models), known?.show(models));
  const stored = options.agreed && manager({ ...options, blocked, listed: show });
  return h(
    "div",
    { class: "picker" },
    options.back && h("button", { type: "button", class: "button back", onclick: options.back }, "Back to the chat"),
    hero(),
    options.missing && errorNotice(options.missing, {}),
    offer?.element,
    // The list comes late: nothing that can be clicked already may move then.
    ...(options.offer ? [others(options, known?.element, attempt, blocked), problem, stored] : [stored, others(options, known?.element, attempt, blocked), problem]),
  );
}

/**
 * @param {Choice} offer
 * @param {PickerOptions} options
 */
function isLoaded(offer, { last, session }) {
  return session.model !== undefined && last?.id === session.model.info.id && last.source === sourceOf(offer);
}

function hero() {
  return h(
    "div",
    { class: "hero" },
    h("div", { class: "mark" }, icon("llama")),
    h("h2", {}, "A llama of your own"),
    h("p", {}, "The model runs inside this page, on your own machine. Nothing that you type leaves this machine."),
  );
}

/**
 * Says what a click will download and where that ends up, before it happens.
 *
 * @param {Choice} offer
 * @param {PickerOptions} options
 * @param {boolean} blocked
 */
function offerCard(offer, options, blocked) {
  const { choose, last, session } = options;
  const address = addressOf(offer.request);
  const from = address && new URL(address).host;
  const facts = [offer.bytes ? format.bytes(offer.bytes) : "Size known once it starts", offer.licence && format.licence(offer.licence), from && `from ${from}`];
  const button = h("button", { type: "button", class: "button primary large", onclick: () => choose(offer), disabled: blocked });
  const check = checker("", () => offer, { ...options, blocked });
  const hint = h("p", { class: "hint" });
  const element = h(
    "section",
    { class: "card offer", "aria-label": "Suggested model" },
    h("h3", {}, offer.name),
    h("p", { class: "facts" }, facts.filter(Boolean).join(" · ")),
    h("div", { class: "row" }, button, check.button),
    check.answer,
    hint,
  );
  const say = (/** @type {boolean} */ stored, /** @type {string} */ before) => {
    fill(button, stored ? "Start" : "Download and start");
    fill(hint, session.model ? "It takes the place of the model that is loaded. " : "", before, where(offer, stored));
  };
  // Until the engine may be asked, the last visit's model is all that is known.
  const known = last?.source !== undefined && last.source === sourceOf(offer) ? last.id : undefined;
  say(known !== undefined, "");
  const show = (/** @type {StoredModel[]} */ models) => {
    const there = models.find((model) => model.id === known || isFor(model, offer));
    say(there?.complete ?? false, there && !there.complete ? `${format.bytes(there.bytes)} of it are there already. ` : "");
  };
  return { element, show };
}

/**
 * @param {Choice} offer
 * @param {boolean} stored
 */
function where(offer, stored) {
  if (offer.store === false) return "Nothing is stored: it goes when the page is closed.";
  const place = `in this browser's storage (IndexedDB) for ${location.host || "this page"}`;
  return stored ? `Stored ${place}: no download is needed.` : `It is stored ${place}, so that it downloads only once. You can delete it again.`;
}

/**
 * @param {PickerOptions} options
 * @param {HTMLElement | undefined} known the list of models that are known by name
 * @param {(make: () => Choice) => void} attempt
 * @param {boolean} blocked
 */
function others(options, known, attempt, blocked) {
  const { offer, permits } = options;
  const address = h("input", { type: "text", id: "address", name: "address", required: true, autocomplete: "off", spellcheck: "false", autocapitalize: "off", placeholder: "owner/name or https://…" });
  /** @type {() => Choice} */
  const typed = () => parseSource(address.value, permits.hub);
  const check = checker("the model at this address", typed, { ...options, blocked });
  const load = (/** @type {Event} */ event) => (event.preventDefault(), attempt(typed));
  const web = h(
    "div",
    { class: "source" },
    h(
      "form",
      { class: "source", onsubmit: load },
      h("label", { for: "address" }, icon("globe"), "From the web"),
      h("div", { class: "row" }, address, h("button", { type: "submit", class: "button", disabled: blocked }, "Load"), check.button),
      check.answer,
      h("p", { class: "hint" }, "A Hugging Face repository, or the address of a GGUF file. The page asks that site for the files and for nothing else."),
    ),
    hubSetting(permits),
  );
  const keep = h("input", { type: "checkbox", id: "keep", checked: true });
  const pick = (/** @type {boolean} */ folder) => () => chooseFiles(folder, (files) => attempt(() => fromFiles(files, keep.checked)));
  const disk = h(
    "div",
    { class: "source" },
    h("h4", {}, icon("file"), "From this machine"),
    h(
      "div",
      { class: "row" },
      h("button", { type: "button", class: "button", onclick: pick(false), disabled: blocked }, "Choose a file"),
      h("button", { type: "button", class: "button", onclick: pick(true), disabled: blocked }, "Choose a folder"),
    ),
    h("label", { class: "check" }, keep, "Keep a copy in this browser for the next visit"),
    h("p", { class: "hint" }, "A .gguf file, or a Hugging Face folder. You can also drop it anywhere here."),
  );
  const body = h("div", {}, known, h("div", { class: "sources" }, web, disk));
  return offer
    ? h("details", { class: "others" }, h("summary", {}, "Use another model", icon("chevron")), body)
    : h("section", { class: "others", "aria-label": "Choose a model" }, body);
}

/**
 * @param {boolean} folder
 * @param {(files: File[]) => void} use
 */
export function chooseFiles(folder, use) {
  const input = h("input", { type: "file", multiple: true, webkitdirectory: folder, accept: folder ? null : ".gguf,.safetensors,.json,.jinja,.model" });
  // Files of subfolders are other checkpoints or caches.
  const direct = (/** @type {File} */ file) => file.webkitRelativePath.split("/").length <= 2;
  input.addEventListener("change", () => use([...(input.files ?? [])].filter(direct)));
  input.click();
}
