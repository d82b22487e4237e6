// The frame around the views: sidebar, header, the place for choosing a model, the stage with transcript and dock.

import { fill, h, icon, iconButton } from "./dom.js";
import { placeSentence } from "./place.js";
import { droppedFiles } from "./sources.js";

/** @import { Phase } from "./model-session.js" */

/** @typedef {"starting" | "picker" | "chat"} View */
/** @typedef {{title: string, text: string}} Greeting */
/**
 * @typedef {object} FrameActions
 * @property {() => void} pick
 * @property {() => void} create a new chat
 * @property {() => void} escape
 * @property {(files: Promise<File[]>) => void} drop
 */

export class Frame {
  #root;
  #sidebar;
  #sidebarButton;
  #status = h("p", { class: "visually-hidden", role: "status" });
  #modelName = h("span");
  #pickerPlace = h("div", { class: "picker-place" });
  #greeting = h("div", { class: "greeting" });
  #dock = h("div", { class: "dock" });
  #stage;
  /** @type {View} */
  view = "starting";

  /**
   * @param {ShadowRoot} root
   * @param {HTMLElement} sidebar
   * @param {HTMLElement} transcript
   * @param {FrameActions} actions
   */
  constructor(root, sidebar, transcript, actions) {
    this.#root = root;
    this.#sidebar = sidebar;
    this.#stage = h("div", { class: "stage" }, this.#greeting, transcript, this.#dock);
    this.#sidebarButton = iconButton("menu", "Chats", () => this.toggleSidebar(), {
      class: "icon-button narrow-only",
      "aria-controls": "sidebar",
      "aria-expanded": "false",
    });
    const header = h(
      "div",
      { class: "header" },
      this.#sidebarButton,
      h("button", { type: "button", class: "model-button", title: "Choose a model", onclick: actions.pick }, this.#modelName, icon("chevron")),
      iconButton("plus", "New chat", actions.create, { class: "icon-button narrow-only" }),
    );
    const main = h("div", { class: "main" }, header, this.#pickerPlace, this.#stage);
    const backdrop = h("div", { class: "backdrop", onclick: () => this.toggleSidebar(false) });
    this.element = h("div", { class: "app" }, sidebar, backdrop, main, this.#status);
    this.#listen(actions);
    this.show("starting");
    root.append(this.element);
  }

  /**
   * @param {View} view
   * @param {HTMLElement} [picker]
   */
  show(view, picker) {
    const focused = this.#root.activeElement !== null;
    this.view = view;
    this.element.dataset.view = view;
    fill(this.#pickerPlace, picker);
    if (focused) this.#pickerPlace.querySelector("button")?.focus();
  }

  /** @param {string} name of the model, shown in the header */
  modelName(name) {
    fill(this.#modelName, name);
  }

  /**
   * What lies below the transcript: the composer, a load in progress, an error.
   * @param {HTMLElement} element
   * @param {boolean} focus whether its first field or button takes the focus
   */
  dock(element, focus = false) {
    fill(this.#dock, element);
    if (focus) /** @type {HTMLElement | null} */ (element.querySelector("input, button:not([hidden])"))?.focus();
  }

  /**
   * What an empty chat shows, with the dock in the middle below it.
   * @param {boolean} empty
   * @param {Greeting} [greeting]
   */
  greet(empty, greeting) {
    this.#stage.classList.toggle("empty", empty);
    if (empty && greeting) fill(this.#greeting, h("div", { class: "mark" }, icon("llama")), h("h2", {}, greeting.title), h("p", {}, greeting.text));
    else fill(this.#greeting);
  }

  /** @param {string} text heard by screen readers */
  announce(text) {
    this.#status.textContent = text;
  }

  /** @param {boolean} [open] */
  toggleSidebar(open = !this.element.classList.contains("sidebar-open")) {
    const inside = this.#sidebar.contains(this.#root.activeElement);
    this.element.classList.toggle("sidebar-open", open);
    this.#sidebarButton.setAttribute("aria-expanded", String(open));
    if (open) this.#sidebar.querySelector("button")?.focus();
    else if (inside && this.#sidebarButton.offsetParent) this.#sidebarButton.focus();
  }

  /** @param {FrameActions} actions */
  #listen(actions) {
    const { element } = this;
    const hasFiles = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files");
    element.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      if (element.classList.contains("sidebar-open")) this.toggleSidebar(false);
      else actions.escape();
    });
    element.addEventListener("dragover", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      element.classList.add("dropping");
    });
    element.addEventListener("dragleave", () => element.classList.remove("dropping"));
    element.addEventListener("drop", (event) => {
      element.classList.remove("dropping");
      if (!event.dataTransfer || !hasFiles(event)) return;
      event.preventDefault();
      actions.drop(droppedFiles(event.dataTransfer));
    });
  }
}

/**
 * @param {Phase} phase of the model
 * @returns {Greeting | undefined}
 */
export function greetingOf(phase) {
  const text = "Everything stays on this machine.";
  if (phase.kind === "loading") return { title: "Getting ready", text };
  if (phase.kind !== "ready") return undefined;
  const place = placeSentence(phase.model.info.device);
  if (phase.model.info.chat) return { title: "What is on your mind?", text: `${text} ${place}` };
  return { title: "How does it begin?", text: `This model was not trained to chat: it goes on with the text that you begin. ${place}` };
}
