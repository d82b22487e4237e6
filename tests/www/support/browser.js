// The browser that the tests drive: the system's Chromium, with WebGPU on its software adapter.

import { chromium } from "playwright-core";

/** @import { Browser, BrowserContext, LaunchOptions } from "playwright-core" */

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

/** `CHROME` names another browser than the system's Chromium. */
export const EXECUTABLE = process.env.CHROME ?? "/usr/bin/chromium";

/**
 * @param {LaunchOptions} [options]
 * @returns {Promise<Browser>}
 */
export function launch(options = {}) {
  return chromium.launch({ executablePath: EXECUTABLE, args: ARGUMENTS, ...options });
}

/**
 * The browser with a profile that outlives it: closing the context ends the browser.
 *
 * @param {string} folder where the profile is, or will be
 * @param {string[]} [more] arguments of the browser
 * @returns {Promise<BrowserContext>}
 */
export function launchProfile(folder, more = []) {
  const args = [...ARGUMENTS, ...more];
  return chromium.launchPersistentContext(folder, { executablePath: EXECUTABLE, args, viewport: { width: 1280, height: 800 } });
}
