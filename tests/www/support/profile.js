// A browser with a profile on disk: it can be ended at any moment, and started again with what it has stored.

import { readdirSync, readFileSync } from "node:fs";
import { chromium } from "playwright-core";
import { ARGUMENTS } from "./browser.js";
import { until } from "./faults.js";

/**
 * @param {string} folder
 * @param {string[]} [more] arguments of the browser
 */
export function launchOn(folder, more = []) {
  const executablePath = process.env.CHROME ?? "/usr/bin/chromium";
  return chromium.launchPersistentContext(folder, { executablePath, args: [...ARGUMENTS, ...more] });
}

/**
 * Ends the browser on a profile with SIGKILL, which leaves it no moment to finish anything.
 * @param {string} folder
 */
export async function kill(folder) {
  const [pid] = browsers(folder);
  if (pid === undefined) throw new Error(`no browser runs on ${folder}`);
  process.kill(pid, "SIGKILL");
  await until(() => browsers(folder).length === 0);
}

/** The processes that own a profile. @param {string} folder */
function browsers(folder) {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      const words = commandLine(pid);
      return words.includes(`--user-data-dir=${folder}`) && !words.some((word) => word.startsWith("--type="));
    })
    .map(Number);
}

/** @param {string} pid */
function commandLine(pid) {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    // It ended meanwhile.
    return [];
  }
}
