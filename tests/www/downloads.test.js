// A download while it runs: paused and gone on with, interrupted, shared between tabs, and what it asks of the browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "./support/faults.js";
import { launch, serveApp, Visitor } from "./support/page.js";
import { open, visitEach } from "./support/setup.js";

/** The model of `slow` takes about eight seconds. */
const [browser, app, slow] = await open(launch(), serveApp(), serveApp({ model: "models/slow.gguf?slow=400" }));
/** @type {Visitor} */
let visitor;
visitEach(browser, (arrived) => (visitor = arrived));

/** @param {string} address */
async function download(address) {
  await visitor.page.goto(address);
  await visitor.button("Download and start").click();
}

/** Waits until bytes come. */
async function downloading() {
  await visitor.chat.getByRole("progressbar", { name: "Downloading" }).waitFor();
  await visitor.chat.getByText(/MB of 98\.4 MB · [\d.]+ MB\/s/).waitFor();
}

/** @param {import("playwright-core").Locator} bar */
async function valueOf(bar) {
  return Number(await bar.getAttribute("value"));
}

test("a download is paused, and goes on from there", async () => {
  await download(slow.origin);
  await downloading();
  await visitor.button("Pause").focus();
  await visitor.page.keyboard.press("Enter");
  const paused = visitor.chat.getByRole("progressbar", { name: "Paused" });
  const text = await visitor.chat.getByText(/MB of 98\.4 MB are stored\./).innerText();
  const there = await valueOf(paused);
  assert.ok(there > 0 && there < 98_362_432, text);
  assert.equal(await visitor.chat.evaluate((element) => element.shadowRoot?.activeElement?.textContent), "Go on");
  assert.equal(await visitor.chat.getByRole("status").innerText(), "Paused");
  // That a worker has ended is told a little later.
  await until(() => visitor.page.workers().length === 0);
  await visitor.page.keyboard.press("Enter");
  // What is stored is read, not downloaded, and has no part in the rate.
  await visitor.chat.getByRole("progressbar", { name: "Loading from this browser" }).waitFor();
  await visitor.chat.getByRole("progressbar", { name: "Downloading" }).waitFor();
  await visitor.field.waitFor();
});

test("what the paused card tells is what is stored, not what had come", async () => {
  await download(slow.origin);
  await downloading();
  await visitor.button("Pause").click();
  await visitor.page.waitForTimeout(300);
  const shown = await visitor.chat.getByText(/MB of 98\.4 MB are stored\./).innerText();
  const stored = await visitor.page.evaluate(async () => (await (await import(/** @type {string} */ ("/engine.js"))).storedModels())[0].bytes);
  assert.equal(shown, `${(stored / 1e6).toFixed(1)} MB of 98.4 MB are stored.`);
  await visitor.button("Choose another model").click();
  await visitor.chat.getByText(/MB of 98\.4 MB · paused/).waitFor();
  await visitor.button("Go on with slow").click();
  await visitor.field.waitFor();
});

test("cancelling leads back to the choice, where the download can be gone on with", async () => {
  await download(slow.origin);
  await downloading();
  await visitor.button("Cancel").click();
  await visitor.button("Go on with slow").click();
  await visitor.chat.getByRole("progressbar", { name: "Loading from this browser" }).waitFor();
  await visitor.field.waitFor();
});

for (const [reason, text] of [
  ["network", "The connection was lost."],
  ["server", "The server asks for patience."],
]) {
  test(`waiting is told in words, and announced once: ${reason}`, async (t) => {
    const waiting = await serveApp({ model: `models/waiting.gguf?wait=${reason}` });
    t.after(() => waiting.close());
    await visitor.page.goto(waiting.origin);
    await visitor.chat.getByRole("status").evaluate((status) => {
      /** @type {any} */ (globalThis).heard = [];
      new MutationObserver(() => /** @type {any} */ (globalThis).heard.push(status.textContent)).observe(status, { childList: true });
    });
    await visitor.button("Download and start").click();
    await visitor.chat.getByText(`${text} Trying again in 3 s.`).waitFor();
    await visitor.chat.getByText("49.2 MB of 98.4 MB", { exact: true }).waitFor();
    await visitor.chat.getByText(`${text} Trying again in 1 s.`).waitFor();
    await visitor.button("Pause").click({ trial: true });
    await visitor.field.waitFor();
    const heard = await visitor.page.evaluate(() => /** @type {any} */ (globalThis).heard);
    assert.equal(heard.filter((/** @type {string} */ one) => one === text).length, 1, heard.join(" | "));
    assert.equal(await visitor.chat.getByText(text ?? "").count(), 0);
  });
}

/** Another tab of the same visitor. */
async function anotherTab() {
  const page = await visitor.page.context().newPage();
  page.setDefaultTimeout(60_000);
  return new Visitor(page);
}

for (const [way, leave] of /** @type {[string, () => Promise<unknown>][]} */ ([
  ["is closed", () => visitor.page.close()],
  ["pauses", () => visitor.button("Pause").click()],
  ["is done", () => visitor.field.waitFor()],
])) {
  test(`two tabs do one download: the second watches, and takes over when the first ${way}`, async () => {
    const second = await anotherTab();
    await download(slow.origin);
    await downloading();
    await second.page.goto(slow.origin);
    await second.button("Download and start").click();
    await second.chat.locator(".loading-wait", { hasText: "Another tab is downloading this model." }).waitFor();
    await second.chat.getByText(/^[\d.]+ MB of 98\.4 MB$/).waitFor();
    const bar = second.chat.getByRole("progressbar", { name: "Downloading" });
    const before = await valueOf(bar);
    while ((await valueOf(bar)) === before) await second.page.waitForTimeout(20);
    assert.ok(await second.button("Pause").isHidden(), "there is nothing to pause");
    const asked = () => visitor.requests.filter((url) => url.includes(".gguf")).length;
    assert.equal(asked(), 1);
    await leave();
    await second.chat.getByRole("progressbar", { name: "Loading from this browser" }).waitFor();
    assert.equal(asked(), 2);
    await second.field.waitFor();
    assert.deepEqual(second.problems, []);
  });
}

test("a tab that waits while another one reads a stored model speaks of no download", async () => {
  const address = `${app.origin}/models/stored.gguf?slow=200`;
  await visitor.page.goto(app.origin);
  const open = (/** @type {string} */ url) =>
    visitor.page.evaluate(async (model) => {
      const { load } = await import(/** @type {string} */ ("/engine.js"));
      (await load({ model })).unload();
    }, url);
  await open(address);
  const second = await anotherTab();
  await second.page.addInitScript(() => {
    Object.defineProperty(Navigator.prototype, "wakeLock", { get: () => Reflect.set(globalThis, "awake", true) });
  });
  await second.page.goto(app.origin);
  await second.chat.getByText("Use another model").click();
  await second.chat.getByLabel("From the web").fill(address);
  const again = open(address);
  await until(async () => (await second.page.evaluate(() => navigator.locks.query())).held?.length === 1);
  const { held } = await second.page.evaluate(() => navigator.locks.query());
  assert.deepEqual(held?.map(({ name }) => name), [`pagellama ${address}`]);
  await second.button("Load").click();
  await second.chat.locator(".loading-wait", { hasText: "Another tab is loading this model." }).waitFor();
  await second.chat.getByText(/^[\d.]+ MB of 98\.4 MB$/).waitFor();
  await second.chat.getByRole("progressbar", { name: "Loading from this browser" }).waitFor();
  assert.equal(await second.page.evaluate(() => Reflect.get(globalThis, "awake")), undefined);
  await again;
  await second.field.waitFor();
  assert.deepEqual(second.problems, []);
});

test("a tab that waits for another one can be cancelled, and then waits no more", async () => {
  const second = await anotherTab();
  await download(slow.origin);
  await downloading();
  await second.page.goto(slow.origin);
  await second.button("Download and start").click();
  await second.chat.locator(".loading-wait", { hasText: "Another tab is downloading this model." }).waitFor();
  await second.button("Cancel").click();
  await second.button("Download and start").waitFor();
  assert.equal(await second.chat.getByRole("alert").count(), 0);
  await visitor.field.waitFor();
  const { held, pending } = await second.page.evaluate(() => navigator.locks.query());
  assert.deepEqual([held, pending], [[], []]);
});

test("tabs wait only for downloads that are kept, of the same model", async () => {
  await download(slow.origin);
  await downloading();
  const loaded = await visitor.page.evaluate(async () => {
    const { load } = await import(/** @type {string} */ ("/engine.js"));
    /** @type {any[]} */
    const waited = [];
    const onProgress = (/** @type {any} */ { waiting }) => waiting && waited.push(waiting);
    const signal = AbortSignal.timeout(20_000);
    for (const model of [{ model: "models/other.gguf" }, { model: "models/slow.gguf?slow=200", store: false }]) (await load({ ...model, onProgress, signal })).unload();
    return waited;
  });
  assert.deepEqual(loaded, []);
  await visitor.field.waitFor();
});

test("without locks a download goes on all the same", async () => {
  await visitor.page.route("**/turns.js", async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, body: `delete WorkerNavigator.prototype.locks;\n${await answer.text()}` });
  });
  await visitor.begin(app.origin);
  const locks = await visitor.page.workers()[0]?.evaluate(() => "locks" in navigator);
  assert.equal(locks, false);
});

test("the tab's title tells the percentage, and then the chat again", async () => {
  await download(slow.origin);
  await visitor.page.waitForFunction(() => /^[1-9]\d?% – pagellama$/.test(document.title));
  await visitor.button("Pause").click();
  await visitor.page.waitForFunction(() => document.title === "pagellama");
  await visitor.button("Go on").click();
  await visitor.field.waitFor();
  assert.equal(await visitor.page.title(), "pagellama");
});

test("the screen stays on while a download runs, and no longer", async () => {
  await visitor.page.addInitScript(() => {
    const locks = /** @type {any} */ (globalThis);
    locks.taken = 0;
    locks.held = 0;
    const request = async () => {
      locks.taken += 1;
      locks.held += 1;
      let held = true;
      return { release: async () => void (held && ((held = false), (locks.held -= 1))) };
    };
    Object.defineProperty(Navigator.prototype, "wakeLock", { get: () => ({ request }) });
  });
  const held = () => visitor.page.evaluate("[taken, held]");
  await download(slow.origin);
  await downloading();
  assert.deepEqual(await held(), [1, 1]);
  await visitor.page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  assert.deepEqual(await held(), [2, 2]);
  await visitor.button("Pause").click();
  assert.deepEqual(await held(), [2, 0]);
  await visitor.button("Go on").click();
  await downloading();
  assert.deepEqual(await held(), [3, 1]);
  await visitor.page.evaluate(() => document.querySelector("llama-chat")?.remove());
  await visitor.page.waitForFunction("held === 0");
  await visitor.page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  assert.deepEqual(await held(), [3, 0]);
});

test("only leaving in the middle of a download is asked about", async () => {
  const asks = () => visitor.page.evaluate(() => !dispatchEvent(new Event("beforeunload", { cancelable: true })));
  await visitor.page.goto(slow.origin);
  assert.equal(await asks(), false);
  await visitor.button("Download and start").click();
  await downloading();
  assert.equal(await asks(), true);
  await visitor.button("Pause").click();
  assert.equal(await asks(), false);
  await visitor.button("Go on").click();
  await visitor.chat.getByRole("progressbar", { name: "Loading from this browser" }).waitFor();
  assert.equal(await asks(), false);
  await visitor.field.waitFor();
  assert.equal(await asks(), false);
});

for (const code of ["net/unreachable", "net/truncated"]) {
  test(`a load that lost its connection goes on by itself once there is one: ${code}`, async (t) => {
    const broken = await serveApp({ model: `models/lost.gguf?fail=${code}&once` });
    t.after(() => broken.close());
    await download(broken.origin);
    await visitor.chat.getByRole("alert").waitFor();
    await visitor.page.evaluate(() => dispatchEvent(new Event("online")));
    await visitor.field.waitFor();
  });
}

test("a load that goes on by itself leaves the visitor where they are", async (t) => {
  const broken = await serveApp({ model: "models/lost.gguf?fail=net/unreachable&once" });
  t.after(() => broken.close());
  await download(broken.origin);
  await visitor.button("Choose another model").click();
  await visitor.chat.getByText("49.2 MB of 98.4 MB · unfinished").waitFor();
  await visitor.page.evaluate(() => dispatchEvent(new Event("online")));
  await visitor.chat.getByText("98.4 MB · loaded").waitFor();
  await visitor.button("Back to the chat").click();
  await visitor.field.waitFor();
});

test("a load that failed for another reason, or was given up, does not begin by itself", async (t) => {
  for (const code of ["weights/bad-header", "net/unreachable"]) {
    const broken = await serveApp({ model: `models/lost.gguf?fail=${code}&once` });
    t.after(() => broken.close());
    await download(broken.origin);
    await visitor.chat.getByRole("alert").waitFor();
    // What is chosen instead ends the waiting.
    if (code === "net/unreachable") {
      await visitor.button("Choose another model").click();
      await visitor.chat.getByText("Use another model").click();
      await visitor.chat.getByLabel("From the web").fill(`${broken.origin}/models/other.gguf`);
      await visitor.button("Load").click();
      await visitor.field.waitFor();
    }
    const before = visitor.requests.filter((url) => url.includes("lost.gguf")).length;
    await visitor.page.evaluate(() => dispatchEvent(new Event("online")));
    await visitor.page.waitForTimeout(200);
    assert.equal(visitor.requests.filter((url) => url.includes("lost.gguf")).length, before);
  }
});

test("the browser's promise to keep the download is asked for before it begins, and shown", async () => {
  for (const [answer, text] of /** @type {[boolean, string][]} */ ([
    [true, "The browser has promised to keep what is stored."],
    [false, "The browser may clear what is stored when disk space runs short."],
  ])) {
    await visitor.page.addInitScript((kept) => {
      StorageManager.prototype.persist = async () => kept;
    }, answer);
    await download(slow.origin);
    await visitor.chat.getByText(text).waitFor();
    // Before any byte came there is nothing to delete.
    await downloading();
    await visitor.button("Cancel").click();
    await visitor.button("Delete slow").click();
    await visitor.button("Delete").click();
    await visitor.button("Delete slow").waitFor({ state: "detached" });
  }
});

test("files from disk are not called a download", async () => {
  await visitor.page.goto(app.origin);
  await visitor.chat.getByText("Use another model").click();
  const choosing = visitor.page.waitForEvent("filechooser");
  await visitor.button("Choose a file").click();
  await (await choosing).setFiles({ name: "mine?slow&.gguf", mimeType: "", buffer: Buffer.from("GGUF") });
  await visitor.chat.getByRole("progressbar", { name: "Reading from this machine" }).waitFor();
  await visitor.field.waitFor();
});

test("removing the element in the middle of a download leaves nothing behind", async () => {
  await download(slow.origin);
  await downloading();
  const gone = visitor.page.workers()[0]?.waitForEvent("close");
  await visitor.page.evaluate(() => document.querySelector("llama-chat")?.remove());
  await gone;
  const { held, pending } = await visitor.page.evaluate(() => navigator.locks.query());
  assert.deepEqual([held, pending], [[], []]);
  assert.equal(await visitor.page.evaluate(() => dispatchEvent(new Event("beforeunload", { cancelable: true }))), true);
});
