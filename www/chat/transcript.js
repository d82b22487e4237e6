// The messages of a conversation, as they stand and as they grow.

import { copyButton, fill, h, icon, iconButton } from "./dom.js";
import { MarkdownView } from "./markdown.js";
import { statsDetails } from "./stats.js";

/** @import { Progress } from "../pkg/webgpu.js" */
/** @import { Conversation, Message } from "./conversations.js" */

/**
 * @typedef {object} TranscriptActions
 * @property {(index: number, text: string) => void} resend an edited message takes the place of the one at `index`
 * @property {() => void} regenerate
 */

/** Closer to the end than this counts as being there. Pixels. */
const NEAR_END = 48;

export const DEVICE_LOST = "The graphics device went away. The model is being loaded again, then the answer goes on.";

export class Transcript {
  #actions;
  /** @type {Conversation | undefined} */
  #conversation;
  #plain = false;
  /** @type {HTMLElement} */
  #list = h("div", { class: "messages" });
  #notice = h("div", { class: "transcript-notice" });
  #jump;
  /** The answer that grows. @type {{message: Message, body: HTMLElement, show: (text: string) => void, element: HTMLElement} | undefined} */
  #growing;
  /** Why it does not grow for a while. */
  #reload = h("p", { class: "hint" });
  #frame = 0;
  #following = true;
  /** One for each message. @type {HTMLElement[]} */
  #rows = [];
  /** Messages whose Markdown is still to be shown. @type {(() => void)[]} */
  #unformatted = [];

  /** @param {TranscriptActions} actions */
  constructor(actions) {
    this.#actions = actions;
    this.#jump = iconButton("down", "To the newest message", () => this.toEnd(), { class: "icon-button jump", hidden: true });
    this.scroller = h(
      "div",
      { class: "scroller", role: "log", "aria-live": "off", "aria-label": "Conversation", tabindex: "0", onscroll: () => this.#scrolled() },
      h("div", { class: "column" }, this.#list, this.#notice),
    );
    this.element = h("div", { class: "transcript" }, this.scroller, this.#jump);
  }

  /**
   * @param {Conversation} conversation
   * @param {boolean} plain as one running text, for a model without a chat format
   */
  show(conversation, plain) {
    this.#conversation = conversation;
    this.#plain = plain;
    this.#growing = undefined;
    this.#list.classList.toggle("plain", plain);
    const { messages, from } = conversation;
    this.#unformatted = [];
    this.#rows = messages.map((message, index) => this.#row(message, index, index === messages.length - 1).element);
    fill(this.#list, ...this.#rows);
    if (from > 0) this.#rows[from - 1]?.after(h("p", { class: "divider" }, "The model no longer sees what is above"));
    this.toEnd();
    this.#formatNext();
  }

  /** Takes away the messages from `length` on. @param {number} length */
  truncate(length) {
    for (const row of this.#rows.splice(length)) row.remove();
    if (!this.#conversation?.from) this.#list.querySelector(".divider")?.remove();
  }

  /** Formats the newest message that waits for it; one a task, so that a long chat does not hold up the page. */
  #formatNext() {
    const format = this.#unformatted.pop();
    // Arranged first, so that no message can keep those before it from their turn.
    if (this.#unformatted.length > 0) setTimeout(() => this.#formatNext());
    format?.();
    if (this.#following) this.toEnd();
  }

  /** @param {HTMLElement | undefined} element shown after the last message */
  notice(element) {
    fill(this.#notice, element);
    if (element) this.toEnd();
  }

  /** @param {Message} message an empty answer, or one that a user has just sent */
  append(message) {
    const messages = this.#conversation?.messages ?? [];
    // The last answer's row loses what only a last answer offers.
    for (const tool of this.#list.querySelectorAll(".last-only")) tool.remove();
    const row = this.#row(message, messages.indexOf(message), true, message.role === "assistant");
    this.#list.append(row.element);
    this.#rows.push(row.element);
    if (message.role === "assistant") this.#growing = { message, ...row };
    this.toEnd();
  }

  /** The growing answer has more text; shown with the next frame. */
  grow() {
    this.#reload.remove();
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#paint();
    });
  }

  /**
   * The growing answer waits for a model that is loaded again.
   * @param {Progress} progress
   * @returns {boolean} whether it did not wait before
   */
  reloading({ done, total }) {
    const { element } = this.#growing ?? {};
    if (!element) return false;
    const begins = !this.#reload.isConnected;
    fill(this.#reload, DEVICE_LOST, total > 0 && ` ${Math.floor((100 * done) / total)}%`);
    if (begins) element.append(this.#reload);
    if (this.#following) this.toEnd();
    return begins;
  }

  /** The growing answer is complete. */
  end() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#reload.remove();
    const { message, element } = this.#growing ?? {};
    this.#paint();
    this.#growing = undefined;
    if (!message || !element) return;
    const index = this.#conversation?.messages.indexOf(message) ?? -1;
    if (index < 0) {
      this.truncate(this.#rows.indexOf(element));
    } else {
      element.removeAttribute("aria-busy");
      element.append(this.#answerFoot(message, true));
    }
    if (this.#following) this.toEnd();
  }

  toEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.#scrolled();
  }

  #paint() {
    const growing = this.#growing;
    if (!growing?.message.content) return;
    growing.show(growing.message.content);
    if (this.#following) this.toEnd();
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.#following = scrollHeight - scrollTop - clientHeight < NEAR_END;
    this.#jump.hidden = this.#following;
  }

  /**
   * @param {Message} message
   * @param {number} index
   * @param {boolean} last
   * @param {boolean} [growing]
   */
  #row(message, index, last, growing = false) {
    const user = message.role === "user";
    const body = h("div", { class: user || this.#plain ? "body" : "body prose" });
    const markdown = user || this.#plain ? undefined : new MarkdownView(body);
    const show = (/** @type {string} */ text) => {
      if (body.firstElementChild?.classList.contains("waiting")) body.replaceChildren();
      if (markdown) markdown.update(text);
      else body.textContent = text;
    };
    const element = h("article", { class: `message ${message.role}`, "aria-label": user ? "You" : "Answer", "aria-busy": growing && "true" }, body);
    if (growing) {
      body.append(waiting());
      return { element, body, show };
    }
    if (markdown) {
      body.textContent = message.content;
      this.#unformatted.push(() => {
        body.replaceChildren();
        show(message.content);
      });
    } else {
      show(message.content);
    }
    element.append(user ? this.#userFoot(message, index, element) : this.#answerFoot(message, last));
    return { element, body, show };
  }

  /**
   * @param {Message} message
   * @param {number} index
   * @param {HTMLElement} element
   */
  #userFoot(message, index, element) {
    const edit = () => element.replaceChildren(this.#editor(message, index, element));
    return h("div", { class: "foot" }, iconButton("edit", "Edit and send again", edit), copyButton("Copy message", () => message.content));
  }

  /**
   * @param {Message} message
   * @param {boolean} last
   */
  #answerFoot(message, last) {
    const again = last && iconButton("again", "Answer again", () => this.#actions.regenerate(), { class: "icon-button last-only" });
    return h(
      "div",
      { class: "foot" },
      copyButton("Copy answer", () => message.content),
      again,
      message.finish === "abort" && h("span", { class: "hint" }, "Stopped"),
      message.origin && statsDetails(message.origin),
    );
  }

  /**
   * @param {Message} message
   * @param {number} index
   * @param {HTMLElement} element
   */
  #editor(message, index, element) {
    const field = h("textarea", { class: "edit-field", "aria-label": "Edit the message", rows: "3" });
    field.value = message.content;
    const close = () => {
      const row = this.#row(message, index, false).element;
      this.#rows[index] = row;
      element.replaceWith(row);
    };
    const send = () => field.value.trim() && this.#actions.resend(index, field.value.trim());
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        send();
      } else if (event.key === "Escape") {
        event.stopPropagation();
        close();
      }
    });
    queueMicrotask(() => field.focus());
    return h(
      "div",
      { class: "editor" },
      field,
      h("p", { class: "hint" }, "The messages after it are replaced."),
      h(
        "div",
        { class: "row end" },
        h("button", { type: "button", class: "button", onclick: close }, "Cancel"),
        h("button", { type: "button", class: "button primary", onclick: send }, icon("send"), "Send"),
      ),
    );
  }
}

function waiting() {
  return h("p", { class: "waiting" }, h("span", {}, "Reading"), h("i"), h("i"), h("i"));
}
