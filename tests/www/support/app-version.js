// Versions of the built app, made here as `cargo xtask build` makes them (xtask/src/version.rs), with the fake engine for the real one.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import { TYPES } from "./server.js";

/** @import { Page } from "./server.js" */

const WWW = fileURLToPath(new URL("../../../www/", import.meta.url));
const WORKER = "service-worker.js";
const INIT = "async function init() {";
/** It fetches the wasm, as the real one does, and has no use for it. */
const fakeEngine = (/** @type {string} */ module) =>
  readFileSync(new URL("fake-engine.js", import.meta.url), "utf8").replace(INIT, `${INIT} await fetch(new URL("${module}_bg.wasm", import.meta.url));`);
export const MODULES = ["webgpu", "cpu", "cpu-relaxed"];

/**
 * What the server has, by the path beside index.html.
 * @param {Record<string, (text: string) => string>} [changes] what another version has of a file
 * @returns {Map<string, Buffer>}
 */
export function version(changes = {}) {
  const names = readdirSync(WWW, { recursive: true, encoding: "utf8" }).filter((name) => TYPES[extname(name)]);
  const files = new Map(names.map((name) => [name, readFileSync(WWW + name)]));
  for (const module of MODULES) {
    files.set(`pkg/${module}.js`, Buffer.from(fakeEngine(module)));
    files.set(`pkg/${module}_bg.wasm`, Buffer.from("\0asm\x01\0\0\0"));
  }
  files.set("models.json", Buffer.from(JSON.stringify({ default: { name: "Fake-135M", url: "models/Fake-135M.gguf", bytes: 98_362_432 } })));
  for (const [name, change] of Object.entries(changes)) files.set(name, Buffer.from(change(textOf(files, name))));
  const worker = textOf(files, WORKER);
  const digest = sha256([...files].map(([name, bytes]) => `${name} ${sha256(bytes, "hex")}\n`).join(""), "hex");
  files.set("index.html", Buffer.from(textOf(files, "index.html").replace('name="version" content=""', `name="version" content="${digest}"`)));
  files.delete(WORKER);
  const list = [...files].map(([name, bytes]) => [name, `sha256-${sha256(bytes, "base64")}`]);
  const isOf = (/** @type {string} */ module) => (/** @type {string[]} */ [name = ""]) => new RegExp(`^pkg/${module}(_bg)?[.]`).test(name);
  const modules = Object.fromEntries(MODULES.map((module) => [module, list.filter(isOf(module))]));
  const constants = { VERSION: digest, FILES: list.filter((file) => !MODULES.some((module) => isOf(module)(file))), MODULES: modules };
  const head = Object.entries(constants).map(([name, value]) => `const ${name} = ${JSON.stringify(value)};\n`);
  files.set(WORKER, Buffer.from(head.join("") + worker));
  return files;
}

/**
 * @param {Map<string, Buffer>} files
 * @param {string} name
 */
function textOf(files, name) {
  const file = files.get(name);
  if (!file) throw new Error(`the app has no ${name}`);
  return file.toString();
}

/**
 * Puts files where a server finds them.
 * @param {Record<string, Page>} pages
 * @param {string} prefix begins and ends in "/"
 * @param {Map<string, Buffer>} files
 */
export function deploy(pages, prefix, files) {
  for (const [name, body] of files) pages[prefix + name] = { type: TYPES[extname(name)] ?? "", body };
  const index = pages[`${prefix}index.html`];
  if (index) pages[prefix] = index;
}

/**
 * @param {string | Buffer} bytes
 * @param {"hex" | "base64"} encoding
 */
function sha256(bytes, encoding) {
  return createHash("sha256").update(bytes).digest(encoding);
}
