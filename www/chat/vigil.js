// What a running download asks of the browser: that the screen stays on, and that nobody leaves by mistake.

/** @import { Progress } from "../pkg/webgpu.js" */

export class Vigil {
  /** Ends what was begun. @type {AbortController | undefined} */
  #begun;
  /** Whether leaving would interrupt something. */
  #holds = false;

  /** @param {Progress} progress of a load */
  update({ phase, waiting }) {
    if (phase !== "download") return this.end();
    // Who leaves a tab that waits for another one interrupts nothing.
    this.#holds = waiting?.for !== "tab";
    if (!this.#begun) this.#begin((this.#begun = new AbortController()).signal);
  }

  end() {
    this.#begun?.abort();
    this.#begun = undefined;
  }

  /** @param {AbortSignal} signal */
  #begin(signal) {
    addEventListener("beforeunload", (event) => this.#holds && event.preventDefault(), { signal });
    // A tab that is hidden loses the lock.
    document.addEventListener("visibilitychange", () => keepAwake(signal), { signal });
    keepAwake(signal);
  }
}

/** @param {AbortSignal} signal */
async function keepAwake(signal) {
  if (document.visibilityState !== "visible") return;
  try {
    const lock = await navigator.wakeLock.request("screen");
    if (signal.aborted) await lock.release();
    else signal.addEventListener("abort", () => lock.release(), { once: true });
  } catch {
    // No such thing here, not allowed in this frame, or the battery is low: the download runs all the same.
  }
}
