// What stands around the tests of a file, and is taken away after them.

import assert from "node:assert/strict";
import { after, afterEach, beforeEach } from "node:test";
import { Visitor } from "./page.js";

/** @import { Browser } from "playwright-core" */

/**
 * Waits until a browser, servers and the like are there; they are closed, in this order, after the file's last test.
 *
 * @template {{close: () => Promise<void>}[]} T
 * @param {{[K in keyof T]: Promise<T[K]>}} opening
 * @returns {Promise<T>}
 */
export async function open(...opening) {
  const opened = /** @type {T} */ (await Promise.all(opening));
  after(async () => {
    for (const one of opened) await one.close();
  });
  return opened;
}

/**
 * Gives each test of the file a visitor of its own, for whom nothing may go wrong.
 *
 * @param {Browser} browser
 * @param {(visitor: Visitor) => void} welcome
 */
export function visitEach(browser, welcome) {
  /** @type {Visitor} */
  let visitor;
  beforeEach(async () => {
    visitor = await Visitor.arrive(browser);
    welcome(visitor);
  });
  afterEach(async () => {
    assert.deepEqual(visitor.problems, []);
    await visitor.leave();
  });
}
