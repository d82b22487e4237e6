// The list of models that are known by name, and the licences that ask to be accepted: catalog.json beside the modules.

import { fill, h, icon } from "./dom.js";
import * as format from "./format.js";
import { HUB, isFor, repositoryOf } from "./sources.js";

/** @import { StoredModel } from "../pkg/webgpu.js" */
/** @import { Choice } from "./model-session.js" */
/** @import { Permits } from "./permits.js" */

/** A licence that asks to be accepted: where its text and its rules of use are, and what has to be said of it. @typedef {{terms: string, policy: string, notice: string}} Terms */
/**
 * `hub`: as in a request. `about`: roughly how many bytes it has. `gated`: a token is needed.
 * @typedef {{name: string, hub: string, about: number, licence: string, note?: string, gated?: boolean}} Entry
 */
/** What is offered of an entry depends on what is stored of it. @typedef {{element: HTMLElement, show: (stored: StoredModel[]) => void}} View */
/** @typedef {{permits: Permits, choose: (choice: Choice) => void, blocked: boolean}} ListOptions */

const FILE = new URL("../catalog.json", import.meta.url);

export class Catalog {
  #models;
  #licences;

  /**
   * @param {Entry[]} [models]
   * @param {Record<string, Terms>} [licences]
   */
  constructor(models = [], licences = {}) {
    this.#models = models;
    this.#licences = licences;
  }

  /** An empty one where the file does not come: other models can be loaded all the same. */
  static async fetch() {
    try {
      const { models, licences } = await (await fetch(FILE)).json();
      return new Catalog(models, licences);
    } catch {
      return new Catalog();
    }
  }

  get models() {
    return this.#models;
  }

  /**
   * The licence that is to be accepted before a model is downloaded: the one that it is said to have, or that its repository
   * is known to have.
   * @param {Choice} choice
   * @returns {{name: string, terms: Terms} | undefined}
   */
  licence(choice) {
    const repository = repositoryOf(choice.request)?.toLowerCase();
    const listed = this.#models.find(({ hub }) => repository !== undefined && repositoryOf({ hub })?.toLowerCase() === repository);
    const name = choice.licence ?? listed?.licence;
    const terms = name === undefined ? undefined : this.#licences[name];
    return name !== undefined && terms ? { name, terms } : undefined;
  }
}

/**
 * @param {Entry} entry
 * @param {string} host of the hub
 * @returns {Choice}
 */
function choiceOf({ name, hub, licence }, host) {
  return { request: { hub, ...(host === HUB ? {} : { host }) }, name, licence };
}

/**
 * The list to choose from.
 *
 * @param {ListOptions} options
 * @returns {View | undefined} none for an empty one
 */
export function catalogList(options) {
  const { models } = options.permits.catalog;
  if (models.length === 0) return undefined;
  const rows = models.map((entry) => ({ gated: entry.gated === true, ...row(entry, options) }));
  const list = (/** @type {boolean} */ gated) => h("ul", { class: "list" }, ...rows.filter((one) => one.gated === gated).map(({ element }) => element));
  const gated = rows.some((one) => one.gated) && h("details", { class: "more" }, h("summary", {}, "As their makers publish them: a token is needed", icon("chevron")), list(true));
  const element = h("section", { class: "catalog", "aria-label": "Known models" }, list(false), gated);
  return { element, show: (stored) => rows.forEach(({ show }) => show(stored)) };
}

/**
 * @param {Entry} entry
 * @param {ListOptions} options
 * @returns {View}
 */
function row(entry, { permits, choose, blocked }) {
  const facts = [format.about(entry.about), format.licence(entry.licence), entry.note].filter(Boolean).join(" · ");
  const button = h("button", { type: "button", class: "button", disabled: blocked, onclick: () => choose(choiceOf(entry, permits.hub)) });
  const words = h("div", { class: "grow" }, h("div", { class: "strong" }, entry.name), h("div", { class: "hint" }, facts));
  const show = (/** @type {StoredModel[]} */ stored) => {
    const there = stored.find((model) => isFor(model, choiceOf(entry, permits.hub)));
    const verb = there?.complete ? "Load" : there ? "Go on" : "Download";
    fill(button, verb);
    button.setAttribute("aria-label", `${verb} ${entry.name}`);
  };
  show([]);
  return { element: h("li", { class: "row spread" }, words, button), show };
}
