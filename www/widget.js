// <llama-chat>: a chat with a Llama model that runs in the visitor's browser. One script tag embeds it anywhere:
//
//   <script type="module" src="https://host/path/widget.js"></script>
//   <llama-chat></llama-chat>
//
// Attributes, read when the element is connected; all are optional:
//
//   model          address of a GGUF file, or of a Hugging Face folder when it ends in "/"; relative to the page
//   hub            Hugging Face repository instead: "owner/name" or "owner/name@revision", or a file of it, "owner/name/file.gguf"
//   hub-host       address of the hub that has repositories, a mirror for example (default "https://huggingface.co")
//   model-name     what to call that model before it is downloaded
//   model-bytes    its size, so that the visitor knows it beforehand
//   model-licence  its licence, likewise; one that catalog.json beside this file knows is shown, to be accepted
//   system-prompt  what new chats begin with
//   context        tokens to make room for; the engine chooses without it
//   kv             number format of the key/value cache: "f16" (default), "q8" for about half the memory, or "f32"
//   device         where models run: "auto" (default) leaves it to the visitor; "webgpu", or "cpu", the processor
//   chats          elements of one origin with the same name here share their chats (default "default")
//   autoload       load the last visit's model without asking; meant for a page that is nothing but this chat
//
// Without `model` and `hub` the element offers the model that models.json beside this file names. Nothing is downloaded
// before the visitor agrees. The element dispatches `llama-title` with the chat's title as `detail`, and in front of it how
// far a download is; it changes no title itself. Its colours follow the `color-scheme` of the element, and
// `--llama-accent` changes their accent. Removing the element frees everything.

import { App } from "./chat/app.js";
import { hubAddress } from "./chat/hub.js";
import { errorNotice } from "./chat/notice.js";
import { parseSource } from "./chat/sources.js";

/** @import { AppOptions } from "./chat/app.js" */
/** @import { Choice } from "./chat/model-session.js" */

const STYLES = ["./widget.css", "./chat/start.css", "./chat/transcript.css", "./chat/composer.css"];

export class LlamaChat extends HTMLElement {
  /** @type {App | undefined} */
  #app;

  connectedCallback() {
    // An element that is only moved keeps its chat.
    if (this.shadowRoot?.firstChild) return;
    const root = this.shadowRoot ?? this.attachShadow({ mode: "open" });
    const styles = STYLES.map(stylesheet);
    // Nothing shows without its style; a style that does not come must not keep the chat away.
    Promise.all(styles.map(settled)).then(() => {
      if (!styles[0]?.isConnected) return;
      this.#start(root);
    });
    root.replaceChildren(...styles);
  }

  /**
   * An element that cannot start says why instead of staying empty.
   * @param {ShadowRoot} root
   */
  async #start(root) {
    /** @type {App | undefined} */
    let app;
    try {
      app = this.#app = new App(root, this.#options());
      await app.start();
    } catch (error) {
      // Gone in the meantime, which is why it could not start.
      if (app !== this.#app) return;
      this.#app?.dispose();
      this.#app = undefined;
      root.append(errorNotice(error, {}));
    }
  }

  disconnectedCallback() {
    queueMicrotask(() => {
      if (this.isConnected) return;
      this.#app?.dispose();
      this.#app = undefined;
      this.shadowRoot?.replaceChildren();
    });
  }

  /** @returns {AppOptions} */
  #options() {
    const context = Number(this.getAttribute("context"));
    const kv = this.getAttribute("kv");
    const device = this.getAttribute("device");
    return {
      offer: this.#offer(),
      autoload: this.hasAttribute("autoload"),
      system: this.getAttribute("system-prompt") ?? undefined,
      open: {
        ...(context > 0 && { context }),
        ...((kv === "f16" || kv === "f32" || kv === "q8") && { kv }),
        ...((device === "auto" || device === "webgpu" || device === "cpu") && { device }),
      },
      name: this.getAttribute("chats") ?? "default",
      hub: this.#hub(),
    };
  }

  #hub() {
    return hubAddress(this.getAttribute("hub-host") ?? "");
  }

  /** @returns {Choice | undefined} */
  #offer() {
    const model = this.getAttribute("model");
    const hub = this.getAttribute("hub");
    const source = model ? new URL(model, document.baseURI).href : hub;
    if (!source) return undefined;
    const choice = parseSource(source, this.#hub());
    const bytes = Number(this.getAttribute("model-bytes"));
    return {
      ...choice,
      name: this.getAttribute("model-name") ?? choice.name,
      ...(bytes > 0 ? { bytes } : {}),
      licence: this.getAttribute("model-licence") ?? undefined,
    };
  }
}

/** @param {string} path beside this file */
function stylesheet(path) {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.crossOrigin = "anonymous";
  link.href = new URL(path, import.meta.url).href;
  return link;
}

/** @param {HTMLLinkElement} link */
function settled(link) {
  return new Promise((resolve) => {
    link.onload = link.onerror = resolve;
  });
}

// A page may carry the script twice.
if (!customElements.get("llama-chat")) customElements.define("llama-chat", LlamaChat);
