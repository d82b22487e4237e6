// What helps where a hub refuses: a token, the choice among the models of a repository. And where the hub is.

import { EngineError } from "../engine.js";
import { fill, h, icon, link } from "./dom.js";
import * as format from "./format.js";
import { errorNotice } from "./notice.js";
import { addressOf, HUB } from "./sources.js";

/** @import { HubChoice } from "../pkg/webgpu.js" */
/** @import { Choice } from "./model-session.js" */
/** @import { Permits } from "./permits.js" */

/** Refusals that a token may help with. */
export const WANT_TOKEN = ["hub/gated", "hub/no-repository"];

/**
 * @param {Choice} choice the model that was refused
 * @param {(token: string) => void} use is given an empty one to go on without
 * @returns {HTMLElement | undefined} none for a model without an address
 */
export function tokenForm({ request, address = addressOf(request) }, use) {
  const [page, file] = address?.split("/resolve/") ?? [];
  if (!page || file === undefined) return undefined;
  const { host, origin } = new URL(page);
  const token = h("input", { type: "password", id: "token", pattern: "[!-~]+", title: "A token is one word, without spaces", autocomplete: "off", spellcheck: "false", autocapitalize: "off", "aria-describedby": "token-hint" });
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const given = token.value.trim();
    token.value = "";
    use(given);
  };
  return h(
    "form",
    { class: "source", onsubmit: submit },
    h("p", {}, link(page, "The repository's page"), " · ", link(`${origin}/settings/tokens`, "Your tokens")),
    h("label", { for: "token" }, "Token"),
    h("div", { class: "row" }, token, h("button", { type: "submit", class: "button primary" }, "Use token")),
    h("p", { class: "hint", id: "token-hint" }, `It is sent to ${host} and to nobody else, is not stored, and is forgotten when this page is closed.`),
  );
}

/**
 * @param {HubChoice[]} choices the models of a repository
 * @param {(choice: Choice) => void} choose
 * @returns {HTMLElement}
 */
export function choiceList(choices, choose) {
  const rows = choices.map(({ bytes, ...request }) => {
    const path = request.hub.split("/").slice(2).join("/");
    const name = path.split("/").at(-1)?.replace(/\.gguf$/i, "") || request.hub.split("/")[1] || request.hub;
    const words = h("div", { class: "grow" }, h("div", { class: "strong" }, path || "safetensors files"), h("div", { class: "hint" }, bytes === undefined ? "" : format.bytes(bytes)));
    const use = () => choose({ request, name, bytes });
    return h("li", { class: "row spread" }, words, h("button", { type: "button", class: "button", "aria-label": `Load ${path || "safetensors files"}`, onclick: use }, "Load"));
  });
  return h("ul", { class: "list choices" }, ...rows);
}

/**
 * The address of a hub, as someone typed it; nothing means the public one.
 * @param {string} text
 * @returns {string} without a slash at its end
 */
export function hubAddress(text) {
  const typed = text.trim().replace(/\/+$/, "");
  if (!typed) return HUB;
  const address = /^https?:\/\//i.test(typed) ? typed : `https://${typed}`;
  const url = URL.canParse(address) ? new URL(address) : undefined;
  // Some browsers take a sentence for the name of a host.
  if (!url || !/^[\w.:[\]-]+$/.test(url.host) || url.search || url.hash || url.username) {
    throw new EngineError("page/address", "This is not the address of a hub.", `Give an address such as ${HUB}, or leave it empty.`);
  }
  return url.href.replace(/\/+$/, "");
}

/**
 * The setting of where repositories come from.
 *
 * @param {Permits} permits which hold it
 * @returns {HTMLElement}
 */
export function hubSetting(permits) {
  const summary = h("summary", {});
  const problem = h("div", { "aria-live": "polite" });
  const field = h("input", { type: "text", id: "hub", inputmode: "url", autocomplete: "off", spellcheck: "false", autocapitalize: "off", placeholder: HUB, "aria-describedby": "hub-hint" });
  const show = () => {
    fill(summary, `Repositories come from ${new URL(permits.hub).host}`, icon("chevron"));
    field.value = permits.hub === HUB ? "" : permits.hub;
  };
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    try {
      permits.hub = hubAddress(field.value);
      fill(problem);
      show();
    } catch (error) {
      fill(problem, errorNotice(error, {}));
    }
  };
  show();
  return h(
    "details",
    { class: "more" },
    summary,
    h(
      "form",
      { class: "source", onsubmit: submit },
      h("label", { for: "hub" }, "Address of the hub"),
      h("div", { class: "row" }, field, h("button", { type: "submit", class: "button" }, "Use")),
      h("p", { class: "hint", id: "hub-hint" }, "A mirror of Hugging Face, with the same addresses. Empty: the public one."),
      problem,
    ),
  );
}
