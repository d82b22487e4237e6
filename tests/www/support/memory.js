// How much memory a page's process takes. No devtools look on: they keep what the network brought, in that very process.

import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { ARGUMENTS, EXECUTABLE } from "./browser.js";

/**
 * By how much the processes of each kind that grow most grow while a page is open, until it is done: at the moment when that
 * is most, all kinds together. Bytes.
 *
 * @param {string} address of the page
 * @param {string} profile a folder
 * @param {{begins: Promise<unknown>, done: Promise<unknown>}} page what it tells: it waits between the two
 * @param {{kinds?: string[], every?: number, args?: string[]}} [options] Chromium's names of the kinds; milliseconds between two
 *   looks; its arguments
 */
export async function growth(address, profile, { begins, done }, { kinds = ["renderer"], every = 100, args = ARGUMENTS } = {}) {
  const browser = spawn(EXECUTABLE, [...args, "--headless", `--user-data-dir=${profile}`, address], { stdio: "ignore" });
  const ended = new Promise((resolve) => browser.once("exit", resolve));
  const gone = ended.then(() => Promise.reject(new Error("the browser has ended")));
  gone.catch(() => undefined);
  try {
    await Promise.race([begins, gone]);
    const before = kinds.map((kind) => new Map(processes(kind, browser.pid).map((pid) => [pid, pss(pid)])));
    let most = 0;
    let running = true;
    const end = Promise.race([done, gone]).finally(() => (running = false));
    // It is awaited only after the last look.
    end.catch(() => undefined);
    while (running) {
      const grown = before.map((sizes) => Math.max(...[...sizes].map(([pid, size]) => pss(pid) - size)));
      most = Math.max(most, grown.reduce((sum, one) => sum + one, 0));
      await sleep(every);
    }
    await end;
    return most;
  } finally {
    browser.kill();
    await ended;
  }
}

/**
 * A browser's processes of a kind: a "renderer" runs pages and their workers, the "gpu-process" their graphics.
 * @param {string} kind
 * @param {number | undefined} browser
 */
function processes(kind, browser) {
  const running = readdirSync("/proc").filter((name) => /^\d+$/.test(name)).map(Number);
  const found = running.filter((pid) => descends(pid, browser) && told(pid, "cmdline").includes(`--type=${kind}`));
  if (found.length === 0) throw new Error(`no ${kind} is running`);
  return found;
}

/**
 * @param {number} pid
 * @param {number | undefined} ancestor
 */
function descends(pid, ancestor) {
  for (let at = pid; at > 1; at = Number(/^PPid:\s+(\d+)$/m.exec(told(at, "status"))?.[1] ?? 0)) {
    if (at === ancestor) return true;
  }
  return false;
}

/**
 * Proportional set size: a page that several processes share counts in parts. Bytes.
 * @param {number} pid
 */
export function pss(pid) {
  return Number(/^Pss:\s+(\d+) kB$/m.exec(told(pid, "smaps_rollup"))?.[1] ?? 0) * 1024;
}

/**
 * Nothing of a process that has ended: browsers keep one in reserve for a while.
 * @param {number} pid
 * @param {string} file
 */
function told(pid, file) {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch (error) {
    if (["ENOENT", "ESRCH"].includes(/** @type {NodeJS.ErrnoException} */ (error).code ?? "")) return "";
    throw error;
  }
}
