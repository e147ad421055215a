// Asks the server for what the page needs and has not: every answer once per image, and nothing that nobody waits for.

import { explain, inWords, listClasses, mayPass, segment } from "./api.js";
import { byId, say } from "./dom.js";
import { requireKey } from "./key.js";
import * as messages from "./messages.js";
import { change, onChange, results, segmentKey, state, viewKey, viewsOf } from "./state.js";

const running = new Map(); // key -> AbortController
const failed = new Set(); // keys that are not asked for again before somebody says so
let since = 0;
let ticking = null;

/** What the page needs now: what to call by key. */
function wanted() {
  const { image, model, other, tab, stageClass } = state;
  const calls = new Map();
  if (image === null || model === null) return calls;
  for (const name of [model, other]) {
    if (name !== null) calls.set(segmentKey(name), (signal) => segment(name, image.blob, signal));
  }
  if (viewsOf(model).includes(tab) && state.answers.has(segmentKey(model))) {
    const of = tab === "stages" ? stageClass : null;
    if (tab !== "stages" || of !== null) {
      calls.set(viewKey(model, tab, of), (signal) => explain(model, tab, of, image.blob, signal));
    }
  }
  return calls;
}

/** Stop what is not needed any more, and ask for what is. */
function update() {
  const calls = wanted();
  for (const [key, controller] of running) {
    if (calls.has(key)) continue;
    running.delete(key);
    controller.abort();
  }
  for (const [key, call] of calls) {
    if (!state.answers.has(key) && !running.has(key) && !failed.has(key)) start(key, call);
  }
  showBusy();
}

async function start(key, call) {
  const controller = new AbortController();
  running.set(key, controller);
  const isCurrent = () => running.get(key) === controller;
  try {
    const answer = await call(controller.signal);
    if (!isCurrent()) return;
    running.delete(key);
    change({ answers: new Map(state.answers).set(key, answer) });
    if (running.size === 0) tellDone();
  } catch (error) {
    if (!isCurrent()) return; // somebody else has told why
    running.delete(key);
    failed.add(key);
    if (error.status === 401) requireKey(retry);
    else messages.show(inWords(error), mayPass(error) ? retry : undefined);
    showBusy();
  }
}

function tellDone() {
  const [result] = results();
  if (result === undefined) return;
  const names = result.classes.slice(0, 5).map((entry) => entry.name);
  const more = result.classes.length > 5 ? ` and ${result.classes.length - 5} more` : "";
  say(`Done. The picture shows ${names.join(", ")}${more}.`);
}

/** Ask once more for what failed. */
export function retry() {
  failed.clear();
  messages.clear();
  update();
}

/** Give up all that is running. */
function cancel() {
  for (const [key, controller] of [...running]) {
    running.delete(key);
    failed.add(key);
    controller.abort();
  }
  showBusy();
  messages.tellCancelled(retry);
}

/** All classes of a model, asked for once; null if the server does not say. */
export async function classesOf(model) {
  if (!state.tables.has(model)) {
    try {
      state.tables.set(model, await listClasses(model));
    } catch (error) {
      if (error.status === 401) requireKey(retry);
      else messages.show(inWords(error), retry);
      return null;
    }
  }
  return state.tables.get(model);
}

function showBusy() {
  const busy = running.size > 0;
  if (busy === (ticking !== null)) return;
  byId("busy").hidden = !busy;
  byId("plane").setAttribute("aria-busy", String(busy));
  document.body.classList.toggle("busy", busy);
  if (busy) {
    since = performance.now();
    say("Waiting for the server.");
    ticking = setInterval(tick, 100);
    tick();
  } else {
    clearInterval(ticking);
    ticking = null;
  }
}

function tick() {
  const what = results().length === 0 ? "Segmenting" : "Working";
  byId("busy-text").textContent = `${what}, ${((performance.now() - since) / 1000).toFixed(1)} s`;
}

export function startAsking() {
  onChange(["image"], () => {
    failed.clear();
    for (const controller of running.values()) controller.abort();
    running.clear();
  });
  onChange(["model", "other", "tab", "stageClass"], () => failed.clear());
  onChange(["image", "model", "other", "tab", "stageClass", "answers"], update);
  byId("cancel").onclick = cancel;
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && running.size > 0 && document.querySelector("dialog[open]") === null) cancel();
  });
}
