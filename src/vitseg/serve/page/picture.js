// The image: from a picker, a drop, the clipboard or the camera.

import { byId, say } from "./dom.js";
import * as messages from "./messages.js";
import { change, state } from "./state.js";

let count = 0;

/** Show an image and have it segmented. */
export async function open(blob, name) {
  count += 1;
  const number = count;
  let bitmap = null;
  try {
    bitmap = await createImageBitmap(blob, { imageOrientation: "from-image" });
  } catch {
    // A format that the browser does not know; the server may.
  }
  if (number !== count) { // another one came meanwhile
    bitmap?.close();
    return;
  }
  messages.clear();
  state.image?.bitmap?.close();
  const size = { width: bitmap?.width ?? null, height: bitmap?.height ?? null };
  change({ image: { blob, name, bitmap, number, ...size }, answers: new Map(), point: null });
  say(`Opened ${name}.`);
}

/** Width and height in pixels: as the server read the image, else as the browser did; null: not known yet. */
export function sizeOf(image, results) {
  const { width, height } = results[0] ?? image ?? {};
  return width ? { width, height } : null;
}

function openFirst(files, otherwise) {
  const file = [...files].find((entry) => entry.type.startsWith("image/")) ?? files[0];
  if (file === undefined) messages.show(otherwise);
  else open(file, file.name || "image");
}

function startPicker() {
  const pick = (input) => {
    input.onchange = () => {
      if (input.files.length > 0) openFirst(input.files);
      input.value = ""; // so that the same file can be picked again
    };
    return () => input.click();
  };
  byId("pick").onclick = pick(byId("file"));
  byId("new-image").onclick = () => change({ image: null, answers: new Map(), point: null });
  return pick(byId("photo"));
}

function startDropping() {
  let depth = 0; // enter and leave come for every element on the way
  const mark = (change) => {
    depth = change === 0 ? 0 : depth + change;
    document.body.classList.toggle("dragging", depth > 0);
  };
  const carries = (event) => [...event.dataTransfer.types].some((type) => type === "Files" || type === "text/uri-list");
  addEventListener("dragenter", (event) => carries(event) && mark(1));
  addEventListener("dragleave", (event) => carries(event) && mark(-1));
  addEventListener("dragover", (event) => carries(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    mark(0);
    openFirst(event.dataTransfer.files, {
      title: "That was no file", text: "An image of another page cannot be dropped. Copy it and paste it here, or save it first.",
    });
  });
}

function startPasting() {
  addEventListener("paste", (event) => {
    const { files } = event.clipboardData;
    if (files.length === 0) return;
    event.preventDefault();
    openFirst(files);
  });
}

/** Start all ways to an image; gives back what opens the camera app of a phone. */
export function startPicture() {
  startDropping();
  startPasting();
  return startPicker();
}
