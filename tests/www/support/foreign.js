// Somebody else's page: another origin than the engine's.

import { readFileSync } from "node:fs";
import { NOT_ISOLATED, serve } from "./server.js";

/** @import { Page, Server } from "./server.js" */

/** The page that shows how to embed the chat; its engine's address is for `foreign` to replace. */
export const EXAMPLE = readFileSync(new URL("../../../examples/embed.html", import.meta.url), "utf8");

/**
 * A server of another origin, whose pages embed the engine at `engine`. Without isolation headers, as most pages are.
 * @param {string} html
 * @param {string} engine
 * @returns {Promise<Server>}
 */
export function foreign(html, engine) {
  /** @type {Page} */
  const page = { body: html.replaceAll("http://localhost:8080", engine), headers: NOT_ISOLATED };
  return serve([], { "/": page });
}
