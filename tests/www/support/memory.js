// How much memory the page's processes take.

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

/** @import { BrowserContext } from "playwright-core" */

/**
 * The processes that run pages and their workers.
 * @param {BrowserContext} context
 * @returns {Promise<number[]>}
 */
async function renderers(context) {
  const devtools = await context.browser()?.newBrowserCDPSession();
  if (!devtools) throw new Error("the browser's own devtools are needed");
  const { processInfo } = await devtools.send("SystemInfo.getProcessInfo");
  return processInfo.filter(({ type }) => type === "renderer").map(({ id }) => id);
}

/**
 * Proportional set size: a page that several processes share counts in parts. Bytes.
 * @param {number} pid
 */
function pss(pid) {
  const told = rollup(pid);
  const found = /^Pss:\s+(\d+) kB$/m.exec(told);
  if (told && !found) throw new Error(`no Pss is told of process ${pid}`);
  return Number(found?.[1] ?? 0) * 1024;
}

/** Nothing for a process that has ended: browsers keep one in reserve for a while. @param {number} pid */
function rollup(pid) {
  try {
    return readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  } catch (error) {
    if (["ENOENT", "ESRCH"].includes(/** @type {NodeJS.ErrnoException} */ (error).code ?? "")) return "";
    throw error;
  }
}

/**
 * By how much the renderer that grows most grows while something is done. Bytes.
 * @param {BrowserContext} context
 * @param {() => Promise<unknown>} action
 */
export async function growth(context, action) {
  const before = new Map((await renderers(context)).map((pid) => [pid, pss(pid)]));
  let most = 0;
  let running = true;
  const done = action().finally(() => (running = false));
  while (running) {
    for (const [pid, size] of before) most = Math.max(most, pss(pid) - size);
    await sleep(100);
  }
  await done;
  return most;
}
