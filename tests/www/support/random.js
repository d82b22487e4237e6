// Random numbers that a seed repeats, for tests that try many cases.

/** Whether the long form of a test is asked for, as by `cargo xtask test --full`. */
export const FULL = process.env.PAGELLAMA_FULL === "1";

/** For tests that only the long form has; in the short one another test has their kind of fault. */
export const LONG_FORM = { skip: !FULL && "part of the long form" };

/** What repeats a run: a number of one's own in `PAGELLAMA_SEED`; else 1 in the short form and another each time in the long one. */
export const SEED = Number(process.env.PAGELLAMA_SEED ?? (FULL ? Date.now() % 1_000_000 : 1));

/** Mulberry32 (Tommy Ettinger 2017). */
export class Random {
  #state;

  /** @param {number} seed */
  constructor(seed) {
    this.#state = seed >>> 0;
  }

  /** From 0 up to 1. */
  fraction() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let z = this.#state;
    z = Math.imul(z ^ (z >>> 15), z | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  }

  /**
   * A whole number from `least` up to, and not including, `end`.
   * @param {number} least
   * @param {number} end
   */
  between(least, end) {
    return least + Math.floor(this.fraction() * (end - least));
  }
}
