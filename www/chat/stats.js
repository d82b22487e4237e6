// How an answer came about: its speed, quietly, and the rest on demand.

import * as format from "./format.js";
import { h } from "./dom.js";

/** @import { Stats } from "../pkg/webgpu.js" */
/** @import { Origin } from "./conversations.js" */

const BENCH = new URL("../bench.html", import.meta.url);

/** @param {Origin} origin */
export function statsDetails(origin) {
  const { stats, usage } = origin;
  const speed = stats.decode_tokens_per_second;
  /** @type {[string, string][]} */
  const rows = [
    ["Model", origin.model],
    ["Device", origin.adapter],
    ["Writing", `${format.rate(speed)} tokens/s, ${format.count(usage.completion_tokens)} tokens`],
    ["Reading", `${format.rate(stats.prefill_tokens_per_second)} tokens/s, ${format.count(usage.prompt_tokens)} tokens (${format.count(usage.cached_tokens)} reused)`],
    ["To the first token", `${format.count(stats.time_to_first_token_ms)} ms`],
    ...(stats.gpu_bytes > 0 ? [/** @type {[string, string]} */ (["Graphics memory", format.bytes(stats.gpu_bytes)])] : []),
    ["Engine's own memory", format.bytes(stats.host_bytes)],
    ...(stats.gpu_bytes > 0 ? [perToken(stats)] : []),
    ["Seed", String(origin.seed)],
  ];
  const reveal = (/** @type {Event} */ event) => /** @type {Element} */ (event.target).scrollIntoView({ block: "nearest" });
  return h(
    "details",
    { class: "stats", ontoggle: reveal },
    h("summary", {}, `${format.rate(speed)} tokens/s`),
    h("dl", {}, ...rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]), ...measureLink()),
  );
}

/** What a graphics device is asked for. @param {Stats} stats @returns {[string, string]} */
function perToken({ dispatches_per_token, submits_per_token, readbacks_per_token }) {
  return ["Per token", `${format.count(dispatches_per_token)} dispatches, ${format.rate(submits_per_token)} submits, ${format.rate(readbacks_per_token)} read-backs`];
}

/** To the page of measurements: only from its own origin, where it finds the models that are stored. */
function measureLink() {
  return BENCH.origin === location.origin ? [h("dt", {}, "More"), h("dd", {}, h("a", { href: BENCH.href }, "Measure this machine"))] : [];
}
