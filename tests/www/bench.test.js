// What the benchmarks make of their numbers, and whom they spare.

import assert from "node:assert/strict";
import { test } from "node:test";
import { contextFor, measure, measureAll, MOST_TOKENS, plan, PROMPT_BUDGET, SLOW_SIZE, SLOW_TOKEN } from "../../bench/measure.js";
import { plot } from "../../bench/plot.js";
import { start } from "../../bench/program.js";
import { prompt } from "../../bench/prompt.js";
import { isWhole, markdown, ROUNDS, SIZES } from "../../bench/report.js";
import { digits, ratios, shown, spread } from "../../bench/statistics.js";

test("a spread has the middle of an odd number of values, and the mean of the two in the middle of an even one", () => {
  assert.deepEqual(spread([5, 1, 3]), { median: 3, least: 1, most: 5 });
  assert.deepEqual(spread([8, 1, 3, 2]), { median: 2.5, least: 1, most: 8 });
  assert.equal(spread([]), undefined);
});

test("ratios are taken round by round, and rounds that lack a number are left out", () => {
  assert.deepEqual(ratios([2, 9, 8], [1, 3, 2]), [2, 3, 4]);
  assert.deepEqual(ratios([2, undefined, 8, 6], [1, 3, undefined]), [2]);
});

test("numbers are shown with three digits that count", () => {
  assert.deepEqual([0.12345, 1.2345, 12.345, 123.45, 1234.5].map(digits), ["0.123", "1.23", "12.3", "123", "1235"]);
  assert.equal(shown([2, undefined, 1], digits, " s"), "1.50 s (1.00 to 2.00)");
  assert.equal(shown([undefined], digits), "–");
});

test("the longer a token takes, the fewer are written", () => {
  const prefill = 100;
  assert.equal(plan(32, { prefill, decode: 40 }), MOST_TOKENS);
  assert.equal(plan(32, { prefill, decode: 0.5 }), 11);
  assert.equal(plan(32, { prefill, decode: 0.1 }), plan(32, undefined));
});

test("a prompt that would take too long is not asked for, nor one over 256 of an engine of seconds a token", () => {
  const decode = 1;
  assert.ok(plan(1000, { prefill: 1000 / PROMPT_BUDGET + 0.01, decode }));
  assert.equal(plan(1000, { prefill: 1000 / PROMPT_BUDGET - 0.01, decode }), undefined);
  const slow = { prefill: 100, decode: 1 / (SLOW_TOKEN + 0.01) };
  assert.ok(plan(SLOW_SIZE, slow));
  assert.equal(plan(SLOW_SIZE + 1, slow), undefined);
});

test("prompts have their size, one text for one list of ids, and no beginning in common with the one before", () => {
  const prompts = Array.from({ length: 8 }, (_, turn) => prompt(2048, turn));
  for (const [turn, { ids, text }] of prompts.entries()) {
    assert.equal(ids.length, 2048);
    assert.ok(ids.every((id) => id > 0), "every piece has its id");
    assert.ok(text.length > 2048);
    assert.notEqual(ids[0], prompts[turn - 1]?.ids[0]);
  }
  assert.ok(contextFor([32, 2048]) >= 2048 + MOST_TOKENS);
});

/** @param {{prompt?: number, tokens?: number, silent?: boolean}} faults @returns {Pick<import("../../bench/measure.js").Engine, "generate">} */
const engine = (faults = {}) => ({
  async generate({ ids }, count, onToken) {
    if (!faults.silent) onToken();
    await new Promise((resolve) => setTimeout(resolve, 2));
    return { prompt: faults.prompt ?? ids.length, tokens: faults.tokens ?? count, text: "text" };
  },
});

test("what an engine did not do is not measured", async () => {
  assert.equal((await measure(engine(), 32, 4, 0)).tokens, 4);
  await assert.rejects(measure(engine({ prompt: 31 }), 32, 4, 0), /31 tokens of a prompt of 32/, "a cache had the first one");
  await assert.rejects(measure(engine({ tokens: 3 }), 32, 4, 0), /3 tokens instead of 4/);
  await assert.rejects(measure(engine({ silent: true }), 32, 4, 0), /wrote nothing/);
});

test("sizes are measured in ascending order, after one prompt that does not count", async () => {
  /** @type {(string | number)[]} */
  const told = [];
  await measureAll(engine(), [256, 64], ({ size }) => told.push(`first ${size}`), ({ size }) => told.push(size));
  assert.deepEqual(told, ["first 32", 64, 256]);
});

/** @type {(speed: number) => import("../../bench/report.js").Round} */
const round = (speed) => ({
  busy: speed / 100,
  cold: 8 / speed,
  measurements: [{ size: 256, prefill: 10 * speed, decode: speed, firstToken: 25.6 / speed, tokens: 32, text: "" }],
});

test("a report says how far ahead or behind we are, and why somebody is missing", () => {
  const results = [
    { id: "pagellama", label: "pagellama", note: "WebGPU", rounds: [round(2), round(4)] },
    { id: "other", label: "Other", rounds: [round(1), undefined] },
    { id: "absent", label: "Absent", reason: "left out: <it> breaks", rounds: [] },
  ];
  const text = markdown({ title: "Speed", about: ["A machine."], sizes: [32, 256], results });
  assert.match(text, /\| prefill, 256 tokens, tok\/s \| 30\.0 \(20\.0 to 40\.0\) \| 10\.0 \(10\.0 to 10\.0\) \|/);
  assert.match(text, /\| decode after 256 tokens \| 2\.00 \(2\.00 to 2\.00\) \|/, "faster");
  assert.match(text, /\| first load \| 2\.00 \(2\.00 to 2\.00\) \|/, "in less time");
  assert.match(text, /before each turn: 2 % \(1 to 4\)/, "how quiet the machine was");
  assert.match(text, /- Absent: left out: <it> breaks/);
  assert.doesNotMatch(text, /32 tokens/, "what nobody measured has no row");
});

test("only a run of every size, engine and round is kept", () => {
  const engines = [{ id: "pagellama", label: "pagellama" }, { id: "other", label: "Other" }];
  const rounds = Array.from({ length: ROUNDS }, () => round(1));
  const ours = { id: "pagellama", label: "pagellama", rounds };
  const other = { id: "other", label: "Other", rounds };
  const out = { rounds: [], reason: "fell out" };
  const whole = (/** @type {import("../../bench/report.js").Result[]} */ results, sizes = SIZES) => isWhole({ title: "", about: [], sizes, results }, engines);
  assert.ok(whole([ours, other]));
  assert.ok(whole([ours, { ...other, ...out }]));
  assert.ok(!whole([{ ...ours, ...out }, other]), "without ours");
  assert.ok(!whole([ours, { ...other, rounds: rounds.slice(1) }]), "too few rounds");
  assert.ok(!whole([ours]), "an engine was not asked");
  assert.ok(!whole([ours, other], SIZES.slice(1)), "a size was not asked for");
});

test("a program that cannot start, or ends, is an error that says so", async () => {
  const ask = async (/** @type {string[]} */ command) => {
    const program = start(command);
    try {
      return await program.generate(prompt(1, 0), 1, () => {});
    } finally {
      await program.stop();
    }
  };
  await assert.rejects(ask(["./no-such-program"]), /cannot be started: .*no-such-program/);
  await assert.rejects(ask([process.execPath, "--eval", "process.exit(3)"]), /has ended \(3\)/);
});

test("a plot has a line and a name for each engine that was measured, and is well-formed", () => {
  const point = { x: 256, median: 2, least: 1, most: 3 };
  const series = [{ label: "A & B", points: [{ ...point, x: 32 }, point] }, { label: "C", points: [point] }, { label: "none", points: [] }];
  const svg = plot("Speed", [{ title: "Decode", series }]);
  assert.match(svg, /A &#38; B: 2\.00/);
  assert.doesNotMatch(svg, /NaN|undefined|Infinity|none: /);
});
