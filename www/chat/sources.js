// Where models come from: the list beside the module, an address or repository that someone types, files from disk.

import { EngineError } from "../engine.js";

/** @import { StoredModel } from "../pkg/webgpu.js" */
/** @import { ModelRequest } from "../engine.js" */
/** @import { Choice } from "./model-session.js" */

/** The public hub, where repositories come from unless the visitor or the page names another. */
export const HUB = "https://huggingface.co";

/** Beside the modules, wherever they are hosted. */
const LIST = new URL("../models.json", import.meta.url);

/** The files of a checkpoint that the engine reads. */
const WANTED = /\.(gguf|safetensors|json|jinja|model)$/i;

/**
 * The model that this build offers, if it comes with one.
 * @returns {Promise<Choice | undefined>}
 */
export async function defaultModel() {
  const answer = await fetch(LIST);
  if (!answer.ok) return undefined;
  const { default: entry } = await answer.json();
  if (!entry) return undefined;
  const { request } = parseSource(new URL(entry.url, LIST).href);
  // With what its files must hash to, where the list says so.
  if (entry.digests) Object.assign(request, { digests: entry.digests });
  return { request, name: entry.name, bytes: entry.bytes, licence: entry.licence };
}

/**
 * What someone typed: the address of a GGUF file or of a folder (ends in "/"), a Hugging Face repository as
 * "owner/name" or "owner/name@revision", a file of it as "owner/name/file.gguf", or the address of its page.
 *
 * @param {string} text
 * @param {string} [hub] the hub that has the repositories
 * @returns {Choice}
 */
export function parseSource(text, hub = HUB) {
  const source = text.trim();
  const address = /^https?:\/\//i.test(source) && URL.canParse(source) ? normal(source) : "";
  const page = /^([\w.-]+\/[\w.-]+)(?:\/tree\/([^/]+))?\/?$/.exec(pathOn(HUB, address) ?? pathOn(hub, address) ?? "");
  const repository = page ?? /^([\w.-]+\/[\w.-]+?(?:\/|(?:\/[^/@]+)+\.gguf)?)(?:@([\w./-]+))?$/i.exec(source);
  const [, id, revision] = repository ?? [];
  // Two names that end so are a path of somebody's own.
  if (id && !/^[^/]+\/[^/]+\.gguf$/i.test(id)) {
    const host = page && pathOn(HUB, address) !== undefined ? HUB : hub;
    const request = { hub: id, ...(revision ? { revision } : {}), ...(host === HUB ? {} : { host }) };
    const last = id.split("/").filter(Boolean).at(-1) ?? id;
    return { request, name: withoutEnding(last) };
  }
  if (!address) {
    const advice = 'Give the address of a .gguf file (https://…), or a Hugging Face repository such as "owner/name".';
    throw new EngineError("page/address", "This is neither an address nor a repository.", advice);
  }
  // The page that shows a file, instead of the file.
  const shown = pathOn(HUB, address) !== undefined || pathOn(hub, address) !== undefined;
  const url = shown ? address.replace(/^(.+?\/[^/]+\/[^/]+)\/blob\//, "$1/resolve/") : address;
  return { request: { url }, name: nameOf(url) };
}

/**
 * What an address has after the hub's own; nothing for an address elsewhere.
 * @param {string} hub
 * @param {string} address
 */
function pathOn(hub, address) {
  return address.startsWith(`${hub}/`) ? address.slice(hub.length + 1) : undefined;
}

/**
 * @param {File[]} files one GGUF file, the parts of one, or the files of a Hugging Face folder
 * @param {boolean} store whether to keep a copy in the browser
 * @returns {Choice}
 */
export function fromFiles(files, store) {
  const wanted = files.filter((file) => WANTED.test(file.name));
  const ggufs = wanted.filter((file) => /\.gguf$/i.test(file.name)).sort((a, b) => (a.name < b.name ? -1 : 1));
  const [gguf] = ggufs;
  const chosen = gguf ? ggufs : wanted;
  if (chosen.length === 0) {
    const advice = "Choose a .gguf file, or a folder with config.json and .safetensors files.";
    throw new EngineError("page/files", "There is no model among these files.", advice);
  }
  const folder = files[0]?.webkitRelativePath.split("/")[0];
  const name = gguf ? withoutEnding(gguf.name) : folder || "Checkpoint from disk";
  return { request: { files: chosen }, name, bytes: chosen.reduce((sum, file) => sum + file.size, 0), store };
}

/**
 * One string for where a model comes from, to know it again; files and stored models have none.
 * @param {Choice} choice
 * @returns {string | undefined}
 */
export function sourceOf({ request }) {
  if ("url" in request) return request.url;
  if ("hub" in request) return `${request.host ? `${request.host}/` : ""}${request.hub}@${request.revision ?? ""}`;
  return undefined;
}

/**
 * Where the engine reads a model from; files and stored models have no address.
 * @param {ModelRequest} request
 * @returns {string | undefined}
 */
export function addressOf(request) {
  if ("hub" in request) return placeOf(request);
  return "url" in request ? normal(request.url) : undefined;
}

/**
 * The repository of a hub that a model belongs to, as "owner/name".
 * @param {ModelRequest} request
 * @returns {string | undefined}
 */
export function repositoryOf(request) {
  const path = addressOf(request)?.split("/resolve/");
  return path?.[1] === undefined ? undefined : path[0]?.split("/").slice(-2).join("/");
}

/**
 * Whether a stored model is what `choice` asks for.
 * @param {StoredModel} model
 * @param {Choice} choice
 * @returns {boolean}
 */
export function isFor(model, { request }) {
  if ("stored" in request) return model.id === request.stored;
  if ("files" in request) return areOf(request.files, model);
  return model.url === addressOf(request);
}

/**
 * Where the engine reads a repository, or a file of it, from: the address that is kept with what is stored.
 * @param {{hub: string, revision?: string, host?: string}} request
 */
function placeOf({ hub, revision = "main", host = HUB }) {
  const [owner, name, ...path] = hub.split("/");
  return normal(`${host.replace(/\/+$/, "")}/${owner}/${name}/resolve/${encodeURIComponent(revision)}/${path.join("/")}`);
}

/**
 * Whether `files` are what was copied, by what is known of them: the names of files without a folder are no name for a model.
 * @param {File[]} files as `fromFiles` has chosen them
 * @param {StoredModel} model
 */
function areOf(files, { url, name, total }) {
  const [first] = files;
  if (url !== undefined || !first) return false;
  const size = files.reduce((sum, file) => sum + file.size, 0);
  if (/\.gguf$/i.test(first.name)) return name === first.name && (total ?? size) === size;
  return first.webkitRelativePath !== "" && name === first.webkitRelativePath.split("/")[0];
}

/** An address as browsers and the engine write it; "#" and what follows never reach a server. @param {string} address */
function normal(address) {
  const url = new URL(address, document.baseURI);
  url.hash = "";
  return url.href;
}

/**
 * The files of a drop; a folder gives the files directly in it.
 * @param {DataTransfer} transfer
 * @returns {Promise<File[]>}
 */
export async function droppedFiles(transfer) {
  // The items are gone after the first await, so what they hold is taken at once.
  const held = [...transfer.items].map((item) => item.webkitGetAsEntry() ?? item.getAsFile());
  const lists = await Promise.all(held.map((one) => (one === null ? [] : one instanceof File ? [one] : filesOf(one))));
  return lists.flat();
}

/**
 * @param {FileSystemEntry} entry
 * @returns {Promise<File[]>}
 */
async function filesOf(entry) {
  const entries = entry.isDirectory ? await children(entry) : [entry];
  return Promise.all(entries.filter((one) => one.isFile).map(toFile));
}

/**
 * @param {FileSystemEntry} directory
 * @returns {Promise<FileSystemEntry[]>}
 */
async function children(directory) {
  const reader = /** @type {FileSystemDirectoryEntry} */ (directory).createReader();
  /** @type {FileSystemEntry[]} */
  const all = [];
  for (;;) {
    // A reader gives a folder in portions and ends with an empty one.
    const portion = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (portion.length === 0) return all;
    all.push(...portion);
  }
}

/**
 * @param {FileSystemEntry} entry
 * @returns {Promise<File>}
 */
function toFile(entry) {
  return new Promise((resolve, reject) => /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject));
}

/** "https://host/a/model.Q4.gguf?x" is "model.Q4". @param {string} url */
function nameOf(url) {
  const last = url.replace(/[?#].*$/, "").split("/").filter(Boolean).at(-1) ?? url;
  try {
    return withoutEnding(decodeURIComponent(last));
  } catch {
    // A lone "%" is no escape: people write it as it is.
    return withoutEnding(last);
  }
}

/** @param {string} file */
function withoutEnding(file) {
  return file.replace(/\.gguf$/i, "");
}
