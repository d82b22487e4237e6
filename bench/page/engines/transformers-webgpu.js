import { loadOn } from "./transformers.js";

/** @param {import("../visit.js").Order} order */
export const load = (order) => loadOn(order, "webgpu");
