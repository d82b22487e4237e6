// Builds elements. Text always arrives as text nodes: nothing here parses HTML.

/** @typedef {Node | string | null | undefined | false} Child */

/**
 * An element with attributes, listeners and children. `onclick: f` listens; `class`, `aria-label` and the like are
 * attributes; true sets an empty attribute; false, null and undefined leave it out.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, unknown>} [attributes]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") {
      element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  append(element, children);
  return element;
}

/**
 * @param {Element} element
 * @param {Child[]} children
 */
function append(element, children) {
  for (const child of children) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
}

/**
 * Puts `children` in the place of everything that `element` holds.
 * @param {Element} element
 * @param {...Child} children
 */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

/**
 * A link out of the page.
 * @param {string} href
 * @param {string} text
 */
export function link(href, text) {
  return h("a", { href, target: "_blank", rel: "noopener noreferrer" }, text);
}

/** Line drawings on a 24 x 24 grid, as SVG paths. */
const ICONS = {
  menu: "M4 7h16M4 12h16M4 17h10",
  plus: "M12 5v14M5 12h14",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M7 7h10v10H7z",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  check: "M5 13l4 4L19 7",
  edit: "M4 20l1-4L16 5l3 3L8 19zM14 7l3 3",
  again: "M20 11a8 8 0 1 0-2 6M20 5v6h-6",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5",
  settings: "M4 7h9M17 7h3M4 17h3M11 17h9M13 4.5v5h4v-5zM7 14.5v5h4v-5z",
  close: "M6 6l12 12M18 6L6 18",
  down: "M12 5v14M6 13l6 6 6-6",
  chevron: "M7 10l5 5 5-5",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  globe: "M12 3a9 9 0 1 0 0 18a9 9 0 0 0 0-18M3 12h18M12 3c-5 5-5 13 0 18c5-5 5-13 0-18",
  warning: "M12 4L2.5 20h19zM12 10v5M12 17.5v.5",
  llama: "M9.6 5.4L9.2 2l2.4 2.3c1.7.5 2.4 1.9 2.4 4.2v5c4 0 6.5 1 6.5 4.2v3.8h-2.6v-3.2h-6v3.2H9.3V9.8H7.4C5.9 9.8 5 9.1 5 8c0-1.6 2-2.6 4.6-2.6zM9.2 7.6h.01",
};

/**
 * @param {keyof typeof ICONS} name
 * @returns {SVGSVGElement}
 */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/**
 * A button that shows only an icon; its label is for screen readers and the tooltip.
 *
 * @param {keyof typeof ICONS} name
 * @param {string} label
 * @param {(event: MouseEvent) => void} onclick
 * @param {Record<string, unknown>} [attributes]
 */
export function iconButton(name, label, onclick, attributes = {}) {
  return h("button", { type: "button", class: "icon-button", "aria-label": label, title: label, onclick, ...attributes }, icon(name));
}

/**
 * A button with an icon that copies a text, and says whether it did.
 *
 * @param {string} label
 * @param {() => string} text
 */
export function copyButton(label, text) {
  const button = iconButton("copy", label, async () => {
    try {
      await navigator.clipboard.writeText(text());
      say("check", "Copied");
    } catch {
      // The visitor, or the page around, does not allow it; without https there is no clipboard at all.
      say("warning", "Could not copy");
    }
    setTimeout(() => say("copy", label), 1500);
  });
  const say = (/** @type {keyof typeof ICONS} */ name, /** @type {string} */ news) => {
    button.replaceChildren(icon(name));
    button.setAttribute("aria-label", news);
    button.title = news;
  };
  return button;
}

/**
 * A modal dialog that asks one thing. Resolves with the text (or "" when there is no field), or undefined when dismissed.
 *
 * @param {ParentNode & Node} root where the dialog lives while it is open
 * @param {{title: string, text?: string, body?: HTMLElement, field?: {label: string, value: string}, confirm: string, danger?: boolean}} question
 * @returns {Promise<string | undefined>}
 */
export function ask(root, { title, text, body, field, confirm, danger }) {
  const input = field && h("input", { type: "text", "aria-label": field.label });
  if (field && input) input.value = field.value;
  const cancel = h("button", { type: "button", class: "button", onclick: () => dialog.close() }, "Cancel");
  const submit = h("button", { type: "submit", class: danger ? "button danger" : "button primary" }, confirm);
  const form = h("form", { method: "dialog" }, h("h2", { id: "ask-title" }, title), text && h("p", {}, text), body, input);
  form.append(h("div", { class: "row end" }, cancel, submit));
  const dialog = h("dialog", { class: "dialog small", "aria-labelledby": "ask-title" }, form);
  root.append(dialog);
  return new Promise((resolve) => {
    let answer = /** @type {string | undefined} */ (undefined);
    form.addEventListener("submit", () => (answer = input?.value ?? ""));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(answer);
    });
    dialog.showModal();
    input?.select();
  });
}
