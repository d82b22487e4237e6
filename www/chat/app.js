// Wires the parts of one chat element: model, conversation, views. All its state is here, and `dispose` frees all of it.

import { deleteModel, missingSupport, storedModels } from "../engine.js";
import { Answering, dropOldest, measure } from "./answering.js";
import { Composer } from "./composer.js";
import { Conversations, newConversation, titleOf } from "./conversations.js";
import { Frame, greetingOf } from "./frame.js";
import { ModelDock } from "./model-dock.js";
import { ModelSession } from "./model-session.js";
import { answerCut, contextFull, errorNotice, notice } from "./notice.js";
import { Opening } from "./opening.js";
import { Permits } from "./permits.js";
import { picker } from "./picker.js";
import { openSettings } from "./settings.js";
import { Sidebar } from "./sidebar.js";
import { defaultModel, fromFiles, sourceOf } from "./sources.js";
import { DEVICE_LOST, Transcript } from "./transcript.js";

/** @import { EngineError, Model, OpenOptions } from "../engine.js" */
/** @import { StoredModel } from "../pkg/webgpu.js" */
/** @import { Conversation, Message, Preferences, Settings } from "./conversations.js" */
/** @import { Choice } from "./model-session.js" */
/** @import { Loading } from "./opening.js" */

/**
 * `offer`: the model to begin with, else the one that the build comes with. `autoload`: load the last visit's model
 * without asking. `system`, `open`: what new chats and loads begin with. `name`: chats of that name are shared. `hub`: where
 * repositories come from, unless the visitor has chosen another place.
 * @typedef {{offer?: Choice, autoload: boolean, system?: string, open: OpenOptions, name: string, hub?: string}} AppOptions
 */

export class App {
  #root;
  #options;
  #disposed = false;
  #session;
  #answering;
  #transcript;
  #composer;
  #sidebar;
  #frame;
  #modelDock;
  /** @type {Conversations | undefined} */
  #chats;
  /** @type {Conversation[]} */
  #list = [];
  #conversation = newConversation({});
  /** @type {Choice | undefined} */
  #offer;
  /** @type {Preferences["model"]} */
  #last;
  /** @type {Opening | undefined} */
  #opening;
  /** @type {Permits | undefined} */
  #permits;
  /** @type {EngineError | undefined} */
  #missing;
  /** Until the visitor has chosen a model, not even the engine is downloaded. */
  #agreed;
  /** Ends what the view that is shown has begun. */
  #view = new AbortController();

  /**
   * @param {ShadowRoot} root
   * @param {AppOptions} options
   */
  constructor(root, options) {
    this.#root = root;
    this.#options = options;
    this.#agreed = options.autoload;
    this.#session = new ModelSession((progress) => this.#modelDock.update(progress));
    this.#session.addEventListener("change", () => this.#modelChanged());
    this.#modelDock = new ModelDock(root, this.#session, {
      load: (choice) => this.#load(choice),
      token: (choice, token) => (this.#permits?.give(choice, token), this.#load(choice)),
      again: (choice) => this.#begin(choice),
      pick: () => this.#show("picker"),
      settings: () => this.#openSettings(),
      smaller: (choice) => this.#smaller(choice),
      remove: (model) => this.#removeModel(model),
      announce: (text) => this.#frame.announce(text),
      percent: () => this.#tellTitle(),
    });
    this.#answering = new Answering({
      begin: (message) => this.#began(message),
      grow: () => this.#transcript.grow(),
      reload: (progress) => this.#transcript.reloading(progress) && this.#frame.announce(DEVICE_LOST),
      end: (message) => this.#ended(message),
      fail: (error) => this.#failed(error),
      save: (conversation) => this.#save(conversation),
    });
    this.#transcript = new Transcript({
      resend: (index, text) => this.#resend(index, text),
      regenerate: () => this.#regenerate(),
    });
    this.#composer = new Composer({
      send: (text) => this.#send(text),
      stop: () => this.#answering.stop(),
      openSettings: () => this.#openSettings(),
    });
    this.#sidebar = new Sidebar(root, {
      create: () => this.#newChat(),
      open: (conversation) => this.#open(conversation),
      rename: (conversation, title) => this.#rename(conversation, title),
      remove: (conversation) => this.#remove(conversation),
      close: () => this.#frame.toggleSidebar(false),
    });
    this.#frame = new Frame(root, this.#sidebar.element, this.#transcript.element, {
      pick: () => this.#show("picker"),
      create: () => this.#newChat(),
      escape: () => this.#answering.stop(),
      drop: (files) => this.#dropped(files),
    });
  }

  /** Reads what the last visit left, then shows the chat or the choice of a model. */
  async start() {
    const { autoload, offer, name, open, hub } = this.#options;
    const chats = await Conversations.open(name);
    if (this.#disposed) return chats.close();
    this.#chats = chats;
    const [missing, permits, opening, list, last, current, settings] = await Promise.all([
      missingSupport(),
      Permits.open(this.#root, chats, hub),
      Opening.open(chats, open),
      chats.list(),
      chats.preference("model"),
      chats.preference("current"),
      chats.preference("settings"),
    ]);
    this.#missing = missing;
    this.#list = list;
    this.#last = last;
    this.#opening = opening;
    this.#permits = permits;
    this.#offer = offer ?? (await defaultModel().catch(() => undefined));
    const fresh = newConversation(settings ?? (this.#options.system ? { system: this.#options.system } : {}));
    if (this.#disposed) return;
    this.#use(list.find(({ id }) => id === current) ?? fresh);
    const stored = autoload && last && !missing ? await this.#stored(last.id) : undefined;
    if (last && stored) this.#load({ request: { stored: last.id }, name: last.name, address: stored.url });
    else if (!this.#disposed) this.#show("picker");
  }

  /** Frees everything: worker, database, timers of a running answer, locks of a running download. */
  dispose() {
    this.#disposed = true;
    this.#view.abort();
    this.#answering.stop();
    this.#session.unload();
    this.#modelDock.clear();
    this.#chats?.close();
    this.#frame.element.remove();
  }

  // views

  /** @param {"picker" | "chat"} view */
  #show(view) {
    this.#view.abort();
    this.#view = new AbortController();
    this.#frame.show(view, view === "picker" ? this.#buildPicker() : undefined);
  }

  #buildPicker() {
    const permits = this.#permits;
    // Something was dropped before the start.
    if (!permits) return undefined;
    const nothing = this.#session.phase.kind === "none" && this.#conversation.messages.length === 0;
    return picker({
      root: this.#root,
      offer: this.#offer,
      last: this.#last,
      session: this.#session,
      agreed: this.#agreed,
      missing: this.#missing,
      permits,
      opening: (choice) => this.#opening?.of(choice) ?? {},
      choose: (choice) => this.#load(choice),
      remove: (model) => this.#removeModel(model),
      signal: this.#view.signal,
      back: nothing ? undefined : () => this.#show("chat"),
    });
  }

  /** Whether the visitor is in this element, or nowhere else on a page that it fills. */
  #hasFocus() {
    return this.#root.activeElement !== null || (this.#options.autoload && document.activeElement === document.body);
  }

  // the model

  /** @param {Choice} choice */
  async #load(choice) {
    if ((await this.#permits?.allows(choice)) === false || this.#disposed) return;
    this.#begin(choice);
    this.#show("chat");
  }

  /** @param {Choice} choice */
  #begin(choice) {
    this.#agreed = true;
    this.#answering.stop();
    // Set again once the model is ready: one that takes the tab down is not loaded again by itself.
    this.#chats?.prefer("model", undefined);
    this.#session.load(choice, { ...this.#opening?.of(choice), token: this.#permits?.token(choice) });
  }

  #modelChanged() {
    if (this.#disposed) return;
    const { phase } = this.#session;
    const focused = this.#hasFocus();
    this.#transcript.notice(undefined);
    this.#frame.modelName(phase.kind === "none" ? "Choose a model" : phase.choice.name);
    if (phase.kind === "ready") {
      this.#modelDock.clear();
      this.#modelReady(phase.model, phase.choice, focused);
    } else {
      this.#frame.dock(this.#modelDock.show(phase), focused && phase.kind !== "none");
    }
    if (phase.kind === "none") this.#show("picker");
    this.#tellTitle();
    this.#showGreeting();
  }

  /**
   * @param {Model} model
   * @param {Choice} choice
   * @param {boolean} focused
   */
  #modelReady(model, choice, focused) {
    const { id } = model.info;
    // The name that it was chosen by; the one inside a file is often that of a training run.
    const { name } = choice;
    const source = sourceOf(choice) ?? (this.#last?.id === id ? this.#last.source : undefined);
    this.#last = { id, name, source };
    this.#chats?.prefer("model", this.#last);
    this.#frame.dock(this.#composer.element);
    this.#frame.announce(`${name} is ready`);
    this.#use(this.#conversation);
    if (focused && this.#frame.view === "chat") this.#composer.focus();
  }

  /**
   * Deletes a stored model, whether or not it is loaded or being downloaded.
   * @param {StoredModel} model
   */
  async #removeModel(model) {
    try {
      if (this.#session.uses(model)) await this.#session.unload();
      await deleteModel(model.id);
      if (this.#last?.id === model.id) {
        this.#last = undefined;
        this.#chats?.prefer("model", undefined);
      }
      if (this.#frame.view === "picker") this.#show("picker");
    } catch (error) {
      this.#complain(error);
    }
  }

  /** Tells, where models are chosen, what went wrong there. @param {unknown} error */
  #complain(error) {
    this.#show("picker");
    this.#frame.element.querySelector(".picker")?.append(errorNotice(error, {}));
  }

  /** @param {string} id of a model that is stored whole */
  async #stored(id) {
    const models = await storedModels().catch(() => []);
    return this.#disposed ? undefined : models.find((model) => model.id === id && model.complete);
  }

  // conversations

  /** @param {Conversation} conversation */
  #use(conversation) {
    this.#conversation = conversation;
    const model = this.#session.model;
    this.#transcript.notice(undefined);
    this.#transcript.show(conversation, model?.info.chat === false);
    this.#composer.show({ busy: this.#answering.busy, plain: model?.info.chat === false });
    this.#showGreeting();
    this.#refreshList();
    this.#measure();
  }

  async #refreshList() {
    const current = this.#conversation;
    const list = [...this.#list].sort((a, b) => b.updated - a.updated);
    this.#sidebar.show(list, current, this.#chats?.lasting ?? true);
    this.#tellTitle();
  }

  /** What the page around may show as its title: the chat's, and how far a download is. */
  #tellTitle() {
    const { percent } = this.#modelDock;
    const chat = this.#conversation.messages.length > 0 ? titleOf(this.#conversation) : "";
    const detail = percent === undefined ? chat : [`${percent}%`, chat].filter(Boolean).join(" · ");
    this.#root.host.dispatchEvent(new CustomEvent("llama-title", { detail, bubbles: true, composed: true }));
  }

  #showGreeting() {
    this.#frame.greet(this.#conversation.messages.length === 0, greetingOf(this.#session.phase));
  }

  async #measure() {
    const model = this.#session.model;
    const conversation = this.#conversation;
    if (!model) return;
    const used = await measure(model, conversation).catch(() => undefined);
    if (used !== undefined && conversation === this.#conversation) this.#composer.meter(used, model.info.context);
  }

  /** @param {Conversation} conversation */
  #save(conversation) {
    if (!this.#list.includes(conversation)) this.#list.push(conversation);
    this.#keep(this.#chats?.put(conversation));
    this.#chats?.prefer("current", conversation.id);
  }

  /** @param {Promise<void> | undefined} change to the stored chats, which the visitor is told of if it fails */
  async #keep(change) {
    try {
      await change;
    } catch (error) {
      this.#transcript.notice(errorNotice(error, {}));
    }
  }

  async #newChat() {
    const { settings } = this.#conversation;
    await this.#open(newConversation(settings));
    this.#chats?.prefer("current", undefined);
  }

  /** @param {Conversation} conversation */
  async #open(conversation) {
    await this.#answering.stop();
    this.#use(conversation);
    this.#chats?.prefer("current", conversation.id);
    this.#frame.toggleSidebar(false);
    if (this.#session.phase.kind !== "none" || conversation.messages.length > 0) this.#show("chat");
    if (this.#session.model) this.#composer.focus();
  }

  /**
   * @param {Conversation} conversation
   * @param {string} title
   */
  #rename(conversation, title) {
    conversation.title = title;
    this.#keep(this.#chats?.put(conversation));
    this.#refreshList();
  }

  /** @param {Conversation} conversation */
  async #remove(conversation) {
    if (conversation === this.#conversation) {
      await this.#answering.stop();
      this.#use(newConversation(conversation.settings));
    }
    this.#list = this.#list.filter((other) => other !== conversation);
    await this.#keep(this.#chats?.delete(conversation.id));
    this.#refreshList();
  }

  // answers

  /** @param {string} text */
  #send(text) {
    const { messages } = this.#conversation;
    if (text) {
      /** @type {Message} */
      const message = { role: "user", content: text };
      messages.push(message);
      this.#frame.greet(false);
      this.#transcript.append(message);
    }
    if (messages.length > 0) this.#answer();
  }

  #answer() {
    const { phase } = this.#session;
    if (phase.kind !== "ready") return;
    this.#transcript.notice(undefined);
    this.#conversation.updated = Date.now();
    this.#save(this.#conversation);
    this.#showGreeting();
    this.#refreshList();
    this.#answering.answer(phase.model, phase.choice.name, this.#conversation);
  }

  async #regenerate() {
    await this.#answering.stop();
    if (!this.#session.model) return;
    const { messages } = this.#conversation;
    if (messages.at(-1)?.role === "assistant") messages.pop();
    this.#transcript.truncate(messages.length);
    this.#answer();
    this.#composer.focus();
  }

  /**
   * @param {number} index
   * @param {string} text
   */
  async #resend(index, text) {
    await this.#answering.stop();
    if (!this.#session.model) return;
    const conversation = this.#conversation;
    conversation.messages.length = index;
    // What was set aside comes back when the chat is taken up from there.
    if (index <= conversation.from) conversation.from = 0;
    this.#transcript.truncate(index);
    this.#send(text);
    this.#composer.focus();
  }

  /** @param {Message} message */
  #began(message) {
    this.#transcript.append(message);
    this.#composer.show({ busy: true, plain: this.#session.model?.info.chat === false });
    this.#measure();
  }

  /** @param {Message} message */
  #ended(message) {
    if (this.#disposed) return;
    const model = this.#session.model;
    this.#composer.show({ busy: false, plain: model?.info.chat === false });
    this.#transcript.end();
    this.#frame.announce(message.finish === "abort" ? "Stopped" : `Answer: ${message.content}`);
    this.#refreshList();
    const { usage } = message.origin ?? {};
    if (!usage) return;
    const used = usage.prompt_tokens + usage.completion_tokens;
    this.#composer.meter(used, usage.context);
    if (message.finish !== "length") return;
    this.#transcript.notice(used >= usage.context ? this.#fullNotice() : answerCut({ settings: () => this.#openSettings() }));
  }

  #fullNotice() {
    return contextFull({ newChat: () => this.#newChat(), dropOldest: () => this.#dropOldest() });
  }

  async #dropOldest() {
    const model = this.#session.model;
    const conversation = this.#conversation;
    if (!model) return;
    const dropped = await dropOldest(model, conversation);
    this.#save(conversation);
    this.#transcript.show(conversation, !model.info.chat);
    this.#transcript.notice(dropped ? undefined : notice({ title: "The newest turn alone fills the context.", text: "Start a new chat, or choose a longer context in the settings." }));
    if (dropped && conversation.messages.at(-1)?.role === "user") this.#answer();
    else this.#measure();
    this.#composer.focus();
  }

  /** @param {unknown} error */
  #failed(error) {
    if (/** @type {{code?: string}} */ (error).code === "generate/context-full") {
      this.#transcript.notice(this.#fullNotice());
      return;
    }
    const code = /** @type {{code?: string}} */ (error).code ?? "";
    const { phase } = this.#session;
    // After a lost device or a crash the model has to be loaded again; otherwise the answer is asked for again.
    const reload = phase.kind === "ready" && /^(gpu|engine)\//.test(code);
    const retry = reload ? () => this.#load(phase.choice) : () => this.#regenerate();
    const smaller = phase.kind === "ready" ? this.#smaller(phase.choice) : {};
    this.#transcript.notice(
      errorNotice(error, {
        ...smaller,
        retry,
        pick: () => this.#show("picker"),
        "new-chat": () => this.#newChat(),
        settings: () => this.#openSettings(),
      }),
    );
  }

  /** Steps that load a model with less memory. @param {Choice} choice */
  #smaller(choice) {
    const opening = this.#opening;
    const { shorter, coarser } = opening?.smaller(this.#session.model?.info.context) ?? {};
    const load = (/** @type {Partial<Loading>} */ changed) => () => {
      opening?.choose(changed);
      this.#load(choice);
    };
    return { ...(shorter && { shorter: load(shorter) }), ...(coarser && { coarser: load(coarser) }) };
  }

  // settings, keys, drops

  #openSettings() {
    const conversation = this.#conversation;
    if (!this.#opening) return;
    const { loading, pinned } = this.#opening;
    const current = { settings: conversation.settings, loading, pinned, model: this.#session.model, permits: this.#permits };
    openSettings(this.#root, current, (settings, loading) => this.#applySettings(conversation, settings, loading));
  }

  /**
   * @param {Conversation} conversation
   * @param {Settings} settings
   * @param {Loading} loading
   */
  #applySettings(conversation, settings, loading) {
    conversation.settings = settings;
    this.#chats?.prefer("settings", settings);
    if (conversation.messages.length > 0) this.#save(conversation);
    const { phase } = this.#session;
    // A load that was paused goes on with them.
    const begun = phase.kind === "ready" || phase.kind === "failed" || phase.kind === "loading";
    if (this.#opening?.choose(loading) && begun) this.#load(phase.choice);
    this.#measure();
  }

  /** @param {Promise<File[]>} files */
  async #dropped(files) {
    try {
      this.#load(fromFiles(await files, true));
    } catch (error) {
      this.#complain(error);
    }
  }
}
