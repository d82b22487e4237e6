// Downloads from a server that misbehaves: each ends in the same text as an undisturbed one, or in the error that says why not.
//
// A failure is repeated by the seed that is printed first: PAGELLAMA_SEED=123 node --test faults.test.js

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, test } from "node:test";
import { CHUNK } from "./support/fault-server.js";
import { assertEmpty, assertFails, assertSound, assertWhole, FILE, Rig, until } from "./support/faults.js";
import { launch, madeModel } from "./support/page.js";
import { FULL, LONG_FORM, Random, SEED } from "./support/random.js";
import { open } from "./support/setup.js";

/** @import { FileDigests } from "./types/pkg/webgpu.js" */
/** @import { Order, Outcome } from "./support/fault-client.js" */
/** @import { Asked, Fault } from "./support/fault-server.js" */
/** @import { Visit } from "./support/faults.js" */

const PATH = `/${FILE}`;
const random = new Random(SEED);

console.log(`seed: PAGELLAMA_SEED=${SEED}`);
const [browser, rig] = await open(launch(), Rig.start(FILE));
await rig.learn(await browser.newContext());
/** @type {Visit} */
let visit;
beforeEach(async () => {
  rig.server.publish(PATH, '"1"', []);
  rig.server.behave();
  visit = await rig.visit(await browser.newContext());
});
afterEach(() => visit.page.context().close());

/** The download went well in the end, with everything in the store and nothing fetched twice. @param {Outcome} outcome */
async function assertDownloaded(outcome) {
  rig.assertWrites(outcome);
  assertWhole(await visit.stored(), rig.source);
  assert.equal(rig.server.sentTwice, 0, "bytes that had arrived were sent again");
}

/** An order of the model with digests that are known beforehand. @param {FileDigests} known @returns {Partial<Order>} */
function withDigests(known) {
  return { model: { url: rig.server.origin + PATH, digests: { [FILE]: known } } };
}

/**
 * A fault for the first requests.
 * @param {number} times
 * @param {(asked: Asked) => Fault} fault
 */
function first(times, fault) {
  let left = times;
  return (/** @type {Asked} */ asked) => (left-- > 0 ? fault(asked) : undefined);
}

/** Loads until some chunks are stored, and stops. @param {number} bytes that are to be sent before */
async function loadPart(bytes) {
  rig.server.fault = () => ({ rate: 10e6 });
  await visit.begin();
  await until(() => rig.server.sent > bytes);
  await visit.stop();
  rig.server.behave();
  const stored = await visit.stored();
  assertSound(stored, rig.source);
  assert.ok(stored.chunks.length > 0 && stored.chunks.length < rig.server.length(PATH) / CHUNK, `${stored.chunks.length} chunks`);
  return stored;
}

test("a good host is asked for each byte once, without a preflight", async () => {
  await assertDownloaded(await visit.load());
  assert.equal(rig.server.preflights, 0);
  assert.ok(rig.server.log.every(({ range, start, end }) => range && end - start <= CHUNK));
});

for (let download = 1; download <= (FULL ? 5 : 1); download++) {
  const cuts = FULL ? 12 : 8;
  test(`connections cut at ${cuts} random places, download ${download}`, async (t) => {
    let made = 0;
    rig.server.fault = ({ start, end, length }) => {
      // The file's end is spared last, so that all cuts come about.
      if (made >= cuts || (end < length && random.fraction() < 0.3)) return undefined;
      made += 1;
      const place = random.between(0, end - start);
      return random.fraction() < 0.5 ? { cut: place } : { close: place };
    };
    await assertDownloaded(await visit.load());
    t.diagnostic(`${made} cuts in ${rig.server.log.length} requests`);
    assert.equal(made, cuts);
  });
}

test("a link that breaks every 5 MB, for all connections at once, comes to an end", async () => {
  rig.server.linkBreaksEvery = 5e6;
  await assertDownloaded(await visit.load());
});

test("bodies that end too early are not taken for whole, and are asked for again", async () => {
  rig.server.fault = first(6, () => ({ [random.fraction() < 0.5 ? "close" : "short"]: random.between(1, CHUNK) }));
  await assertDownloaded(await visit.load());
});

test("a server that is gone before the first byte is an error soon", async () => {
  rig.server.fault = () => ({ gone: true });
  assertFails(await visit.load(), "net/unreachable");
  assertEmpty(await visit.stored());
});

test("a server that goes in the middle is an error, and what is stored stays", LONG_FORM, async () => {
  let asked = 0;
  rig.server.fault = () => (++asked > 5 ? { gone: true } : undefined);
  assertFails(await visit.load(), "net/unreachable");
  const { chunks } = await visit.stored();
  assert.ok(chunks.length > 0);
  rig.server.behave();
  await assertDownloaded(await visit.load());
  assert.equal(rig.server.sentOf(PATH, chunks), 0);
});

test("bytes flipped on the way to chunks of known digest are fetched again alone", async () => {
  const broken = [2, 7].map((chunk) => chunk * CHUNK + random.between(0, CHUNK));
  const left = new Set(broken);
  rig.server.fault = ({ start, end }) => {
    const flip = [...left].filter((place) => place >= start && place < end);
    for (const place of flip) left.delete(place);
    return { flip };
  };
  await assertDownloaded(await visit.load(withDigests({ ...rig.source[FILE] })));
  const again = rig.server.sent - rig.server.length(PATH);
  assert.ok(again > 0 && again <= 2 * CHUNK, `${again} bytes were sent again`);
});

test("a chunk that never has its known digest is refused", async () => {
  const place = 3 * CHUNK + random.between(0, CHUNK);
  rig.server.fault = () => ({ flip: [place] });
  assertFails(await visit.load(withDigests({ ...rig.source[FILE] })), "net/digest");
  const tries = rig.server.log.filter(({ start, end }) => place >= start && place < end).length;
  assert.ok(tries >= 3 && tries <= 4, `${tries} tries`);
  assertSound(await visit.stored(), rig.source);
});

test("a whole file of another digest is fetched once more", async () => {
  const place = random.between(CHUNK, rig.server.length(PATH));
  let flips = 1;
  rig.server.fault = ({ start, end }) => (place >= start && place < end && flips-- > 0 ? { flip: [place] } : undefined);
  rig.assertWrites(await visit.load(withDigests({ sha256: rig.source[FILE]?.sha256 })));
  assertWhole(await visit.stored(), rig.source);
  assert.equal(rig.server.sent, 2 * rig.server.length(PATH));
});

test("a file that is not the one of its digest is refused, and nothing of it stays", async () => {
  rig.server.publish(PATH, '"1"', [random.between(CHUNK, rig.server.length(PATH))]);
  assertFails(await visit.load(withDigests({ sha256: rig.source[FILE]?.sha256 })), "net/digest");
  assert.equal(rig.server.sent, 2 * rig.server.length(PATH));
  assertEmpty(await visit.stored());
});

test("without a digest, bytes flipped on the way cannot be seen", async () => {
  const place = 5 * CHUNK + random.between(0, CHUNK);
  rig.server.fault = () => ({ flip: [place] });
  const { error } = await visit.load({ tokens: 0 });
  assert.equal(error, undefined);
  rig.server.publish(PATH, '"1"', [place]);
  assertWhole(await visit.stored(), await rig.published());
});

test("a file whose structure is broken is refused, and nothing of it stays", async () => {
  rig.server.fault = () => ({ flip: [0] });
  assertFails(await visit.load(), "weights/not-a-model");
  assertEmpty(await visit.stored());
});

test("a file that changes in the middle is fetched anew, and versions never mix", async () => {
  const edits = Array.from({ length: 11 }, (_, chunk) => chunk * CHUNK + CHUNK / 2).filter((place) => place < rig.server.length(PATH));
  let asked = 0;
  rig.server.fault = () => {
    if (++asked === 6) rig.server.publish(PATH, '"2"', edits);
    return undefined;
  };
  const { error } = await visit.load({ tokens: 0 });
  assert.equal(error, undefined);
  assertWhole(await visit.stored(), await rig.published());
  // The answers that told of the change were let go, on each of the four connections.
  assert.ok(rig.server.sentTwice <= 4 * CHUNK, `${rig.server.sentTwice} bytes were sent again`);
});

test("a file that never stays the same is an error", async () => {
  let version = 1;
  rig.server.fault = () => {
    rig.server.publish(PATH, `"${++version}"`, []);
    return undefined;
  };
  assertFails(await visit.load(), "net/changed");
});

test("a file that changed since the download was stopped is fetched anew", LONG_FORM, async () => {
  await loadPart(4 * CHUNK);
  rig.server.publish(PATH, '"2"', [2 * CHUNK]);
  const { error } = await visit.load({ tokens: 0 });
  assert.equal(error, undefined);
  assertWhole(await visit.stored(), await rig.published());
});

test("a version of another length leaves no chunks of the old one", async (t) => {
  await loadPart(4 * CHUNK);
  t.after(() => rig.server.replace(PATH, madeModel(FILE), '"1"'));
  await rig.server.replace(PATH, fileURLToPath(new URL("../data/gguf/stories260k.Q8_0.gguf", import.meta.url)), '"2"');
  const { error } = await visit.load({ tokens: 0 });
  assert.equal(error, undefined);
  assertWhole(await visit.stored(), await rig.published());
});

test("a download that was stopped goes on, also over another connection count", async () => {
  const { chunks } = await loadPart(4 * CHUNK);
  await assertDownloaded(await visit.load({ options: { connections: 1 } }));
  assert.equal(rig.server.sentOf(PATH, chunks), 0);
});

test("a model that is stored is loaded without any request", LONG_FORM, async () => {
  await assertDownloaded(await visit.load());
  rig.server.behave();
  rig.server.publish(PATH, '"2"', [CHUNK]);
  rig.assertWrites(await visit.load());
  assert.deepEqual(rig.server.log, []);
});

test("a server without ranges sends the file once", LONG_FORM, async () => {
  rig.server.fault = () => ({ whole: true });
  await assertDownloaded(await visit.load());
  assert.equal(rig.server.sent, rig.server.length(PATH));
});

test("a server without ranges whose connection breaks starts again", async () => {
  let broken = false;
  rig.server.fault = ({ length }) => {
    if (broken) return { whole: true };
    broken = true;
    return { whole: true, cut: random.between(CHUNK, length) };
  };
  rig.assertWrites(await visit.load());
  assertWhole(await visit.stored(), rig.source);
});

test("a range that is answered by the whole file does no harm", async () => {
  let asked = 0;
  rig.server.fault = () => (++asked === 4 ? { whole: true } : undefined);
  rig.assertWrites(await visit.load());
  assertWhole(await visit.stored(), rig.source);
});

test("429 is respected, with the time that it names", async () => {
  /** @type {(Asked & {until: number})[]} */
  const refused = [];
  let early = 0;
  rig.server.fault = (asked) => {
    early += refused.filter(({ start, until }) => start === asked.start && performance.now() < until).length;
    if (asked.start === 0 || refused.length === 2) return undefined;
    refused.push({ ...asked, until: performance.now() + 1900 });
    return { status: 429, retryAfter: 2 };
  };
  const outcome = await visit.load();
  await assertDownloaded(outcome);
  assert.equal(refused.length, 2);
  assert.equal(early, 0, "asked again before the time");
  assert.ok(outcome.waits.some((wait) => wait.for === "server"), JSON.stringify(outcome.waits));
});

test("a storm of 503 passes", async () => {
  /** How often each part was refused. @type {Map<number, number>} */
  const refused = new Map();
  rig.server.fault = ({ start }) => {
    const times = refused.get(start) ?? 0;
    // A server that never worked yet is asked three times.
    if (times === (FULL && start > 0 ? 5 : 2) || random.fraction() > 0.8) return undefined;
    refused.set(start, times + 1);
    return { status: [500, 502, 503, 504][random.between(0, 4)] };
  };
  const outcome = await visit.load();
  await assertDownloaded(outcome);
  assert.ok(rig.server.log.filter(({ status }) => status >= 500).length > 6, "it stormed");
});

test("503 from the start is an error soon, 404 at once", async () => {
  rig.server.fault = () => ({ status: 503 });
  assertFails(await visit.load(), "net/status");
  assert.ok(rig.server.log.length > 1, "503 may pass");
  rig.server.behave();
  rig.server.fault = () => ({ status: 404 });
  assertFails(await visit.load(), "net/status");
  assert.equal(rig.server.log.length, 1);
  assertEmpty(await visit.stored());
});

test("a connection that falls silent is given up, and its part asked for again", async () => {
  const fault = first(1, () => ({ stall: random.between(1, CHUNK) }));
  rig.server.fault = (asked) => (asked.start > 0 ? fault(asked) : undefined);
  await assertDownloaded(await visit.load());
});

test("redirects are followed, also to another origin and another one each time", async (t) => {
  const far = await Rig.start(FILE);
  t.after(() => far.close());
  let asked = 0;
  rig.server.fault = () => ({ redirect: `${far.server.origin}${PATH}?signature=${++asked}` });
  rig.assertWrites(await visit.load());
  assertWhole(await visit.stored(), rig.source);
  assert.equal(far.server.sentTwice, 0);
  assert.equal(far.server.preflights + rig.server.preflights, 0);
});

for (const hide of [["ETag", "Content-Range", "Accept-Ranges"], ["ETag"], ["Content-Range"]]) {
  test(`a host that hides ${hide.join(", ")} does`, hide.length === 1 ? LONG_FORM : {}, async () => {
    rig.server.fault = () => ({ hide });
    rig.assertWrites(await visit.load());
    assertWhole(await visit.stored(), rig.source);
  });
}

test("an answer that says to be another part is asked for again", async () => {
  const contentRange = `bytes 0-${CHUNK - 1}/${rig.server.length(PATH)}`;
  const fault = first(2, () => ({ contentRange }));
  rig.server.fault = (asked) => (asked.start > 0 ? fault(asked) : undefined);
  rig.assertWrites(await visit.load());
  assertWhole(await visit.stored(), rig.source);
});

test("a host that always answers with another part is an error", LONG_FORM, async () => {
  const contentRange = `bytes 0-${CHUNK - 1}/${rig.server.length(PATH)}`;
  rig.server.fault = ({ start }) => (start === 0 ? undefined : { contentRange });
  assertFails(await visit.load(), "net/answer");
  assertSound(await visit.stored(), rig.source);
});
