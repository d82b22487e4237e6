// The chat page: the element fills the window, and the chat's title becomes the tab's.

import "./widget.js";

const name = document.title;

document.addEventListener("llama-title", (event) => {
  const { detail } = /** @type {CustomEvent<string>} */ (event);
  document.title = detail ? `${detail} – ${name}` : name;
});
