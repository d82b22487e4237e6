// Lets the page open without a network, by a service worker, and offers new versions of the app as they come.

import { choose } from "./device.js";

/** Of the files that this page came with; empty when they were never built, and then there is no list of what to keep. */
const version = document.querySelector('meta[name="version"]')?.getAttribute("content");

const SCRIPT = new URL("service-worker.js", import.meta.url).href;

/** @param {HTMLElement} place where news of a new version are shown */
export async function keepOffline(place) {
  const { serviceWorker } = navigator;
  // Browsers have none on plain http, nor in some private windows.
  if (!version || !serviceWorker) return;
  try {
    const registration = await serviceWorker.register(SCRIPT, { updateViaCache: "none" });
    serviceWorker.ready.then(({ active }) => active && keep(active, version));
    reloadWhenReplaced();
    offerNewVersions(registration, place);
    await registration.update();
  } catch {
    // No network, which is what the worker is for; or this browser or host allows no worker, and the page needs the network.
  }
}

/**
 * Has the worker serve the page, and keep the engine's module that this browser runs.
 * @param {ServiceWorker} worker
 * @param {string} version
 */
async function keep(worker, version) {
  if (!controlled()) worker.postMessage({ type: "claim", version });
  const { module } = await choose("auto", { measured: false });
  worker.postMessage({ type: "keep", version, module });
}

/** Whether the worker of this very copy of the app serves the page: there may be another around its folder. */
function controlled() {
  return navigator.serviceWorker.controller?.scriptURL === SCRIPT;
}

/** A page must not go on with the files of the next version; its first worker is of its own version. */
function reloadWhenReplaced() {
  let before = controlled();
  navigator.serviceWorker.addEventListener("controllerchange", () => {
    if (before) location.reload();
    before = controlled();
  });
}

/**
 * @param {ServiceWorkerRegistration} registration
 * @param {HTMLElement} place
 */
function offerNewVersions(registration, place) {
  const offer = () => {
    // An installed version that no page stands in the way of takes over by itself.
    if (registration.waiting && controlled()) show(registration.waiting, place);
  };
  const watch = () => registration.installing?.addEventListener("statechange", offer);
  registration.addEventListener("updatefound", watch);
  // One may be installing since before this page came.
  watch();
  offer();
}

/**
 * @param {ServiceWorker} next
 * @param {HTMLElement} place
 */
async function show(next, place) {
  const text = document.createElement("p");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Reload";
  const ask = async (/** @type {boolean} */ agreed) => {
    const alone = (await replace(next, agreed)) === 1;
    text.textContent = alone ? "A new version is ready." : "A new version is ready. Close this page’s other tabs, then reload.";
  };
  button.addEventListener("click", () => ask(true));
  await ask(false);
  place.replaceChildren(text, button);
}

/**
 * Lets the next version take over, if this is the only page; when it has, the page is reloaded.
 * @param {ServiceWorker} next
 * @param {boolean} agreed otherwise it is only counted
 * @returns {Promise<number>} how many pages are open
 */
function replace(next, agreed) {
  const { port1, port2 } = new MessageChannel();
  next.postMessage({ type: "replace", agreed }, [port2]);
  return new Promise((resolve) => {
    port1.onmessage = ({ data }) => {
      port1.close();
      resolve(data);
    };
  });
}
