// The dialog for the system prompt, sampling, memory, kernels and adapters. An empty field means the model's default.

import { adapterSection } from "./adapters.js";
import { h, iconButton } from "./dom.js";

/** @import { Device } from "../device.js" */
/** @import { KvFormat, Model } from "../engine.js" */
/** @import { Info, Recipe } from "../pkg/webgpu.js" */
/** @import { Settings } from "./conversations.js" */
/** @import { Loading } from "./opening.js" */
/** @import { Permits } from "./permits.js" */

/** @typedef {Exclude<keyof Settings, "system">} NumberSetting */

/** @type {{name: NumberSetting, label: string, hint: string, min: number, max: number, step: number}[]} */
const NUMBERS = [
  { name: "temperature", label: "Temperature", hint: "0 always takes the likeliest token; higher is more varied.", min: 0, max: 5, step: 0.01 },
  { name: "top_k", label: "Top-k", hint: "Only the k likeliest tokens; 0 is all.", min: 0, max: 1000, step: 1 },
  { name: "top_p", label: "Top-p", hint: "Only the likeliest tokens that add up to p.", min: 0.01, max: 1, step: 0.01 },
  { name: "min_p", label: "Min-p", hint: "Only tokens at least this likely, relative to the likeliest.", min: 0, max: 1, step: 0.01 },
  { name: "repetition_penalty", label: "Repetition penalty", hint: "Above 1 discourages what was already said.", min: 0.5, max: 3, step: 0.01 },
  { name: "seed", label: "Seed", hint: "The same seed gives the same answer. Empty: a new one each time.", min: 0, max: 4294967295, step: 1 },
  { name: "max_tokens", label: "Longest answer", hint: "In tokens. Empty: as far as the context reaches.", min: 1, max: 131072, step: 1 },
];

/**
 * @param {ShadowRoot} root where the dialog lives while it is open
 * @param {{settings: Settings, loading: Loading, pinned: boolean, model: Model | undefined, permits: Permits | undefined}} current pinned: there is no choice of the device
 * @param {(settings: Settings, loading: Loading) => void} apply
 */
export function openSettings(root, { settings, loading, pinned, model, permits }, apply) {
  const info = model?.info;
  const system = h("textarea", { id: "system", rows: "4", placeholder: "None. For example: Answer in one short paragraph." });
  system.value = settings.system ?? "";
  const fields = NUMBERS.map((setting) => numberField(setting, settings[setting.name], defaultOf(setting.name, info)));
  const length = numberField(
    { name: "context", label: "Context length", hint: "In tokens. A change loads the model again.", min: 64, max: 131072, step: 1 },
    loading.context,
    info ? String(info.context) : "chosen by the engine",
  );
  const measured = h("input", { type: "checkbox", id: "setting-tune", checked: loading.tune, "aria-describedby": "setting-tune-hint" });
  const bits = choiceField({ name: "quantise", label: "Bits of each weight", hint: RECIPES_HINT, choices: RECIPES }, loading.quantise);
  const place = choiceField({ name: "device", label: "Device", hint: DEVICES_HINT, choices: DEVICES }, loading.device);
  const cache = choiceField({ name: "kv", label: "Bits of the context", hint: CACHES_HINT, choices: CACHES }, loading.kv);
  const reset = () => {
    measured.checked = true;
    place.select.value = "";
    bits.select.value = "";
    cache.select.value = "";
    for (const { input } of [...fields, length]) input.value = "";
  };
  const submit = () => {
    /** @type {Settings} */
    const chosen = {};
    if (system.value.trim()) chosen.system = system.value.trim();
    fields.forEach(({ input }, index) => {
      const name = NUMBERS[index]?.name;
      if (name && input.value !== "") chosen[name] = input.valueAsNumber;
    });
    const context = length.input.value === "" ? undefined : length.input.valueAsNumber;
    apply(chosen, { device: place.chosen(), context, kv: cache.chosen(), tune: measured.checked, quantise: bits.chosen() });
  };
  const form = h(
    "form",
    { method: "dialog", class: "settings", onsubmit: submit },
    h("div", { class: "row spread" }, h("h2", { id: "settings-title" }, "Settings"), iconButton("close", "Close without a change", () => dialog.close())),
    h("p", { class: "hint" }, "Prompt and sampling belong to this chat, and the next new chat begins with them; memory and speed hold for every chat."),
    h("label", { for: "system", class: "strong" }, "System prompt"),
    system,
    h("fieldset", {}, h("legend", {}, "Sampling"), h("div", { class: "grid" }, ...fields.map(({ element }) => element))),
    h("fieldset", {}, h("legend", {}, "Memory"), h("div", { class: "grid" }, length.element, cache.element, bits.element)),
    h(
      "fieldset",
      {},
      h("legend", {}, "Speed"),
      !pinned && place.element,
      h("label", { class: "check" }, measured, "Measure which kernels are fastest"),
      h("p", { class: "hint", id: "setting-tune-hint" }, "When a model is first loaded on this graphics adapter; it takes less than two seconds. A change loads the model again."),
    ),
    model && adapterSection(model, permits),
    h(
      "div",
      { class: "row spread settings-actions" },
      h("button", { type: "button", class: "button", onclick: reset, title: "The model's own settings" }, "Reset to defaults"),
      h("button", { type: "submit", class: "button primary" }, "Save"),
    ),
  );
  const dialog = h("dialog", { class: "dialog", "aria-labelledby": "settings-title", onclose: () => dialog.remove() }, form);
  root.append(dialog);
  dialog.showModal();
}

const DEVICES_HINT = "Where models run. Automatic takes the processor where there is no graphics card to use. A change loads the model again.";
/** @type {{name: Device | undefined, label: string}[]} */
const DEVICES = [
  { name: undefined, label: "automatic" },
  { name: "webgpu", label: "graphics card" },
  { name: "cpu", label: "processor" },
];

const RECIPES_HINT = "Of Hugging Face folders that are downloaded from now on: fewer bits take less memory, at some loss of quality.";
/** @type {{name: Recipe | undefined, label: string}[]} */
const RECIPES = [
  { name: undefined, label: "as published" },
  { name: "q8_0", label: "8 bits" },
  { name: "q4_0", label: "4 bits" },
];

const CACHES_HINT = "Of each number that the model keeps of what it has read: 8 take about half the memory of 16, at some loss of quality. A change loads the model again.";
/** @type {{name: KvFormat | undefined, label: string}[]} */
const CACHES = [
  { name: undefined, label: "default" },
  { name: "f16", label: "16 bits" },
  { name: "q8", label: "8 bits" },
];

/**
 * A choice of few.
 * @template {string | undefined} T
 * @param {{name: string, label: string, hint: string, choices: {name: T, label: string}[]}} setting
 * @param {T} current
 */
function choiceField({ name, label, hint, choices }, current) {
  const id = `setting-${name}`;
  const options = choices.map(({ name, label }) => h("option", { value: name ?? "", selected: name === current }, label));
  const select = h("select", { id, name, "aria-describedby": `${id}-hint` }, ...options);
  const element = h("div", { class: "field" }, h("label", { for: id }, label), select, h("p", { class: "hint", id: `${id}-hint` }, hint));
  return { element, select, chosen: () => choices.find(({ name }) => (name ?? "") === select.value)?.name };
}

/**
 * @param {NumberSetting} name
 * @param {Info | undefined} info
 */
function defaultOf(name, info) {
  if (name === "seed") return "random";
  if (name === "max_tokens") return "no limit";
  const value = info?.sampling[name];
  return value === undefined || value === null ? (info ? "off" : "model's") : String(Number(value.toPrecision(6)));
}

/**
 * @param {{name: string, label: string, hint: string, min: number, max: number, step: number}} setting
 * @param {number | undefined} value
 * @param {string} placeholder
 */
function numberField({ name, label, hint, min, max, step }, value, placeholder) {
  const id = `setting-${name}`;
  const input = h("input", { type: "number", id, name, min, max, step, placeholder, "aria-describedby": `${id}-hint`, inputmode: "decimal" });
  if (value !== undefined) input.value = String(value);
  const element = h("div", { class: "field" }, h("label", { for: id }, label), input, h("p", { class: "hint", id: `${id}-hint` }, hint));
  return { element, input };
}
