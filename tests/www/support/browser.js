// The browser that the tests drive: the system's Chromium, with WebGPU on its software adapter.

import { chromium } from "playwright-core";

/** @import { Browser, LaunchOptions } from "playwright-core" */

export const ARGUMENTS = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
];

/**
 * `CHROME` names another browser than the system's Chromium.
 *
 * @param {LaunchOptions} [options]
 * @returns {Promise<Browser>}
 */
export function launch(options = {}) {
  return chromium.launch({ executablePath: process.env.CHROME ?? "/usr/bin/chromium", args: ARGUMENTS, ...options });
}
