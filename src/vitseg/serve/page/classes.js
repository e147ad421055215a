// The classes of the picture: which are shown, in which colours, and how much of the image each covers.

import { byId, colorOfHex, element, hexColor, named, percent } from "./dom.js";
import { change, colorOf, isShown, onChange, results, state } from "./state.js";

/** The classes that occur, of both models where two are shown: one entry per name, largest first. */
function entries() {
  const found = new Map();
  const all = results();
  all.forEach((result, side) => {
    for (const { name, area, confidence } of result.classes) {
      if (!found.has(name)) found.set(name, { name, areas: all.map(() => 0), confidence });
      found.get(name).areas[side] = area;
    }
  });
  return [...found.values()].sort((a, b) => Math.max(...b.areas) - Math.max(...a.areas));
}

function toggle(name) {
  const names = entries().map((entry) => entry.name);
  const hidden = new Set(names.filter((one) => (one === name ? isShown(one) : !isShown(one))));
  change({ hidden, solo: null });
}

function recolor(name, color) {
  change({ colors: new Map(state.colors).set(name, color) });
}

/** A row; it knows how to follow the state. */
function row({ name, areas, confidence }) {
  const box = element("input", { type: "checkbox", attributes: { "aria-label": `Show ${name}` } });
  box.onchange = () => toggle(name);
  const color = element("input", { type: "color", attributes: { "aria-label": `Colour of ${name}` } });
  color.oninput = () => recolor(name, colorOfHex(color.value));
  const only = element("button", { type: "button", className: "only", textContent: "Only" });
  only.setAttribute("aria-label", `Show only ${name}`);
  only.onclick = () => change({ solo: state.solo === name ? null : name });
  const share = element("span", { className: "share", attributes: { "aria-hidden": "true" } }, element("span"));
  share.firstChild.style.width = `${100 * Math.max(...areas)}%`;
  const numbers = areas.length === 2 ? areas.map((area) => number(area)) : [number(areas[0]), number(confidence, 0)];
  const made = element(
    "tr", {},
    element("td", {}, element("label", { className: "hit" }, box)),
    element("td", {}, color),
    element("th", { scope: "row" }, named(name), share),
    ...numbers,
    element("td", {}, only),
  );
  const follow = () => {
    const chosen = colorOf(name);
    box.checked = isShown(name);
    color.value = hexColor(chosen);
    share.firstChild.style.background = hexColor(chosen);
    only.setAttribute("aria-pressed", String(state.solo === name));
    made.classList.toggle("off", !isShown(name));
  };
  return { made, follow };
}

function number(share, digits = 1) {
  return element("td", { className: "number", textContent: share === undefined || share === null ? "–" : percent(share, digits) });
}

function head() {
  const all = results();
  const title = (text, className = "number") => element("th", { scope: "col", className }, text);
  const hidden = (text) => title(element("span", { className: "hidden-text", textContent: text }), "");
  const columns = all.length === 2
    ? [title("Left"), title("Right")]
    : [title("Area"), title("Sure")];
  return element("thead", {}, element("tr", {}, hidden("Shown"), hidden("Colour"), hidden("Class"), ...columns, hidden("Alone")));
}

/** The content of the tab, and what keeps it up to date. */
export function classList() {
  const rows = entries().map(row);
  const all = element("button", { type: "button", className: "link", textContent: "Show all" });
  all.onclick = () => change({ hidden: new Set(), solo: null });
  const reset = element("button", { type: "button", className: "link", textContent: "Reset colours" });
  reset.onclick = () => change({ colors: new Map() });
  const title = element("h2", { textContent: rows.length === 1 ? "1 class" : `${rows.length} classes` });
  const table = element("table", { className: "classes" }, head(), element("tbody", {}, ...rows.map(({ made }) => made)));
  const follow = () => {
    for (const entry of rows) entry.follow();
    all.hidden = state.hidden.size === 0 && state.solo === null;
    reset.hidden = state.colors.size === 0;
  };
  follow();
  return { made: [element("div", { className: "head" }, title, reset, all), table], follow };
}

export function startClasses(showing) {
  onChange(["hidden", "solo", "colors"], () => showing()?.follow?.());
  byId("opacity").oninput = (event) => {
    const part = state.tab === "classes" ? "classes" : "maps";
    change({ opacity: { ...state.opacity, [part]: event.target.valueAsNumber / 100 } });
  };
  const show = () => {
    const share = Math.round(100 * state.opacity[state.tab === "classes" ? "classes" : "maps"]);
    byId("opacity").value = String(share);
    byId("opacity-value").textContent = `${share} %`;
  };
  onChange(["opacity", "tab"], show);
  show();
}
