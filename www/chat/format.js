// Numbers as people read them.

/**
 * Decimal units, as download pages use them: 98362432 is "98.4 MB".
 * @param {number} bytes
 * @returns {string}
 */
export function bytes(bytes) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 999.5 && unit < units.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  const digits = unit === 0 ? 0 : unit >= 3 ? 2 : bytes < 100 ? 1 : 0;
  return `${bytes.toFixed(digits)} ${units[unit]}`;
}

/**
 * What is known roughly: "about 13.5 GB".
 * @param {number} size
 * @returns {string}
 */
export function about(size) {
  return `about ${bytes(size).replace(/(\.\d*[1-9])0+ |\.0+ /, "$1 ")}`;
}

/**
 * "MIT licence", and "Llama 2 Community License" as it calls itself.
 * @param {string} name
 * @returns {string}
 */
export function licence(name) {
  return /licen[cs]e/i.test(name) ? name : `${name} licence`;
}

/**
 * @param {number} seconds
 * @returns {string}
 */
export function duration(seconds) {
  if (seconds < 1) return "less than a second";
  if (seconds < 60) return `${Math.ceil(seconds)} s`;
  const minutes = Math.ceil(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/**
 * @param {number} value
 * @returns {string}
 */
export function count(value) {
  return Math.round(value).toLocaleString("en");
}

/**
 * What comes in great numbers: 12.3e9 of "FLOP" are "12.3 GFLOP".
 * @param {number} value
 * @param {string} unit
 * @returns {string}
 */
export function many(value, unit) {
  const prefixes = ["M", "G", "T"];
  let step = 0;
  value /= 1e6;
  while (value >= 999.5 && step < prefixes.length - 1) {
    value /= 1000;
    step += 1;
  }
  return `${rate(value)} ${prefixes[step]}${unit}`;
}

/**
 * "64 %", and one more digit where there is little; it does not break before its sign.
 * @param {number} part of one
 * @returns {string}
 */
export function percent(part) {
  return `${(part * 100).toFixed(part < 0.0995 ? 1 : 0)}\u00a0%`;
}

/**
 * Three significant digits at most.
 * @param {number} value
 * @returns {string}
 */
export function rate(value) {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const SPANS = [
  ["year", 31_557_600],
  ["month", 2_629_800],
  ["week", 604_800],
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
];

/**
 * "3 hours ago", "yesterday", "just now"
 * @param {number} then milliseconds since 1970
 * @param {number} now likewise
 * @returns {string}
 */
export function ago(then, now) {
  const seconds = (now - then) / 1000;
  const span = SPANS.find(([, length]) => seconds >= length);
  if (!span) return "just now";
  return new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(-Math.floor(seconds / span[1]), span[0]);
}

/** The speed of something that moves by jumps, smoothed over the last seconds. */
export class Speed {
  /** @type {{at: number, done: number}[]} */
  #samples = [];

  /**
   * @param {number} done total so far
   * @param {number} at milliseconds
   * @returns {number | undefined} per second, once there is enough to tell
   */
  add(done, at) {
    const last = this.#samples.at(-1);
    if (last && done < last.done) this.#samples = [];
    this.#samples.push({ at, done });
    while (this.#samples.length > 2 && at - (this.#samples[0]?.at ?? at) > 6000) this.#samples.shift();
    const first = this.#samples[0];
    if (!first || at - first.at < 500) return undefined;
    return ((done - first.done) * 1000) / (at - first.at);
  }
}
