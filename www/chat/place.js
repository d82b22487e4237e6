// Where a model runs, and why there.

/** @import { Reason } from "../device.js" */
/** @import { Info } from "../pkg/webgpu.js" */

/** @type {Record<Reason, string>} */
const BECAUSE = {
  asked: "as you chose",
  "no-webgpu": "since this browser has no WebGPU",
  "no-adapter": "since the browser found no graphics card that it could use",
  software: "since the browser has no graphics card to use, only an imitation",
  slow: "which is faster here than the graphics card",
  lost: "since the graphics card kept going away",
};

/** Its name. @param {Info["device"]} device */
export function placeName({ kind, adapter, threads, reason }) {
  if (kind !== "cpu") return adapter;
  return `Processor${threads && threads > 1 ? `, ${threads} threads` : ""}${because(reason)}`;
}

/** As a sentence. @param {Info["device"]} device */
export function placeSentence({ kind, adapter, reason }) {
  if (kind === "cpu") return `It runs on the processor${because(reason)}.`;
  return `It runs on the graphics card (${adapter}).`;
}

/** @param {Reason} [reason] */
function because(reason) {
  return reason ? `, ${BECAUSE[reason]}` : "";
}
