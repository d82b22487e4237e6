/**
 * Starts a worker from a script beside this one. Only a page's own origin may give it workers; from another one, a script of a single
 * line imports ours.
 * @param {string} file
 * @returns {Worker}
 */
export function startWorker(file) {
  const url = new URL(file, import.meta.url);
  if (url.origin === location.origin) return new Worker(url, { type: "module", name: "pagellama" });
  const script = new Blob([`import ${JSON.stringify(url.href)};`], { type: "text/javascript" });
  const local = URL.createObjectURL(script);
  const worker = new Worker(local, { type: "module", name: "pagellama" });
  // The address is needed until the worker has read it, which its first message proves.
  const forget = () => URL.revokeObjectURL(local);
  worker.addEventListener("message", forget, { once: true });
  worker.addEventListener("error", forget, { once: true });
  return worker;
}
