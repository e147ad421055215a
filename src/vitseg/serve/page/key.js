// The key that a server may ask for.

import { hasKey, keepKey } from "./api.js";
import { byId } from "./dom.js";

let waitingFor = []; // what to do once there is a key

/** Ask the user for a key, and go on with it. */
export function requireKey(goOn) {
  waitingFor.push(goOn);
  const dialog = byId("key-dialog");
  if (dialog.open) return;
  byId("key-text").textContent = hasKey()
    ? "The server does not take the key that it was given. Look whether it is complete."
    : "Whoever runs it can give you one. It is kept until you close this tab.";
  dialog.showModal();
  byId("key").select();
}

export function startKey() {
  const dialog = byId("key-dialog");
  byId("key-form").onsubmit = (event) => {
    event.preventDefault();
    keepKey(byId("key").value.trim());
    dialog.close();
    const calls = new Set(waitingFor);
    waitingFor = [];
    for (const call of calls) call();
  };
  byId("key-close").onclick = () => dialog.close();
}
