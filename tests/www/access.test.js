// Usable by everyone: automatic accessibility checks, the keyboard alone, small and zoomed windows.

import assert from "node:assert/strict";
import { test } from "node:test";
import { accessible, AXE } from "./support/accessible.js";
import { launch, serveApp, Visitor } from "./support/page.js";
import { open } from "./support/setup.js";

const [browser, app, broken, slow] = await open(
  launch(),
  serveApp(),
  serveApp({ model: "models/broken.gguf?fail=gpu/out-of-memory" }),
  serveApp({ model: "models/slow.gguf?slow=500&wait=network" }),
);

const MARKDOWN = "say: # Title\n\nA [link](https://example.org) and `code`.\n\n```js\nlet a = 'a long line of code that does not fit into a narrow window at all';\n```\n\n|a|b|\n|-|-|\n|1|2|\n\n> quote";

for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
  for (const viewport of [{ width: 1280, height: 800 }, { width: 360, height: 740 }]) {
    test(`every view is accessible and fits: ${colorScheme}, ${viewport.width} px`, async () => {
      const visitor = await Visitor.arrive(browser, { colorScheme, viewport, reducedMotion: "reduce", bypassCSP: true });
      await visitor.page.addInitScript(AXE);
      await visitor.page.goto(app.origin);
      await visitor.chat.getByText("Use another model").click();
      await accessible(visitor, "choosing a model");
      await visitor.button("Download and start").click();
      await visitor.field.waitFor();
      await accessible(visitor, "an empty chat");
      await visitor.say("hello");
      const answer = await visitor.say(MARKDOWN);
      await answer.locator("summary").click();
      await accessible(visitor, "a chat");
      await visitor.button("Settings").click();
      await accessible(visitor, "settings");
      await visitor.page.keyboard.press("Escape");
      if (viewport.width < 500) await visitor.button("Chats").click();
      await accessible(visitor, "the list of chats");
      await visitor.page.goto(broken.origin);
      await visitor.button("Download and start").click();
      await visitor.chat.getByRole("alert").waitFor();
      await accessible(visitor, "an error");
      await visitor.leave();
    });
  }
}

for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
  for (const viewport of [{ width: 1280, height: 800 }, { width: 360, height: 740 }]) {
    test(`every view of a download is accessible and fits: ${colorScheme}, ${viewport.width} px`, async () => {
      const visitor = await Visitor.arrive(browser, { colorScheme, viewport, reducedMotion: "reduce", bypassCSP: true });
      await visitor.page.addInitScript(AXE);
      await visitor.page.goto(slow.origin);
      await visitor.button("Download and start").click();
      await visitor.chat.getByText(/MB\/s/).waitFor();
      await accessible(visitor, "a download");
      await visitor.button("Pause").click();
      await accessible(visitor, "a pause");
      await visitor.button("Go on").click();
      await visitor.chat.getByText(/Trying again in/).waitFor();
      await accessible(visitor, "waiting");
      await visitor.button("Pause").click();
      await visitor.button("Choose another model").click();
      await visitor.chat.getByText("Use another model").click();
      await visitor.chat.getByLabel("From the web").fill(`${slow.origin}/models/a-rather-long-name-of-a-model-7b.Q4_0.gguf?stuck`);
      await visitor.button("Load").click();
      await visitor.field.waitFor();
      await visitor.chat.locator(".model-button").click();
      await visitor.button(/^Verify a-rather/).click();
      await visitor.button("Stop").waitFor();
      await accessible(visitor, "the stored models");
      await visitor.button("Stop").click();
      await visitor.chat.getByText("Use another model").click();
      await visitor.chat.getByLabel("From the web").fill(`${slow.origin}/models/large.gguf?crowded=store/no-space`);
      await visitor.button("Load").click();
      await visitor.button("Delete slow").waitFor();
      await accessible(visitor, "no room");
      await visitor.leave();
    });
  }
}

test("the keyboard alone is enough", async () => {
  const visitor = await Visitor.arrive(browser);
  const { keyboard } = visitor.page;
  await visitor.page.goto(app.origin);
  await visitor.button("Download and start").waitFor();
  await tabTo(visitor, "Download and start");
  await keyboard.press("Enter");
  await visitor.field.waitFor();
  assert.equal(await focused(visitor), "Message");
  await keyboard.type("say: one");
  await keyboard.press("Shift+Enter");
  await keyboard.type("two");
  await keyboard.press("Enter");
  await visitor.answers.first().waitFor();
  await visitor.idle();
  assert.match(await visitor.answers.first().locator(".body").innerText(), /one\s+two/);
  await keyboard.type("long");
  await keyboard.press("Enter");
  await visitor.button("Stop").waitFor();
  await visitor.answers.getByText("word5").waitFor();
  await keyboard.press("Escape");
  await visitor.idle();
  assert.equal(await focused(visitor), "Message");
  await tabTo(visitor, "Settings");
  await keyboard.press("Enter");
  await visitor.chat.getByRole("dialog", { name: "Settings" }).waitFor();
  await tabTo(visitor, "System prompt");
  await keyboard.type("Hum.");
  await tabTo(visitor, "Save");
  await keyboard.press("Enter");
  await visitor.chat.getByRole("dialog").waitFor({ state: "detached" });
  assert.equal(await focused(visitor), "Settings");
  await tabTo(visitor, "Edit and send again", true);
  await keyboard.press("Enter");
  await keyboard.press("Control+A");
  await keyboard.type("say: edited");
  await keyboard.press("Enter");
  await visitor.idle();
  assert.equal(await focused(visitor), "Message");
  await visitor.leave();
});

test("every stop of the tab key shows where it is", async () => {
  const visitor = await Visitor.arrive(browser);
  await visitor.begin(app.origin);
  await visitor.say("hello");
  for (let i = 0; i < 12; i++) {
    await visitor.page.keyboard.press("Tab");
    const visible = await visitor.chat.evaluate((element) => {
      const active = element.shadowRoot?.activeElement;
      if (!active) return true;
      const style = getComputedStyle(active);
      // The composer shows the focus of its field itself.
      return style.outlineStyle !== "none" || active.closest(".composer") !== null;
    });
    assert.ok(visible, `after ${i + 1} tabs`);
  }
  await visitor.leave();
});

test("at 200% zoom of a small window everything is reachable", async () => {
  // 200% of 720 x 740 leaves 360 x 370 CSS pixels.
  const visitor = await Visitor.arrive(browser, { viewport: { width: 360, height: 370 }, deviceScaleFactor: 2 });
  await visitor.begin(app.origin);
  await visitor.say(MARKDOWN);
  await visitor.button("Send").click({ trial: true });
  await visitor.button("Settings").click();
  await visitor.button("Save").click();
  await visitor.leave();
});

/** The accessible name, more or less, of what has the focus. @param {Visitor} visitor */
function focused(visitor) {
  return visitor.chat.evaluate((element) => {
    const active = /** @type {HTMLInputElement | null | undefined} */ (element.shadowRoot?.activeElement);
    return active?.getAttribute("aria-label") ?? active?.labels?.[0]?.textContent ?? active?.textContent;
  });
}

/** @param {Visitor} visitor @param {string} name @param {boolean} [back] */
async function tabTo(visitor, name, back = false) {
  for (let i = 0; i < 40; i++) {
    if ((await focused(visitor)) === name) return;
    await visitor.page.keyboard.press(back ? "Shift+Tab" : "Tab");
  }
  assert.fail(`the tab key does not reach ${name}`);
}
