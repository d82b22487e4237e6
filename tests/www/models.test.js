// Choosing and loading a model: progress, cancel, errors, every source, stored models.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { until } from "./support/faults.js";
import { launch, serveApp, Visitor } from "./support/page.js";
import { open, visitEach } from "./support/setup.js";

const [browser, app] = await open(launch(), serveApp());
/** @type {Visitor} */
let visitor;
visitEach(browser, (arrived) => (visitor = arrived));

test("the page says what it will download, from where and to where", async () => {
  await visitor.page.goto(app.origin);
  const offer = visitor.chat.getByRole("region", { name: "Suggested model" });
  const text = await offer.innerText();
  for (const part of ["Fake-135M", "98.4 MB", "Apache-2.0", "from 127.0.0.1", "IndexedDB"]) assert.ok(text.includes(part), part);
  assert.ok(!visitor.requests.some((url) => url.endsWith(".gguf")));
});

test("progress is told in bytes, rate and time left, and can be cancelled", async (t) => {
  const slow = await serveApp({ model: "models/slow.gguf?slow" });
  t.after(() => slow.close());
  await visitor.page.goto(slow.origin);
  await visitor.button("Download and start").click();
  await visitor.chat.getByText(/MB of 98\.4 MB · [\d.]+ MB\/s · .+ left/).waitFor();
  const bar = visitor.chat.getByRole("progressbar", { name: "Downloading" });
  assert.ok(Number(await bar.getAttribute("value")) > 0);
  await visitor.button("Cancel").click();
  await visitor.button("Download and start").waitFor();
  assert.equal(await visitor.chat.getByRole("alert").count(), 0);
});

test("a failed load shows message, advice and a next step", async (t) => {
  const broken = await serveApp({ model: "models/broken.gguf?fail=weights/bad-header&message=The file's header is broken: no magic." });
  t.after(() => broken.close());
  await visitor.page.goto(broken.origin);
  await visitor.button("Download and start").click();
  const alert = visitor.chat.getByRole("alert");
  await alert.getByText("The file's header is broken: no magic.").waitFor();
  await alert.getByText("Do what a test would do.").waitFor();
  await alert.getByRole("button", { name: "Choose another model" }).click();
  await visitor.button("Download and start").waitFor();
});

test("whether a model will run is asked before its download, and answered with figures or the reason", async (t) => {
  const small = await serveApp({ model: "models/large.gguf?small" });
  t.after(() => small.close());
  await visitor.page.goto(app.origin);
  await visitor.button("Will it run here?").click();
  const figures = "It takes 190 MB of main memory with 4,096 tokens of context and 98.4 MB of storage. Some 9.9 tokens a second written, 42 read.";
  await visitor.chat.getByText(`It will probably run here. ${figures}`).waitFor();
  assert.ok(!visitor.requests.some((url) => url.endsWith(".gguf")));
  await visitor.page.goto(small.origin);
  await visitor.button("Will it run here?").click();
  await visitor.chat.getByText("It will not run here: there is no room for even one of its 30 layers.").waitFor();
  await visitor.button("Download and start").waitFor();
});

test("an engine that does not arrive is an error, and trying again can work", async () => {
  await visitor.page.route("**/pkg/*.js", (route) => route.abort());
  await visitor.page.goto(app.origin);
  await visitor.button("Download and start").click();
  await visitor.chat.getByText(/The engine could not be started/).first().waitFor();
  await visitor.page.unroute("**/pkg/*.js");
  await visitor.button("Reload the page").first().click();
  await visitor.button("Download and start").click();
  await visitor.field.waitFor();
});

test("where there is no WebGPU, models run on the processor, and the page says why", async () => {
  await visitor.alterDevice(["const { gpu } = navigator;", "const gpu = undefined;"]);
  await visitor.page.goto(app.origin);
  await visitor.button("Download and start").click();
  await visitor.chat.getByText("It runs on the processor, since this browser has no WebGPU.").waitFor();
  const { Device } = await visitor.figures(await visitor.say("say: It works."));
  assert.equal(Device, "Processor, since this browser has no WebGPU");
});

test("WebGPU is taken where it is chosen, though it is an imitation", async () => {
  await visitor.page.goto(app.origin);
  await visitor.button("Download and start").click();
  await visitor.chat.getByText("since the browser has no graphics card to use, only an imitation").waitFor();
  await visitor.button("Settings").click();
  await visitor.chat.getByLabel("Device").selectOption("graphics card");
  await visitor.button("Save").click();
  await visitor.chat.getByText("It runs on the graphics card (Fake adapter).").waitFor();
  // What the address says holds before what is chosen.
  await visitor.page.goto(`${app.origin}/?device=cpu`);
  await visitor.chat.getByText("It runs on the processor, as you chose.").waitFor();
  await visitor.button("Settings").click();
  await visitor.chat.getByLabel("Temperature").waitFor();
  assert.equal(await visitor.chat.getByLabel("Device").count(), 0);
});

test("when graphics devices keep going away, the answer goes on on the processor", async () => {
  await visitor.alterDevice(['return "software"', "return undefined"]);
  await visitor.page.goto(app.origin);
  await visitor.button("Download and start").click();
  await visitor.chat.getByText("It runs on the graphics card (Fake adapter).").waitFor();
  const answer = await visitor.say("gone: It goes on where it was.");
  assert.equal(await answer.locator(".body").innerText(), "It goes on where it was.");
  assert.equal((await visitor.figures(answer)).Device, "Processor, since the graphics card kept going away");
  assert.equal(await (await visitor.say("say: So does the next one.")).locator(".body").innerText(), "So does the next one.");
});

test("a browser that is too old is told before anything is downloaded", async () => {
  await visitor.page.addInitScript(() => Object.defineProperty(WebAssembly, "validate", { value: () => false }));
  await visitor.page.goto(app.origin);
  await visitor.chat.getByText("This browser is too old to run a model.").waitFor();
  assert.ok(await visitor.button("Download and start").isDisabled());
});

test("a model is loaded by repository, by address, or the mistake is named", async () => {
  await visitor.page.goto(app.origin);
  await visitor.chat.getByText("Use another model").click();
  const address = visitor.chat.getByLabel("From the web");
  await address.fill("not a source");
  await visitor.button("Load").click();
  await visitor.chat.getByText("This is neither an address nor a repository.").waitFor();
  await address.fill("owner/some-model");
  await address.press("Enter");
  await visitor.field.waitFor();
  await visitor.button("some-model").click();
  await visitor.chat.getByText("Use another model").click();
  await visitor.chat.getByLabel("From the web").fill(`${app.origin}/elsewhere/other.gguf`);
  await visitor.button("Load").click();
  await visitor.button("other").waitFor();
  await visitor.field.waitFor();
});

test("sources are read as people write them", async () => {
  await visitor.page.goto(app.origin);
  const read = await visitor.page.evaluate(async () => {
    const { parseSource } = await import(/** @type {string} */ ("/chat/sources.js"));
    const texts = [
      "owner/name",
      " owner/name@refs/pr/1 ",
      "https://huggingface.co/owner/name",
      "https://huggingface.co/owner/name/tree/abc",
      "https://huggingface.co/owner/name/blob/main/m.Q4_0.gguf",
      "https://example.org/folder/",
      "HTTPS://Example.org:443/a/../m.gguf?x#part",
      "owner/name/",
      "owner/name/sub/m.Q4_0.gguf@v2",
    ];
    const mirrored = ["owner/name", "https://mirror.example/owner/name/tree/abc", "https://mirror.example/owner/name/blob/main/m.gguf", "https://huggingface.co/owner/name"];
    return [...texts.map((text) => parseSource(text).request), ...mirrored.map((text) => parseSource(text, "https://mirror.example").request)];
  });
  assert.deepEqual(read, [
    { hub: "owner/name" },
    { hub: "owner/name", revision: "refs/pr/1" },
    { hub: "owner/name" },
    { hub: "owner/name", revision: "abc" },
    { url: "https://huggingface.co/owner/name/resolve/main/m.Q4_0.gguf" },
    { url: "https://example.org/folder/" },
    { url: "https://example.org/m.gguf?x" },
    { hub: "owner/name/" },
    { hub: "owner/name/sub/m.Q4_0.gguf", revision: "v2" },
    { hub: "owner/name", host: "https://mirror.example" },
    { hub: "owner/name", revision: "abc", host: "https://mirror.example" },
    { url: "https://mirror.example/owner/name/resolve/main/m.gguf" },
    { hub: "owner/name" },
  ]);
});

test("a stored model is known again by where it came from, and no other is taken for it", async () => {
  await visitor.page.goto(app.origin);
  const hub = "https://huggingface.co/owner/name/resolve/main/";
  const known = await visitor.page.evaluate(async (folder) => {
    const { fromFiles, isFor, parseSource } = await import(/** @type {string} */ ("/chat/sources.js"));
    const stored = (/** @type {object} */ facts) => ({ id: "x", name: "m.gguf", bytes: 1, complete: false, last_used: 0, ...facts });
    const files = fromFiles([new File(["GGUF"], "m.gguf")], true);
    const unnamed = fromFiles([new File(["{}"], "config.json")], true);
    /** @type {[object, object][]} */
    const pairs = [
      [{ url: folder }, parseSource("owner/name")],
      [{ url: `${folder}m.gguf` }, parseSource("owner/name")],
      [{ url: `${folder}m.gguf` }, { request: { hub: "owner/name/m.gguf" } }],
      [{ url: folder }, parseSource("owner/name@v2")],
      [{ url: folder.replace("main", "refs%2Fpr%2F1") }, parseSource("owner/name@refs/pr/1")],
      [{ url: "https://elsewhere.org/owner/name/resolve/main/" }, parseSource("owner/name")],
      [{ url: "https://elsewhere.org/owner/name/resolve/main/" }, { request: { hub: "owner/name", host: "https://elsewhere.org/" } }],
      [{ url: "https://example.org/m.gguf" }, parseSource("https://EXAMPLE.org/m.gguf#a")],
      [{ url: "https://example.org/m.gguf" }, { request: { url: "https://example.org/m.gguf#a" } }],
      [{ total: 4 }, files],
      [{ total: 5 }, files],
      [{ name: "other.gguf", total: 4 }, files],
      [{ total: 4, url: "https://example.org/m.gguf" }, files],
      [{ name: "local folder" }, unnamed],
    ];
    return pairs.map(([facts, choice]) => isFor(stored(facts), choice));
  }, hub);
  assert.deepEqual(known, [true, false, true, false, true, false, true, true, true, true, false, false, false, false]);
});

test("names of files and addresses may hold any character", async () => {
  await visitor.page.goto(app.origin);
  const names = await visitor.page.evaluate(async () => {
    const { fromFiles, parseSource } = await import(/** @type {string} */ ("/chat/sources.js"));
    const files = ["100%.gguf", "a#1?b.gguf", "plain%20.gguf"].map((name) => fromFiles([new File(["GGUF"], name)], false).name);
    const addresses = ["https://example.org/100%.gguf", "https://example.org/a%20b.gguf?x#y"].map((text) => parseSource(text).name);
    return [...files, ...addresses];
  });
  assert.deepEqual(names, ["100%", "a#1?b", "plain%20", "100%", "a b"]);
});

test("the list's model may be a page of Hugging Face", async () => {
  let url = "";
  await visitor.page.route("**/models.json", (route) => route.fulfill({ json: { default: { name: "Listed", url } } }));
  await visitor.page.goto(app.origin);
  const request = async (/** @type {string} */ address) => {
    url = address;
    return visitor.page.evaluate(async () => (await (await import(/** @type {string} */ ("/chat/sources.js"))).defaultModel()).request);
  };
  assert.deepEqual(await request("https://huggingface.co/owner/name"), { hub: "owner/name" });
  const file = "https://huggingface.co/owner/name/blob/main/m.gguf";
  assert.deepEqual(await request(file), { url: "https://huggingface.co/owner/name/resolve/main/m.gguf" });
  assert.deepEqual(await request("models/m.gguf"), { url: `${app.origin}/models/m.gguf` });
});

test("the list's digests go to the engine with the request", async () => {
  const digests = { "m.gguf": { sha256: "00".repeat(32), chunks: ["00".repeat(32)] } };
  await visitor.page.route("**/models.json", (route) => route.fulfill({ json: { default: { name: "Listed", url: "models/m.gguf", digests } } }));
  await visitor.page.addInitScript(() => {
    const post = Worker.prototype.postMessage;
    Worker.prototype.postMessage = function (/** @type {any} */ message) {
      if (message.type === "open") Reflect.set(globalThis, "opened", message.request);
      post.call(this, message);
    };
  });
  await visitor.begin(app.origin);
  const opened = await visitor.page.evaluate(() => Reflect.get(globalThis, "opened"));
  assert.deepEqual(opened, { url: `${app.origin}/models/m.gguf`, digests });
});

test("a file from disk is loaded by picker and by drop", async () => {
  await visitor.page.goto(app.origin);
  await visitor.chat.getByText("Use another model").click();
  const choosing = visitor.page.waitForEvent("filechooser");
  await visitor.button("Choose a file").click();
  await (await choosing).setFiles({ name: "picked.gguf", mimeType: "", buffer: Buffer.from("GGUF") });
  await visitor.button("picked").waitFor();
  await visitor.field.waitFor();
  const drop = (/** @type {string} */ name) =>
    visitor.chat.locator(".app").evaluate((target, fileName) => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File(["GGUF"], fileName));
      target.dispatchEvent(new DragEvent("dragover", { dataTransfer, cancelable: true, bubbles: true }));
      target.dispatchEvent(new DragEvent("drop", { dataTransfer, cancelable: true, bubbles: true }));
    }, name);
  await drop("holiday.jpg");
  await visitor.chat.getByText("There is no model among these files.").waitFor();
  await drop("dropped.gguf");
  await visitor.button("dropped").waitFor();
  await visitor.field.waitFor();
});

test("stored models are listed, loaded without the network, unloaded and deleted", async () => {
  await visitor.begin(app.origin);
  await visitor.page.reload();
  await visitor.field.waitFor();
  await visitor.button("Fake-135M").click();
  await visitor.button("Unload").click();
  await visitor.button("Load Fake-135M").waitFor();
  const before = visitor.requests.filter((url) => url.endsWith(".gguf")).length;
  await visitor.button("Load Fake-135M").click();
  await visitor.field.waitFor();
  assert.equal(visitor.requests.filter((url) => url.endsWith(".gguf")).length, before);
  await visitor.button("Fake-135M").click();
  await visitor.button("Delete Fake-135M").click();
  await visitor.button("Delete").click();
  await visitor.chat.getByRole("heading", { name: "Stored in this browser" }).waitFor({ state: "detached" });
  await visitor.button("Download and start").waitFor();
  await visitor.page.reload();
  await visitor.button("Download and start").waitFor();
});

test("a download that did not finish says how much is there, goes on, and can be deleted", async (t) => {
  const broken = await serveApp({ model: "models/half.gguf?fail=net/status&once" });
  t.after(() => broken.close());
  await visitor.page.goto(broken.origin);
  await visitor.button("Download and start").click();
  await visitor.button("Choose another model").click();
  await visitor.chat.getByRole("region", { name: "Suggested model" }).getByText(/49\.2 MB of it are there already\./).waitFor();
  const row = visitor.chat.getByRole("listitem").filter({ hasText: "unfinished" });
  await row.getByText("49.2 MB of 98.4 MB · unfinished · used just now").waitFor();
  assert.deepEqual(await row.getByRole("button").evaluateAll((buttons) => buttons.map((button) => button.getAttribute("aria-label"))), ["Go on with half", "Verify half", "Delete half"]);
  await visitor.button("Go on with half").click();
  await visitor.field.waitFor();
  await visitor.button("half").click();
  await visitor.chat.getByRole("listitem").getByText("98.4 MB · loaded · used just now").waitFor();
  await visitor.button("Delete half").click();
  await visitor.button("Delete").click();
  await visitor.chat.getByRole("listitem").filter({ hasText: "half" }).waitFor({ state: "detached" });
});

test("a model can be deleted while it is being downloaded", async (t) => {
  const slow = await serveApp({ model: "models/slow.gguf?slow" });
  t.after(() => slow.close());
  await visitor.page.goto(slow.origin);
  await visitor.button("Download and start").click();
  await visitor.button("Pause").click();
  await visitor.button("Go on").click();
  await visitor.chat.getByRole("progressbar", { name: "Downloading" }).waitFor();
  await visitor.button("Fake-135M").click();
  await visitor.chat.getByText(/MB of 98\.4 MB · on its way/).waitFor();
  await visitor.button("Delete slow").click();
  await visitor.button("Delete").click();
  await visitor.button("Delete slow").waitFor({ state: "detached" });
  await visitor.button("Download and start").waitFor();
  // The engine has ended before the model was deleted: nothing of it comes back.
  await visitor.page.waitForTimeout(300);
  await visitor.page.reload();
  await visitor.button("Download and start").waitFor();
  await visitor.chat.getByText(/Models and chats are kept in this browser's storage/).waitFor();
  assert.equal(await visitor.button("Delete slow").count(), 0);
});

/** Loads a model whose address ends in `steer`, and opens the list of what is stored. @param {string} steer */
async function manage(steer) {
  await visitor.page.goto(app.origin);
  await visitor.chat.getByText("Use another model").click();
  await visitor.chat.getByLabel("From the web").fill(`${app.origin}/models/mine.gguf?${steer}`);
  await visitor.button("Load").click();
  await visitor.field.waitFor();
  await visitor.button("mine").click();
  await visitor.button("Verify mine").waitFor();
}

for (const [steer, news] of [
  ["", "All 24 parts are intact."],
  ["damaged=1", "1 of 24 parts was damaged and has been fetched again."],
  ["damaged=2", "2 of 24 parts were damaged and have been fetched again."],
  ["damaged=2&lost", "2 of 24 parts were damaged."],
]) {
  test(`verifying tells what it found: ${steer || "nothing"}`, async () => {
    await manage(steer ?? "");
    await visitor.button("Verify mine").click();
    await visitor.chat.getByRole("status").getByText(news ?? "", { exact: true }).waitFor();
    assert.equal(await visitor.chat.evaluate((element) => element.shadowRoot?.activeElement?.textContent), "Verify");
  });
}

test("verifying and saving show how far they are, and can be stopped", async () => {
  await manage("stuck");
  for (const [tool, bar] of [["Verify mine", "Verifying mine"], ["Save as file: mine", "Reading mine"]]) {
    await visitor.button(tool ?? "").click();
    await visitor.chat.getByRole("progressbar", { name: bar ?? "" }).waitFor();
    await visitor.chat.getByText("0 bytes of 98.4 MB").waitFor();
    await visitor.button("Stop").click();
    await visitor.chat.getByRole("progressbar").waitFor({ state: "detached" });
    assert.equal(await visitor.chat.getByRole("alert").count(), 0);
  }
  // Leaving the list ends what runs there.
  await visitor.button("Verify mine").click();
  await visitor.chat.getByText("0 bytes of 98.4 MB").waitFor();
  // Besides those that help the engine.
  const engines = () => visitor.page.workers().filter((worker) => worker.url().endsWith("/worker.js"));
  await until(() => engines().length === 2);
  const gone = engines()[1]?.waitForEvent("close");
  await visitor.button("Back to the chat").click();
  await gone;
});

test("what changes while a model is verified is shown afterwards, and the focus stays", async () => {
  await manage("stuck");
  await visitor.chat.getByText("Use another model").click();
  await visitor.chat.getByLabel("From the web").fill(`${app.origin}/models/slow.gguf?late&slow=400`);
  await visitor.button("Load").click();
  await visitor.button("slow").click();
  const row = visitor.chat.getByRole("listitem").filter({ hasText: "slow" });
  // The list was there before the first bytes were.
  await row.getByText("on its way").waitFor();
  assert.equal(await visitor.button("Verify slow").count(), 0);
  await visitor.button("Verify mine").click();
  await visitor.chat.getByText("slow is ready").waitFor({ state: "attached" });
  await row.getByText("on its way").waitFor();
  await visitor.button("Stop").click();
  await row.getByText("98.4 MB · loaded").waitFor();
  assert.equal(await visitor.chat.evaluate((element) => element.shadowRoot?.activeElement?.getAttribute("aria-label")), "Verify mine");
});

test("verifying waits while another tab has the model, and can be stopped meanwhile", async () => {
  await manage("");
  await visitor.page.evaluate((name) => {
    navigator.locks.request(name, () => new Promise((resolve) => Reflect.set(globalThis, "release", resolve)));
  }, `pagellama ${app.origin}/models/mine.gguf?`);
  for (const way of ["stop", "wait"]) {
    await visitor.button("Verify mine").click();
    await visitor.chat.getByText("Waiting for another tab").waitFor();
    if (way === "stop") await visitor.button("Stop").click();
    else await visitor.page.evaluate("release()");
  }
  await visitor.chat.getByText("All 24 parts are intact.").waitFor();
});

test("a model is saved as the files that it came in", async () => {
  await manage("parts");
  /** @type {Record<string, string>} */
  const saved = {};
  visitor.page.on("download", async (download) => (saved[download.suggestedFilename()] = readFileSync(await download.path(), "utf8")));
  await visitor.button("Save as file: mine").click();
  await visitor.chat.getByText("2 files are in the browser's downloads.").waitFor();
  while (Object.keys(saved).length < 2) await visitor.page.waitForTimeout(20);
  assert.deepEqual(saved, { "config.json": "bytes of config.json", "model.safetensors": "bytes of model.safetensors" });
});

test("the list says how much is stored, where, and whether the browser will keep it", async () => {
  await visitor.page.addInitScript(() => {
    let kept = false;
    const asked = /** @type {any} */ (globalThis);
    asked.asked = 0;
    StorageManager.prototype.estimate = async () => ({ usage: 123_400_000, quota: 9_870_000_000 });
    StorageManager.prototype.persisted = async () => kept;
    StorageManager.prototype.persist = async () => (kept = ++asked.asked > 2);
  });
  await visitor.begin(app.origin);
  await visitor.button("Fake-135M").click();
  const section = visitor.chat.getByRole("region", { name: "Stored models" });
  await section.getByText(/\(IndexedDB\) for 127\.0\.0\.1:\d+, which takes 123 MB of at most 9\.87 GB\. Delete models here/).waitFor();
  await section.getByText("The browser may clear it when disk space runs short.").waitFor();
  assert.equal(await visitor.page.evaluate("asked"), 1, "asked before the download");
  await section.getByRole("button", { name: "Ask the browser to keep it" }).click();
  await section.getByText(/does not promise to keep it yet/).waitFor();
  await visitor.button("Back to the chat").click();
  await visitor.button("Fake-135M").click();
  await section.getByRole("button", { name: "Ask the browser to keep it" }).click();
  await section.getByText("The browser has promised to keep it.").waitFor();
});

for (const code of ["store/no-space", "store/quota"]) {
  test(`where there is no room, others can be deleted, or no copy is kept: ${code}`, async () => {
    await visitor.begin(app.origin);
    await visitor.button("Fake-135M").click();
    await visitor.chat.getByText("Use another model").click();
    await visitor.chat.getByLabel("From the web").fill(`${app.origin}/models/large.gguf?crowded=${code}`);
    await visitor.button("Load").click();
    const alert = visitor.chat.getByRole("alert");
    await alert.getByText("There is no room for this model.").waitFor();
    await visitor.button("Go on without keeping it").click();
    await visitor.field.waitFor();
    await visitor.button("large").click();
    await visitor.chat.getByRole("listitem").filter({ hasText: "Fake-135M" }).waitFor();
    assert.equal(await visitor.chat.getByRole("listitem").filter({ hasText: "large" }).count(), 0);
    await visitor.chat.getByText("Use another model").click();
    await visitor.chat.getByLabel("From the web").fill(`${app.origin}/models/large.gguf?crowded=${code}`);
    await visitor.button("Load").click();
    await alert.getByText("98.4 MB").waitFor();
    await alert.getByRole("button", { name: "Delete Fake-135M" }).click();
    await visitor.button("Delete").click();
    await alert.getByRole("button", { name: "Delete Fake-135M" }).waitFor({ state: "detached" });
    await visitor.button("Try again").click();
    await visitor.field.waitFor();
    await visitor.button("large").click();
    await visitor.chat.getByRole("listitem").filter({ hasText: "large" }).getByText("loaded").waitFor();
  });
}

test("what can be clicked stays where it is when the list of stored models comes", async () => {
  /** @type {() => void} */
  let arrive = () => {};
  const late = new Promise((resolve) => (arrive = () => resolve(undefined)));
  await visitor.page.route("**/pkg/*.js", async (route) => {
    await late;
    await route.continue();
  });
  await visitor.page.goto(app.origin);
  const places = () => Promise.all([visitor.button("Download and start"), visitor.chat.getByText("Use another model")].map((one) => one.boundingBox()));
  await visitor.button("Download and start").waitFor();
  const before = await places();
  arrive();
  await visitor.chat.getByText(/Models and chats are kept/).waitFor();
  assert.deepEqual(await places(), before);
});

test("times are told as people say them", async () => {
  await visitor.page.goto(app.origin);
  const said = await visitor.page.evaluate(async () => {
    const { ago } = await import(/** @type {string} */ ("/chat/format.js"));
    const now = Date.UTC(2026, 5, 15);
    return [0, 59, 60, 7199, 86_400, 10 * 86_400, 40 * 86_400, 800 * 86_400, -5].map((seconds) => ago(now - seconds * 1000, now));
  });
  assert.deepEqual(said, ["just now", "just now", "1 minute ago", "1 hour ago", "yesterday", "last week", "last month", "2 years ago", "just now"]);
});

test("a build without a model asks for one", async () => {
  await visitor.page.route("**/models.json", (route) => route.fulfill({ json: {} }));
  await visitor.page.goto(app.origin);
  await visitor.chat.getByLabel("From the web").waitFor();
  assert.equal(await visitor.button("Download and start").count(), 0);
});
