// What a download may need beforehand: the hub's address, a licence that was accepted, a token for its server.

import { Catalog } from "./catalog.js";
import { ask, h, link } from "./dom.js";
import { addressOf, HUB } from "./sources.js";

/** @import { Conversations } from "./conversations.js" */
/** @import { Choice } from "./model-session.js" */

export class Permits {
  #root;
  #chats;
  #hub;
  #accepted;
  /** By origin of the server that it is for. In memory alone: they go with the page. @type {Map<string, string>} */
  #tokens = new Map();

  /**
   * @param {ShadowRoot} root where dialogs go
   * @param {Conversations} chats which keep what was chosen and accepted
   * @param {Catalog} catalog
   * @param {string} hub
   * @param {string[]} accepted licences, by name
   */
  constructor(root, chats, catalog, hub, accepted) {
    this.#root = root;
    this.#chats = chats;
    /** The models and licences that are known by name. */
    this.catalog = catalog;
    this.#hub = hub;
    this.#accepted = new Set(accepted);
  }

  /**
   * With what an earlier visit has left.
   * @param {ShadowRoot} root
   * @param {Conversations} chats
   * @param {string} [hub] unless the visitor has chosen another one
   */
  static async open(root, chats, hub = HUB) {
    const [catalog, chosen, licences] = await Promise.all([Catalog.fetch(), chats.preference("hub"), chats.preference("licences")]);
    return new Permits(root, chats, catalog, chosen ?? hub, licences ?? []);
  }

  /** The address that repositories come from. */
  get hub() {
    return this.#hub;
  }

  set hub(address) {
    this.#hub = address;
    this.#chats.prefer("hub", address);
  }

  /**
   * Shows the model's licence if it asks to be accepted and was not yet.
   * @param {Choice} choice
   * @returns {Promise<boolean>} whether it may be loaded
   */
  async allows(choice) {
    const licence = this.catalog.licence(choice);
    if (!licence || this.#accepted.has(licence.name)) return true;
    const { name, terms } = licence;
    const body = h(
      "div",
      { class: "licence" },
      h("p", {}, terms.notice),
      h("p", {}, "Read the ", link(terms.terms, "licence"), " and the ", link(terms.policy, "rules of use"), ". To use the model is to agree to them."),
    );
    const answer = await ask(this.#root, { title: `${choice.name}: ${name}`, body, confirm: "Accept and go on" });
    if (answer === undefined) return false;
    this.#accepted.add(name);
    this.#chats.prefer("licences", [...this.#accepted]);
    return true;
  }

  /**
   * @param {Choice} choice
   * @param {string} token an empty one forgets what was given before
   */
  give(choice, token) {
    const origin = originOf(choice);
    if (origin && token) this.#tokens.set(origin, token);
    else if (origin) this.#tokens.delete(origin);
  }

  /** The request for a model with the token for its server, if there is one. @param {Choice} choice */
  shown(choice) {
    const token = this.token(choice);
    return token === undefined ? choice.request : { ...choice.request, token };
  }

  /** The token for the server of a model. @param {Choice} choice */
  token(choice) {
    return this.#tokens.get(originOf(choice) ?? "");
  }
}

/** @param {Choice} choice */
function originOf({ request, address = addressOf(request) }) {
  return address && new URL(address).origin;
}
