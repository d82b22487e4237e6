// The card that shows a model on its way: bytes, rate, time left, what it waits for, and ways out.

import * as format from "./format.js";
import { fill, h } from "./dom.js";

/** @import { Progress, Waiting } from "../pkg/webgpu.js" */
/** @import { Choice } from "./model-session.js" */

/** @type {Record<Progress["phase"], string>} */
const PHASES = { download: "Downloading", read: "Loading from this browser", compile: "Preparing" };

/** Files from disk come from no network. */
const LOCAL = { ...PHASES, download: "Reading from this machine" };

/** A wait that is over before it is heard is not announced. Seconds. */
const SHORT = 2;

/** @type {Record<Waiting["for"], string>} */
const WAITING = {
  network: "The connection was lost.",
  server: "The server asks for patience.",
  tab: "Another tab is loading this model. When it stops, this one goes on.",
};

const TAB_DOWNLOADS = "Another tab is downloading this model. When it stops, this one goes on.";

/**
 * @typedef {object} LoadingActions
 * @property {() => void} pause
 * @property {() => void} cancel
 * @property {(text: string) => void} announce
 */

export class LoadingCard {
  #pause;
  #cancel;
  #bar = h("progress", { "aria-labelledby": "loading-title" });
  #figures = h("p", { class: "figures" }, " ");
  #waitingFor = h("p", { class: "loading-wait" });
  #news = h("p", { class: "hint" });
  #keeping = h("p", { class: "hint" });
  #title = h("p", { id: "loading-title", class: "loading-title" }, "Starting the engine");
  #announce;
  /** @type {Progress["phase"] | undefined} */
  #phase;
  #speed = new format.Speed();
  #phases;
  /** What it waits for and was announced. @type {Waiting["for"] | undefined} */
  #heard;
  /** Counts down to the next attempt. @type {ReturnType<typeof setInterval> | undefined} */
  #countdown;
  /** The wait that is counted down, and when it is over. @type {{text: string, seconds: number, end: number} | undefined} */
  #counted;
  #announced = -1;

  /**
   * @param {Choice} choice
   * @param {Promise<boolean> | undefined} kept whether the browser promises to keep what is stored, where it was asked
   * @param {LoadingActions} actions
   */
  constructor({ name, request }, kept, { pause, cancel, announce }) {
    this.#phases = "files" in request ? LOCAL : PHASES;
    this.#announce = announce;
    this.#pause = h("button", { type: "button", class: "button", onclick: pause, hidden: true }, "Pause");
    this.#cancel = h("button", { type: "button", class: "button", onclick: cancel }, "Cancel");
    this.element = h(
      "div",
      { class: "card loading" },
      h("div", { class: "row spread" }, this.#title, h("div", { class: "row" }, this.#pause, this.#cancel)),
      h("p", { class: "loading-name" }, name),
      this.#bar,
      this.#figures,
      this.#waitingFor,
      this.#news,
      this.#keeping,
    );
    this.#tellKeeping(kept);
    announce(`Loading ${name}`);
  }

  /** @param {Progress} progress */
  update(progress) {
    const { phase, done, total, waiting } = progress;
    if (phase !== this.#phase) {
      this.#phase = phase;
      // What is read from the store comes at another speed, and says nothing about the rest.
      this.#speed = new format.Speed();
      this.#announced = -1;
      fill(this.#title, this.#phases[phase]);
    }
    const counted = phase !== "compile" && total > 0;
    showPart(this.#bar, counted ? done : undefined, total);
    this.#wait(waiting, phase);
    const rate = waiting ? undefined : this.#speed.add(done, performance.now());
    fill(this.#figures, counted ? figures(done, total, rate) : " ");
    this.#showPause(phase === "download" && progress.stored && waiting?.for !== "tab");
    this.#keeping.hidden = phase !== "download" || !progress.stored;
    fill(this.#news, progress.reason && `No copy is kept: ${progress.reason}`);
    if (!waiting) this.#tell(counted ? done / total : 0);
  }

  /** Ends its timer. */
  dispose() {
    clearInterval(this.#countdown);
  }

  /**
   * @param {Waiting | undefined} waiting
   * @param {Progress["phase"]} phase
   */
  #wait(waiting, phase) {
    if (!waiting) {
      this.#endCount();
      this.#heard = undefined;
      return;
    }
    // What came before the wait says nothing about what comes after it.
    this.#speed = new format.Speed();
    const text = waiting.for === "tab" && phase === "download" ? TAB_DOWNLOADS : WAITING[waiting.for];
    this.#count(text, waiting.seconds);
    if (waiting.for === this.#heard || (waiting.seconds ?? Infinity) < SHORT) return;
    this.#heard = waiting.for;
    this.#announce(text);
  }

  /**
   * @param {string} text
   * @param {number} [seconds] until the next attempt
   */
  #count(text, seconds) {
    const now = performance.now();
    const { text: before, seconds: of, end: until = 0 } = this.#counted ?? {};
    // Reports come during a wait, too: other connections go on.
    if (text === before && seconds === of && now < until) return;
    this.#endCount();
    if (seconds === undefined) return fill(this.#waitingFor, text);
    const end = now + seconds * 1000;
    this.#counted = { text, seconds, end };
    const show = () => {
      const left = Math.ceil((end - performance.now()) / 1000);
      fill(this.#waitingFor, text, left > 0 ? ` Trying again in ${format.duration(left)}.` : " Trying again now.");
      if (left <= 0) clearInterval(this.#countdown);
    };
    this.#countdown = setInterval(show, 1000);
    show();
  }

  #endCount() {
    clearInterval(this.#countdown);
    this.#counted = undefined;
    fill(this.#waitingFor);
  }

  /** @param {boolean} possible */
  #showPause(possible) {
    const focused = this.#pause.matches(":focus");
    this.#pause.hidden = !possible;
    if (focused && !possible) this.#cancel.focus();
  }

  /** @param {Promise<boolean> | undefined} kept */
  async #tellKeeping(kept) {
    const answer = await kept;
    if (answer === undefined) return;
    const text = answer ? "The browser has promised to keep what is stored." : "The browser may clear what is stored when disk space runs short.";
    fill(this.#keeping, text);
  }

  /** A screen reader hears each new phase and each quarter, not every step. @param {number} part */
  #tell(part) {
    const quarter = Math.floor(part * 4);
    if (quarter === this.#announced || !this.#phase) return;
    this.#announced = quarter;
    this.#announce(`${this.#phases[this.#phase]}${quarter > 0 ? `: ${quarter * 25} percent` : ""}`);
  }
}

/**
 * The card of a download that was paused. What it shows first is what had arrived; `stored` then tells what was kept of it.
 *
 * @param {string} name the model's
 * @param {{done: number, total: number}} progress
 * @param {Promise<number | undefined>} stored bytes
 * @param {{resume: () => void, pick: () => void}} actions
 * @returns {HTMLElement}
 */
export function pausedCard(name, { done, total }, stored, { resume, pick }) {
  const bar = h("progress", { "aria-labelledby": "paused-title" });
  const text = h("p", { class: "figures" });
  const show = (/** @type {number} */ bytes) => {
    showPart(bar, bytes, total);
    fill(text, total > 0 ? `${format.bytes(bytes)} of ${format.bytes(total)} are stored.` : "Nothing is stored yet.");
  };
  show(done);
  stored.then((bytes) => bytes !== undefined && show(bytes));
  return h(
    "div",
    { class: "card loading" },
    h("p", { id: "paused-title", class: "loading-title" }, "Paused"),
    h("p", { class: "loading-name" }, name),
    bar,
    text,
    h(
      "div",
      { class: "row" },
      h("button", { type: "button", class: "button primary", onclick: resume }, "Go on"),
      h("button", { type: "button", class: "button", onclick: pick }, "Choose another model"),
    ),
  );
}

/**
 * @param {HTMLProgressElement} bar
 * @param {number | undefined} done unknown: the bar only moves
 * @param {number} total
 */
function showPart(bar, done, total) {
  if (done === undefined || total <= 0) return bar.removeAttribute("value");
  bar.max = total;
  bar.value = done;
}

/**
 * "34.1 MB of 98.4 MB · 12.0 MB/s · 6 s left"
 * @param {number} done
 * @param {number} total
 * @param {number | undefined} rate
 */
function figures(done, total, rate) {
  const parts = [`${format.bytes(done)} of ${format.bytes(total)}`];
  if (rate && done < total) parts.push(`${format.bytes(rate)}/s`, `${format.duration((total - done) / rate)} left`);
  return parts.join(" · ");
}
