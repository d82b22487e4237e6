// A small plot as SVG: panels side by side, a line for each engine, both axes logarithmic. It follows the reader's colour scheme.

import { digits } from "./statistics.js";

/**
 * @typedef {{x: number, median: number, least: number, most: number}} Point
 * @typedef {{label: string, points: Point[]}} Series
 * @typedef {{title: string, series: Series[]}} Panel
 */

const WIDTH = 460;
const HEIGHT = 320;
/** Around the lines of a panel: room for numbers, and on the right for names. */
const MARGIN = { left: 44, right: 220, top: 70, bottom: 36 };
/** Between names that would touch. */
const LINE = 13;
/** Okabe and Ito's colours, told apart by the colour-blind; lightness works on white and on black. */
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b38600", "#56b4e9", "#7f7f7f"];

const STYLE = `
  text { font: 11px system-ui, sans-serif; fill: #24292f; }
  .title { font-size: 13px; font-weight: 600; }
  .head { font-size: 15px; font-weight: 600; }
  .grid { stroke: #d0d7de; stroke-width: 1; }
  .line { fill: none; stroke-width: 2; }
  .ours { stroke-width: 3; }
  .bar { stroke-width: 1.5; opacity: 0.6; }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3; } .grid { stroke: #3d444d; } }`;

/**
 * @param {string} title
 * @param {Panel[]} panels the first series of each is drawn thicker
 */
export function plot(title, panels) {
  const width = panels.length * (WIDTH + MARGIN.left + MARGIN.right);
  const height = HEIGHT + MARGIN.top + MARGIN.bottom;
  const body = panels.map((each, index) => panel(each, index * (WIDTH + MARGIN.left + MARGIN.right) + MARGIN.left));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img">`,
    `<title>${escaped(title)}</title>`,
    `<style>${STYLE}\n</style>`,
    `<text class="head" x="${MARGIN.left}" y="24">${escaped(title)}</text>`,
    ...body,
    "</svg>",
    "",
  ].join("\n");
}

/**
 * @param {Panel} panel
 * @param {number} left where its lines begin
 */
function panel({ title, series }, left) {
  const points = series.flatMap((each) => each.points);
  if (points.length === 0) return "";
  const sizes = [...new Set(points.map(({ x }) => x))].toSorted((one, other) => one - other);
  const x = scale(sizes, left + 16, left + WIDTH - 16);
  const ticks = decades(Math.min(...points.map(({ least }) => least)), Math.max(...points.map(({ most }) => most)));
  const y = scale(ticks, MARGIN.top + HEIGHT, MARGIN.top);
  const bottom = MARGIN.top + HEIGHT;
  const parts = [`<text class="title" x="${left}" y="${MARGIN.top - 18}">${escaped(title)}</text>`];
  for (const tick of ticks) {
    parts.push(`<path class="grid" d="M${left} ${y(tick)}h${WIDTH}"/>`);
    parts.push(`<text x="${left - 6}" y="${y(tick) + 4}" text-anchor="end">${Number(tick.toPrecision(1))}</text>`);
  }
  for (const size of sizes) parts.push(`<text x="${x(size)}" y="${bottom + 18}" text-anchor="middle">${size}</text>`);
  series.forEach((each, index) => parts.push(line(each, index, x, y)));
  parts.push(names(series, left + WIDTH + 6, y, bottom));
  return parts.join("\n");
}

/**
 * The medians as a line, and at each what lies between the least and the most.
 *
 * @param {Series} series
 * @param {number} index
 * @param {(value: number) => number} x
 * @param {(value: number) => number} y
 */
function line({ label, points }, index, x, y) {
  const colour = COLOURS[index % COLOURS.length];
  const bars = points.map((point) => `<path class="bar" stroke="${colour}" d="M${x(point.x)} ${y(point.least)}V${y(point.most)}"/>`);
  const path = points.map((point, at) => `${at ? "L" : "M"}${x(point.x)} ${y(point.median)}`).join("");
  const dots = points.map((point) => {
    const told = `${label}, ${point.x}: ${digits(point.median)} (${digits(point.least)} to ${digits(point.most)})`;
    return `<circle cx="${x(point.x)}" cy="${y(point.median)}" r="${index ? 3 : 4}" fill="${colour}"><title>${escaped(told)}</title></circle>`;
  });
  return [...bars, `<path class="line${index ? "" : " ours"}" stroke="${colour}" d="${path}"/>`, ...dots].join("\n");
}

/**
 * Each line's name and last median beside its end, moved apart where they would touch.
 *
 * @param {Series[]} series
 * @param {number} left
 * @param {(value: number) => number} y
 * @param {number} bottom
 */
function names(series, left, y, bottom) {
  const ends = series.flatMap(({ label, points }, index) => {
    const end = points.at(-1);
    return end ? [{ text: `${label}: ${digits(end.median)}`, index, at: y(end.median) }] : [];
  });
  ends.sort((one, other) => one.at - other.at);
  ends.forEach((end, index) => (end.at = Math.max(end.at, (ends[index - 1]?.at ?? -Infinity) + LINE)));
  // Whoever was moved below the panel pushes the others up again.
  let floor = bottom;
  for (const end of ends.toReversed()) {
    end.at = Math.min(end.at, floor);
    floor = end.at - LINE;
  }
  return ends
    .map(({ text, index, at }) => {
      const colour = COLOURS[index % COLOURS.length];
      return `<circle cx="${left + 4}" cy="${at}" r="4" fill="${colour}"/><text x="${left + 12}" y="${at + 4}">${escaped(text)}</text>`;
    })
    .join("\n");
}

/**
 * A logarithmic scale, in tenths of a pixel.
 *
 * @param {number[]} values
 * @param {number} from where the least of them is
 * @param {number} to where the most of them is
 */
function scale(values, from, to) {
  const [least, most] = [Math.log(Math.min(...values)), Math.log(Math.max(...values))];
  const span = most - least;
  return (/** @type {number} */ value) => {
    const part = span > 0 ? (Math.log(value) - least) / span : 0.5;
    return Math.round((from + (to - from) * part) * 10) / 10;
  };
}

/**
 * 1, 3, 10, 30 ... from below the least to above the most.
 * @param {number} least
 * @param {number} most
 */
function decades(least, most) {
  const steps = Array.from({ length: 25 }, (_, index) => (index % 2 ? 3 : 1) * 10 ** (Math.floor(index / 2) - 6));
  const first = steps.findLastIndex((step) => step <= least);
  const last = steps.findIndex((step) => step >= most);
  return steps.slice(Math.max(0, first), last + 1);
}

/** @param {string} text */
function escaped(text) {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
