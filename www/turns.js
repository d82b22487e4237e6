// One download of a model at a time for all tabs of an origin: whoever has the turn downloads, the others watch it.

/** @import { Progress } from "./pkg/webgpu.js" */

/**
 * `tell` reports progress, here and in the tabs that wait. `end` lets the next one go on; a tab that is closed ends its
 * turn by that.
 * @typedef {{tell: (progress: Progress) => void, end: () => void}} Turn
 */
/**
 * What the tabs say to each other: how far it is, or the wish to be told.
 * @typedef {{progress: Progress} | {ask: true}} Message
 */

/**
 * Waits until no other tab loads what `name` names, reporting meanwhile how far that tab is.
 *
 * @param {string} name
 * @param {(progress: Progress) => void} report
 * @param {AbortSignal} signal
 * @returns {Promise<Turn>}
 */
export async function takeTurn(name, report, signal) {
  // Locks and channels are shared with the page around, which may be anyone's.
  const ours = `pagellama ${name}`;
  const free = await lock(ours, { ifAvailable: true }).catch(() => NO_LOCKS);
  if (free === NO_LOCKS) return { tell: report, end: NO_LOCKS };
  const channel = new BroadcastChannel(ours);
  try {
    return holdTurn(channel, free ?? (await watchTurn(channel, report, signal)), report);
  } catch (error) {
    channel.close();
    throw error;
  }
}

/** In the place of what ends a turn, where there are no locks: without https, or in a sandboxed frame. */
const NO_LOCKS = () => {};

/**
 * @param {BroadcastChannel} channel
 * @param {(progress: Progress) => void} report
 * @param {AbortSignal} signal
 */
function watchTurn(channel, report, signal) {
  const show = (/** @type {Progress} */ progress) => report({ ...progress, waiting: { for: "tab" } });
  channel.onmessage = ({ data }) => "progress" in data && show(data.progress);
  // Until the other tab has answered, nothing says that it downloads.
  show({ phase: "read", done: 0, total: 0, stored: true });
  post(channel, { ask: true });
  return lock(channel.name, { signal });
}

/**
 * @param {BroadcastChannel} channel
 * @param {(() => void) | undefined} release
 * @param {(progress: Progress) => void} report
 * @returns {Turn}
 */
function holdTurn(channel, release, report) {
  /** @type {Progress | undefined} */
  let last;
  // A download that stalls says nothing by itself.
  channel.onmessage = ({ data }) => "ask" in data && last && post(channel, { progress: last });
  const tell = (/** @type {Progress} */ progress) => {
    report(progress);
    // From then on it has no figures.
    if (progress.phase === "compile") return;
    last = progress;
    post(channel, { progress });
  };
  const end = () => {
    channel.close();
    release?.();
  };
  return { tell, end };
}

/**
 * @param {BroadcastChannel} channel
 * @param {Message} message
 */
function post(channel, message) {
  channel.postMessage(message);
}

/**
 * @param {string} name
 * @param {LockOptions} options
 * @returns {Promise<(() => void) | undefined>} what releases it; nothing if it is held and was only wanted `ifAvailable`
 */
function lock(name, options) {
  return new Promise((resolve, reject) => {
    const hold = (/** @type {Lock | null} */ held) => {
      if (held) return new Promise((release) => resolve(() => release(undefined)));
      return resolve(undefined);
    };
    // Without https there is no `locks` at all, whose error the promise carries too.
    navigator.locks.request(name, options, hold).catch(reject);
  });
}
