// Makes the README's picture: the real engine answers a question.
//
//   node screenshot.mjs        the page at PAGELLAMA_URL, else dist/

import { fileURLToPath } from "node:url";
import { launch, serveEngine, Visitor } from "./support/page.js";

const app = await serveEngine();
const browser = await launch();
const visitor = await Visitor.arrive(browser, { viewport: { width: 1120, height: 640 } });
visitor.page.setDefaultTimeout(180_000);
await visitor.page.goto(app.address);
await visitor.button("Download and start").click();
await visitor.field.waitFor();
await visitor.button("Settings").click();
await visitor.chat.getByLabel("Temperature").fill("0");
await visitor.button("Save").click();
await visitor.say("Name the planets of the solar system in order.");
await visitor.page.screenshot({ path: fileURLToPath(new URL("screenshot.png", import.meta.url)) });
await browser.close();
await app.close();
