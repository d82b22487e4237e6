// The browsers that the tests drive: the system's Chromium, with WebGPU on its software adapter, and the system's Firefox.

import { chromium } from "playwright-core";
import bidi from "playwright-core-bidi";

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

/**
 * The same on the machine's own graphics card, for measurements: on Linux that takes Vulkan, which Chromium does not use by itself,
 * and 16-bit floats in shaders, which other engines ask for and Chromium leaves out on NVIDIA's.
 */
export const GPU_ARGUMENTS = [
  ...ARGUMENTS.filter((argument) => !argument.startsWith("--use-webgpu-adapter")),
  "--ignore-gpu-blocklist",
  "--enable-features=Vulkan",
  "--use-angle=vulkan",
  "--disable-vulkan-surface",
  "--enable-dawn-features=vulkan_enable_f16_on_nvidia",
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

/** Where `navigator.gpu` is there, and no adapter. */
export function launchWithoutWebGpu() {
  return launch({ args: ARGUMENTS.filter((argument) => !argument.includes("webgpu")) });
}

/**
 * The system's Firefox, or the one that `FIREFOX` names, over WebDriver BiDi. Pages that have a policy of their own cannot be evaluated
 * in there. Later versions of Playwright ask the extended support release for what it does not have.
 *
 * @returns {Promise<Browser>}
 */
export function launchFirefox() {
  const firefox = /** @type {{_bidiFirefox: import("playwright-core").BrowserType}} */ (/** @type {unknown} */ (bidi))._bidiFirefox;
  // On some virtual machines code that mixes SSE and AVX, as Firefox's compiler does, takes a hundred times as long while the upper
  // halves of AVX's registers are in use, which glibc's functions for AVX leave them in.
  const env = { ...process.env, GLIBC_TUNABLES: "glibc.cpu.hwcaps=-AVX512VL,-AVX512F,-AVX2,-AVX" };
  return firefox.launch({ channel: "moz-firefox", executablePath: process.env.FIREFOX ?? "/usr/bin/firefox-esr", env });
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
