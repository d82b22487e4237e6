// The view for choosing a model: the one on offer, those that are stored, one from the web, one from disk.

import { deleteModel, storedModels } from "../engine.js";
import { ask, fill, h, icon, iconButton } from "./dom.js";
import * as format from "./format.js";
import { errorNotice } from "./notice.js";
import { fromFiles, parseSource, sourceOf } from "./sources.js";

/** @import { StoredModel } from "../pkg/pagellama.js" */
/** @import { Preferences } from "./conversations.js" */
/** @import { Choice } from "./model-session.js" */

/**
 * @typedef {object} PickerOptions
 * @property {ShadowRoot} root where dialogs go
 * @property {Choice | undefined} offer the model to begin with
 * @property {Preferences["model"]} last the model of the last visit
 * @property {string | undefined} loaded the id of the model that is loaded
 * @property {boolean} agreed whether something may be downloaded yet, be it the engine itself
 * @property {EngineError | undefined} missing why no model can run here
 * @property {(choice: Choice) => void} choose
 * @property {() => void} unload
 * @property {(id: string) => void} deleted told once a stored model is gone
 * @property {(() => void) | undefined} back
 */
/** @import { EngineError } from "../engine.js" */

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
  return h(
    "div",
    { class: "picker" },
    options.back && h("button", { type: "button", class: "button back", onclick: options.back }, "Back to the chat"),
    hero(),
    options.missing && errorNotice(options.missing, {}),
    options.offer && !isLoaded(options.offer, options) && offerCard(options.offer, options, blocked),
    options.agreed ? storedList(options, blocked) : null,
    others(options, attempt, blocked),
    problem,
  );
}

/**
 * @param {Choice} offer
 * @param {PickerOptions} options
 */
function isLoaded(offer, { last, loaded }) {
  return loaded !== undefined && last?.id === loaded && last.source === sourceOf(offer);
}

function hero() {
  return h(
    "div",
    { class: "hero" },
    h("div", { class: "mark" }, icon("llama")),
    h("h2", {}, "A llama of your own"),
    h("p", {}, "The model runs inside this page, on your graphics card. Nothing that you type leaves this machine."),
  );
}

/**
 * Says what a click will download and where that ends up, before it happens.
 *
 * @param {Choice} offer
 * @param {PickerOptions} options
 * @param {boolean} blocked
 */
function offerCard(offer, { choose, last, loaded }, blocked) {
  const stored = last?.source !== undefined && last.source === sourceOf(offer);
  const from = "url" in offer.request ? new URL(offer.request.url, document.baseURI).host : "hub" in offer.request ? "huggingface.co" : "";
  const facts = [offer.bytes ? format.bytes(offer.bytes) : "Size known once it starts", offer.licence ? `${offer.licence} licence` : "", from && `from ${from}`];
  const start = () => choose(offer);
  return h(
    "section",
    { class: "card offer", "aria-label": "Suggested model" },
    h("h3", {}, offer.name),
    h("p", { class: "facts" }, facts.filter(Boolean).join(" · ")),
    h("button", { type: "button", class: "button primary large", onclick: start, disabled: blocked }, stored ? "Start" : "Download and start"),
    h("p", { class: "hint" }, loaded ? "It takes the place of the model that is loaded. " : "", where(offer, stored)),
  );
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
 * @param {boolean} blocked
 */
function storedList(options, blocked) {
  const section = h("section", { class: "stored", "aria-label": "Stored models" });
  const fail = (/** @type {unknown} */ error) => section.append(errorNotice(error, {}));
  const refresh = async () => {
    try {
      const models = await storedModels();
      const rows = models.sort((a, b) => b.last_used - a.last_used).map((model) => storedRow(model, options, fail, blocked));
      fill(section, rows.length > 0 && h("h3", {}, "Stored in this browser"), rows.length > 0 && h("ul", { class: "list" }, ...rows));
    } catch (error) {
      fill(section, errorNotice(error, { retry: refresh }));
    }
  };
  refresh();
  return section;
}

/**
 * @param {StoredModel} model
 * @param {PickerOptions} options
 * @param {(error: unknown) => void} fail
 * @param {boolean} blocked
 */
function storedRow(model, { root, loaded, choose, unload, deleted }, fail, blocked) {
  const current = model.id === loaded;
  const name = model.name.replace(/\.gguf$/i, "");
  const load = () => choose({ request: { stored: model.id }, name, bytes: model.bytes });
  const remove = async () => {
    const text = `${format.bytes(model.bytes)} become free. The chats stay.`;
    if ((await ask(root, { title: `Delete ${name}?`, text, confirm: "Delete", danger: true })) === undefined) return;
    if (current) unload();
    await deleteModel(model.id).then(() => deleted(model.id), fail);
  };
  const state = current ? " · loaded" : model.complete ? "" : " · unfinished";
  const action = current
    ? h("button", { type: "button", class: "button", onclick: unload }, "Unload")
    : model.complete && h("button", { type: "button", class: "button", onclick: load, disabled: blocked, "aria-label": `Load ${name}` }, "Load");
  return h(
    "li",
    { class: "row spread" },
    h("div", { class: "grow" }, h("div", { class: "strong" }, name), h("div", { class: "hint" }, format.bytes(model.bytes) + state)),
    action,
    iconButton("trash", `Delete ${name}`, remove),
  );
}

/**
 * @param {PickerOptions} options
 * @param {(make: () => Choice) => void} attempt
 * @param {boolean} blocked
 */
function others({ offer }, attempt, blocked) {
  const address = h("input", { type: "text", id: "address", name: "address", required: true, autocomplete: "off", spellcheck: "false", autocapitalize: "off", placeholder: "owner/name or https://…/model.gguf" });
  const web = h(
    "form",
    { class: "source", onsubmit: (/** @type {Event} */ event) => (event.preventDefault(), attempt(() => parseSource(address.value))) },
    h("label", { for: "address" }, icon("globe"), "From the web"),
    h("div", { class: "row" }, address, h("button", { type: "submit", class: "button", disabled: blocked }, "Load")),
    h("p", { class: "hint" }, "A Hugging Face repository, or the address of a GGUF file. The page asks that site for the files and for nothing else."),
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
  const body = h("div", { class: "sources" }, web, disk);
  return offer
    ? h("details", { class: "others" }, h("summary", {}, "Use another model", icon("chevron")), body)
    : h("section", { class: "others", "aria-label": "Choose a model" }, body);
}

/**
 * @param {boolean} folder
 * @param {(files: File[]) => void} use
 */
function chooseFiles(folder, use) {
  const input = h("input", { type: "file", multiple: true, webkitdirectory: folder, accept: folder ? null : ".gguf,.safetensors,.json,.jinja" });
  // Files of subfolders are other checkpoints or caches.
  const direct = (/** @type {File} */ file) => file.webkitRelativePath.split("/").length <= 2;
  input.addEventListener("change", () => use([...(input.files ?? [])].filter(direct)));
  input.click();
}
