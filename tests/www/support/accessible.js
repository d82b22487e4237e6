// Automatic accessibility checks of what a visitor sees, and whether it fits the window.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

/** @import { Visitor } from "./page.js" */

/** A script that has to be in the page beforehand. */
export const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** @param {Visitor} visitor @param {string} state */
export async function accessible(visitor, state) {
  // Colours are compared once nothing moves any more.
  await visitor.page.evaluate(() => Promise.all(document.getAnimations().map(({ finished }) => finished)).catch(() => undefined));
  const found = await visitor.page.evaluate(async () => {
    const { axe } = /** @type {any} */ (window);
    const { violations } = await axe.run(document, { resultTypes: ["violations"] });
    return violations.map((/** @type {any} */ { id, nodes }) => `${id}: ${nodes.map((/** @type {any} */ node) => node.html.slice(0, 120)).join(" ; ")}`);
  });
  assert.deepEqual(found, [], state);
  const wide = await visitor.page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
  assert.equal(wide, false, `${state}: the page scrolls sideways`);
}
