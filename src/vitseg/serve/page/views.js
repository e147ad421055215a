// The tabs beside the classes: how sure the model is, and how it came to its labels.

import { classesOf } from "./asks.js";
import { element, named, patch, percent } from "./dom.js";
import { nameOf } from "./facts.js";
import { exitColor, heatColor, kindColor, paintMap } from "./paint.js";
import { change, results, shownMap, shownView, state } from "./state.js";

const HOW_TO_READ = {
  stages: "Each stage has a mask of the class: bright where it speaks for the class, dark where it speaks against it.",
  exits: "The model drops what it is sure of early. The brightest parts left first.",
  tasks: "The model learnt its classes in several tasks. A pixel belongs to the task whose class scores best there.",
};
const TITLES = { stages: "Stages", exits: "Exits", tasks: "Tasks" };
const THUMBNAIL = 320; // pixels of the longer side

const heading = (text) => element("div", { className: "head" }, element("h2", { textContent: text }));
const note = (text) => element("p", { className: "soft", textContent: text });

/** A bar of the colours from 0 to 1, with words for both ends. */
function ramp(low, high) {
  const bar = element("span", { className: "ramp", attributes: { "aria-hidden": "true" } });
  const stops = Array.from({ length: 11 }, (_, index) => `rgb(${heatColor(index / 10).join(" ")})`);
  bar.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
  const words = element("span", { className: "ends" }, element("span", { textContent: low }), element("span", { textContent: high }));
  return element("div", { className: "scale" }, bar, words);
}

/** How sure the models are. */
export function surenessPanel() {
  const facts = results().filter((result) => result.sureness !== null).map((result) => {
    let total = 0;
    for (const value of result.sureness) total += value;
    const mean = percent(total / result.sureness.length / 255, 1);
    return element("div", {}, element("dt", {}, named(result.model)), element("dd", { textContent: `${mean} on average` }));
  });
  const text = note("How probable the model holds its own label, pixel by pixel.");
  return { made: [heading("Confidence"), text, ramp("unsure", "sure"), element("dl", { className: "facts" }, ...facts)] };
}

/** A view of the model. */
export function viewPanel() {
  const { tab } = state;
  const made = [heading(TITLES[tab] ?? tab), note(HOW_TO_READ[tab] ?? "")];
  if (tab === "stages") made.push(classChoice());
  const view = shownView();
  if (view === null) return { made };
  if (tab === "stages") made.push(probability(view), stageChoice(view), ramp("against the class", "for the class"));
  else made.push(legend(view));
  return { made };
}

/** Which class: first those that occur, largest first, then all others. */
function classChoice() {
  const select = element("select", { id: "stage-class" });
  const option = ({ index, name }) => element("option", { value: String(index), textContent: name });
  const [result] = results();
  const occurs = new Set(result.classes.map((entry) => entry.index));
  select.append(element("optgroup", { label: "In this image" }, ...result.classes.map(option)));
  const fill = (table) => {
    const others = table.filter((entry) => !occurs.has(entry.index)).sort((a, b) => a.name.localeCompare(b.name));
    if (others.length > 0) select.append(element("optgroup", { label: "Not found here" }, ...others.map(option)));
    if (state.stageClass !== null) select.value = String(state.stageClass);
  };
  fill(state.tables.get(state.model) ?? []);
  if (!state.tables.has(state.model)) classesOf(state.model).then((table) => table && fill(table));
  select.onchange = () => change({ stageClass: Number(select.value) });
  return element("label", { className: "field" }, element("span", { textContent: "Class" }), select);
}

function probability(view) {
  const text = view.probability === null ? "" : `In this image with ${percent(view.probability, 1)} probability`;
  return element("p", { className: "probability", textContent: text });
}

/** Small pictures of the stages, of which one is chosen. */
function stageChoice(view) {
  const group = element("fieldset", { className: "thumbnails" }, element("legend", { className: "hidden-text", textContent: "Stage" }));
  view.names.forEach((name, number) => {
    const radio = element("input", { type: "radio", name: "stage", value: String(number), className: "hidden-text" });
    radio.checked = number === shownMap(view);
    radio.onchange = () => change({ stage: number });
    group.append(element("label", {}, radio, thumbnail(paintMap(view, number)), named(name)));
  });
  return group;
}

function thumbnail(picture) {
  const [size] = results(); // a map may be of another shape than the image that it covers
  const scale = Math.min(1, THUMBNAIL / Math.max(size.width, size.height));
  const canvas = element("canvas", { attributes: { "aria-hidden": "true" } });
  [canvas.width, canvas.height] = [Math.max(1, Math.round(size.width * scale)), Math.max(1, Math.round(size.height * scale))];
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** What the colours of exits or tasks mean, and how much of the image each has. */
function legend(view) {
  const [{ values }] = view.maps;
  const counts = new Uint32Array(256);
  for (const value of values) counts[value] += 1;
  const numbers = [...view.names.keys()];
  if (view.view === "exits") numbers.push(255);
  const rows = numbers.map((value) => {
    const color = view.view === "exits" ? exitColor(value, view.names.length) : kindColor(value);
    return element("li", {}, patch(color), named(nameOf(view, value)), element("b", { textContent: percent(counts[value] / values.length) }));
  });
  return element("ul", { className: "legend" }, ...rows);
}
