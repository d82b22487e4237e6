// The chat page: the element fills the window, the chat's title becomes the tab's, and the page opens offline.

import { keepOffline } from "./offline.js";
import "./widget.js";

const name = document.title;

document.addEventListener("llama-title", (event) => {
  const { detail } = /** @type {CustomEvent<string>} */ (event);
  document.title = detail ? `${detail} – ${name}` : name;
});

// "?device=cpu" for a visitor whose graphics driver does not survive the page, whatever the settings say. The element reads its attributes
// once its styles are there, which is later.
const device = new URLSearchParams(location.search).get("device");
if (device) document.querySelector("llama-chat")?.setAttribute("device", device);

const news = document.getElementById("news");
if (news) keepOffline(news);
