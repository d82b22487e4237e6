/** A promise, and what settles it. */
export function deferred() {
  let resolve = (/** @type {any} */ _) => {};
  let reject = (/** @type {Error} */ _) => {};
  /** @type {Promise<any>} */
  const promise = new Promise((...both) => ([resolve, reject] = both));
  return { promise, resolve, reject };
}
