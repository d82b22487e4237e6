// The chat page: the element fills the window, the chat's title becomes the tab's, and the page opens offline.

import { keepOffline } from "./offline.js";
import "./widget.js";

const name = document.title;

document.addEventListener("llama-title", (event) => {
  const { detail } = /** @type {CustomEvent<string>} */ (event);
  document.title = detail ? `${detail} – ${name}` : name;
});

const news = document.getElementById("news");
if (news) keepOffline(news);
