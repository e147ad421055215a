// The pixel that is looked at: by a mouse, a finger or the arrow keys.

import { byId, say } from "./dom.js";
import { factsAt } from "./facts.js";
import { sizeOf } from "./picture.js";
import { pixelAt } from "./stage.js";
import { change, compares, results, state } from "./state.js";

const QUIET = 350; // milliseconds without a key before the pixel is read out

let telling = null;

const isReady = () => results().length > 0;

function startPointer(plane) {
  const follow = (event) => {
    if (!isReady()) return;
    const by = event.pointerType === "touch" ? "touch" : "mouse";
    change({ point: { ...pixelAt(event.clientX, event.clientY), by } });
  };
  const isPicture = (event) => event.target.closest("#divider") === null;
  plane.addEventListener("pointerdown", (event) => isPicture(event) && follow(event));
  plane.addEventListener("pointermove", (event) => {
    if (isPicture(event) && (event.pointerType === "touch") === event.buttons > 0) follow(event);
  });
  plane.addEventListener("pointerleave", (event) => {
    if (event.pointerType !== "touch") change({ point: null });
  });
}

function startKeys(plane) {
  plane.addEventListener("keydown", (event) => {
    if (event.target !== plane || event.ctrlKey || event.metaKey || event.altKey) return;
    const size = sizeOf(state.image, results());
    if (!isReady() || size === null) return;
    const { x, y } = state.point ?? { x: Math.floor(size.width / 2), y: Math.floor(size.height / 2) };
    const next = state.point === null && event.key.startsWith("Arrow") ? [x, y] : moved(event, x, y, size);
    if (next === null) return;
    event.preventDefault();
    if (next === "away") return change({ point: null });
    if (next === "solo") return toggleSolo(x, y);
    change({ point: { x: within(next[0], size.width), y: within(next[1], size.height), by: "keys" } });
    tellSoon();
  });
}

const within = (value, count) => Math.min(count - 1, Math.max(0, value));

/** Where a key leads; the first arrow shows the crosshair where it is. */
function moved(event, x, y, size) {
  const step = event.shiftKey ? 10 : 1;
  const page = Math.max(1, Math.round(size.height / 10));
  switch (event.key) {
    case "ArrowLeft": return [x - step, y];
    case "ArrowRight": return [x + step, y];
    case "ArrowUp": return [x, y - step];
    case "ArrowDown": return [x, y + step];
    case "PageUp": return [x, y - page];
    case "PageDown": return [x, y + page];
    case "Home": return [0, y];
    case "End": return [size.width - 1, y];
    case "Escape": return "away";
    case "Enter": return "solo";
    default: return null;
  }
}

function toggleSolo(x, y) {
  if (state.tab !== "classes") return;
  const facts = factsAt({ x, y });
  const isRight = compares() && (x + 0.5) / results()[0].width > state.split;
  change({ solo: state.solo === null ? facts[isRight ? 1 : 0].name : null });
  say(state.solo === null ? "All chosen classes are shown." : `Only ${state.solo} is shown.`);
}

function tellSoon() {
  clearTimeout(telling);
  telling = setTimeout(() => {
    if (state.point === null || !isReady()) return;
    const rows = factsAt(state.point).map((fact) => {
      const model = compares() ? `${fact.model}: ` : "";
      return [`${model}${fact.name}`, fact.spoken].filter(Boolean).join(", ");
    });
    say(`${rows.join("; ")}. Column ${state.point.x}, row ${state.point.y}.`);
  }, QUIET);
}

export function startPixel() {
  const plane = byId("plane");
  startPointer(plane);
  startKeys(plane);
  plane.addEventListener("blur", () => state.point?.by === "keys" && change({ point: null }));
}
