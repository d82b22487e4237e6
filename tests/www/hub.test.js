// Repositories by id, with the real engine: gated ones and their tokens, the choice among several models, mirrors, licences.

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { accessible, AXE } from "./support/accessible.js";
import { HubServer } from "./support/hub-server.js";
import { launch, madeModel, serve, serveBlank, serveEngine, Visitor } from "./support/page.js";
import { open, visitEach } from "./support/setup.js";

const SECRET = "hf_ATokenOfATest";
const LICENCE = "Llama 2 Community License";
const file = madeModel("synthetic-40mb.gguf");
const folder = (/** @type {string[]} */ ...names) => Object.fromEntries(names.map((name) => [name, join(madeModel("llama2-tiny"), name)]));

const [browser, app, hub, blank] = await open(
  launch(),
  serveEngine(),
  HubServer.start({
    "o/gated": { files: { "README.md": file, "m.gguf": file }, token: SECRET },
    "o/gated-too": { files: { "m.gguf": file }, token: SECRET },
    "o/several": { files: { "config.json": file, "a.Q4_0.gguf": file, "sub/b-00001-of-00002.gguf": file, "sub/b-00002-of-00002.gguf": file } },
    "o/pytorch": { files: { ...folder("config.json"), "pytorch_model.bin": file } },
    "o/free": { files: { "m.gguf": file } },
  }),
  serveBlank(),
);
/** @type {Visitor} */
let visitor;
visitEach(browser, (arrived) => ((visitor = arrived), visitor.page.setDefaultTimeout(60_000), hub.forget()));

/**
 * Asks for a model as a developer would.
 * @param {Record<string, string>} model
 * @returns {Promise<{error?: {code: string, message: string, advice: string, choices?: {hub: string, bytes: number}[]}, id?: string}>}
 */
async function ask(model) {
  if (!visitor.page.url().startsWith(blank.origin)) await visitor.page.goto(blank.origin);
  const order = { engine: app.address, model: { host: hub.origin, ...model } };
  return visitor.page.evaluate(async ({ engine, model }) => {
    const { load } = await import(`${engine}engine.js`);
    try {
      const loaded = await load({ model, store: false, tune: false, device: "cpu" });
      await loaded.unload();
      return { id: loaded.info.id };
    } catch (error) {
      return { error: { .../** @type {any} */ (error), message: /** @type {any} */ (error).message } };
    }
  }, order);
}

/** Opens the page and asks for a repository of the test's hub. @param {string} repository */
async function type(repository) {
  await visitor.chat.getByText("Use another model").click();
  if (await visitor.chat.getByText("Repositories come from huggingface.co").isVisible()) await mirror();
  await visitor.chat.getByLabel("From the web").fill(repository);
  await visitor.button("Load").click();
}

async function mirror() {
  await visitor.chat.getByText("Repositories come from huggingface.co").click();
  await visitor.chat.getByLabel("Address of the hub").fill(`${hub.origin}/`);
  await visitor.button("Use").click();
  await visitor.chat.getByText(`Repositories come from ${new URL(hub.origin).host}`).waitFor();
}

/** Everything that the page keeps, as text. */
function kept() {
  return visitor.page.evaluate(async () => {
    const texts = [JSON.stringify({ ...localStorage }), JSON.stringify({ ...sessionStorage }), document.cookie];
    for (const { name = "" } of await indexedDB.databases()) {
      const database = await new Promise((/** @type {(value: IDBDatabase) => void} */ resolve) => {
        const request = indexedDB.open(name);
        request.onsuccess = () => resolve(request.result);
      });
      for (const store of database.objectStoreNames) {
        if (store === "chunks") continue;
        const request = database.transaction(store).objectStore(store).getAll();
        texts.push(JSON.stringify(await new Promise((resolve) => (request.onsuccess = () => resolve(request.result)))));
      }
      database.close();
    }
    return texts.join("\n");
  });
}

test("a token opens a gated repository, and goes to the hub alone", async () => {
  const without = await ask({ hub: "o/gated" });
  assert.equal(without.error?.code, "hub/gated");
  assert.match(without.error?.advice ?? "", /Accept the licence on the repository's page, and give a token/);
  const wrong = await ask({ hub: "o/gated", token: "hf_Another" });
  assert.equal(wrong.error?.code, "hub/gated");
  assert.doesNotMatch(JSON.stringify(wrong), /hf_Another/);
  assert.equal(hub.elsewhere.length, 0);
  hub.forget();

  const { id, error } = await ask({ hub: "o/gated", token: SECRET });
  assert.equal(error, undefined);
  assert.match(id ?? "", /\/o\/gated\/resolve\/c0ffee0+\/m\.gguf$/);
  const requests = hub.asked.filter(({ method }) => method === "GET");
  assert.ok(requests.length > 5 && requests.every(({ authorization }) => authorization === `Bearer ${SECRET}`));
  assert.ok(hub.elsewhere.length > 5, "the bytes come from elsewhere");
  assert.deepEqual(hub.elsewhere.filter(({ authorization }) => authorization !== undefined), [], "the token went to another server");
});

test("what is damaged of a gated model is fetched again with a token, and not without", async () => {
  await visitor.page.goto(blank.origin);
  const found = await visitor.page.evaluate(
    async ({ engine, model }) => {
      const { load, verifyModel } = await import(`${engine}engine.js`);
      const { damage, manifests } = await import(/** @type {string} */ ("/fault-client.js"));
      const loaded = await load({ model, tune: false, device: "cpu" });
      await loaded.unload();
      const [{ id, files }] = await manifests();
      await damage({ id, file: files[0].name, start: 0, harm: "change" });
      const without = await verifyModel(id);
      return [without, await verifyModel(id, { token: model.token }), await verifyModel(id)];
    },
    { engine: app.address, model: { host: hub.origin, hub: "o/gated", token: SECRET } },
  );
  assert.deepEqual(found.map(({ damaged, repaired }) => [damaged.length, repaired]), [[1, 0], [1, 1], [0, 0]]);
  assert.ok(hub.asked.some(({ authorization }) => authorization === undefined), "it was tried without a token");
});

test("each refusal says what is wrong and what to do", async () => {
  for (const [model, code, message] of /** @type {const} */ ([
    [{ hub: "o/absent" }, "hub/no-repository", /no repository o\/absent/],
    [{ hub: "o/absent", token: SECRET }, "hub/no-repository", /no repository o\/absent/],
    [{ hub: "o/free", revision: "v9" }, "hub/no-revision", /o\/free has no revision v9/],
    [{ hub: "o/free/absent.gguf" }, "hub/no-file", /o\/free has no file absent\.gguf/],
    [{ hub: "o/pytorch" }, "weights/not-a-model", /PyTorch/],
    [{ hub: "o/free", token: "two words" }, "generate/bad-request", /token/],
  ])) {
    const { error } = await ask(model);
    assert.equal(error?.code, code, error?.message);
    assert.match(error?.message ?? "", message);
    assert.match(error?.advice ?? "", /\.$/);
  }
  assert.doesNotMatch(JSON.stringify(await ask({ hub: "o/free", token: "two words" })), /two words/);
});

test("a repository of several models is refused with the choices, parts as one", async () => {
  const { error } = await ask({ hub: "o/several" });
  assert.equal(error?.code, "hub/several");
  assert.match(error?.message ?? "", /a\.Q4_0\.gguf, sub\/b-00001-of-00002\.gguf\.$/);
  const [first, second] = error?.choices ?? [];
  assert.equal(error?.choices?.length, 2);
  assert.deepEqual([first?.hub, second?.hub], ["o/several/a.Q4_0.gguf", "o/several/sub/b-00001-of-00002.gguf"]);
  assert.equal(second?.bytes, 2 * (first?.bytes ?? 0));
  const { bytes, ...model } = /** @type {any} */ (first);
  assert.match((await ask(model)).id ?? "", /a\.Q4_0\.gguf$/);
});

test("the page asks for a token where one is wanted, and keeps it in memory alone", async () => {
  await visitor.page.goto(app.address);
  await type("o/gated");
  const token = visitor.chat.getByLabel("Token");
  await token.waitFor();
  assert.deepEqual(await token.evaluate((/** @type {HTMLInputElement} */ { type, autocomplete }) => [type, autocomplete]), ["password", "off"]);
  await visitor.chat.getByText(/is gated: it asks who downloads it/).waitFor();
  await token.fill("hf_Another");
  await token.press("Enter");
  await visitor.chat.getByText(/has no access to the repository o\/gated/).waitFor();
  assert.equal(await visitor.chat.evaluate((element) => element.shadowRoot?.activeElement?.id), "token");
  await visitor.chat.getByLabel("Token").fill(SECRET);
  await visitor.button("Use token").click();
  await visitor.field.waitFor();
  assert.deepEqual(hub.elsewhere.filter(({ authorization }) => authorization !== undefined), []);
  const stored = await kept();
  assert.match(stored, /o\/gated/);
  assert.doesNotMatch(stored, /hf_/);
  // The same server again, in the same visit.
  await visitor.chat.locator(".model-button").click();
  await type("o/gated-too");
  await visitor.field.waitFor();
  // The next visit has the models, the mirror, and no token.
  await visitor.page.reload();
  await visitor.field.waitFor();
  await visitor.chat.locator(".model-button").click();
  await visitor.chat.getByText("Use another model").click();
  await visitor.chat.getByText(`Repositories come from ${new URL(hub.origin).host}`).waitFor();
  await visitor.chat.getByLabel("From the web").fill("o/gated@c0ffee0000000000000000000000000000000000");
  await visitor.button("Load").click();
  await visitor.chat.getByLabel("Token").waitFor();
});

test("a stored model that needs repair asks for the token again", async () => {
  await visitor.page.goto(app.address);
  await type("o/gated");
  await visitor.chat.getByLabel("Token").fill(SECRET);
  await visitor.button("Use token").click();
  await visitor.field.waitFor();
  await visitor.page.evaluate(async () => {
    const database = await new Promise((/** @type {(value: IDBDatabase) => void} */ resolve) => {
      const request = indexedDB.open("pagellama");
      request.onsuccess = () => resolve(request.result);
    });
    const transaction = database.transaction("chunks", "readwrite");
    const first = transaction.objectStore("chunks").openCursor();
    first.onsuccess = () => first.result?.delete();
    await new Promise((resolve) => (transaction.oncomplete = resolve));
    database.close();
  });
  await visitor.page.reload();
  await visitor.chat.getByLabel("Token").fill(SECRET);
  await visitor.button("Use token").click();
  await visitor.field.waitFor();
});

test("the page lists the models of a repository to choose from", async () => {
  await visitor.page.goto(app.address);
  await type("o/several");
  const note = visitor.chat.getByRole("note");
  await note.getByText("several holds several models.").waitFor();
  const rows = await note.getByRole("listitem").allInnerTexts();
  assert.deepEqual(rows.map((row) => row.split("\n").filter(Boolean).slice(0, 2)), [
    ["a.Q4_0.gguf", "43.5 MB"],
    ["sub/b-00001-of-00002.gguf", "87.0 MB"],
  ]);
  await visitor.button("Load a.Q4_0.gguf").click();
  await visitor.field.waitFor();
  await visitor.button("a.Q4_0").waitFor();
});

/** Puts a list in the place of the known models. @param {{name: string, hub: string, about: number, licence: string}[]} models */
async function publish(models) {
  const { licences } = JSON.parse(await (await fetch(`${app.address}catalog.json`)).text());
  await visitor.page.route("**/catalog.json", (route) => route.fulfill({ json: { licences, models } }));
}

test("a licence is shown before the download, and accepted once", async (t) => {
  // A page of another origin has no service worker that would answer for the list.
  const site = await serve([], { "/": { body: `<!doctype html><script type="module" src="${app.address}widget.js"></script><llama-chat></llama-chat>` } });
  t.after(() => site.close());
  await publish([
    { name: "Licensed", hub: "o/free", about: 43e6, licence: LICENCE },
    { name: "Also licensed", hub: "o/several/a.Q4_0.gguf", about: 43e6, licence: LICENCE },
  ]);
  await visitor.page.goto(site.origin);
  await visitor.chat.getByText("Use another model").click();
  await mirror();
  await visitor.chat.getByText(`about 43 MB · ${LICENCE}`).first().waitFor();
  const dialog = visitor.chat.getByRole("dialog", { name: `Licensed: ${LICENCE}` });
  await visitor.button("Download Licensed").click();
  const terms = dialog.getByRole("link", { name: "licence" });
  assert.equal(await terms.getAttribute("href"), "https://ai.meta.com/llama/license/");
  await visitor.button("Cancel").click();
  await dialog.waitFor({ state: "detached" });
  assert.deepEqual(hub.asked, []);
  // Typed by hand it is the same model.
  await visitor.chat.getByLabel("From the web").fill("O/Free");
  await visitor.button("Load").click();
  await visitor.button("Cancel").click();
  await visitor.button("Download Licensed").click();
  await visitor.button("Accept and go on").click();
  await visitor.field.waitFor();
  await visitor.chat.locator(".model-button").click();
  await visitor.chat.getByText("Use another model").click();
  await visitor.button("Load Licensed").waitFor();
  await visitor.page.reload();
  await visitor.chat.getByText("Use another model").click();
  await visitor.button("Download Also licensed").click();
  await visitor.button("Also licensed").waitFor();
  await visitor.field.waitFor();
});

test("the element takes a mirror and asks for the licence as the page does", async (t) => {
  const html = `<!doctype html><script type="module" src="${app.address}widget.js"></script>
    <llama-chat hub="o/free" hub-host="${hub.origin}" model-name="Mine" model-licence="${LICENCE}"></llama-chat>`;
  const site = await serve([], { "/": { body: html } });
  t.after(() => site.close());
  await visitor.page.goto(site.origin);
  await visitor.chat.getByText(`${LICENCE} · from ${new URL(hub.origin).host}`).waitFor();
  await visitor.button("Download and start").click();
  await visitor.chat.getByRole("dialog", { name: `Mine: ${LICENCE}` }).waitFor();
  assert.deepEqual(hub.asked, []);
  await visitor.button("Accept and go on").click();
  await visitor.field.waitFor();
});

test("the address of the hub has to be one", async () => {
  await visitor.page.goto(app.address);
  await visitor.chat.getByText("Use another model").click();
  await visitor.chat.getByText("Repositories come from huggingface.co").click();
  const address = visitor.chat.getByLabel("Address of the hub");
  await address.fill("not an address");
  await address.press("Enter");
  await visitor.chat.getByText("This is not the address of a hub.").waitFor();
  await address.fill("mirror.example");
  await address.press("Enter");
  await visitor.chat.getByText("Repositories come from mirror.example").waitFor();
  await visitor.page.reload();
  await visitor.chat.getByText("Use another model").click();
  await visitor.chat.getByText("Repositories come from mirror.example").click();
  await address.fill("");
  await address.press("Enter");
  await visitor.chat.getByText("Repositories come from huggingface.co").waitFor();
});

for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
  for (const viewport of [{ width: 1280, height: 800 }, { width: 360, height: 740 }]) {
    test(`token, choices and licence are accessible and fit: ${colorScheme}, ${viewport.width} px`, async (t) => {
      const seen = await Visitor.arrive(browser, { colorScheme, viewport, reducedMotion: "reduce", bypassCSP: true });
      t.after(() => seen.leave());
      seen.page.setDefaultTimeout(60_000);
      visitor = seen;
      await visitor.page.addInitScript(AXE);
      await visitor.page.goto(app.address);
      await type("o/gated");
      await visitor.chat.getByLabel("Token").waitFor();
      await look("a token");
      await visitor.button("Choose another model").click();
      await type("o/several");
      await visitor.chat.getByRole("note").waitFor();
      await look("choices");
      await visitor.button("Choose another model").click();
      await visitor.chat.getByText("Use another model").click();
      await visitor.chat.getByText("Repositories come from").click();
      await visitor.chat.getByText("a token is needed").click();
      await look("the list of known models");
      await visitor.button("Download Llama-2-7B-Chat").click();
      await visitor.chat.getByRole("dialog").waitFor();
      await look("a licence");
    });
  }
}

/** Checks what is shown, and takes a picture where `PICTURES` names a folder for it. @param {string} what */
async function look(what) {
  const { width = 0 } = visitor.page.viewportSize() ?? {};
  const scheme = await visitor.page.evaluate(() => (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  if (process.env.PICTURES) await visitor.page.screenshot({ path: join(process.env.PICTURES, `${what} ${scheme} ${width}.png`) });
  await accessible(visitor, what);
}
