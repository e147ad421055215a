// Two models on one image: a divider between them, and their names in the corners.

import { byId } from "./dom.js";
import { change, compares, onChange, state } from "./state.js";

const STEP = 0.01;
const LONG_STEP = 0.1;

function startDragging(divider) {
  const move = (event) => {
    const box = byId("plane").getBoundingClientRect();
    change({ split: Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)), point: null });
  };
  divider.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault(); // no text is selected on the way
    divider.focus({ preventScroll: true });
    divider.setPointerCapture(event.pointerId);
  });
  divider.addEventListener("pointermove", (event) => divider.hasPointerCapture(event.pointerId) && move(event));
}

function startKeys(divider) {
  const places = {
    ArrowLeft: () => state.split - STEP, ArrowDown: () => state.split - STEP,
    ArrowRight: () => state.split + STEP, ArrowUp: () => state.split + STEP,
    PageDown: () => state.split - LONG_STEP, PageUp: () => state.split + LONG_STEP,
    Home: () => 0, End: () => 1,
  };
  divider.addEventListener("keydown", (event) => {
    const place = places[event.key];
    if (place === undefined) return;
    event.preventDefault();
    change({ split: Math.min(1, Math.max(0, Math.round(100 * place()) / 100)) });
  });
}

function show() {
  const isThere = compares();
  const divider = byId("divider");
  divider.hidden = !isThere;
  for (const [id, name] of [["name-left", state.model], ["name-right", state.other]]) {
    byId(id).hidden = !isThere;
    byId(id).textContent = name ?? "";
  }
  if (!isThere) return;
  const share = Math.round(100 * state.split);
  divider.style.left = `${100 * state.split}%`;
  divider.setAttribute("aria-valuenow", String(share));
  divider.setAttribute("aria-valuetext", `${share} % ${state.model}, ${100 - share} % ${state.other}`);
}

export function startCompare() {
  startDragging(byId("divider"));
  startKeys(byId("divider"));
  onChange(["answers", "model", "other", "tab", "split", "image"], show);
}
