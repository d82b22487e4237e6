// Where one writes, with the context meter below.

import * as format from "./format.js";
import { fill, h, icon, iconButton } from "./dom.js";

/** @typedef {{send: (text: string) => void, stop: () => void, openSettings: () => void}} ComposerActions */

/** From this part of the context on, the meter warns. */
const NEARLY_FULL = 0.8;

export class Composer {
  #actions;
  #plain = false;
  #busy = false;
  #field = h("textarea", { rows: "1", name: "message", enterkeyhint: "send" });
  #send = h("button", { type: "submit", class: "send" });
  #meterBar = h("span", { class: "meter-bar" });
  #meterText = h("span", { "aria-hidden": "true" });
  #meter = h("span", { class: "meter", role: "meter", "aria-label": "Context used", "aria-valuemin": "0" }, this.#meterBar, this.#meterText);

  /** @param {ComposerActions} actions */
  constructor(actions) {
    this.#actions = actions;
    this.element = h(
      "form",
      { class: "composer", "aria-label": "Write a message", onsubmit: (/** @type {Event} */ event) => (event.preventDefault(), this.#submit()) },
      this.#field,
      h("div", { class: "row spread" }, this.#meter, h("span", { class: "row" }, iconButton("settings", "Settings", actions.openSettings), this.#send)),
    );
    this.#field.addEventListener("input", () => this.#resize());
    this.#field.addEventListener("keydown", (event) => {
      // Enter that ends a composition (Japanese, Chinese, ...) belongs to the input method.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      if (!this.#busy) this.#submit();
    });
    this.show({ busy: false, plain: false });
  }

  /**
   * @param {{busy: boolean, plain: boolean}} state `plain`: the model goes on with a text instead of answering
   */
  show({ busy, plain }) {
    this.#busy = busy;
    this.#plain = plain;
    const label = plain ? "Text to go on with" : "Message";
    this.#field.setAttribute("aria-label", label);
    this.#field.placeholder = plain ? "Begin a text, and the model goes on" : "Write a message";
    const action = busy ? "Stop" : plain ? "Go on" : "Send";
    this.#send.setAttribute("aria-label", action);
    this.#send.title = busy ? "Stop (Esc)" : `${action} (Enter)`;
    this.#send.classList.toggle("busy", busy);
    fill(this.#send, icon(busy ? "stop" : "send"));
  }

  /**
   * @param {number} used tokens
   * @param {number} context tokens
   */
  meter(used, context) {
    const part = Math.min(1, used / context);
    this.#meter.classList.toggle("nearly-full", part >= NEARLY_FULL);
    this.#meter.setAttribute("aria-valuemax", String(context));
    this.#meter.setAttribute("aria-valuenow", String(Math.min(used, context)));
    this.#meter.setAttribute("aria-valuetext", `${used} of ${context} tokens`);
    this.#meter.title = `The model can see ${format.count(context)} tokens; this chat takes ${format.count(used)}.`;
    this.#meterBar.style.setProperty("--part", String(part));
    fill(this.#meterText, `${format.count(used)} / ${format.count(context)} tokens`);
  }

  focus() {
    this.#field.focus();
  }

  #submit() {
    if (this.#busy) {
      this.#actions.stop();
      return;
    }
    const text = this.#plain ? this.#field.value : this.#field.value.trim();
    if (!text && !this.#plain) return;
    this.#field.value = "";
    this.#resize();
    this.#actions.send(text);
  }

  #resize() {
    this.#field.style.height = "auto";
    this.#field.style.height = `${this.#field.scrollHeight}px`;
  }
}
