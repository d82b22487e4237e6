// What every test of broken downloads needs: the misbehaving server, a page that loads from it, and what must hold after.

import assert from "node:assert/strict";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { CHUNK, FaultServer } from "./fault-server.js";
import { madeModel, serveBlank, serveEngine } from "./page.js";

/** @import { BrowserContext, Page } from "playwright-core" */
/** @import { FileDigests } from "../types/pkg/webgpu.js" */
/** @import { ChunkRecord, Manifest, Order, Outcome } from "./fault-client.js" */
/** @import { Server } from "./server.js" */
/** @typedef {{models: Manifest[], chunks: ChunkRecord[]}} Stored */

/** The model of most tests: 11 chunks, and a reply in a second. */
export const FILE = "synthetic-40mb.gguf";

/** The engine, a blank page of another origin, and a server of one model of a third one. */
export class Rig {
  /** What the model's files are, by their names. @type {Record<string, Required<FileDigests>>} */
  source = {};
  /** What the model writes after an undisturbed load. @type {number[]} */
  ids = [];

  /**
   * @param {string} path of the model on the server
   * @param {{address: string, close: () => Promise<void>}} app
   * @param {Server} site
   * @param {FaultServer} server
   */
  constructor(path, app, site, server) {
    this.path = path;
    this.app = app;
    this.site = site;
    this.server = server;
  }

  /** @param {string} name of a made model */
  static start(name) {
    return Rig.#start(`/${name}`, { [`/${name}`]: madeModel(name) });
  }

  /**
   * With a model of several files.
   * @param {string} folder
   * @param {string[]} names of the files in it
   */
  static startFolder(folder, names) {
    return Rig.#start("/folder/", Object.fromEntries(names.map((name) => [`/folder/${name}`, join(folder, name)])));
  }

  /**
   * @param {string} path
   * @param {Record<string, string>} files
   */
  static async #start(path, files) {
    return new Rig(path, ...(await Promise.all([serveEngine(), serveBlank(), FaultServer.start(files)])));
  }

  async close() {
    await Promise.all([this.app.close(), this.site.close(), this.server.close()]);
  }

  /** Finds out what every other load is compared with. @param {BrowserContext} context one that is for this alone */
  async learn(context) {
    this.source = await this.published();
    const { ids = [], error } = await (await this.visit(context)).load({ options: { store: false } });
    assert.ok(new Set(ids).size > 2, error?.message ?? `these tokens are too alike to tell a fault: ${ids}`);
    this.ids = ids;
    await context.close();
    this.server.behave();
  }

  /** What the server's files are now. @returns {Promise<Record<string, Required<FileDigests>>>} */
  async published() {
    const paths = this.server.paths;
    return Object.fromEntries(await Promise.all(paths.map(async (path) => [basename(path), await this.server.digests(path)])));
  }

  /** It wrote what it should. @param {Outcome} outcome */
  assertWrites(outcome) {
    assert.deepEqual(outcome.ids, this.ids, JSON.stringify(outcome.error));
  }

  /** A new tab. @param {BrowserContext} context */
  async visit(context) {
    const page = await context.newPage();
    await page.goto(this.site.origin);
    return new Visit(page, this);
  }
}

/** A tab that loads models. */
export class Visit {
  /**
   * @param {Page} page
   * @param {Rig} rig
   */
  constructor(page, rig) {
    this.page = page;
    this.rig = rig;
  }

  /**
   * @param {string} name a function of fault-client.js
   * @param {...unknown} given
   */
  call(name, ...given) {
    return this.page.evaluate(
      async (order) => (await import(/** @type {string} */ ("/fault-client.js")))[order.name](...order.given),
      { name, given },
    );
  }

  /** Starts to load a model, the rig's if no other is named. @param {Partial<Order>} [order] @returns {Promise<void>} */
  begin(order = {}) {
    const model = { url: this.rig.server.origin + this.rig.path };
    return this.call("begin", { engine: this.rig.app.address, model, ...order });
  }

  /** @returns {Promise<Outcome>} */
  finish() {
    return this.call("finish");
  }

  /** Loads a model and lets it write. @param {Partial<Order>} [order] */
  async load(order) {
    await this.begin(order);
    return this.finish();
  }

  /** Stops a load that has begun. */
  async stop() {
    await this.call("cancel");
    assertFails(await this.finish(), "aborted");
    await this.rig.server.quiet();
  }

  /** @returns {Promise<Stored>} */
  stored() {
    return this.call("stored");
  }

  /** What the store says that it holds, for models too large to read. @returns {Promise<Manifest[]>} */
  manifests() {
    return this.call("manifests");
  }
}

/**
 * It ended in an error that says why and what to do.
 * @param {Outcome} outcome
 * @param {string} code
 * @returns {import("./fault-client.js").Failure}
 */
export function assertFails({ error, ids }, code) {
  assert.equal(error?.code, code, error?.message ?? `it wrote ${ids}`);
  for (const sentence of [error.message, error.advice]) assert.match(sentence, /^.+\.$/s, JSON.stringify(error));
  return error;
}

/**
 * The store names what it holds and holds what it names, and that is what the source has.
 * @param {Stored} stored
 * @param {Record<string, Required<FileDigests>>} source digests by file name
 */
export function assertSound({ models, chunks }, source) {
  const key = (/** @type {{id: string, file: string, start: number}} */ chunk) => `${chunk.id} ${chunk.file} ${chunk.start}`;
  const named = models.flatMap(({ id, files }) =>
    files.flatMap((file) => file.chunks.map((chunk) => ({ ...chunk, id, file: file.name }))),
  );
  const held = new Map(chunks.map((record) => [key(record), record]));
  assert.deepEqual([...held.keys()].sort(), named.map(key).sort(), "records and manifests name the same chunks");
  for (const chunk of named) {
    const digest = source[chunk.file]?.chunks[chunk.start / CHUNK];
    const { start, length, sha256 } = chunk;
    assert.deepEqual(held.get(key(chunk)), { id: chunk.id, file: chunk.file, start, length, sha256 }, "a record is as its manifest says");
    assert.equal(sha256, digest, `${chunk.file} at byte ${start} is as its source has it`);
  }
}

/**
 * The one model in the store is there from its first byte to its last.
 * @param {Stored} stored
 * @param {Record<string, Required<FileDigests>>} source digests by file name
 */
export function assertWhole(stored, source) {
  assertSound(stored, source);
  assert.deepEqual(stored.models.map(({ complete }) => complete), [true]);
  for (const { name, chunks } of stored.models[0]?.files ?? []) assert.equal(chunks.length, source[name]?.chunks.length, name);
}

/** @param {Stored} stored */
export function assertEmpty(stored) {
  assert.deepEqual(stored, { models: [], chunks: [] });
}

/** @param {() => boolean | Promise<boolean>} condition */
export async function until(condition) {
  while (!(await condition())) await sleep(10);
}
