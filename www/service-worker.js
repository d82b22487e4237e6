// Keeps the app's own files in this browser, so that the page opens and chats with the network off. Models are none of
// its business: the engine stores those.
//
// A version is a set of files that were built together. `cargo xtask build` writes three lines above this text:
//   VERSION   a digest of all of the version's files, this one too
//   FILES     each file's path beside this script, and its SHA-256 as an `integrity` attribute states it
//   MODULES   the same of the engine's modules, by their names: only those are kept that this browser runs
// The browser takes any change in them for a new version and installs it beside the running one.
//
// page -> worker                    answered by
//   {type: "claim", version}        nothing; the worker serves the page from now on if both are of one version
//   {type: "keep", version, module} nothing; the module is kept from now on, likewise
//   {type: "replace", agreed}       how many pages are open; takes over if the visitor agreed and there is only one

const worker = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));
const SCOPE = worker.registration.scope;
/** Caches belong to the whole origin: the path keeps a copy of the app elsewhere on it, and everyone else, apart. */
const OURS = `pagellama ${new URL(SCOPE).pathname} `;
const CACHE = OURS + VERSION;
/** Where each file is, and what it must hash to. */
const ADDRESSES = new Map([...FILES, ...Object.values(MODULES).flat()].map(([path, integrity]) => [addressOf(path), integrity]));
const OF_MODULES = new Set(Object.values(MODULES).flatMap((files) => files.map(([path]) => addressOf(path))));

worker.addEventListener("install", (event) => event.waitUntil(install()));
worker.addEventListener("activate", (event) => event.waitUntil(deleteOtherVersions()));

worker.addEventListener("fetch", (event) => {
  const file = fileFor(event.request);
  if (file) event.respondWith(answer(file, event));
});

worker.addEventListener("message", (event) => {
  const { type, version, module, agreed } = event.data;
  if (type === "claim") event.waitUntil(claim(version));
  if (type === "keep" && version === VERSION) event.waitUntil(keep((MODULES[module] ?? []).map(([path]) => addressOf(path))));
  if (type === "replace") event.waitUntil(replace(agreed, event.ports[0]));
});

/** @param {string} path beside this script */
function addressOf(path) {
  return new URL(path, SCOPE).href;
}

/** All files or none: while a server has some of another version, installing fails and what ran before goes on. */
async function install() {
  const names = (await caches.keys()).filter((name) => name.startsWith(OURS));
  // What the version before ran, this one will.
  const files = await Promise.all(names.map(async (name) => (await (await caches.open(name)).keys()).map(({ url }) => url)));
  const kept = files.flat();
  const modules = kept.filter((address) => OF_MODULES.has(address));
  // Versions before had one module, for WebGPU.
  if (kept.includes(addressOf("pkg/pagellama.js"))) modules.push(...(MODULES.webgpu ?? []).map(([path]) => addressOf(path)));
  await keep([...FILES.map(([path]) => addressOf(path)), ...modules]);
}

/** Keeps all of some files. @param {string[]} addresses */
async function keep(addresses) {
  const cache = await caches.open(CACHE);
  await Promise.all(
    [...new Set(addresses)].map(async (address) => {
      if (await cache.match(address, { ignoreVary: true })) return;
      // "reload", as the browser's own cache may hold the version before.
      const response = await fetch(address, { cache: "reload", integrity: ADDRESSES.get(address) });
      // Some hosts redirect "index.html" to its folder, and a navigation cannot be answered by what was redirected.
      await cache.put(address, response.redirected ? new Response(response.body, response) : response);
    }),
  );
}

/** Not before this version is the one in use: until then, pages run on the files of another. */
async function deleteOtherVersions() {
  const names = (await caches.keys()).filter((name) => name.startsWith(OURS) && name !== CACHE);
  await Promise.all(names.map((name) => caches.delete(name)));
}

/**
 * The file of ours that a request is for; what is none of ours, the worker leaves alone.
 * @param {Request} request
 */
function fileFor({ method, mode, url }) {
  const address = new URL(url);
  address.hash = "";
  // What stands behind "?" in the page's address is for its scripts.
  if (mode === "navigate") address.search = "";
  const file = address.href === SCOPE ? `${SCOPE}index.html` : address.href;
  return method === "GET" && ADDRESSES.has(file) ? file : undefined;
}

/**
 * @param {string} file
 * @param {FetchEvent} event
 */
async function answer(file, event) {
  const kept = await caches.match(file, { cacheName: CACHE, ignoreVary: true });
  if (kept) return kept;
  // Someone may have emptied the cache by hand; the network then serves all files, as if there were no worker.
  if (!OF_MODULES.has(file)) return fetch(event.request);
  // The visitor has chosen another device. A module of another version is refused, and the page says to load it again.
  const response = await fetch(event.request, { integrity: ADDRESSES.get(file) });
  const copy = response.clone();
  if (response.ok) event.waitUntil(caches.open(CACHE).then((cache) => cache.put(file, copy)));
  return response;
}

/**
 * Claiming takes every open page at once, so there must be one alone: no other page's version is known here. Two tabs of
 * a first visit are thus served by the network until they are loaded again. What they have yet to fetch (the engine, when
 * a model is chosen) may then be of a version that the server got meanwhile, as with no worker at all.
 * @param {string} version the page's
 */
async function claim(version) {
  if (version === VERSION && (await openPages()) === 1) await worker.clients.claim();
}

/**
 * @param {boolean} agreed
 * @param {MessagePort | undefined} port
 */
async function replace(agreed, port) {
  const pages = await openPages();
  port?.postMessage(pages);
  if (agreed && pages === 1) await worker.skipWaiting();
}

/** Those of another copy further down the path count too, which only makes a new version wait. */
async function openPages() {
  const pages = await worker.clients.matchAll({ includeUncontrolled: true, type: "window" });
  return pages.filter(({ url }) => url.startsWith(SCOPE)).length;
}
