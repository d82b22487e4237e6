// What was measured, as figures, tables and bars; nothing here measures.

import { fill, h } from "../chat/dom.js";
import * as format from "../chat/format.js";

/** @import { Info, KernelProfile, Profile } from "../pkg/webgpu.js" */
/** @import { Child } from "../chat/dom.js" */
/** @import { Decode, Measured, Prefill } from "./measure.js" */

/** @typedef {{from: "network" | "browser", bytes: number, milliseconds: number}} Load */
/**
 * All that is known; what is copied and saved.
 * @typedef {{date: string, browser: string, model: Pick<Info, "name" | "parameters" | "weight_bytes" | "context">, device: Info["device"], load: Load} & Measured} Report
 */

/** @type {Record<KernelProfile["bound"], string>} */
const BOUNDS = { bandwidth: "bandwidth", arithmetic: "arithmetic" };

/**
 * @param {Report} report
 * @returns {HTMLElement}
 */
export function reportView(report) {
  const { prefill, decode, left_out, profiles } = report;
  return h(
    "div",
    { class: "report" },
    headline(report),
    decode.length > 0 && section("Writing", writing(decode), "Each token has to read all weights, and the keys and values of those before it. Speed times these bytes is the bandwidth that was used."),
    prefill.length > 0 && section("Reading a prompt", reading(prefill)),
    left_out.length > 0 && section("Left out", h("ul", { class: "list" }, ...left_out.map(({ what, why }) => h("li", {}, `${what}: ${why}.`)))),
    profiles.length > 0 && kernels(profiles),
    about(report),
  );
}

/** The figures that matter most. @param {Report} report */
function headline({ prefill, decode }) {
  const most = (/** @type {number[]} */ values) => (values.length > 0 ? Math.max(...values) : undefined);
  const written = decode.map(({ tokens_per_second }) => tokens_per_second);
  const read = prefill.map(({ tokens_per_second }) => tokens_per_second);
  const reached = most(decode.map(({ bandwidth_fraction }) => bandwidth_fraction));
  /** @type {[string, string | undefined, string][]} */
  const figures = [
    ["Writing", shown(most(written), format.rate), "tokens/s"],
    ["Reading", shown(most(read), format.rate), "tokens/s"],
    ["Reached", shown(reached, format.percent), "of the adapter’s bandwidth"],
  ];
  const known = figures.filter(([, value]) => value !== undefined);
  return h("dl", { class: "headline" }, ...known.map(([name, value, unit]) => h("div", { class: "card" }, h("dt", {}, name), h("dd", {}, h("strong", {}, value), " ", unit))));
}

/** @param {number | undefined} value @param {(value: number) => string} text */
function shown(value, text) {
  return value === undefined ? undefined : text(value);
}

/** @param {Decode[]} decode */
function writing(decode) {
  const rows = decode.map(({ context, tokens_per_second, bytes_per_token, bandwidth_fraction }) => [
    format.count(context),
    format.rate(tokens_per_second),
    format.bytes(bytes_per_token),
    share(bandwidth_fraction, format.percent(bandwidth_fraction)),
  ]);
  return table("Writing", ["Tokens before", "Tokens/s", "Moved for each", "Of the bandwidth"], rows);
}

/** @param {Prefill[]} prefill */
function reading(prefill) {
  const rows = prefill.map(({ tokens, tokens_per_second, time_to_first_token_ms }) => [
    format.count(tokens),
    format.rate(tokens_per_second),
    milliseconds(time_to_first_token_ms),
  ]);
  return table("Reading a prompt", ["Tokens", "Tokens/s", "To the first token"], rows);
}

/**
 * One run's kernels; which run, the visitor chooses.
 * @param {Profile[]} profiles
 */
function kernels(profiles) {
  const place = h("div", {});
  const choice = h("select", { id: "run" }, ...profiles.map((profile, index) => h("option", { value: index }, runOf(profile))));
  const show = () => {
    const profile = profiles[choice.selectedIndex];
    if (profile) fill(place, kernelTable(profile));
  };
  choice.addEventListener("change", show);
  show();
  const hint = "How much of the graphics card’s time each kernel takes, and how near it comes to the limit that binds it: as fast as its bytes can be read, or as fast as its products can be computed.";
  return section("Kernels", h("div", { class: "kernels" }, h("p", { class: "row" }, h("label", { for: "run" }, "What runs"), choice), place), hint);
}

/** @param {Profile} profile */
function runOf({ tokens, position }) {
  return tokens === 1 ? `One token after ${format.count(position)} others` : `${format.count(tokens)} tokens of a prompt`;
}

/** @param {Profile} profile */
function kernelTable(profile) {
  const all = profile.kernels.reduce((sum, { microseconds }) => sum + (microseconds ?? 0), 0);
  const rows = profile.kernels.map((kernel) => {
    const { microseconds, fraction, bound } = kernel;
    const name = h("span", {}, h("code", {}, kernel.kernel), h("span", { class: "hint" }, factsOf(kernel)));
    if (microseconds === null || fraction === null) return [name, "not told", BOUNDS[bound]];
    const part = all > 0 ? microseconds / all : 0;
    return [name, share(part, `${milliseconds(microseconds / 1000)}, ${format.percent(part)}`), share(fraction, `${format.percent(fraction)} of ${BOUNDS[bound]}`)];
  });
  const untold = all === 0 && h("p", { class: "hint" }, "This browser or adapter does not tell how long a kernel takes.");
  return h("div", {}, untold, table(`Kernels: ${runOf(profile)}`, ["Kernel", "Time", "Of its limit"], rows));
}

/** @param {KernelProfile} kernel */
function factsOf({ dispatches, bytes, flops }) {
  const parts = [`${format.count(dispatches)} ${dispatches === 1 ? "dispatch" : "dispatches"}`, format.bytes(bytes)];
  if (flops > 0) parts.push(format.many(flops, "FLOP"));
  // Lines break between the figures alone.
  return parts.map((part) => part.replaceAll(" ", "\u00a0")).join(" · ");
}

/** @param {Report} report */
function about({ model, device, load, adapter }) {
  /** @type {[string, string | undefined][]} */
  const facts = [
    ["Model", `${model.name}, ${format.bytes(model.weight_bytes)} of weights`],
    ["Graphics adapter", device.adapter],
    ["Reads at best", adapter && format.many(adapter.bytes_per_second, "B/s")],
    ["Computes at best", adapter && format.many(adapter.flops_per_second, "FLOP/s")],
    ["Kernels chosen", device.variants.join(", ")],
    ["Chosen in", device.tuning_ms === null ? undefined : milliseconds(device.tuning_ms)],
    ["Loaded in", `${milliseconds(load.milliseconds - (device.tuning_ms ?? 0))} from ${load.from === "network" ? "the network" : "this browser"}`],
  ];
  const known = facts.filter(([, value]) => value);
  return section("What was measured", h("dl", { class: "facts-list" }, ...known.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
}

/** @param {number} value */
function milliseconds(value) {
  return value >= 1000 ? `${format.rate(value / 1000)}\u00a0s` : `${format.rate(value)}\u00a0ms`;
}

/**
 * @param {string} title
 * @param {HTMLElement} content
 * @param {string} [hint]
 */
function section(title, content, hint) {
  return h("section", { class: "card" }, h("h2", {}, title), content, hint && h("p", { class: "hint" }, hint));
}

/**
 * The first cell of a row is its heading.
 * @param {string} caption for those who do not see what is around it
 * @param {string[]} columns
 * @param {Child[][]} rows
 */
function table(caption, columns, rows) {
  const body = rows.map(([first, ...rest]) => h("tr", {}, h("th", { scope: "row" }, first), ...rest.map((cell) => h("td", {}, cell))));
  return h(
    "table",
    {},
    h("caption", { class: "visually-hidden" }, caption),
    h("thead", {}, h("tr", {}, ...columns.map((column) => h("th", { scope: "col" }, column)))),
    h("tbody", {}, ...body),
  );
}

/**
 * A bar under what it shows in words.
 * @param {number} part of one
 * @param {string} text
 */
function share(part, text) {
  const SVG = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "bar");
  svg.setAttribute("viewBox", "0 0 100 1");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const bar = document.createElementNS(SVG, "rect");
  bar.setAttribute("width", String(100 * Math.min(Math.max(part, 0), 1)));
  bar.setAttribute("height", "1");
  svg.append(bar);
  return h("span", {}, text, svg);
}
