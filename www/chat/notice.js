// Errors and other news as a card: a sentence, what to do, and a button that does it.

import { h, icon } from "./dom.js";

/** @typedef {{label: string, run: () => void, primary?: boolean}} Action */
/** @typedef {"retry" | "pick" | "new-chat" | "settings" | "reload" | "unkept" | "shorter" | "coarser"} Step */

/** The next steps that help with an error, by its code or its code's room; without an entry, trying again. @type {Record<string, Step[]>} */
const NEXT_STEPS = {
  net: ["retry", "pick"],
  "net/digest": ["pick", "retry"],
  hub: ["pick", "retry"],
  "hub/several": ["pick"],
  "store/no-space": ["retry", "unkept", "pick"],
  "store/quota": ["retry", "unkept", "pick"],
  "store/corrupt": ["retry", "pick"],
  "store/outdated": ["reload"],
  weights: ["pick"],
  "gpu/no-webgpu": ["settings"],
  "gpu/no-adapter": ["settings", "reload"],
  "gpu/limit": ["shorter", "coarser", "pick", "settings"],
  "gpu/out-of-memory": ["shorter", "coarser", "pick", "settings", "retry"],
  "gpu/lost-again": ["shorter", "coarser", "pick", "settings", "retry"],
  "gpu/error": ["reload"],
  "gpu/not-finite": ["pick"],
  "text/tokenizer": ["pick"],
  "text/template": ["new-chat", "pick"],
  "text/no-chat-format": ["pick"],
  "generate/bad-request": ["settings", "retry"],
  "engine/start": ["reload"],
  "engine/crash": ["retry", "reload"],
};

/** @type {Record<Step, string>} */
const LABELS = {
  retry: "Try again",
  pick: "Choose another model",
  "new-chat": "New chat",
  settings: "Settings",
  reload: "Reload the page",
  unkept: "Go on without keeping it",
  shorter: "Load with half the context",
  coarser: "Load with 8 bits for the context",
};

/**
 * @param {unknown} error
 * @param {Partial<Record<Step, () => void>>} steps what is possible here
 * @param {HTMLElement} [help] what else does, above the buttons
 * @returns {HTMLElement}
 */
export function errorNotice(error, steps, help) {
  const { code, message, advice } = describe(error);
  const wanted = NEXT_STEPS[code] ?? NEXT_STEPS[code.split("/")[0] ?? ""] ?? /** @type {Step[]} */ (["retry"]);
  /** @type {Action[]} */
  const actions = [];
  // A form has a first button of its own.
  const first = !(help instanceof HTMLFormElement);
  for (const step of wanted) {
    const run = step === "reload" ? () => location.reload() : steps[step];
    if (run) actions.push({ label: LABELS[step], run, primary: first && actions.length === 0 });
  }
  return notice({ title: message, text: advice, actions, tone: "error", code, help });
}

/**
 * The context is full: a new chat, or this one without what is oldest.
 * @param {{newChat: () => void, dropOldest: () => void}} steps
 */
export function contextFull({ newChat, dropOldest }) {
  const actions = [
    { label: "New chat", run: newChat, primary: true },
    { label: "Go on without the oldest turns", run: dropOldest },
  ];
  const text = "The model cannot see more than this. The chat stays in the list either way.";
  return notice({ title: "The context is full.", text, actions });
}

/**
 * The answer was cut where the settings say.
 * @param {{settings: () => void}} steps
 */
export function answerCut({ settings }) {
  const actions = [{ label: "Settings", run: settings }];
  return notice({ title: "The answer has reached its longest length.", actions });
}

/**
 * @param {unknown} error
 * @returns {{code: string, message: string, advice: string}}
 */
export function describe(error) {
  const { code, message, advice } = /** @type {Record<string, unknown>} */ (Object(error));
  return {
    code: typeof code === "string" ? code : "page/defect",
    message: typeof message === "string" && message ? message : String(error),
    advice: typeof advice === "string" ? advice : "Reload the page; if it happens again, please report it.",
  };
}

/**
 * @param {{title: string, text?: string, actions?: Action[], tone?: "error" | "info", code?: string, help?: HTMLElement}} news
 * @returns {HTMLElement}
 */
export function notice({ title, text, actions = [], tone = "info", code, help }) {
  const buttons = actions.map(({ label, run, primary }) =>
    h("button", { type: "button", class: primary ? "button primary" : "button", onclick: run }, label),
  );
  return h(
    "div",
    { class: `notice ${tone}`, role: tone === "error" ? "alert" : "note", "data-code": code },
    h("p", { class: "notice-title" }, tone === "error" && icon("warning"), title),
    text && h("p", {}, text),
    help,
    buttons.length > 0 && h("div", { class: "row" }, ...buttons),
  );
}
