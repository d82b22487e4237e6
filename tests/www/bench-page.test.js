// The page of measurements with the fake engine: what it asks before it downloads, shows, leaves out, gives away, and how it stops.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { accessible, AXE } from "./support/accessible.js";
import { launch, serveApp, Visitor } from "./support/page.js";
import { open, visitEach } from "./support/setup.js";

const [browser, app, busy] = await open(
  launch(),
  serveApp({ model: "models/Fake-135M.gguf?context=4096" }),
  serveApp({ model: "models/busy.gguf?busy&context=4096" }),
);
/** @type {Visitor} */
let visitor;
visitEach(browser, (arrived) => (visitor = arrived));

const button = (/** @type {string} */ name) => visitor.page.getByRole("button", { name, exact: true });
const rows = async (/** @type {string | RegExp} */ table) => {
  const found = visitor.page.getByRole("table", { name: table }).locator("tbody tr");
  return Promise.all((await found.all()).map(async (row) => (await row.locator("th, td").allInnerTexts()).map((text) => text.replaceAll("\u00a0", " ").trim())));
};

/** @param {{origin: string}} [site] @param {string} [name] of the button */
async function begin(site = app, name = "Download and measure") {
  await visitor.page.goto(`${site.origin}/bench.html`);
  await button(name).click();
}

/** @param {{origin: string}} [site] */
async function measured(site) {
  await begin(site);
  await button("Measure again").waitFor();
}

/** @returns {Promise<import("../../www/bench/report.js").Report>} */
async function copied() {
  await button("Copy as JSON").click();
  await button("Copied").waitFor();
  return JSON.parse(await visitor.page.evaluate(() => navigator.clipboard.readText()));
}

test("nothing of a model is asked for before a click, and what a click downloads is said", async () => {
  await visitor.page.goto(`${app.origin}/bench.html`);
  await visitor.page.getByText("98.4 MB, Apache-2.0 licence").waitFor();
  assert.deepEqual(visitor.requests.filter((url) => url.includes("/models/")), []);
  await visitor.page.getByRole("link", { name: "Back to the chat" }).click();
  await visitor.button("Download and start").waitFor();
});

test("its rule of what may run and be asked for is the chat's", async () => {
  const policy = async (/** @type {string} */ page) => /http-equiv="Content-Security-Policy" content="([^"]+)"/.exec(await readFile(new URL(`../../www/${page}`, import.meta.url), "utf8"))?.[1];
  assert.ok(await policy("bench.html"));
  assert.equal(await policy("bench.html"), await policy("index.html"));
});

test("every size is measured and compared with the adapter's limits", async () => {
  await measured();
  assert.deepEqual(await rows("Reading a prompt"), [
    ["32", "180", "412 ms"],
    ["256", "180", "412 ms"],
    ["1,024", "180", "412 ms"],
  ]);
  assert.deepEqual((await rows("Writing")).map(([context, speed]) => [context, speed]), [
    ["32", "23.4"],
    ["512", "23.4"],
    ["2,048", "23.4"],
  ]);
  const [, , read, part] = (await rows("Writing"))[0] ?? [];
  // 98.4 MB of weights and 33 positions, at 23.4 tokens/s of 100 GB/s.
  assert.deepEqual([read, part], ["99.1 MB", "2.3 %"]);
  assert.equal(await visitor.page.getByText("Left out").count(), 0);
  await visitor.page.getByText("4.00 TFLOP/s").waitFor();
  assert.match(await visitor.page.locator(".facts-list").innerText(), /Kernels chosen\s+portable\s+Chosen in\s+2\.50\sms/);
});

test("the kernels of each run are there to choose", async () => {
  await measured();
  const [product] = await rows(/^Kernels: One token after 32/);
  assert.match(product?.[0] ?? "", /^matvec_slices\s+30 dispatches · 98\.4 MB · 269 MFLOP$/);
  assert.deepEqual(product?.slice(1), ["1.54 ms, 98 %", "64 % of bandwidth"]);
  await visitor.page.getByLabel("What runs").selectOption("128 tokens of a prompt");
  const [matmul] = await rows(/^Kernels: 128 tokens/);
  assert.match(matmul?.[2] ?? "", /^64 % of arithmetic$/);
});

test("what was measured can be copied and saved", async () => {
  await measured();
  const report = await copied();
  assert.deepEqual(report.prefill.map(({ tokens }) => tokens), [32, 256, 1024]);
  assert.deepEqual(report.decode.map(({ context }) => context), [32, 512, 2048]);
  assert.deepEqual(report.adapter, { bytes_per_second: 100e9, flops_per_second: 4e12 });
  assert.deepEqual(report.profiles.map(({ tokens, position }) => [tokens, position]), [[1, 32], [1, 512], [1, 2048], [128, 0]]);
  assert.equal(report.load.from, "network");
  assert.equal(report.model.name, "Fake-135M");
  const [download] = await Promise.all([visitor.page.waitForEvent("download"), button("Save as JSON").click()]);
  assert.match(download.suggestedFilename(), /^pagellama-\d{4}-\d\d-\d\d\.json$/);
  assert.deepEqual(JSON.parse(await readFile(await download.path(), "utf8")), report);
});

test("a stored model is measured without a download", async () => {
  await visitor.begin(app.origin);
  await begin(app, "Measure");
  await button("Measure again").waitFor();
  assert.equal((await copied()).load.from, "browser");
});

test("a slow adapter is spared the large sizes, and a small context what does not fit", async () => {
  const slow = await serveApp({ model: "models/slow.gguf?rate=20&context=600" });
  await measured(slow);
  assert.deepEqual((await rows("Reading a prompt")).map(([tokens]) => tokens), ["32", "256"]);
  assert.deepEqual((await rows("Writing")).map(([context]) => context), ["32", "512"]);
  const { left_out } = await copied();
  assert.deepEqual(left_out, [
    { what: "Reading 1,024 tokens", why: "the model’s context has room for 600" },
    { what: "Writing after 2,048 tokens", why: "the model’s context has room for 600" },
  ]);
  await visitor.page.getByText("Reading 1,024 tokens: the model’s context has room for 600.").waitFor();
  await slow.close();
  const slower = await serveApp({ model: "models/slower.gguf?rate=10" });
  await measured(slower);
  assert.deepEqual((await rows("Reading a prompt")).map(([tokens]) => tokens), ["32"]);
  await visitor.page.getByText("Reading 256 tokens: it would take about 26 s here.").waitFor();
  await visitor.page.getByText("Looking at the kernels of a prompt: it would take about 26 s here.").waitFor();
  await slower.close();
});

test("an adapter that tells no times gives speeds and bandwidth all the same", async () => {
  const untimed = await serveApp({ model: "models/untimed.gguf?untimed" });
  await measured(untimed);
  assert.equal((await rows("Writing"))[0]?.[3], "2.3 %");
  await visitor.page.getByText("does not tell how long a kernel takes").waitFor();
  assert.equal((await copied()).profiles[0]?.kernels[0]?.microseconds, null);
  await untimed.close();
});

test("a download stops, and so does a measurement, which keeps what it has", async () => {
  const slow = await serveApp({ model: "models/slow.gguf?slow=200" });
  await begin(slow);
  await visitor.page.getByRole("progressbar", { name: "Downloading" }).waitFor();
  await button("Cancel").click();
  await visitor.page.getByText("What arrived of the model stays stored.").waitFor();
  await slow.close();
  await begin();
  await visitor.page.getByRole("progressbar", { name: "Writing after 512 tokens" }).waitFor();
  await button("Stop").click();
  await visitor.page.getByText("What was measured until then is below.").waitFor();
  assert.ok((await rows("Reading a prompt")).length >= 1);
  assert.equal((await rows("Writing")).length, 1);
  await button("Measure").click();
  await button("Measure again").waitFor();
});

test("a model of which no copy could be kept is not said to be stored", async () => {
  const full = await serveApp({ model: "models/full.gguf?full&slow=100" });
  await begin(full);
  await button("Download and measure again").waitFor();
  await visitor.page.getByText("No copy was kept: the disk is full.").waitFor();
  await button("Download and measure again").click();
  await button("Cancel").click();
  await visitor.page.getByText("Nothing of the model was kept.").waitFor();
  await full.close();
});

test("what the engine cannot stop in the middle of is not waited for", async () => {
  await begin(busy);
  await visitor.page.getByRole("progressbar", { name: "Looking at the kernels of a prompt" }).waitFor();
  await button("Stop").click();
  await visitor.page.getByText("What was measured until then is below.").waitFor();
  assert.equal((await rows("Writing")).length, 3);
});

test("what goes wrong is said, and can be tried again", async () => {
  const broken = await serveApp({ model: "models/broken.gguf?fail=net/offline&message=The+network+is+gone.&once" });
  await begin(broken);
  await visitor.page.getByRole("alert").getByText("The network is gone.").waitFor();
  await button("Try again").click();
  await button("Measure again").waitFor();
  await broken.close();
});

test("the chat's figures lead to the page", async () => {
  await visitor.begin(app.origin);
  const answer = await visitor.say("hello");
  await answer.locator("summary").click();
  await answer.getByRole("link", { name: "Measure this machine" }).click();
  await button("Measure").waitFor();
});

test("the keyboard's focus is never lost", async () => {
  const focused = () => visitor.page.evaluate(() => document.activeElement?.textContent);
  await visitor.page.goto(`${app.origin}/bench.html`);
  await button("Download and measure").focus();
  await visitor.page.keyboard.press("Enter");
  await button("Stop").waitFor();
  assert.equal(await focused(), "Stop");
  await button("Measure again").waitFor();
  assert.equal(await focused(), "Measure again");
});

for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
  for (const viewport of [{ width: 1280, height: 800 }, { width: 360, height: 740 }]) {
    test(`it is accessible and fits: ${colorScheme}, ${viewport.width} px`, async () => {
      const guest = await Visitor.arrive(browser, { colorScheme, viewport, reducedMotion: "reduce", bypassCSP: true });
      const named = (/** @type {string} */ name) => guest.page.getByRole("button", { name, exact: true });
      await guest.page.addInitScript(AXE);
      await guest.page.goto(`${app.origin}/bench.html`);
      await named("Download and measure").waitFor();
      await accessible(guest, "the choice");
      await named("Download and measure").click();
      await named("Measure again").waitFor();
      await accessible(guest, "the figures");
      await guest.page.goto(`${busy.origin}/bench.html`);
      await named("Download and measure").click();
      await guest.page.getByRole("progressbar", { name: "Looking at the kernels of a prompt" }).waitFor();
      await accessible(guest, "measuring");
      await guest.leave();
    });
  }
}
