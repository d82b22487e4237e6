// Tells what kept the page's main thread busy for more than 50 ms while a model loads and an answer is written.
//
//   cargo xtask bench long-tasks

import { launch, serveEngine, Visitor } from "../tests/www/support/page.js";

const app = await serveEngine();
const browser = await launch();
const visitor = await Visitor.arrive(browser);
visitor.page.setDefaultTimeout(180_000);
await visitor.page.addInitScript(() => {
  const tasks = /** @type {{start: number, duration: number}[]} */ ([]);
  new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries()) tasks.push({ start: startTime, duration });
  }).observe({ type: "longtask", buffered: true });
  Object.assign(window, { longTasks: tasks });
});

let told = 0;

/** Prints the long tasks since the last call. @param {string} what happened meanwhile */
async function tell(what) {
  // An observer hears of a task some time after it.
  await visitor.page.waitForTimeout(500);
  /** @type {{start: number, duration: number}[]} */
  const tasks = await visitor.page.evaluate(() => Reflect.get(window, "longTasks"));
  const fresh = tasks.slice(told);
  told = tasks.length;
  const list = fresh.map(({ start, duration }) => `${duration} ms at ${(start / 1000).toFixed(1)} s`).join(", ");
  console.log(`${what}: ${fresh.length} long tasks${list && `: ${list}`}`);
}

await visitor.page.goto(app.address);
await visitor.button("Download and start").waitFor();
await tell("Opening the page");
await visitor.button("Download and start").click();
await visitor.field.waitFor();
await tell("Downloading and loading");
await visitor.field.fill("Name the planets of the solar system in order.");
await visitor.field.press("Enter");
await visitor.answers.first().locator(".body").getByText(/\w+ \w+/).waitFor();
await tell("Reading a question");
await visitor.page.waitForTimeout(20_000);
await tell("Writing an answer");
if (await visitor.button("Stop").isVisible()) await visitor.button("Stop").click();
await visitor.idle();
told = 0;
await visitor.page.reload();
await visitor.field.waitFor();
await tell("Opening again and loading from the store");
await browser.close();
await app.close();
