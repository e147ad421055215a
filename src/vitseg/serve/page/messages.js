// What went wrong, in a card above the picture that stays until it is answered.

import { byId, element, say } from "./dom.js";

/**
 * Show a message; a former one of the same title goes.
 *
 * @param {{title: string, text?: string}} words
 * @param {() => void} [again] What the button "Try again" does; without it there is none.
 */
export function show({ title, text = "" }, again) {
  const box = byId("messages");
  for (const old of [...box.children]) if (old.dataset.title === title) old.remove();
  const card = element("article", { className: "message", attributes: { role: "alert" } });
  card.dataset.title = title;
  const words = element("div", {}, element("h2", { textContent: title }));
  if (text) words.append(element("p", { textContent: text }));
  const buttons = element("div", { className: "buttons" });
  if (again) buttons.append(button("Try again", "strong", () => { card.remove(); again(); }));
  buttons.append(button("Close", "plain", () => card.remove()));
  card.append(words, buttons);
  box.append(card);
}

export function clear() {
  byId("messages").replaceChildren();
}

/** Say that what was asked for was given up. */
export function tellCancelled(again) {
  show({ title: "Cancelled" }, again);
  say("Cancelled.");
}

const button = (text, className, onclick) => element("button", { type: "button", textContent: text, className, onclick });
