// What every test of the page needs: servers, a browser, a fresh profile, and short words for what a visitor does.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { launch } from "./browser.js";
import { CONTENT_SECURITY_POLICY, serve } from "./server.js";

/** @import { Browser, BrowserContextOptions, Locator, Page as BrowserPage } from "playwright-core" */
/** @import { Server } from "./server.js" */

const here = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));
const WWW = here("../../../www");
/** Whichever module the page chooses. */
const FAKE = Object.fromEntries(
  ["webgpu", "cpu", "cpu-relaxed"].map((module) => [`/pkg/${module}.js`, { type: "text/javascript", body: readFileSync(here("fake-engine.js")) }]),
);

/**
 * The model list; a test names another address for it to steer the fake engine.
 * @param {string} [url]
 */
const models = (url = "models/Fake-135M.gguf") =>
  JSON.stringify({ default: { name: "Fake-135M", url, bytes: 98_362_432, licence: "Apache-2.0" } });

/**
 * Serves the page with the fake engine in the place of the wasm.
 *
 * @param {{model?: string}} [options]
 * @returns {Promise<Server>}
 */
export function serveApp({ model } = {}) {
  const list = { type: "application/json", body: models(model) };
  return serve([WWW], { ...FAKE, "/models.json": list }, CONTENT_SECURITY_POLICY);
}

/**
 * The built page with the real engine and the default model: the one that `PAGELLAMA_URL` names, else `dist/`.
 *
 * @returns {Promise<{address: string, close: () => Promise<void>}>} its address ends in "/"
 */
export async function serveEngine() {
  const running = process.env.PAGELLAMA_URL;
  if (running) return { address: running, close: async () => undefined };
  const { origin, close } = await serve([here("../../../dist")], {}, CONTENT_SECURITY_POLICY);
  return { address: `${origin}/`, close };
}

/**
 * Where a model lies that is too large to be kept in the repository.
 * @param {string} name in the folder that `PAGELLAMA_MODELS` names
 */
export function madeModel(name) {
  const folder = process.env.PAGELLAMA_MODELS;
  if (!folder) throw new Error("PAGELLAMA_MODELS is not set: run `cargo xtask test`, which makes the models");
  return join(folder, name);
}

/**
 * All such models, served from another origin than the page's.
 * @returns {Promise<Server>}
 */
export function serveMadeModels() {
  return serve([madeModel("")]);
}

/**
 * A blank page of another origin than the engine's, and beside it the modules that tests load into a page.
 * @returns {Promise<Server>}
 */
export function serveBlank() {
  return serve([here(".")], { "/": { body: "<!doctype html><title>A page of somebody else's</title>" } });
}

/** A visitor: a browser context with nothing stored, and everything that went wrong in it. */
export class Visitor {
  /** Uncaught errors, dialogs and CSP violations. @type {string[]} */
  problems = [];
  /** Every address that was asked for. @type {string[]} */
  requests = [];

  /**
   * @param {BrowserPage} page
   */
  constructor(page) {
    this.page = page;
    this.chat = page.locator("llama-chat").first();
    page.on("pageerror", (error) => this.problems.push(`error: ${error.message}`));
    page.on("console", (message) => {
      if (/Content Security Policy|Refused to/.test(message.text())) this.problems.push(message.text());
    });
    page.on("dialog", (dialog) => {
      // Who leaves in the middle of a download is asked, and leaves.
      if (dialog.type() === "beforeunload") return dialog.accept();
      this.problems.push(`dialog: ${dialog.message()}`);
      return dialog.dismiss();
    });
    page.context().on("request", (request) => this.requests.push(request.url()));
  }

  /**
   * @param {Browser} browser
   * @param {BrowserContextOptions} [options]
   */
  static async arrive(browser, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    await context.grantPermissions(["clipboard-read", "clipboard-write"]).catch(() => undefined);
    const page = await context.newPage();
    page.setDefaultTimeout(60_000);
    return new Visitor(page);
  }

  /**
   * @param {string | RegExp} name
   * @returns {Locator}
   */
  button(name) {
    return this.chat.getByRole("button", { name, exact: typeof name === "string" });
  }

  get field() {
    return this.chat.getByRole("textbox", { name: "Message" });
  }

  get answers() {
    return this.chat.getByRole("article", { name: "Answer" });
  }

  /** Opens the page and loads the model on offer. @param {string} address */
  async begin(address) {
    await this.page.goto(address);
    await this.button("Download and start").click();
    await this.field.waitFor();
  }

  /** Sends a message and waits until its answer is complete. @param {string} text */
  async say(text) {
    const before = await this.answers.count();
    await this.field.fill(text);
    await this.field.press("Enter");
    await this.answers.nth(before).waitFor();
    await this.idle();
    return this.answers.nth(before);
  }

  /** Waits until no answer is being written. */
  async idle() {
    await this.button("Send").waitFor();
    await this.chat.locator("[aria-busy=true]").waitFor({ state: "detached" });
  }

  /** Stops an answer once some of it is there, and looks whether that stays. */
  async stopInTheMiddle() {
    const before = await this.answers.count();
    await this.field.fill("Write a long story about a llama.");
    await this.field.press("Enter");
    const body = this.answers.nth(before).locator(".body");
    await body.getByText(/\w+ \w+/).waitFor();
    await this.button("Stop").click();
    await this.idle();
    await this.answers.nth(before).getByText("Stopped").waitFor();
    assert.match(await body.innerText(), /\w+ \w+/);
  }

  /**
   * Has www/device.js differ, also in the engine's worker, where no script of a test comes before the engine's.
   * @param {[string, string][]} changes some of its text, and what is in its place
   */
  async alterDevice(...changes) {
    await this.page.route("**/device.js", async (route) => {
      let body = await (await route.fetch()).text();
      for (const [code, other] of changes) {
        assert.ok(body.includes(code), `device.js has no ${code}`);
        body = body.replace(code, other);
      }
      await route.fulfill({ body, contentType: "text/javascript" });
    });
  }

  async newChat() {
    await this.chat.getByRole("navigation").getByRole("button", { name: "New chat" }).click();
    await this.chat.getByText("What is on your mind?").waitFor();
  }

  /**
   * What is told of how an answer came about, by name.
   * @param {Locator} answer
   * @returns {Promise<Record<string, string>>}
   */
  async figures(answer) {
    await answer.locator("summary").click();
    // One by one: all at once is an evaluation, which the page's policy forbids in Firefox.
    const texts = async (/** @type {Locator} */ all) => Promise.all((await all.all()).map((one) => one.innerText()));
    const [names, values] = await Promise.all([texts(answer.locator("dt")), texts(answer.locator("dd"))]);
    return Object.fromEntries(names.map((name, index) => [name, values[index] ?? ""]));
  }

  async leave() {
    await this.page.context().close();
  }
}

export { launch, serve };
