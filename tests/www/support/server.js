// A static server with the headers that the real one sends, for the page and for pages of another origin.

import assert from "node:assert/strict";
import { createReadStream, readFileSync } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { pipeline } from "node:stream/promises";

/** @type {Record<string, string>} */
export const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".webmanifest": "application/manifest+json",
  ".wasm": "application/wasm",
};

/** What lets other pages use the files, and isolates our own. */
const HEADERS = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "cross-origin",
  "Access-Control-Allow-Origin": "*",
  "X-Content-Type-Options": "nosniff",
};

/** What isolates a page: a plain host sends none of it. */
export const NOT_ISOLATED = { "Cross-Origin-Opener-Policy": "unsafe-none", "Cross-Origin-Embedder-Policy": "unsafe-none" };

/** The page's own rule. */
const [POLICY] = /(?<=http-equiv="Content-Security-Policy" content=")[^"]+/.exec(
  readFileSync(new URL("../../../www/index.html", import.meta.url), "utf8"),
) ?? assert.fail("index.html states no policy");
/** What our own server says of our own files: it holds in the worker too, which a page's own rule does not reach. */
export const CONTENT_SECURITY_POLICY = { "Content-Security-Policy": `${POLICY}; frame-ancestors 'none'` };

/**
 * @typedef {{status?: number, type?: string, body: string | Buffer, headers?: Record<string, string>}} Page
 * @typedef {{origin: string, requests: string[], close: () => Promise<void>}} Server
 */

/**
 * Serves the first of `folders` that has a file, under `pages` (made up here, by path) if one of them fits.
 *
 * @param {string[]} folders
 * @param {Record<string, Page | ((url: URL) => Page)>} [pages]
 * @param {Record<string, string>} [more] headers besides `HEADERS`
 * @returns {Promise<Server>}
 */
export async function serve(folders, pages = {}, more = {}) {
  const headers = { ...HEADERS, ...more };
  /** @type {string[]} */
  const requests = [];
  const server = createServer(async (request, response) => {
    const url = new URL(request.url ?? "/", "http://localhost");
    requests.push(url.pathname);
    const made = pages[url.pathname];
    if (made) {
      const page = typeof made === "function" ? made(url) : made;
      response.writeHead(page.status ?? 200, { ...headers, "Content-Type": page.type ?? "text/html; charset=utf-8", ...page.headers });
      response.end(page.body);
      return;
    }
    const file = await find(folders, url.pathname.endsWith("/") ? `${url.pathname}index.html` : url.pathname);
    if (!file) {
      response.writeHead(404, headers).end();
      return;
    }
    const type = TYPES[extname(file.path)] ?? "application/octet-stream";
    response.writeHead(200, { ...headers, "Content-Type": type, "Content-Length": file.bytes });
    // A browser that leaves in the middle of an answer is not a failure.
    await pipeline(createReadStream(file.path), response).catch(() => undefined);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  const close = () =>
    new Promise((/** @type {(value: void) => void} */ resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return { origin: `http://127.0.0.1:${port}`, requests, close };
}

/**
 * @param {string[]} folders
 * @param {string} path
 * @returns {Promise<{path: string, bytes: number} | undefined>}
 */
async function find(folders, path) {
  for (const folder of folders) {
    const file = join(folder, normalize(decodeURIComponent(path)));
    const found = await stat(file).catch(() => undefined);
    if (found?.isFile()) return { path: file, bytes: found.size };
  }
  return undefined;
}
