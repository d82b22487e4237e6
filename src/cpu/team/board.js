// Words of a board that one thread writes and another waits for. Loops of WebAssembly would look up each word by a call of JavaScript.

/** Tells the processor that a loop waits: another thread on the same core gets on meanwhile. Not all browsers have it. */
const pause = /** @type {{ pause?: () => void }} */ (Atomics).pause ?? (() => {});

/**
 * The word at a place once it is another one than `value`, or as it is after a while. It is looked at for so many times before it is
 * slept for, as waking takes tens of microseconds.
 * @param {Int32Array<SharedArrayBuffer>} words
 * @param {number} place
 * @param {number} value
 * @param {number} looks
 * @param {number} milliseconds
 */
export function watch(words, place, value, looks, milliseconds) {
  for (let look = 0; look < looks; look++) {
    const word = Atomics.load(words, place);
    if (word !== value) return word;
    pause();
  }
  Atomics.wait(words, place, value, milliseconds);
  return Atomics.load(words, place);
}

/**
 * Writes a word, and wakes who waits for it.
 * @param {Int32Array<SharedArrayBuffer>} words
 * @param {number} place
 * @param {number} value
 */
export function tell(words, place, value) {
  Atomics.store(words, place, value);
  Atomics.notify(words, place);
}

/**
 * Memory that all threads see; none where there is no room for it.
 * @param {number} bytes
 */
export function share(bytes) {
  try {
    return new SharedArrayBuffer(bytes);
  } catch {
    return undefined;
  }
}
