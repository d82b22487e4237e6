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
  const found = /^Pss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"));
  if (!found) throw new Error(`no Pss is told of process ${pid}`);
  return Number(found[1]) * 1024;
}

/**
 * By how much the renderers that are there now grow at most while something is done. Bytes.
 * @param {BrowserContext} context
 * @param {() => Promise<unknown>} action
 */
export async function growth(context, action) {
  const pids = await renderers(context);
  const size = () => pids.reduce((sum, pid) => sum + pss(pid), 0);
  const before = size();
  let most = before;
  let running = true;
  const done = action().finally(() => (running = false));
  while (running) {
    most = Math.max(most, size());
    await sleep(100);
  }
  await done;
  return most - before;
}
