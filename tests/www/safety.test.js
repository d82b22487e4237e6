// Text from the model and from the user is never markup, script or a request.

import assert from "node:assert/strict";
import { test } from "node:test";
import { launch, serveApp, Visitor } from "./support/page.js";
import { open } from "./support/setup.js";

const [browser, app] = await open(launch(), serveApp());

const HOSTILE = [
  "<script>alert(1)</script>",
  "<img src=x onerror=alert(1)>",
  "<svg onload=alert(1)><a xlink:href='javascript:alert(1)'>x</a></svg>",
  "<iframe src='https://evil.example/frame'></iframe>",
  "<form action='https://evil.example/form'><input name=password><button>Go</button></form>",
  "<style>* { display: none }</style><p style='position:fixed'>x</p>",
  "<link rel=stylesheet href=https://evil.example/style.css><base href=https://evil.example/>",
  "[click](javascript:alert(1)) [data](data:text/html,<script>alert(1)</script>) <javascript:alert(1)>",
  "[click](JaVaScRiPt&#58;alert(1)) [vb](vbscript:x)",
  "![pixel](https://evil.example/pixel.png) ![x](x\" onerror=\"alert(1))",
  "[link](https://example.org/ \"title\\\" onclick=alert(1)\")",
  "```html\"><img src=x onerror=alert(1)>\n<script>alert(1)</script>\n```",
  "|a|\n|-|\n|<img src=x onerror=alert(1)>|",
  "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
  "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
];

test("hostile text stays text, in questions and in answers", async () => {
  const visitor = await Visitor.arrive(browser);
  await visitor.begin(app.origin);
  await visitor.page.evaluate(() => document.addEventListener("securitypolicyviolation", (event) => console.error(`Refused to ${event.violatedDirective}`)));
  for (const text of [...HOSTILE, HOSTILE.join("\n\n")]) await visitor.say(`say: ${text}`);
  await visitor.page.waitForTimeout(200);
  const found = await visitor.chat.evaluate((element) => {
    const body = /** @type {ShadowRoot} */ (element.shadowRoot);
    const messages = [...body.querySelectorAll(".message .body")];
    const elements = messages.flatMap((message) => [...message.querySelectorAll("*")]);
    return {
      tags: [...new Set(elements.map(({ localName }) => localName))],
      attributes: [...new Set(elements.flatMap((one) => one.getAttributeNames()))],
      links: messages.flatMap((message) => [...message.querySelectorAll("a")].map(({ href, rel, target }) => ({ href, rel, target }))),
      inQuestions: body.querySelectorAll(".message.user .body *").length,
    };
  });
  for (const tag of ["script", "img", "iframe", "form", "input", "style", "link", "base", "math"]) assert.ok(!found.tags.includes(tag), tag);
  for (const name of found.attributes) assert.ok(!/^on|^style$/.test(name), name);
  assert.ok(found.links.some(({ href }) => href === "https://example.org/"));
  for (const { href, rel, target } of found.links) {
    assert.ok(href === "" || /^https?:/.test(href), href);
    assert.match(rel, /noopener noreferrer/);
    assert.equal(target, "_blank");
  }
  assert.equal(found.inQuestions, 0);
  assert.deepEqual(visitor.requests.filter((url) => url.includes("evil.example")), []);
  assert.deepEqual(visitor.problems, []);
  await visitor.leave();
});

test("the text of raw HTML is still shown", async () => {
  const visitor = await Visitor.arrive(browser);
  await visitor.begin(app.origin);
  const answer = await visitor.say("say: Use <b>bold</b>.\n\n<div>block</div>");
  assert.match(await answer.locator(".body").innerText(), /Use <b>bold<\/b>\.\s+<div>block<\/div>/);
  await visitor.leave();
});

test("an answer that nests without end is shown, and so is the next visit", async () => {
  const visitor = await Visitor.arrive(browser);
  await visitor.begin(app.origin);
  const marks = ">".repeat(20_000);
  const answer = await visitor.say(`burst: ${marks} deep`);
  const body = answer.locator(".body");
  assert.ok(/>{1000} deep$/.test((await body.innerText()).trim()));
  const depth = await body.locator("blockquote").count();
  assert.ok(depth > 3 && depth < 50, `${depth} quotes`);
  await visitor.say("say: further");
  await visitor.page.reload();
  await visitor.field.waitFor();
  await body.locator("blockquote").first().waitFor();
  assert.ok(/>{1000} deep$/.test((await body.innerText()).trim()));
  await visitor.say("say: and further");
  assert.deepEqual(visitor.problems, []);
  await visitor.leave();
});

test("Markdown that the parser cannot read is shown as it was written", async () => {
  const visitor = await Visitor.arrive(browser);
  await visitor.page.goto(app.origin);
  const shown = await visitor.page.evaluate(async () => {
    const { MarkdownView } = await import(/** @type {string} */ ("/chat/markdown.js"));
    const { Tokenizer } = await import(/** @type {string} */ ("/vendor/marked.esm.js"));
    const element = document.createElement("div");
    const view = new MarkdownView(element);
    view.update("*one*\n\ntwo");
    Tokenizer.prototype.list = () => {
      throw new RangeError("Maximum call stack size exceeded");
    };
    view.update("*one*\n\n*two*\n\n- three");
    view.update("*one*\n\n*two*\n\n- three & four");
    return element.innerHTML;
  });
  assert.equal(shown, '<p><em>one</em></p><p class="unformatted">*two*\n\n- three &amp; four</p>');
  await visitor.leave();
});

test("Markdown in a growing answer comes out as in a finished one", async () => {
  const visitor = await Visitor.arrive(browser);
  await visitor.begin(app.origin);
  const markdown = "# A\n\nText *with* `code`.\n\n- one\n\n- two\n  - three\n\n```js\nlet x = `\n\n`;\n```\n\n|a|b|\n|-|-|\n|1|2|\n\n> quote\n\nlast";
  const answer = await visitor.say(`say: ${markdown}`);
  const streamed = await answer.locator(".body").innerHTML();
  const whole = await visitor.page.evaluate(async (text) => {
    const { MarkdownView } = await import(/** @type {string} */ ("/chat/markdown.js"));
    const growing = document.createElement("div");
    const view = new MarkdownView(growing);
    for (let end = 1; end <= text.length; end++) view.update(text.slice(0, end));
    return growing.innerHTML;
  }, markdown);
  assert.equal(whole, streamed);
  assert.match(streamed, /<li>/);
  await visitor.leave();
});
