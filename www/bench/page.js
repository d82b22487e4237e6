// The page of measurements: choose a model, load it, measure, show. Nothing is downloaded before the visitor asks for it.

import { load, missingSupport, storedModels } from "../engine.js";
import { fill, h } from "../chat/dom.js";
import * as format from "../chat/format.js";
import { LoadingCard } from "../chat/loading.js";
import { errorNotice, notice } from "../chat/notice.js";
import { defaultModel, isFor } from "../chat/sources.js";
import { measure } from "./measure.js";
import { reportView } from "./report.js";

/** @import { Model } from "../engine.js" */
/** @import { Progress, StoredModel } from "../pkg/webgpu.js" */
/** @import { Choice } from "../chat/model-session.js" */
/** @import { Load, Report } from "./report.js" */

/** The address of a file that is being saved is needed until the browser has read it. Milliseconds. */
const SAVING = 120_000;

/** A model to choose, whether it is there, and why no copy of it was kept. @typedef {{choice: Choice, stored: boolean, reason?: string | undefined}} Entry */

class Bench {
  #control = h("div", { class: "control" });
  #result = h("div", {});
  #status = h("p", { class: "visually-hidden", role: "status" });
  /** @type {Entry[]} */
  #entries = [];
  #chosen = 0;

  /** @param {HTMLElement} place */
  constructor(place) {
    place.append(this.#control, this.#result, this.#status);
  }

  async start() {
    const [missing, entries] = await Promise.all([missingSupport("webgpu"), entriesToChoose()]);
    this.#entries = entries;
    if (missing) fill(this.#control, errorNotice(missing, {}));
    else this.#showChoice("Measure");
  }

  /**
   * @param {string} verb
   * @param {...HTMLElement} news above the choice
   */
  #showChoice(verb, ...news) {
    if (this.#entries.length === 0) {
      const help = h("p", {}, h("a", { href: "./" }, "Choose a model in the chat"), ", then come back.");
      fill(this.#control, notice({ title: "There is no model to measure with.", help }));
      return;
    }
    const choice = h("select", { id: "model" }, ...this.#entries.map(({ choice }, index) => h("option", { value: index }, choice.name)));
    choice.selectedIndex = this.#chosen;
    const button = h("button", { type: "button", class: "button primary large", onclick: () => this.#run() });
    const hint = h("p", { class: "hint" });
    const show = () => {
      this.#chosen = choice.selectedIndex;
      const { choice: { bytes, licence }, stored, reason } = this.#entry;
      fill(button, stored ? verb : `Download and ${verb.toLowerCase()}`);
      const facts = [bytes ? format.bytes(bytes) : "", licence ? format.licence(licence) : ""].filter(Boolean).join(", ");
      const keeping = reason ? `No copy was kept: ${reason}` : "It is stored in this browser, where the chat finds it, too.";
      fill(hint, stored ? "Stored in this browser: no download is needed." : `${facts}. ${keeping}`);
    };
    choice.addEventListener("change", show);
    show();
    fill(this.#control, ...news, h("div", { class: "card choice" }, h("label", { for: "model" }, "Model"), choice, button, hint, h("p", { class: "hint" }, "It takes up to a minute or two, and goes best while nothing else uses the graphics card.")));
  }

  get #entry() {
    return /** @type {Entry} */ (this.#entries[this.#chosen]);
  }

  async #run() {
    const stop = new AbortController();
    const { signal } = stop;
    /** @type {Model | undefined} */
    let model;
    fill(this.#result);
    try {
      const { choice } = this.#entry;
      const loaded = await this.#load(this.#entry, stop);
      model = loaded.model;
      this.#entry.stored = model.info.stored;
      const { parameters, weight_bytes, context, device } = model.info;
      /** @type {Report} */
      const report = {
        date: new Date().toISOString(),
        browser: navigator.userAgent,
        model: { name: choice.name, parameters, weight_bytes, context },
        device,
        load: loaded.load,
        prefill: [],
        decode: [],
        left_out: [],
        profiles: [],
      };
      const { tell } = this.#showProgress(stop);
      await measure(model, {
        signal,
        tell,
        show: (measured) => fill(this.#result, reportView(Object.assign(report, measured))),
      });
      fill(this.#result, exportRow(report), reportView(report));
      this.#status.textContent = "The measurement is complete.";
      this.#showChoice("Measure again");
    } catch (error) {
      if (signal.aborted) this.#stopped();
      else this.#showChoice("Measure", errorNotice(error, { retry: () => this.#run() }));
    } finally {
      model?.unload();
    }
    this.#control.querySelector("button")?.focus();
  }

  #stopped() {
    const some = this.#result.childElementCount > 0;
    const arrived = this.#entry.reason ? "Nothing of the model was kept." : "What arrived of the model stays stored.";
    this.#status.textContent = "Stopped.";
    this.#showChoice("Measure", notice({ title: "Stopped.", text: some ? "What was measured until then is below." : arrived }));
  }

  /**
   * @param {Entry} entry
   * @param {AbortController} stop
   * @returns {Promise<{model: Model, load: Load}>}
   */
  async #load(entry, stop) {
    const { choice } = entry;
    const end = () => stop.abort();
    const card = new LoadingCard(choice, undefined, { pause: end, cancel: end, announce: (text) => (this.#status.textContent = text) });
    fill(this.#control, card.element);
    card.element.querySelector("button")?.focus();
    let downloaded = false;
    let bytes = 0;
    const onProgress = (/** @type {Progress} */ progress) => {
      card.update(progress);
      entry.reason = progress.reason;
      downloaded ||= progress.phase === "download";
      bytes = Math.max(bytes, progress.total);
    };
    const started = performance.now();
    try {
      const model = await load({ model: choice.request, device: "webgpu", onProgress, signal: stop.signal });
      return { model, load: { from: downloaded ? "network" : "browser", bytes, milliseconds: performance.now() - started } };
    } finally {
      card.dispose();
    }
  }

  /** @param {AbortController} stop */
  #showProgress(stop) {
    const bar = h("progress", { max: 1, value: 0, "aria-labelledby": "step" });
    const step = h("p", { id: "step", class: "loading-title" });
    const button = h("button", { type: "button", class: "button", onclick: () => (button.disabled = true, stop.abort()) }, "Stop");
    fill(this.#control, h("div", { class: "card loading" }, h("div", { class: "row spread" }, step, button), bar));
    button.focus();
    const tell = (/** @type {number} */ done, /** @type {number} */ of, /** @type {string} */ text) => {
      bar.max = of;
      bar.value = done;
      step.textContent = text;
      this.#status.textContent = text;
    };
    return { tell };
  }
}

/**
 * The model that this build offers, and those that are stored; what needs no download comes first.
 * @returns {Promise<Entry[]>}
 */
async function entriesToChoose() {
  const [offer, models] = await Promise.all([defaultModel().catch(() => undefined), storedModels().catch(() => [])]);
  const complete = models.filter((model) => model.complete).sort((a, b) => b.last_used - a.last_used);
  /** @type {Entry[]} */
  const entries = complete.map((model) => ({ choice: choiceOf(model, offer), stored: true }));
  if (offer && !complete.some((model) => isFor(model, offer))) entries.push({ choice: offer, stored: false });
  return entries;
}

/**
 * @param {StoredModel} model
 * @param {Choice | undefined} offer
 * @returns {Choice}
 */
function choiceOf(model, offer) {
  const name = offer && isFor(model, offer) ? offer.name : model.name.replace(/\.gguf$/i, "");
  return { request: { stored: model.id }, name, bytes: model.bytes };
}

/** @param {Report} report */
function exportRow(report) {
  const text = `${JSON.stringify(report, null, 2)}\n`;
  const copy = h("button", { type: "button", class: "button", onclick: () => copyText() }, "Copy as JSON");
  const copyText = async () => {
    const done = await navigator.clipboard.writeText(text).then(() => true, () => false);
    fill(copy, done ? "Copied" : "Could not copy");
    setTimeout(() => fill(copy, "Copy as JSON"), 1500);
  };
  const save = () => {
    const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    h("a", { href: address, download: `pagellama-${report.date.slice(0, 10)}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(address), SAVING);
  };
  return h("div", { class: "row export" }, copy, h("button", { type: "button", class: "button", onclick: save }, "Save as JSON"));
}

const place = document.getElementById("bench");
if (place) new Bench(place).start().catch((error) => fill(place, errorNotice(error, {})));
