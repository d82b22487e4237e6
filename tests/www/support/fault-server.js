// A server of model files that misbehaves on command, and remembers which bytes it sent.
//
// It speaks to pages of any origin, as the hosts of models do. Left alone it is a good host: ranges, ETags, and all the
// headers that a page needs exposed. `fault` is asked about every request and says what goes wrong with its answer.

import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

/** @import { FileHandle } from "node:fs/promises" */
/** @import { IncomingMessage, ServerResponse } from "node:http" */
/** @import { Socket } from "node:net" */
/** @import { FileDigests } from "../types/pkg/webgpu.js" */

/**
 * What is wrong with an answer. Numbers of bytes count in the body of the answer, places in the file.
 *
 * @typedef {object} Fault
 * @property {boolean} [gone] the connection is closed before an answer, as by a server that is down
 * @property {number} [status] this status, and no body
 * @property {number} [retryAfter] seconds, told with `status`
 * @property {string} [redirect] the file is there; an address, or a path of this server
 * @property {boolean} [whole] a request for a range is answered by 200 and the whole file
 * @property {string} [contentRange] said instead of the true one
 * @property {string[]} [hide] headers that scripts of other origins may not read
 * @property {number} [cut] the connection is reset after so many bytes
 * @property {number} [close] the connection is closed in order after so many bytes; more were announced
 * @property {number} [short] the body ends after so many bytes: Content-Length says so, Content-Range does not
 * @property {number} [stall] nothing comes after so many bytes, and the connection stays open
 * @property {number[]} [flip] places whose bytes are changed on the way
 * @property {number} [rate] bytes a second, on this connection
 */
/**
 * A request: the bytes from `start` up to `end`, of a file from its beginning to its end when it is no `range`.
 * @typedef {{path: string, range: boolean, start: number, end: number, length: number}} Asked
 */
/**
 * A request and what became of it. `sent` counts bytes of the body that were handed to the connection; `broken` is set
 * when the answer was not all of what was asked for, or not as it is in the file. `at`: milliseconds.
 * @typedef {Asked & {status: number, etag: string, sent: number, broken: boolean, at: number}} Answered
 */
/** A file at rest: `edits` are places where it differs from the one on disk. @typedef {{handle: FileHandle, length: number, etag: string, edits: number[]}} Served */

const PIECE = 64 * 2 ** 10;
/** A chunk of ours. */
export const CHUNK = 4 * 2 ** 20;

export class FaultServer {
  /** What goes wrong with the answer to a request; nothing when it gives nothing. @type {(asked: Asked) => Fault | undefined} */
  fault = () => undefined;
  /** Every request of a file so far. @type {Answered[]} */
  log = [];
  /** Requests that a browser made first to ask whether it may. */
  preflights = 0;
  /** All connections are closed whenever so many bytes were sent over them together. */
  linkBreaksEvery = Infinity;

  #server = createServer((request, response) => void this.#answer(request, response));
  /** @type {Map<string, Served>} */
  #files = new Map();
  /** @type {Set<Socket>} */
  #sockets = new Set();
  #sinceBreak = 0;
  /** Answers that are on their way. */
  #answering = 0;

  /**
   * @param {Record<string, string>} files paths on disk, by the path that they are served under
   */
  static async start(files) {
    const server = new FaultServer();
    for (const [path, file] of Object.entries(files)) {
      await server.replace(path, file, '"1"');
    }
    server.#server.on("connection", (socket) => {
      server.#sockets.add(socket);
      socket.on("close", () => server.#sockets.delete(socket));
    });
    await new Promise((resolve) => server.#server.listen(0, "127.0.0.1", () => resolve(undefined)));
    return server;
  }

  get origin() {
    const address = this.#server.address();
    return `http://127.0.0.1:${typeof address === "object" && address ? address.port : 0}`;
  }

  async close() {
    this.#disconnect();
    await new Promise((resolve) => this.#server.close(resolve));
    await Promise.all([...this.#files.values()].map(({ handle }) => handle.close()));
  }

  /** A good host again, with nothing remembered. */
  behave() {
    this.fault = () => undefined;
    this.linkBreaksEvery = Infinity;
    this.#sinceBreak = 0;
    this.log = [];
  }

  /** Waits until nothing has been asked for a moment: the last requests of a download that was stopped may come late. */
  async quiet() {
    for (let moments = 0; moments < 10; moments = this.#answering > 0 ? 0 : moments + 1) await sleep(10);
  }

  /**
   * Puts another version in the place of a file.
   * @param {string} path
   * @param {string} etag
   * @param {number[]} edits places whose bytes are others than on disk
   */
  publish(path, etag, edits) {
    Object.assign(this.#file(path), { etag, edits });
  }

  /**
   * Puts another file in the place of one, or one where none was.
   * @param {string} path
   * @param {string} file on disk
   * @param {string} etag
   */
  async replace(path, file, etag) {
    await this.#files.get(path)?.handle.close();
    const handle = await open(file);
    this.#files.set(path, { handle, length: (await handle.stat()).size, etag, edits: [] });
  }

  /** All that is served. */
  get paths() {
    return [...this.#files.keys()];
  }

  /** @param {string} path */
  length(path) {
    return this.#file(path).length;
  }

  /**
   * What the file's present version is, for those who know it by its digests.
   * @param {string} path
   * @returns {Promise<Required<FileDigests>>}
   */
  async digests(path) {
    const file = this.#file(path);
    const whole = createHash("sha256");
    const chunks = [];
    for (let start = 0; start < file.length; start += CHUNK) {
      const bytes = await read(file, start, Math.min(CHUNK, file.length - start), []);
      whole.update(bytes);
      chunks.push(createHash("sha256").update(bytes).digest("hex"));
    }
    return { sha256: whole.digest("hex"), chunks };
  }

  /** Bytes of bodies sent so far. */
  get sent() {
    return this.log.reduce((sum, { sent }) => sum + sent, 0);
  }

  /**
   * Bytes that were sent of these parts of a file.
   * @param {string} path
   * @param {{start: number, length: number}[]} parts
   */
  sentOf(path, parts) {
    const answers = this.log.filter((answer) => answer.path === path);
    return answers.reduce((sum, answer) => sum + parts.reduce((bytes, part) => bytes + common(answer, part), 0), 0);
  }

  /**
   * Bytes that were sent a second time although they had arrived: good answers that hold the same part of the same file.
   * @returns {number}
   */
  get sentTwice() {
    const good = this.log.filter(({ broken }) => !broken);
    return good.reduce((sum, answer, index) => {
      const before = good.slice(0, index).filter(({ path, etag }) => path === answer.path && etag === answer.etag);
      return sum + before.reduce((bytes, { start, sent }) => bytes + common(answer, { start, length: sent }), 0);
    }, 0);
  }

  /** @param {string} path */
  #file(path) {
    const file = this.#files.get(path);
    if (!file) throw new Error(`${path} is not served`);
    return file;
  }

  /** What is in the operating system's hands still arrives. */
  #disconnect() {
    for (const socket of this.#sockets) socket.destroy();
  }

  /**
   * @param {IncomingMessage} request
   * @param {ServerResponse} response
   */
  async #answer(request, response) {
    const path = new URL(request.url ?? "/", "http://localhost").pathname;
    const file = this.#files.get(path);
    if (request.method === "OPTIONS") {
      this.preflights += 1;
      response.writeHead(204, { "Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*" }).end();
      return;
    }
    if (!file) {
      response.writeHead(404, { "Access-Control-Allow-Origin": "*" }).end();
      return;
    }
    const asked = { path, ...range(request.headers.range, file.length), length: file.length };
    const fault = this.fault(asked) ?? {};
    // The version may change while the answer is on its way.
    const version = { ...file };
    if (fault.whole) Object.assign(asked, { range: false, start: 0, end: file.length });
    const status = fault.status ?? (fault.redirect ? 302 : asked.range ? 206 : 200);
    /** @type {Answered} */
    const answered = { ...asked, status, etag: version.etag, sent: 0, broken: true, at: performance.now() };
    this.log.push(answered);
    if (fault.gone) {
      request.socket.destroy();
      return;
    }
    response.writeHead(status, headers(fault, answered));
    if (request.method === "HEAD" || fault.status || fault.redirect) {
      response.end();
      return;
    }
    this.#answering += 1;
    await this.#send(version, fault, answered, response).finally(() => (this.#answering -= 1));
  }

  /**
   * @param {Served} file
   * @param {Fault} fault
   * @param {Answered} answered
   * @param {ServerResponse} response
   */
  async #send(file, fault, answered, response) {
    const all = answered.end - answered.start;
    const end = Math.min(all, fault.cut ?? all, fault.close ?? all, fault.short ?? all, fault.stall ?? all);
    const begun = performance.now();
    while (answered.sent < end) {
      const bytes = await read(file, answered.start + answered.sent, Math.min(PIECE, end - answered.sent), fault.flip ?? []);
      if (response.destroyed) return;
      answered.sent += bytes.length;
      this.#sinceBreak += bytes.length;
      await written(response, bytes);
      if (this.#sinceBreak >= this.linkBreaksEvery) {
        this.#sinceBreak = 0;
        this.#disconnect();
      }
      if (fault.rate) await sleep(Math.max(0, begun + (answered.sent / fault.rate) * 1000 - performance.now()));
    }
    if (fault.stall !== undefined) return;
    if (fault.cut !== undefined) response.socket?.resetAndDestroy();
    else if (fault.close !== undefined) response.socket?.destroy();
    else if (!response.destroyed) {
      response.end();
      const flipped = fault.flip?.some((place) => common(answered, { start: place, length: 1 }));
      answered.broken = Boolean(flipped) || end < all;
    }
  }
}

/**
 * The part that a header `Range: bytes=A-B` asks for.
 * @param {string | undefined} header
 * @param {number} length
 */
function range(header, length) {
  const found = /^bytes=(\d+)-(\d*)$/.exec(header ?? "");
  if (!found || Number(found[1]) >= length) return { range: false, start: 0, end: length };
  return { range: true, start: Number(found[1]), end: found[2] ? Math.min(Number(found[2]) + 1, length) : length };
}

/**
 * @param {Fault} fault
 * @param {Answered} answered
 * @returns {Record<string, string | number>}
 */
function headers({ redirect, retryAfter, contentRange, hide = [], status, short }, { range, start, end, length, etag }) {
  const exposed = ["Accept-Ranges", "Content-Length", "Content-Range", "ETag", "Retry-After"].filter((name) => !hide.includes(name));
  const always = { "Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": exposed.join(", ") };
  if (redirect) return { ...always, Location: redirect };
  if (status) return { ...always, ...(retryAfter === undefined ? {} : { "Retry-After": retryAfter }) };
  return {
    ...always,
    "Content-Type": "application/octet-stream",
    "Content-Length": Math.min(end - start, short ?? Infinity),
    ETag: etag,
    ...(range ? { "Accept-Ranges": "bytes", "Content-Range": contentRange ?? `bytes ${start}-${end - 1}/${length}` } : {}),
  };
}

/**
 * @param {Served} file
 * @param {number} start
 * @param {number} length
 * @param {number[]} flips places whose bytes are changed besides the version's own
 */
async function read({ handle, edits }, start, length, flips) {
  const bytes = Buffer.alloc(length);
  await handle.read(bytes, 0, length, start);
  for (const place of [...edits, ...flips]) {
    const at = place - start;
    // The lowest bit: a weight stays a number.
    if (at >= 0 && at < length) bytes[at] = (bytes[at] ?? 0) ^ 1;
  }
  return bytes;
}

/**
 * Ends when the bytes are with the operating system, or the connection is gone.
 * @param {ServerResponse} response
 * @param {Buffer} bytes
 * @returns {Promise<void>}
 */
function written(response, bytes) {
  return new Promise((resolve) => {
    const done = () => {
      response.off("close", done);
      resolve();
    };
    response.on("close", done);
    response.write(bytes, done);
  });
}

/**
 * Bytes of an answer that lie in a part of the file.
 * @param {{start: number, sent: number}} answer
 * @param {{start: number, length: number}} part
 */
function common(answer, part) {
  return Math.max(0, Math.min(answer.start + answer.sent, part.start + part.length) - Math.max(answer.start, part.start));
}
