// Files of what is shown: the mask and the answer as they came, and the picture in the user's colours.

import { element, named, say } from "./dom.js";
import * as messages from "./messages.js";
import { overlayFile } from "./paint.js";
import { results, state } from "./state.js";

const KEPT = 60_000; // milliseconds until the memory of a file is given back; the browser has read it by then

function save(blob, name) {
  const address = URL.createObjectURL(blob);
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), KEPT);
  say(`Saved ${name}.`);
}

/** The name of a file, from that of the image and, where two are compared, of the model. */
function nameOf(result, ending) {
  const stem = state.image.name.replace(/\.[^.]+$/, "") || "image";
  const model = results().length === 2 ? `.${result.model}` : "";
  return `${stem}${model}.${ending}`.replace(/[\\/:*?"<>|\s\u0000-\u001f\u202a-\u202e\u2066-\u2069]+/g, "_");
}

async function saveOverlay(result) {
  const blob = await overlayFile(result);
  if (blob !== null) return save(blob, nameOf(result, "overlay.png"));
  messages.show({ title: "This picture is too large for the browser", text: "The mask can be saved." });
}

/** The buttons of every result that is shown. */
export function saveRows() {
  const all = results();
  return all.map((result) => {
    const files = {
      Mask: () => save(new Blob([result.maskFile], { type: "image/png" }), nameOf(result, "mask.png")),
      Overlay: () => saveOverlay(result),
      JSON: () => save(new Blob([result.text], { type: "application/json" }), nameOf(result, "json")),
    };
    const kinds = { Mask: "PNG of class indices", Overlay: "PNG as shown", JSON: "the whole answer" };
    const buttons = Object.entries(files).map(([text, onclick]) => {
      const label = `Save ${text}${all.length === 2 ? ` of ${result.model}` : ""}: ${kinds[text]}`;
      return element("button", { type: "button", className: "plain", textContent: text, title: kinds[text], onclick, attributes: { "aria-label": label } });
    });
    const row = element("div", { className: "save-row" });
    if (all.length === 2) row.append(named(result.model));
    row.append(element("div", { className: "buttons" }, ...buttons));
    return row;
  });
}
