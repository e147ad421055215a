// What is known of one pixel.

import { percent } from "./dom.js";
import { exitColor, heatColor, kindColor } from "./paint.js";
import { colorOf, results, shownMap, shownView, state } from "./state.js";

const SUREST = 255;

/** The rows of a pixel: color (or null), name, value, and the model where several are shown. */
export function factsAt({ x, y }) {
  const view = shownView();
  const rows = view === null ? [] : [ofView(view, x, y)];
  return [...rows, ...(view === null ? results() : results().slice(0, 1)).map((result) => ofResult(result, x, y))];
}

function ofResult(result, x, y) {
  const place = placeIn(result, x, y);
  const entry = result.classes.find((one) => one.index === result.labels[place]);
  const sure = result.sureness === null || entry === undefined ? null : result.sureness[place] / SUREST;
  return {
    model: result.model,
    color: entry === undefined ? null : colorOf(entry.name),
    name: entry?.name ?? "no class",
    value: sure === null ? "" : percent(sure, 0),
    spoken: sure === null ? "" : `${percent(sure, 0)} sure`,
  };
}

function ofView(view, x, y) {
  const number = shownMap(view);
  const value = valueAt(view.maps[number], x, y);
  if (view.view === "stages") {
    const text = `${percent(value / 255, 0)}`;
    return { color: heatColor(value / 255), name: view.names[number], value: text, spoken: text };
  }
  const color = view.view === "exits" ? exitColor(value, view.names.length) : kindColor(value);
  return { color, name: nameOf(view, value), value: "", spoken: "" };
}

/** What a value of a map of exits or tasks stands for. */
export const nameOf = (view, value) => view.names[value] ?? (view.view === "exits" ? "stayed to the end" : "no task");

/** The value of a map at a pixel of the image; the map may be smaller. */
function valueAt(map, x, y) {
  return map.values[placeIn(map, x, y)];
}

function placeIn(map, x, y) {
  const [size] = results();
  const column = Math.floor(((x + 0.5) * map.width) / size.width);
  return Math.floor(((y + 0.5) * map.height) / size.height) * map.width + column;
}
