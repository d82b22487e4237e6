// How much memory a page's process takes. No devtools look on: they keep what the network brought, in that very process.

import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { ARGUMENTS, EXECUTABLE } from "./browser.js";

/**
 * By how much the renderer that grows most grows while a page is open, until it is done. Bytes.
 *
 * @param {string} address of the page
 * @param {string} profile a folder
 * @param {{begins: Promise<unknown>, done: Promise<unknown>}} page what it tells: it waits between the two
 */
export async function growth(address, profile, { begins, done }) {
  const browser = spawn(EXECUTABLE, [...ARGUMENTS, "--headless", `--user-data-dir=${profile}`, address], { stdio: "ignore" });
  const ended = new Promise((resolve) => browser.once("exit", resolve));
  const gone = ended.then(() => Promise.reject(new Error("the browser has ended")));
  gone.catch(() => undefined);
  try {
    await Promise.race([begins, gone]);
    const before = new Map(renderers(browser.pid).map((pid) => [pid, pss(pid)]));
    let most = 0;
    let running = true;
    const end = Promise.race([done, gone]).finally(() => (running = false));
    while (running) {
      for (const [pid, size] of before) most = Math.max(most, pss(pid) - size);
      await sleep(100);
    }
    await end;
    return most;
  } finally {
    browser.kill();
    await ended;
  }
}

/** The processes that run pages and their workers. @param {number | undefined} browser */
function renderers(browser) {
  const running = readdirSync("/proc").filter((name) => /^\d+$/.test(name)).map(Number);
  const found = running.filter((pid) => descends(pid, browser) && told(pid, "cmdline").includes("--type=renderer"));
  if (found.length === 0) throw new Error("no renderer is running");
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
function pss(pid) {
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
