// A Hugging Face hub with the routes that the engine asks, and the other server that it sends downloads to.
//
//   /api/models/{repository}/revision/{revision}?blobs=true     commit and files
//   /{repository}/resolve/{revision}/{path}                     302 to the other server; refusals with their X-Error-Code
//
// As the real one, it lets pages of any origin show a token, and tells them its reasons.

import { createHash } from "node:crypto";
import { createReadStream, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { pipeline } from "node:stream/promises";

/** @import { IncomingMessage, Server, ServerResponse } from "node:http" */
/** `files`: paths on disk, by their names in the repository. `token`: what opens it, if it is gated. @typedef {{files: Record<string, string>, token?: string}} Repository */
/** A request as it arrived. @typedef {{path: string, authorization: string | undefined, method: string}} Arrived */

const COMMIT = "c0ffee0000000000000000000000000000000000";
const EXPOSED = "X-Repo-Commit, X-Error-Code, ETag, Content-Length, Content-Range, Accept-Ranges";

export class HubServer {
  /** What the hub was asked. @type {Arrived[]} */
  asked = [];
  /** What the server was asked that the hub redirects to. @type {Arrived[]} */
  elsewhere = [];
  /** @type {Record<string, Repository>} */
  #repositories;
  #hub = createServer((request, response) => this.#answer(request, response));
  #store = createServer((request, response) => this.#give(request, response));

  /** @param {Record<string, Repository>} repositories by id */
  constructor(repositories) {
    this.#repositories = repositories;
  }

  /** @param {Record<string, Repository>} repositories by id */
  static async start(repositories) {
    const server = new HubServer(repositories);
    for (const one of [server.#hub, server.#store]) await new Promise((resolve) => one.listen(0, "127.0.0.1", () => resolve(undefined)));
    return server;
  }

  get origin() {
    return originOf(this.#hub);
  }

  async close() {
    for (const one of [this.#hub, this.#store]) {
      one.closeAllConnections();
      await new Promise((resolve) => one.close(resolve));
    }
  }

  /** Forgets what was asked. */
  forget() {
    this.asked = [];
    this.elsewhere = [];
  }

  /** @param {IncomingMessage} request @param {ServerResponse} response */
  #answer(request, response) {
    const { pathname } = arrived(request, this.asked);
    const cors = { "Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": EXPOSED };
    // "*" would not cover Authorization.
    if (request.method === "OPTIONS") return void response.writeHead(204, { ...cors, "Access-Control-Allow-Headers": "authorization, range" }).end();
    const refuse = (/** @type {number} */ status, /** @type {string} */ reason) => void response.writeHead(status, { ...cors, "X-Error-Code": reason }).end();
    const [, id = "", revision = "", path] = /^(?:\/api\/models)?\/([^/]+\/[^/]+)\/(?:revision|resolve)\/([^/]+)(?:\/(.*))?$/.exec(pathname) ?? [];
    const repository = this.#repositories[id];
    const { authorization } = request.headers;
    if (!repository) return refuse(authorization ? 404 : 401, "RepoNotFound");
    if (![COMMIT, "main"].includes(revision)) return refuse(404, "RevisionNotFound");
    if (path === undefined) {
      const siblings = Object.entries(repository.files).map(([rfilename, file]) => ({ rfilename, size: statSync(file).size, lfs: { sha256: digest(file) } }));
      return void response.writeHead(200, { ...cors, "Content-Type": "application/json" }).end(JSON.stringify({ sha: COMMIT, siblings }));
    }
    if (repository.token && authorization !== `Bearer ${repository.token}`) return refuse(authorization ? 403 : 401, "GatedRepo");
    if (!repository.files[decodeURIComponent(path)]) return refuse(404, "EntryNotFound");
    response.writeHead(302, { ...cors, "X-Repo-Commit": COMMIT, Location: `${originOf(this.#store)}/${id}/${path}?signature=abc` }).end();
  }

  /** @param {IncomingMessage} request @param {ServerResponse} response */
  async #give(request, response) {
    const { pathname } = arrived(request, this.elsewhere);
    const cors = { "Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": EXPOSED };
    const [, id = "", path = ""] = /^\/([^/]+\/[^/]+)\/(.+)$/.exec(pathname) ?? [];
    const file = this.#repositories[id]?.files[decodeURIComponent(path)];
    if (!file || request.method === "OPTIONS") return void response.writeHead(file ? 204 : 404, cors).end();
    const length = statSync(file).size;
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [undefined, "0", String(length - 1)];
    const [start, end] = [Number(first), Math.min(Number(last), length - 1)];
    response.writeHead(206, { ...cors, ETag: `"${digest(file)}"`, "Content-Length": end - start + 1, "Content-Range": `bytes ${start}-${end}/${length}` });
    await pipeline(createReadStream(file, { start, end }), response).catch(() => undefined);
  }
}

/** @param {IncomingMessage} request @param {Arrived[]} log */
function arrived(request, log) {
  const url = new URL(request.url ?? "/", "http://localhost");
  log.push({ path: url.pathname, authorization: request.headers.authorization, method: request.method ?? "" });
  return url;
}

/** @param {Server} server */
function originOf(server) {
  const address = server.address();
  return `http://127.0.0.1:${typeof address === "object" && address ? address.port : 0}`;
}

/** @type {Map<string, string>} */
const digests = new Map();

/** @param {string} file */
function digest(file) {
  const known = digests.get(file) ?? createHash("sha256").update(readFileSync(file)).digest("hex");
  digests.set(file, known);
  return known;
}
