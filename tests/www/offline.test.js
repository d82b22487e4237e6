// The service worker: the page opens with no network, and its files are all of one version, always.

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { accessible, AXE } from "./support/accessible.js";
import { deploy, MODULES, version } from "./support/app-version.js";
import { launchProfile } from "./support/browser.js";
import { until } from "./support/faults.js";
import { launch, serve, Visitor } from "./support/page.js";
import { NOT_ISOLATED } from "./support/server.js";
import { open } from "./support/setup.js";

/** @import { TestContext } from "node:test" */
/** @import { BrowserContextOptions, Page as BrowserPage } from "playwright-core" */
/** @import { Page } from "./support/server.js" */

/** As on a static host that has many projects. */
const PREFIX = "/people/someone/chat/";

const FIRST = version();
const SECOND = another("second");
const THIRD = another("third");

/** A version that can be told by what is shown and by what the engine runs in. @param {string} name */
function another(name) {
  return version({
    "index.html": (text) => `${text}<!-- version: ${name} -->\n`,
    "worker.js": (text) => `${text}// version: ${name}\n`,
  });
}

const [browser] = await open(launch());

/**
 * A plain static host, on which `pages` may change at any time: no header isolates a page, and browsers may take a file
 * to stay as it is for a while.
 * @param {TestContext} t
 */
async function host(t) {
  /** @type {Record<string, Page>} */
  const pages = {};
  deploy(pages, PREFIX, FIRST);
  const server = await serve([], pages, { ...NOT_ISOLATED, "Cache-Control": "max-age=600" });
  t.after(() => server.close());
  return { ...server, pages, address: server.origin + PREFIX };
}

/**
 * A visitor on a page that a service worker serves, which has all files by then. The worker that reads which models are stored has
 * come and gone: it starts with the page, so that nobody may serve it yet.
 * @param {string} address
 * @param {BrowserContextOptions} [options]
 */
async function arrive(address, options) {
  const visitor = await Visitor.arrive(browser, options);
  let workers = 0;
  visitor.page.on("worker", () => workers++);
  await visitor.page.goto(address);
  await keptWhole(visitor.page);
  await until(() => workers > 0 && visitor.page.workers().length === 0);
  return visitor;
}

/** The module of the engine that this browser runs is kept after all the rest, each of its two files for itself. @param {BrowserPage} page */
async function keptWhole(page) {
  await controlled(page);
  await page.waitForFunction(async () => {
    const files = (await Promise.all((await caches.keys()).map(async (name) => (await caches.open(name)).keys()))).flat();
    const modules = files.flatMap(({ url }) => /pkg\/([\w-]+)_bg\.wasm$/.exec(url)?.[1] ?? []);
    return modules.some((name) => files.some(({ url }) => url.endsWith(`pkg/${name}.js`)));
  });
  // The page has asked for a new version, too: who asks again before the answer is there gets the same one.
  await update(page);
}

/** @param {BrowserPage} page */
async function controlled(page) {
  await page.waitForFunction(() => navigator.serviceWorker.controller?.state === "activated");
}

/** The caches of the origin, by name: how many files they have. @param {BrowserPage} page */
function cached(page) {
  return page.evaluate(async () => {
    const held = (await caches.keys()).map(async (name) => [name, (await (await caches.open(name)).keys()).length]);
    return Object.fromEntries(await Promise.all(held));
  });
}

/** Loads the model on offer: the engine's worker starts, and with it everything that it needs. @param {Visitor} visitor */
async function chat(visitor) {
  await visitor.button(/^(Download and start|Load)$/).click();
  await visitor.field.waitFor();
  const answer = await visitor.say("say: It works.");
  assert.equal(await answer.locator(".body").innerText(), "It works.");
}

/**
 * The version of the page that is shown, and of a file that the page would load now.
 * @param {BrowserPage} page
 */
function versions(page) {
  return page.evaluate(async () => {
    const name = (/** @type {string} */ text) => /version: (\w+)/.exec(text)?.[1] ?? "first";
    const comments = document.evaluate("string(//comment()[contains(., 'version: ')])", document, null, XPathResult.STRING_TYPE);
    return [name(comments.stringValue), name(await (await fetch("worker.js")).text())];
  });
}

/** Asks the server for a new version, as each load of the page does. @param {BrowserPage} page */
function update(page) {
  return page.evaluate(async () => {
    const registration = await navigator.serviceWorker.getRegistration();
    return registration?.update().then(() => undefined);
  });
}

/** @param {BrowserPage} page */
const news = (page) => page.getByRole("status").filter({ hasText: "A new version is ready." });

test("after one visit, the page and its engine start without a server, at any path and with a query", async (t) => {
  const site = await host(t);
  const visitor = await arrive(site.address);
  assert.equal(await visitor.page.evaluate(() => globalThis.crossOriginIsolated), false);
  const kept = Object.entries(await cached(visitor.page)).map(([name, files]) => [name.replace(/\w+$/, ""), files]);
  assert.deepEqual(kept, [[`pagellama ${PREFIX} `, FIRST.size - 1 - 2 * (MODULES.length - 1)]]);
  await site.close();
  for (const path of ["index.html", "?from=home", "#top", ""]) {
    await visitor.page.goto("about:blank");
    await visitor.page.goto(site.address + path);
    await visitor.button("Download and start").waitFor();
  }
  await chat(visitor);
  await visitor.page.goto(`${site.address}bench.html`);
  await visitor.page.getByRole("button", { name: "Measure", exact: true }).waitFor();
  assert.deepEqual(visitor.problems, []);
  await visitor.leave();
});

test("after the browser was closed, too", async (t) => {
  const site = await host(t);
  const folder = await mkdtemp(join(tmpdir(), "pagellama-profile-"));
  t.after(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
  const first = await launchProfile(folder);
  const page = await first.newPage();
  await page.goto(site.address);
  await keptWhole(page);
  await first.close();
  await site.close();
  const second = await launchProfile(folder);
  t.after(() => second.close());
  const visitor = new Visitor(await second.newPage());
  await visitor.page.goto(site.address);
  await chat(visitor);
  assert.deepEqual(visitor.problems, []);
});

test("a first visit goes on with the files it began with: the engine's worker, its imports and the wasm", async (t) => {
  const site = await host(t);
  const visitor = await arrive(site.address);
  const before = site.requests.length;
  const early = visitor.requests.length;
  await chat(visitor);
  const asked = site.requests.slice(before);
  assert.deepEqual(asked.filter((path) => !path.includes("/models/")), []);
  assert.ok(asked.length > 0, "the model is fetched from the server, not from what is kept");
  const started = visitor.requests.slice(early).filter((url) => /\/worker\.js$|_bg\.wasm$/.test(url));
  assert.ok(started.length >= 2, `the engine started: ${started}`);
  await visitor.leave();
});

test("what is none of the app's own files is left to the network", async (t) => {
  const site = await host(t);
  const visitor = await arrive(site.address);
  const statuses = await visitor.page.evaluate(async () => {
    const asked = ["models/Fake-135M.gguf", "page.js?other", "nothing.js"].map(async (path) => (await fetch(path)).status);
    const posted = fetch("page.js", { method: "POST" }).then(({ status }) => status);
    return Promise.all([...asked, posted]);
  });
  assert.deepEqual(statuses, [404, 200, 404, 200]);
  const missed = ["models/Fake-135M.gguf", "page.js", "nothing.js", "page.js"].map((path) => PREFIX + path);
  assert.deepEqual(site.requests.slice(-4).sort(), missed.sort());
  await visitor.leave();
});

test("a page of another version than the worker stays as it is until it is loaded again", async (t) => {
  const site = await host(t);
  // The visitor got the first version's page, and then the second was put in its place.
  const page = FIRST.get("index.html") ?? "";
  deploy(site.pages, PREFIX, SECOND);
  site.pages[PREFIX] = { body: page };
  const visitor = await Visitor.arrive(browser);
  await visitor.page.goto(site.address);
  await visitor.page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
  // Whoever claims does it by the time that a later message is answered.
  await visitor.page.evaluate(async () => {
    const { active } = await navigator.serviceWorker.ready;
    const { port1, port2 } = new MessageChannel();
    active?.postMessage({ type: "replace", agreed: false }, [port2]);
    await new Promise((resolve) => (port1.onmessage = resolve));
  });
  assert.equal(await visitor.page.evaluate(() => navigator.serviceWorker.controller), null);
  await visitor.page.reload();
  await controlled(visitor.page);
  assert.deepEqual(await versions(visitor.page), ["second", "second"]);
  await visitor.leave();
});

test("a new version waits, is announced, and replaces the old one when the visitor agrees", async (t) => {
  const site = await host(t);
  const visitor = await arrive(site.address);
  deploy(site.pages, PREFIX, SECOND);
  await visitor.page.reload();
  await news(visitor.page).waitFor();
  assert.deepEqual(await versions(visitor.page), ["first", "first"]);
  assert.equal(Object.keys(await cached(visitor.page)).length, 2);
  await Promise.all([visitor.page.waitForEvent("load"), visitor.page.getByRole("button", { name: "Reload" }).click()]);
  await controlled(visitor.page);
  assert.deepEqual(await versions(visitor.page), ["second", "second"]);
  assert.equal(Object.keys(await cached(visitor.page)).length, 1);
  assert.equal(await news(visitor.page).count(), 0);
  await site.close();
  await visitor.page.reload();
  assert.deepEqual(await versions(visitor.page), ["second", "second"]);
  await chat(visitor);
  assert.deepEqual(visitor.problems, []);
  await visitor.leave();
});

for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
  test(`the news of it fit a narrow window and are accessible: ${colorScheme}`, async (t) => {
    const site = await host(t);
    const visitor = await arrive(site.address, { colorScheme, viewport: { width: 360, height: 740 }, bypassCSP: true });
    deploy(site.pages, PREFIX, SECOND);
    await visitor.page.context().newPage().then((page) => page.goto(site.address));
    await visitor.page.addInitScript(AXE);
    await visitor.page.reload();
    await news(visitor.page).getByText("Close this page’s other tabs").waitFor();
    await accessible(visitor, "the news");
    assert.ok(await visitor.page.evaluate(() => document.documentElement.scrollHeight <= document.documentElement.clientHeight), "the page scrolls");
    await visitor.leave();
  });
}

test("with two tabs open it does not take over, and says to close the other", async (t) => {
  const site = await host(t);
  const visitor = await arrive(site.address);
  const other = await visitor.page.context().newPage();
  await other.goto(site.address);
  deploy(site.pages, PREFIX, SECOND);
  await update(visitor.page);
  const close = visitor.page.getByText("Close this page’s other tabs");
  await close.waitFor();
  await visitor.page.getByRole("button", { name: "Reload" }).click();
  await update(visitor.page);
  assert.deepEqual(await versions(visitor.page), ["first", "first"]);
  assert.deepEqual(await versions(other), ["first", "first"]);
  await other.close();
  await Promise.all([visitor.page.waitForEvent("load"), visitor.page.getByRole("button", { name: "Reload" }).click()]);
  await controlled(visitor.page);
  assert.deepEqual(await versions(visitor.page), ["second", "second"]);
  await visitor.leave();
});

test("a new version takes over by itself once no page is open", async (t) => {
  const site = await host(t);
  const visitor = await arrive(site.address);
  deploy(site.pages, PREFIX, SECOND);
  await update(visitor.page);
  await news(visitor.page).waitFor();
  // A page of the same origin that is none of the app's.
  const elsewhere = await visitor.page.context().newPage();
  site.pages["/"] = { body: "" };
  await elsewhere.goto(site.origin);
  await visitor.page.close();
  await elsewhere.waitForFunction(async () => (await caches.keys()).length === 1);
  await site.close();
  await elsewhere.goto(site.address);
  assert.deepEqual(await versions(elsewhere), ["second", "second"]);
  await visitor.leave();
});

test("or once the browser was closed", async (t) => {
  const site = await host(t);
  const folder = await mkdtemp(join(tmpdir(), "pagellama-profile-"));
  t.after(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
  const first = await launchProfile(folder);
  const page = await first.newPage();
  await page.goto(site.address);
  await keptWhole(page);
  deploy(site.pages, PREFIX, SECOND);
  await update(page);
  await news(page).waitFor();
  await first.close();
  await site.close();
  const second = await launchProfile(folder);
  t.after(() => second.close());
  const again = await second.newPage();
  await again.goto(site.address);
  await controlled(again);
  assert.deepEqual(await versions(again), ["second", "second"]);
});

test("a host that redirects index.html to its folder serves offline, too", async (t) => {
  const site = await host(t);
  site.pages[`${PREFIX}index.html`] = { status: 301, body: "", headers: { Location: PREFIX } };
  const visitor = await arrive(site.address);
  await site.close();
  await visitor.page.goto(`${site.address}?again`);
  await visitor.button("Download and start").waitFor();
  await visitor.leave();
});

test("a server with files of two versions changes nothing, until it has all of one", async (t) => {
  const site = await host(t);
  const visitor = await arrive(site.address);
  deploy(site.pages, PREFIX, SECOND);
  const late = `${PREFIX}worker.js`;
  const whole = site.pages[late];
  site.pages[late] = { type: "text/javascript", body: FIRST.get("worker.js") ?? "" };
  await visitor.page.reload();
  const failed = await visitor.page.evaluate(async () => {
    const registration = await navigator.serviceWorker.ready;
    const found = new Promise((resolve) => (registration.onupdatefound = resolve));
    registration.update().catch(() => undefined);
    await found;
    const next = registration.installing;
    await new Promise((resolve) => next?.addEventListener("statechange", resolve));
    return next?.state;
  });
  assert.equal(failed, "redundant");
  await visitor.page.reload();
  assert.deepEqual(await versions(visitor.page), ["first", "first"]);
  assert.equal(await news(visitor.page).count(), 0);
  assert.ok(whole);
  site.pages[late] = whole;
  await visitor.page.reload();
  await visitor.button("Download and start").waitFor();
  await update(visitor.page);
  await news(visitor.page).waitFor();
  // The next version answers before the page is loaded anew.
  await Promise.all([visitor.page.waitForEvent("load"), visitor.page.getByRole("button", { name: "Reload" }).click()]);
  await controlled(visitor.page);
  assert.deepEqual(await versions(visitor.page), ["second", "second"]);
  // Of three versions, one of which never ran, only the last is kept.
  deploy(site.pages, PREFIX, THIRD);
  await update(visitor.page);
  await news(visitor.page).waitFor();
  await Promise.all([visitor.page.waitForEvent("load"), visitor.page.getByRole("button", { name: "Reload" }).click()]);
  await controlled(visitor.page);
  assert.deepEqual(await versions(visitor.page), ["third", "third"]);
  assert.equal(Object.keys(await cached(visitor.page)).length, 1);
  await visitor.leave();
});

test("two copies on one origin, and caches of others, do not disturb each other", async (t) => {
  const site = await host(t);
  const [near, inner] = ["/people/someone/", `${PREFIX}inner/`];
  deploy(site.pages, near, SECOND);
  deploy(site.pages, inner, THIRD);
  const visitor = await arrive(site.address);
  await visitor.page.evaluate(() => caches.open("somebody else's"));
  const pages = [visitor.page];
  for (const prefix of [near, inner]) {
    const page = await visitor.page.context().newPage();
    await page.goto(site.origin + prefix);
    await page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
    // A first visit is not claimed while another page is open in the folder or below it.
    await page.reload();
    await page.waitForFunction((scope) => navigator.serviceWorker.controller?.scriptURL === `${scope}service-worker.js`, site.origin + prefix);
    pages.push(page);
  }
  const names = Object.keys(await cached(visitor.page)).map((name) => name.replace(/ \w+$/, "")).sort();
  assert.deepEqual(names, [near, PREFIX, inner].map((prefix) => `pagellama ${prefix}`).concat("somebody else's").sort());
  await site.close();
  for (const [index, name] of ["first", "second", "third"].entries()) {
    const page = pages[index];
    assert.ok(page);
    await page.reload();
    assert.deepEqual(await versions(page), [name, name]);
  }
  await visitor.leave();
});

test("the browser finds the page installable", async (t) => {
  const site = await host(t);
  const visitor = await arrive(site.address);
  const devtools = await visitor.page.context().newCDPSession(visitor.page);
  const { url, errors, data } = await devtools.send("Page.getAppManifest");
  assert.deepEqual([url, errors], [`${site.address}app.webmanifest`, []]);
  const { installabilityErrors } = await devtools.send("Page.getInstallabilityErrors");
  t.diagnostic(JSON.stringify(installabilityErrors));
  assert.deepEqual(installabilityErrors.filter(({ errorId }) => errorId !== "in-incognito"), []);
  const { icons } = JSON.parse(data ?? "");
  const sizes = await visitor.page.evaluate(async (/** @type {string[]} */ sources) => {
    const images = sources.map(async (source) => {
      const image = Object.assign(new Image(), { src: source });
      await image.decode();
      return `${image.naturalWidth}x${image.naturalHeight}`;
    });
    return Promise.all(images);
  }, icons.map((/** @type {{src: string}} */ { src }) => src));
  assert.deepEqual(sizes.slice(1), icons.slice(1).map((/** @type {{sizes: string}} */ icon) => icon.sizes));
  assert.deepEqual(visitor.problems, []);
  await visitor.leave();
});
