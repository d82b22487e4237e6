// A model's Markdown as elements. Two walls stand between its text and the page: the renderer below writes raw HTML and
// images as text and links, and DOMPurify then lets through only a short list of elements.

import { Marked, Tokenizer } from "../vendor/marked.esm.js";
import createPurifier from "../vendor/purify.es.js";
import { copyButton, h } from "./dom.js";

/** @typedef {{type: string, raw: string}} Block */

const TAGS = [
  ...["p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "code", "em", "strong", "del", "a"],
  ...["ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td", "#text"],
];

/** Quotes and lists within each other, from here on, are text: the parser goes as deep as its input says, and slower than that. */
const DEEPEST = 16;

class ShallowTokenizer extends Tokenizer {
  #depth = 0;

  /** @override @param {string} source */
  blockquote(source) {
    return this.#within(() => super.blockquote(source));
  }

  /** @override @param {string} source */
  list(source) {
    return this.#within(() => super.list(source));
  }

  /**
   * @template T
   * @param {() => T} read
   */
  #within(read) {
    if (this.#depth >= DEEPEST) return undefined;
    this.#depth += 1;
    try {
      return read();
    } finally {
      this.#depth -= 1;
    }
  }
}

/** The first wall: what HTML and images in the source become. */
const marked = new Marked({
  gfm: true,
  renderer: {
    html: (/** @type {{text: string, block?: boolean}} */ token) =>
      token.block ? `<p>${escapeHtml(token.text)}</p>` : escapeHtml(token.text),
    // An image would be fetched from a place that the model chose, which would tell that place about the visitor.
    image: (/** @type {{href: string, text: string}} */ token) =>
      `<a href="${escapeHtml(token.href)}">${escapeHtml(token.text || token.href)}</a>`,
    code: (/** @type {{text: string, lang?: string}} */ token) =>
      `<pre data-language="${escapeHtml(/^\w*/.exec(token.lang ?? "")?.[0] ?? "")}"><code>${escapeHtml(token.text)}</code></pre>`,
    checkbox: (/** @type {{checked: boolean}} */ token) => (token.checked ? "☑ " : "☐ "),
  },
});
marked.setOptions({ tokenizer: new ShallowTokenizer() });

/** The second wall. */
const purifier = createPurifier(window);
purifier.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName !== "A") return;
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer nofollow");
});

/**
 * Shows a text that grows. Blocks that can no longer change (all but the last) are built once and left alone, so that
 * the cost of a piece does not grow with the answer.
 */
export class MarkdownView {
  #settled = 0;
  /** Once the parser has given up, the rest stays as it was written. */
  #plain = false;
  /** @type {Element[]} */
  #open = [];

  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
  }

  /** @param {string} text the whole text so far */
  update(text) {
    const tail = text.replace(/\r\n?/g, "\n").slice(this.#settled);
    if (!this.#plain) {
      try {
        this.#format(tail);
        return;
      } catch {
        this.#plain = true;
      }
    }
    this.#reopen([h("p", { class: "unformatted" }, tail)]);
  }

  /** @param {string} tail what is not settled yet */
  #format(tail) {
    const blocks = marked.lexer(tail);
    let last = blocks.length - 1;
    while (last > 0 && blocks[last]?.type === "space") last -= 1;
    const before = blocks.slice(0, Math.max(last, 0));
    const settled = build(before);
    const open = build(blocks.slice(Math.max(last, 0)));
    this.#reopen([]);
    this.element.append(...settled);
    this.#settled += before.reduce((sum, block) => sum + block.raw.length, 0);
    this.#reopen(open);
  }

  /** @param {Element[]} elements what stands after the settled blocks from now on */
  #reopen(elements) {
    for (const element of this.#open) element.remove();
    this.#open = elements;
    this.element.append(...elements);
  }
}

/**
 * @param {Block[]} blocks
 * @returns {Element[]}
 */
function build(blocks) {
  const html = marked.parser(blocks);
  const clean = purifier.sanitize(html, {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ["href", "title", "start", "align", "data-language", "target", "rel"],
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
    // These hold no address, so the line above is not about them.
    ADD_URI_SAFE_ATTR: ["start", "align", "data-language"],
    RETURN_DOM_FRAGMENT: true,
  });
  for (const pre of clean.querySelectorAll("pre")) pre.replaceWith(codeBlock(pre));
  for (const table of clean.querySelectorAll("table")) {
    const frame = h("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Table" });
    table.replaceWith(frame);
    frame.append(table);
  }
  return [...clean.children];
}

/** @param {HTMLElement} pre */
function codeBlock(pre) {
  const language = pre.dataset.language ?? "";
  const code = pre.textContent ?? "";
  pre.removeAttribute("data-language");
  pre.tabIndex = 0;
  const bar = h("div", { class: "code-bar" }, h("span", {}, language || "text"), copyButton("Copy code", () => code));
  const frame = h("div", { class: "code" }, bar);
  frame.append(pre.cloneNode(true));
  return frame;
}

/** @param {string} text */
function escapeHtml(text) {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}
