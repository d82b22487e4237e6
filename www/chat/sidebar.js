// The list of conversations.

import { ask, fill, h, icon, iconButton } from "./dom.js";
import { titleOf } from "./conversations.js";

/** @import { Conversation } from "./conversations.js" */

/**
 * @typedef {object} SidebarActions
 * @property {() => void} create
 * @property {(conversation: Conversation) => void} open
 * @property {(conversation: Conversation, title: string) => void} rename
 * @property {(conversation: Conversation) => void} remove
 * @property {() => void} close
 */

export class Sidebar {
  #list = h("ul", { class: "list" });
  #note = h("p", { class: "hint" });
  #root;
  #actions;

  /**
   * @param {ShadowRoot} root where dialogs go
   * @param {SidebarActions} actions
   */
  constructor(root, actions) {
    this.#root = root;
    this.#actions = actions;
    this.element = h(
      "nav",
      { class: "sidebar", id: "sidebar", "aria-label": "Chats" },
      h(
        "div",
        { class: "row spread" },
        h("button", { type: "button", class: "button grow new-chat", onclick: actions.create }, icon("plus"), "New chat"),
        iconButton("close", "Close the list", actions.close, { class: "icon-button narrow-only" }),
      ),
      this.#list,
      this.#note,
    );
  }

  /**
   * @param {Conversation[]} conversations
   * @param {Conversation} current
   * @param {boolean} lasting whether the browser keeps them
   */
  show(conversations, current, lasting) {
    fill(this.#list, ...conversations.map((conversation) => this.#row(conversation, conversation.id === current.id)));
    fill(this.#note, lasting ? "Chats stay in this browser." : "This browser stores nothing here: chats go when the page is closed.");
  }

  /**
   * @param {Conversation} conversation
   * @param {boolean} current
   */
  #row(conversation, current) {
    const title = titleOf(conversation);
    const rename = async () => {
      const field = { label: "Title", value: title };
      const answer = await ask(this.#root, { title: "Rename the chat", field, confirm: "Rename" });
      if (answer?.trim()) this.#actions.rename(conversation, answer.trim());
    };
    const remove = async () => {
      const text = `“${title}” cannot be brought back.`;
      const answer = await ask(this.#root, { title: "Delete the chat?", text, confirm: "Delete", danger: true });
      if (answer !== undefined) this.#actions.remove(conversation);
    };
    return h(
      "li",
      { class: "chat-row" },
      h("button", { type: "button", class: "chat-link", "aria-current": current && "true", onclick: () => this.#actions.open(conversation) }, title),
      h("span", { class: "chat-tools" }, iconButton("edit", `Rename ${title}`, rename), iconButton("trash", `Delete ${title}`, remove)),
    );
  }
}
