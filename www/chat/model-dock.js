// What lies in the dock until there is a model to write to: nothing chosen, a load on its way, paused or failed.

import { keepStorage, storedModels } from "../engine.js";
import { h } from "./dom.js";
import { LoadingCard, pausedCard } from "./loading.js";
import { choiceList, tokenForm, WANT_TOKEN } from "./hub.js";
import { describe, errorNotice, notice } from "./notice.js";
import { isFor } from "./sources.js";
import { roomList } from "./stored.js";
import { Vigil } from "./vigil.js";

/** @import { HubChoice, Progress, StoredModel } from "../pkg/webgpu.js" */
/** @import { Choice, ModelSession, Phase } from "./model-session.js" */

/**
 * @typedef {object} ModelDockActions
 * @property {(choice: Choice) => void} load
 * @property {(choice: Choice, token: string) => void} token loads with a token
 * @property {(choice: Choice) => void} again loads without leaving what the visitor looks at
 * @property {() => void} pick
 * @property {() => void} settings
 * @property {(choice: Choice) => {shorter?: () => void, coarser?: () => void}} smaller ways to load it with less memory
 * @property {(model: StoredModel) => Promise<void>} remove
 * @property {(text: string) => void} announce
 * @property {() => void} percent told when `percent` has changed
 */

/** A load that failed for one of these goes on by itself once there is a connection again. */
const CONNECTION = ["net/unreachable", "net/truncated"];
const ROOM = ["store/no-space", "store/quota"];

export class ModelDock {
  #root;
  #session;
  #actions;
  #vigil = new Vigil();
  /** @type {LoadingCard | undefined} */
  #card;
  /** Ends what the phase began. */
  #phase = new AbortController();
  /** The part of a running download that has come, as whole percent. @type {number | undefined} */
  percent;

  /**
   * @param {ShadowRoot} root where dialogs go
   * @param {ModelSession} session
   * @param {ModelDockActions} actions
   */
  constructor(root, session, actions) {
    this.#root = root;
    this.#session = session;
    this.#actions = actions;
  }

  /**
   * @param {Exclude<Phase, {kind: "ready"}>} phase
   * @returns {HTMLElement}
   */
  show(phase) {
    this.clear();
    switch (phase.kind) {
      case "none":
        return this.#choose();
      case "loading":
        return this.#loading(phase.choice);
      case "paused":
        return this.#paused(phase.choice, phase.progress);
      case "failed":
        return this.#failed(phase.choice, phase.error);
    }
  }

  /** @param {Progress} progress of the load that is shown */
  update(progress) {
    const { phase, done, total } = progress;
    const percent = phase === "download" && total > 0 ? Math.floor((done / total) * 100) : undefined;
    this.#vigil.update(progress);
    this.#card?.update(progress);
    if (percent === this.percent) return;
    this.percent = percent;
    this.#actions.percent();
  }

  /** Ends what runs beside the shown element: timers, listeners, locks. */
  clear() {
    this.#phase.abort();
    this.#phase = new AbortController();
    this.#vigil.end();
    this.#card?.dispose();
    this.#card = undefined;
    this.percent = undefined;
  }

  #choose() {
    const { pick } = this.#actions;
    return h("div", { class: "card row spread" }, h("p", {}, "No model is loaded."), h("button", { type: "button", class: "button primary", onclick: pick }, "Choose a model"));
  }

  /** @param {Choice} choice */
  #loading(choice) {
    const { announce } = this.#actions;
    // Asked before the first byte comes. Some browsers ask the visitor, whose answer the download does not wait for.
    const kept = choice.store === false || "stored" in choice.request ? undefined : keepStorage();
    this.#card = new LoadingCard(choice, kept, { pause: () => this.#session.pause(), cancel: () => this.#session.unload(), announce });
    return this.#card.element;
  }

  /**
   * @param {Choice} choice
   * @param {Progress} [progress]
   */
  #paused(choice, progress) {
    const { load, pick, announce } = this.#actions;
    announce("Paused");
    const stored = this.#session.ended.then(() => storedBytes(choice));
    return pausedCard(choice.name, progress ?? { done: 0, total: 0 }, stored, { resume: () => load(choice), pick });
  }

  /**
   * @param {Choice} choice
   * @param {unknown} error
   */
  #failed(choice, error) {
    const { load, token, again, pick, settings, smaller, remove } = this.#actions;
    const { code } = describe(error);
    const { choices } = /** @type {{choices?: HubChoice[]}} */ (error);
    if (choices) return several(choice, choices, { load, pick });
    const retry = () => load(choice);
    if (CONNECTION.includes(code)) addEventListener("online", () => again(choice), { once: true, signal: this.#phase.signal });
    const unkept = () => load({ ...choice, store: false });
    const room = ROOM.includes(code) ? roomList(choice, { root: this.#root, remove }) : undefined;
    const help = WANT_TOKEN.includes(code) ? tokenForm(choice, (given) => token(choice, given)) : room;
    return errorNotice(error, { ...smaller(choice), retry, pick, settings, unkept }, help);
  }
}

/**
 * A repository of several models: which is it to be?
 * @param {Choice} choice
 * @param {HubChoice[]} choices
 * @param {Pick<ModelDockActions, "load" | "pick">} actions
 */
function several({ name, licence }, choices, { load, pick }) {
  const list = choiceList(choices, (choice) => load({ ...choice, licence }));
  const actions = [{ label: "Choose another model", run: pick }];
  return notice({ title: `${name} holds several models.`, text: "Which one is it to be?", help: list, actions });
}

/**
 * @param {Choice} choice
 * @returns {Promise<number | undefined>} bytes of it that are stored, where that can be told
 */
async function storedBytes(choice) {
  const models = await storedModels().catch(() => []);
  return models.find((model) => isFor(model, choice))?.bytes;
}
