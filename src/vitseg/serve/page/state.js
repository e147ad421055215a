// What is shown, in one place. Whoever changes it tells which parts; whoever draws it hears of these.

export const state = {
  models: [], // as the server lists them
  model: null, // name of the chosen one
  other: null, // name of the one to compare it with, or null
  image: null, // { blob, name, bitmap, width, height, number }; without bitmap the browser cannot show it
  answers: new Map(), // what the server said of this image, by key (asks.js)
  tables: new Map(), // classes of models by name
  tab: "classes", // "classes", "confidence", or a view of the model
  stageClass: null, // index of the class whose stages are shown
  stage: null, // number of the stage that is shown; null: the last one
  opacity: { classes: 0.55, maps: 0.7 },
  colors: new Map(), // that the user chose, by name of the class
  hidden: new Set(), // names of classes
  solo: null, // name of the only class that is shown
  split: 0.5, // place of the divider
  point: null, // { x, y, by: "mouse" | "touch" | "keys" } in pixels of the image
};

const listeners = [];

/** Have a function called after changes of some parts. */
export function onChange(parts, listener) {
  listeners.push({ parts, listener });
}

/** Change some parts. */
export function change(changes) {
  Object.assign(state, changes);
  const changed = Object.keys(changes);
  for (const { parts, listener } of listeners) {
    if (parts.some((part) => changed.includes(part))) listener();
  }
}

export const segmentKey = (model) => `segment ${model}`;
export const viewKey = (model, view, of) => `view ${view} ${of ?? ""} ${model}`;

/** The answers that the picture shows: of the model, and of the one that it is compared with. */
export function results() {
  const names = state.other === null ? [state.model] : [state.model, state.other];
  return names.map((name) => state.answers.get(segmentKey(name))).filter(Boolean);
}

/** Whether two models are shown side by side. */
export const compares = () => results().length === 2 && ["classes", "confidence"].includes(state.tab);

/** The view that the picture shows, once it is there. */
export function shownView() {
  if (["classes", "confidence"].includes(state.tab)) return null;
  const of = state.tab === "stages" ? state.stageClass : null;
  return state.answers.get(viewKey(state.model, state.tab, of)) ?? null;
}

/** The number of the map of a view that is shown. */
export const shownMap = (view) => Math.min(state.stage ?? Infinity, view.maps.length - 1);

export const viewsOf = (name) => state.models.find((model) => model.name === name)?.views ?? [];

/** Whether the class of this name is painted. */
export const isShown = (name) => (state.solo === null ? !state.hidden.has(name) : state.solo === name);

/** The colour of a class: the user's, else that of the first model that knows the name. */
export function colorOf(name) {
  const own = state.colors.get(name);
  if (own !== undefined) return own;
  for (const result of results()) {
    const found = result.classes.find((entry) => entry.name === name);
    if (found !== undefined) return found.color;
  }
  return [128, 128, 128];
}
