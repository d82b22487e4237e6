// What a benchmark leaves: its numbers as JSON, tables in Markdown, and a plot.

import { mkdir, writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { OURS } from "./engines.js";
import { plot } from "./plot.js";
import { digits, ratios, shown, spread, table } from "./statistics.js";

/** @import { Contestant } from "./engines.js" */
/** @import { Measurement } from "./measure.js" */

/**
 * One engine in one round. Seconds and bytes; `busy`: the part of the processors that other work had just before.
 * @typedef {{busy?: number, cold?: number, stored?: number, visit?: number, memory?: number, app?: number, measurements: Measurement[]}} Round
 */
/**
 * `note` on what it ran; `reason` why it was left out or fell out.
 * @typedef {{id: string, label: string, note?: string, reason?: string, rounds: (Round | undefined)[]}} Result
 */
/** @typedef {{title: string, about: string[], sizes: number[], results: Result[]}} Report */
/** @typedef {{name: string, unit: string, more: boolean, of: (round: Round) => number | undefined}} Figure */

/** How often, and on prompts of how many tokens, engines are measured unless options say otherwise. */
export const ROUNDS = 5;
export const SIZES = [32, 256, 512, 1024, 2048];

const RESULTS = fileURLToPath(new URL("results/", import.meta.url));
const MB = 1e6;

/** What is compared; `more`: whether more is better. @param {number[]} sizes @returns {Figure[]} */
function figures(sizes) {
  const at = (/** @type {Round} */ round, /** @type {number} */ size) => round.measurements.find((one) => one.size === size);
  const megabytes = (/** @type {number | undefined} */ bytes) => bytes && bytes / MB;
  return [
    ...sizes.map((size) => figure(`prefill, ${size} tokens`, "tok/s", true, (round) => at(round, size)?.prefill)),
    ...sizes.map((size) => figure(`decode after ${size} tokens`, "tok/s", true, (round) => at(round, size)?.decode)),
    ...sizes.map((size) => figure(`first token of ${size}`, "s", false, (round) => at(round, size)?.firstToken)),
    figure("first load", "s", false, (round) => round.cold),
    figure("load from storage", "s", false, (round) => round.stored),
    figure("from start to first token", "s", false, (round) => round.visit),
    figure("peak memory", "MB", false, (round) => megabytes(round.memory)),
    figure("app, gzip", "MB", false, (round) => megabytes(round.app)),
  ];
}

/**
 * @param {string} name
 * @param {string} unit
 * @param {boolean} more
 * @param {Figure["of"]} of
 * @returns {Figure}
 */
function figure(name, unit, more, of) {
  return { name, unit, more, of };
}

/** A figure of each round. @param {Figure} figure @param {Result} result */
function series({ of }, { rounds }) {
  return rounds.map((round) => round && of(round));
}

/** @param {Report} report */
export function markdown({ title, about, sizes, results }) {
  const present = results.filter(({ rounds }) => rounds.some((round) => round));
  const measured = figures(sizes).filter((figure) => present.some((result) => series(figure, result).some((value) => value !== undefined)));
  const names = present.map(({ label }) => label);
  const rows = measured.map((figure) => [`${figure.name}, ${figure.unit}`, ...present.map((result) => shown(series(figure, result), digits))]);
  const parts = [`# ${title}`, "", ...about, table("Median (least to most) of the rounds", ["", ...names], rows)];
  const others = present.filter(({ id }) => !OURS.includes(id));
  for (const ours of present.filter(({ id }) => others.length > 0 && OURS.includes(id))) {
    // The first token says the same as the prefill.
    const against = measured.filter(({ name }) => !name.startsWith("first token")).map((figure) => [figure.name, ...others.map((other) => advantage(figure, ours, other))]);
    parts.push(table(`${ours.label} against each, round by round: above 1, ${ours.label} is ahead`, ["", ...others.map(({ label }) => label)], against));
  }
  const notes = results.map(({ label, note, reason }) => `- ${label}: ${[note, reason].filter(Boolean).join("; ")}`);
  const busy = results.flatMap(({ rounds }) => rounds.map((round) => round?.busy));
  const quiet = `- Other work on the machine, before each turn: ${shown(busy, (part) => (part * 100).toFixed(0), " %")} of its processors`;
  return [...parts, "", ...notes, quiet, ""].join("\n");
}

/**
 * How many times as fast, or how many times as little, we are.
 * @param {Figure} figure
 * @param {Result} ours
 * @param {Result} other
 */
function advantage(figure, ours, other) {
  const [mine, theirs] = [series(figure, ours), series(figure, other)];
  return shown(figure.more ? ratios(mine, theirs) : ratios(theirs, mine), digits);
}

/** The two panels of the plot. @param {Report} report */
export function svg({ title, sizes, results }) {
  const panel = (/** @type {"prefill" | "decode"} */ what) => (/** @type {Result} */ { label, rounds }) => ({
    label,
    points: sizes.flatMap((size) => {
      const all = rounds.flatMap((round) => round?.measurements.filter((one) => one.size === size).map((one) => one[what]) ?? []);
      const found = spread(all);
      return found ? [{ x: size, ...found }] : [];
    }),
  });
  return plot(title, [
    { title: "Prefill, tokens/s, by prompt length", series: results.map(panel("prefill")) },
    { title: "Decode, tokens/s, by context length", series: results.map(panel("decode")) },
  ]);
}

/**
 * Prints the tables; the numbers of a whole run are kept in results/, in all three forms.
 * @param {string} name of the files
 * @param {Report} report
 * @param {Contestant[]} engines all that there are
 */
export async function finish(name, report, engines) {
  console.log(`\n${markdown(report)}`);
  if (report.results.every(({ reason }) => reason)) process.exitCode = 1;
  if (!isWhole(report, engines)) return console.log("Not kept in bench/results: that takes every size and engine, and all rounds.");
  await mkdir(RESULTS, { recursive: true });
  const forms = { json: `${JSON.stringify(report, null, 1)}\n`, md: markdown(report), svg: svg(report) };
  await Promise.all(Object.entries(forms).map(([kind, text]) => writeFile(`${RESULTS}${name}.${kind}`, text)));
}

/**
 * Whether a run is as long as one without options. A shorter one must not take its place. That another engine falls out is a
 * result; without ours there is none.
 * @param {Report} report
 * @param {Contestant[]} engines all that there are
 */
export function isWhole({ sizes, results }, engines) {
  const complete = (/** @type {Result} */ { reason, rounds }) => reason || rounds.filter(Boolean).length >= ROUNDS;
  return (
    SIZES.every((size) => sizes.includes(size)) &&
    engines.every(({ id }) => results.some((result) => result.id === id && complete(result))) &&
    results.some(({ id }) => OURS.includes(id)) &&
    results.every(({ id, reason }) => !OURS.includes(id) || !reason)
  );
}

/**
 * Lets each engine take its turn in each round. One that fails is told of and not asked again.
 *
 * @param {Result[]} results
 * @param {number} rounds
 * @param {(result: Result) => Promise<Round>} measured
 */
export async function compete(results, rounds, measured) {
  for (let round = 0; round < rounds; round++) {
    // Each round begins with another engine, so that none has always the same one before it.
    for (const index of results.keys()) {
      const result = results[(index + round) % results.length];
      if (!result || result.reason) continue;
      try {
        const busy = await otherWork();
        result.rounds[round] = { ...(await measured(result)), busy };
      } catch (error) {
        result.reason = `fell out in round ${round + 1}: ${error instanceof Error ? error.message : error}`;
        console.log(`${result.label} ${result.reason}`);
      }
    }
  }
}

/**
 * What part of the processors is in use while no engine runs. Ratios of a round mean little where that comes and goes: it need
 * not fall on both.
 */
async function otherWork() {
  const times = () => {
    const all = cpus().map(({ times }) => times);
    const idle = all.reduce((sum, one) => sum + one.idle, 0);
    return { idle, total: all.reduce((sum, one) => sum + one.idle + one.user + one.nice + one.sys + one.irq, 0) };
  };
  const before = times();
  await sleep(1000);
  const after = times();
  return 1 - (after.idle - before.idle) / (after.total - before.total);
}

/** The processor, in words. */
export function machine() {
  return `${cpus().length} × ${cpus()[0]?.model.trim() ?? "?"}`;
}
