// What a handful of noisy measurements says: their median with the least and the most of them, and how two series compare.

/**
 * @typedef {{median: number, least: number, most: number}} Spread
 */

/**
 * @param {number[]} numbers
 * @returns {Spread | undefined} nothing where nothing was measured
 */
export function spread(numbers) {
  const sorted = numbers.toSorted((one, other) => one - other);
  const [least, most] = [sorted.at(0), sorted.at(-1)];
  if (least === undefined || most === undefined) return undefined;
  const half = (sorted.length - 1) / 2;
  const [below = least, above = most] = [sorted[Math.floor(half)], sorted[Math.ceil(half)]];
  return { median: (below + above) / 2, least, most };
}

/**
 * How many times as much, round by round: what the machine did meanwhile fell on both. A round that lacks either is left out.
 *
 * @param {readonly (number | undefined)[]} numbers
 * @param {readonly (number | undefined)[]} base
 */
export function ratios(numbers, base) {
  return numbers.flatMap((number, round) => {
    const one = base[round];
    return number === undefined || one === undefined ? [] : [number / one];
  });
}

/**
 * "1.23 s (1.10 to 1.50)", and "–" where nothing was measured.
 *
 * @param {readonly (number | undefined)[]} numbers
 * @param {(number: number) => string} text of one number
 * @param {string} [unit]
 */
export function shown(numbers, text, unit = "") {
  const found = spread(numbers.filter((number) => number !== undefined));
  return found ? `${text(found.median)}${unit} (${text(found.least)} to ${text(found.most)})` : "–";
}

/**
 * Three digits that count: 0.123, 1.23, 12.3, 123, 1234.
 * @param {number} number
 */
export function digits(number) {
  const before = number > 0 ? Math.floor(Math.log10(number)) + 1 : 1;
  return number.toFixed(Math.min(3, Math.max(0, 3 - before)));
}

/**
 * A table in Markdown.
 *
 * @param {string} title
 * @param {string[]} head
 * @param {string[][]} rows
 */
export function table(title, head, rows) {
  const line = (/** @type {string[]} */ cells) => `| ${cells.join(" | ")} |`;
  return ["", `### ${title}`, "", line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}
