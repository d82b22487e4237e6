// Ends a browser that has a profile on disk, at any moment.

import { readdirSync, readFileSync } from "node:fs";
import { until } from "./faults.js";

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
