// The manager of stored models: what is there, how much it takes, and what can be done with it.

import { exportModel, keepStorage, storage, storedModels, verifyModel } from "../engine.js";
import { ask, fill, h } from "./dom.js";
import * as format from "./format.js";
import { errorNotice, notice } from "./notice.js";
import { isFor } from "./sources.js";

/** @import { Count, LongCall } from "../engine.js" */
/** @import { StoredModel, Verified } from "../pkg/webgpu.js" */
/** @import { Choice, ModelSession, Phase } from "./model-session.js" */
/** @import { Permits } from "./permits.js" */

/**
 * @typedef {object} ManagerOptions
 * @property {ShadowRoot} root where dialogs go
 * @property {ModelSession} session
 * @property {Choice | undefined} offer
 * @property {Permits} permits
 * @property {boolean} blocked whether no model can run here
 * @property {(choice: Choice) => void} choose
 * @property {(model: StoredModel) => void} remove
 * @property {(models: StoredModel[]) => void} listed told what is stored
 * @property {AbortSignal} signal ends what the manager does
 */

/** @typedef {Map<string, HTMLElement>} News */

/** What is said of the model that the chat has. @type {Record<Phase["kind"], string>} */
const STATES = { none: "", loading: "on its way", paused: "paused", ready: "loaded", failed: "" };

/** The address of a file that is being saved is needed until the browser has read it. Milliseconds. */
const SAVING = 120_000;

/** Browsers drop downloads that follow each other at once. Milliseconds. */
const BETWEEN_FILES = 500;

/**
 * @param {ManagerOptions} options
 * @returns {HTMLElement}
 */
export function manager(options) {
  const section = h("section", { class: "stored", "aria-label": "Stored models", tabindex: -1 });
  /** What a task had to tell, by model: it outlives the row. @type {News} */
  const news = new Map();
  const refresh = async () => {
    try {
      const models = await newestFirst();
      // A task may have begun meanwhile.
      if (busy()) return;
      const rows = models.map((model) => storedRow(model, options, news, changed));
      const list = rows.length > 0 && h("ul", { class: "list" }, ...rows);
      options.listed(models);
      const refocus = focusKeeper(section);
      fill(section, list && h("h3", {}, "Stored in this browser"), list, storageLine());
      refocus();
    } catch (error) {
      fill(section, errorNotice(error, { retry: refresh }));
    }
  };
  // What is being verified or saved has its row until that is done.
  const busy = () => section.querySelector(".task:not(:empty)") !== null;
  const changed = () => void (busy() || options.signal.aborted || refresh());
  for (const event of ["change", "stored"]) options.session.addEventListener(event, changed, { signal: options.signal });
  refresh();
  return section;
}

/**
 * Brings the focus back to where it was in `section`, once that has been filled anew.
 * @param {HTMLElement} section
 * @returns {() => void}
 */
function focusKeeper(section) {
  const before = section.querySelector(":focus");
  if (!before) return () => {};
  const label = labelOf(before);
  const model = before.closest("li")?.dataset.model;
  return () => {
    const rows = [...section.querySelectorAll("li")];
    const row = rows.find(({ dataset }) => dataset.model === model);
    const buttons = [...(row ?? section).querySelectorAll("button")];
    const same = buttons.find((button) => labelOf(button) === label);
    (same ?? (row && buttons[0]) ?? section).focus();
  };
}

/** @param {Element} button */
function labelOf(button) {
  return button.getAttribute("aria-label") ?? button.textContent;
}

/**
 * The other stored models, to be deleted in order to make room for one.
 *
 * @param {Choice} wanted
 * @param {{root: ShadowRoot, remove: (model: StoredModel) => Promise<void>}} actions
 * @returns {HTMLElement}
 */
export function roomList(wanted, { root, remove }) {
  const place = h("div", { class: "stored" });
  const row = (/** @type {StoredModel} */ model) => {
    const removeThis = async () => {
      if (!(await confirmed(root, model))) return;
      await remove(model);
      await refresh();
    };
    const size = h("span", { class: "hint" }, format.bytes(model.bytes));
    const button = h("button", { type: "button", class: "button", onclick: removeThis, "aria-label": `Delete ${nameOf(model)}` }, "Delete");
    return h("li", { class: "row spread" }, h("span", { class: "grow" }, h("span", { class: "strong" }, nameOf(model)), " ", size), button);
  };
  const refresh = async () => {
    const others = (await newestFirst().catch(() => [])).filter((model) => !isFor(model, wanted));
    fill(place, others.length > 0 && h("p", {}, "These models could make room:"), others.length > 0 && h("ul", { class: "list" }, ...others.map(row)));
  };
  refresh();
  return place;
}

async function newestFirst() {
  return (await storedModels()).sort((a, b) => b.last_used - a.last_used);
}

/** @param {StoredModel} model */
function nameOf({ name, recipe }) {
  return name.replace(/\.gguf$/i, "") + (recipe ? ` ${recipe.toUpperCase()}` : "");
}

/**
 * @param {ShadowRoot} root
 * @param {StoredModel} model
 * @returns {Promise<boolean>}
 */
async function confirmed(root, model) {
  const text = `${format.bytes(model.bytes)} become free. The chats stay.`;
  return (await ask(root, { title: `Delete ${nameOf(model)}?`, text, confirm: "Delete", danger: true })) !== undefined;
}

/**
 * @param {StoredModel} model
 * @param {ManagerOptions} options
 * @param {News} news
 * @param {() => void} changed
 */
function storedRow(model, options, news, changed) {
  const words = h("div", { class: "grow" }, h("div", { class: "strong" }, nameOf(model)), h("div", { class: "hint" }, factsOf(model, options)));
  const told = news.get(model.id) ?? h("div", { class: "task-news", role: "status" });
  news.set(model.id, told);
  return h("li", { "data-model": model.id }, h("div", { class: "row spread" }, words, mainButton(model, options)), ...upkeep(model, options, told, changed));
}

/**
 * The tools of a stored model; while one of them works its progress stands in their place, and then what there is to tell.
 *
 * @param {StoredModel} model
 * @param {ManagerOptions} options
 * @param {HTMLElement} news
 * @param {() => void} changed told when a task has ended: what happened meanwhile has yet to be shown
 */
function upkeep(model, { root, remove, session, permits, signal }, news, changed) {
  const name = nameOf(model);
  const task = h("div", { class: "task" });
  /** @type {(label: string, work: (call: LongCall) => Promise<HTMLElement>) => (event: Event) => Promise<void>} */
  const perform = (label, work) => async ({ currentTarget }) => {
    const stop = new AbortController();
    const view = taskView(`${label} ${name}`, () => stop.abort());
    fill(news);
    fill(task, view.element);
    tools.hidden = true;
    view.stop.focus();
    const outcome = await run(work, view.update, AbortSignal.any([signal, stop.signal]));
    const focused = view.stop.matches(":focus");
    fill(task);
    tools.hidden = false;
    if (focused) /** @type {HTMLElement} */ (currentTarget).focus();
    fill(news, outcome);
    changed();
  };
  // For what is damaged, and fetched again.
  const token = () => permits.token({ request: { stored: model.id }, name, address: model.url });
  const verify = perform("Verifying", async (call) => verdict(await verifyModel(model.id, { ...call, token: token() })));
  const save = perform("Reading", async (call) => saveFiles(await exportModel(model.id, { ...call, token: token() }), signal));
  const erase = async () => void ((await confirmed(root, model)) && remove(model));
  const tool = (/** @type {string} */ text, /** @type {string} */ label, /** @type {(event: Event) => void} */ onclick) =>
    h("button", { type: "button", class: "tool", "aria-label": label, onclick }, text);
  const tools = h(
    "div",
    { class: "row tools" },
    // What is on its way is checked as it comes.
    !(session.uses(model) && session.phase.kind === "loading") && tool("Verify", `Verify ${name}`, verify),
    model.complete && tool("Save as file", `Save as file: ${name}`, save),
    tool("Delete", `Delete ${name}`, erase),
  );
  return [tools, task, news];
}

/**
 * "34.1 MB of 98.4 MB · unfinished · used yesterday"
 * @param {StoredModel} model
 * @param {ManagerOptions} options
 */
function factsOf(model, { session }) {
  const size = format.bytes(model.bytes);
  const state = session.uses(model) ? STATES[session.phase.kind] : model.complete ? "" : "unfinished";
  const used = model.last_used > 0 ? `used ${format.ago(model.last_used, Date.now())}` : "";
  return [!model.complete && model.total ? `${size} of ${format.bytes(model.total)}` : size, state, used].filter(Boolean).join(" · ");
}

/**
 * What one most likely wants of the model.
 * @param {StoredModel} model
 * @param {ManagerOptions} options
 */
function mainButton(model, { session, offer, blocked, choose }) {
  const name = nameOf(model);
  const button = (/** @type {string} */ text, /** @type {string} */ label, /** @type {() => void} */ run, disabled = blocked) =>
    h("button", { type: "button", class: "button", onclick: run, disabled, "aria-label": label }, text);
  if (session.uses(model) && session.model) return button("Unload", "Unload", () => session.unload(), false);
  if (session.uses(model) && session.phase.kind === "loading") return null;
  if (model.complete) return button("Load", `Load ${name}`, () => choose({ request: { stored: model.id }, name, bytes: model.bytes, address: model.url }));
  const { url } = model;
  if (!url) return h("span", { class: "hint" }, "Choose its file again to go on");
  // The offer also knows what the files should be.
  const request = offer && isFor(model, offer) ? offer.request : { url };
  return button("Go on", `Go on with ${name}`, () => choose({ request, name, bytes: model.total, quantise: model.recipe ?? null }));
}

/**
 * A task's progress, and a way to stop it.
 * @param {string} label
 * @param {() => void} cancel
 */
function taskView(label, cancel) {
  const bar = h("progress", { "aria-label": label });
  const figures = h("span", { class: "figures" }, "Starting");
  const stop = h("button", { type: "button", class: "tool", onclick: cancel }, "Stop");
  const update = (/** @type {Count} */ { done, total, waiting }) => {
    if (waiting) return fill(figures, "Waiting for another tab that has this model");
    bar.max = total;
    bar.value = done;
    fill(figures, `${format.bytes(done)} of ${format.bytes(total)}`);
  };
  return { element: h("div", {}, bar, h("div", { class: "row spread" }, figures, stop)), stop, update };
}

/**
 * @param {(call: LongCall) => Promise<HTMLElement>} work
 * @param {LongCall["onProgress"]} onProgress
 * @param {AbortSignal} signal
 * @returns {Promise<HTMLElement | undefined>} what there is to tell; nothing if it was stopped
 */
async function run(work, onProgress, signal) {
  try {
    return await work({ onProgress, signal });
  } catch (error) {
    return signal.aborted ? undefined : errorNotice(error, {});
  }
}

/**
 * @param {Verified} found
 * @returns {HTMLElement}
 */
function verdict({ chunks, damaged, repaired }) {
  const all = damaged.length;
  if (all === 0) return h("p", { class: "hint" }, `All ${format.count(chunks)} parts are intact.`);
  const [were, have] = all === 1 ? ["was", "has"] : ["were", "have"];
  const of = `${format.count(all)} of ${format.count(chunks)} parts`;
  if (repaired === all) return h("p", { class: "hint" }, `${of} ${were} damaged and ${have} been fetched again.`);
  const text = `${repaired > 0 ? `${format.count(repaired)} of them could be fetched again. ` : ""}Verify again with a connection, or load it, which asks for the token of a gated one, or delete it and download it anew.`;
  return notice({ title: `${of} ${were} damaged.`, text, tone: "error" });
}

/**
 * Hands files to the browser's downloads, one after another.
 * @param {File[]} files
 * @param {AbortSignal} signal
 * @returns {Promise<HTMLElement>}
 */
async function saveFiles(files, signal) {
  for (const [index, file] of files.entries()) {
    if (index > 0) await new Promise((resolve) => setTimeout(resolve, BETWEEN_FILES));
    signal.throwIfAborted();
    const address = URL.createObjectURL(file);
    h("a", { href: address, download: file.name }).click();
    setTimeout(() => URL.revokeObjectURL(address), SAVING);
  }
  const what = files.length === 1 ? `${files[0]?.name} is` : `${files.length} files are`;
  return h("p", { class: "hint" }, `${what} in the browser's downloads.`);
}

/** How much is stored, where, for how long, and how it is removed. */
function storageLine() {
  const element = h("div", { class: "storage" });
  const show = async (refused = false) => {
    const { usage, quota, persisted } = await storage();
    const amount = usage === undefined ? "" : `, which takes ${format.bytes(usage)}${quota ? ` of at most ${format.bytes(quota)}` : ""}`;
    const place = `this browser's storage (IndexedDB) for ${location.host || "this page"}`;
    const ask = async () => show(!(await keepStorage()));
    const promise = persisted
      ? "The browser has promised to keep it."
      : refused
        ? "The browser does not promise to keep it yet. It may once the page is installed, bookmarked or used more often."
        : "The browser may clear it when disk space runs short.";
    fill(
      element,
      h("p", { class: "hint" }, `Models and chats are kept in ${place}${amount}. Delete models here, or everything in the browser's settings for this site.`),
      h("p", { class: "hint", role: "status" }, promise),
      !persisted && !refused && h("button", { type: "button", class: "tool", onclick: ask }, "Ask the browser to keep it"),
    );
  };
  show();
  return element;
}
