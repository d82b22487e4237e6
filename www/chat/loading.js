// The card that shows a model on its way: bytes, rate, time left, and a way out.

import * as format from "./format.js";
import { fill, h } from "./dom.js";

/** @import { Progress } from "../pkg/pagellama.js" */

/** @type {Record<Progress["phase"], string>} */
const PHASES = { download: "Downloading", read: "Loading from this browser", compile: "Preparing the graphics card" };

export class LoadingCard {
  #speed = new format.Speed();
  /** @type {Progress["phase"] | undefined} */
  #phase;
  #bar = h("progress", { "aria-labelledby": "loading-title" });
  #figures = h("p", { class: "figures" }, " ");
  #title;
  #announced = -1;
  #announce;

  /**
   * @param {string} name the model's
   * @param {{cancel: () => void, announce: (text: string) => void}} actions
   */
  constructor(name, { cancel, announce }) {
    this.#announce = announce;
    this.#title = h("p", { id: "loading-title", class: "loading-title" }, "Starting the engine");
    this.element = h(
      "div",
      { class: "card loading" },
      h("div", { class: "row spread" }, this.#title, h("button", { type: "button", class: "button", onclick: cancel }, "Cancel")),
      h("p", { class: "loading-name" }, name),
      this.#bar,
      this.#figures,
    );
    announce(`Loading ${name}`);
  }

  /** @param {Progress} progress */
  update({ phase, done, total }) {
    if (phase !== this.#phase) {
      this.#phase = phase;
      this.#speed = new format.Speed();
      this.#announced = -1;
      fill(this.#title, PHASES[phase]);
    }
    const counted = phase !== "compile" && total > 0;
    if (counted) {
      this.#bar.max = total;
      this.#bar.value = done;
    } else {
      this.#bar.removeAttribute("value");
    }
    const rate = this.#speed.add(done, performance.now());
    fill(this.#figures, counted ? figures(done, total, rate) : " ");
    this.#tell(counted ? done / total : 0);
  }

  /** A screen reader hears each new phase and each quarter, not every step. @param {number} part */
  #tell(part) {
    const quarter = Math.floor(part * 4);
    if (quarter === this.#announced || !this.#phase) return;
    this.#announced = quarter;
    this.#announce(`${PHASES[this.#phase]}${quarter > 0 ? `: ${quarter * 25} percent` : ""}`);
  }
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
