// The start of everything.

import { inWords, listModels } from "./api.js";
import { startAsking } from "./asks.js";
import { startCamera } from "./camera.js";
import { startCompare } from "./compare.js";
import { byId, element } from "./dom.js";
import { requireKey, startKey } from "./key.js";
import * as messages from "./messages.js";
import { startPanel } from "./panel.js";
import { startPicture } from "./picture.js";
import { startPixel } from "./pointer.js";
import { startReadout } from "./readout.js";
import { startStage } from "./stage.js";
import { change, onChange, state, viewsOf } from "./state.js";

async function loadModels() {
  try {
    const { models, default: first } = await listModels();
    change({ models, model: first ?? models[0]?.name ?? null });
    if (state.model === null) messages.show({ title: "The server has no model" });
  } catch (error) {
    if (error.status === 401) requireKey(loadModels);
    else messages.show(inWords(error), loadModels);
  }
}

function option(name, text = name) {
  return element("option", { value: name, textContent: text });
}

/** Both choices of a model; nothing is compared with itself. */
function showModels() {
  const names = state.models.map((model) => model.name);
  const choice = byId("model");
  choice.replaceChildren(...names.map((name) => option(name)));
  choice.value = state.model ?? "";
  choice.disabled = names.length === 0;
  const others = names.filter((name) => name !== state.model);
  byId("compare-choice").hidden = others.length === 0;
  byId("other").replaceChildren(element("option", { value: "", textContent: "none" }), ...others.map((name) => option(name)));
  byId("other").value = state.other ?? "";
}

function startModels() {
  byId("model").onchange = (event) => {
    const model = event.target.value;
    const isKnown = ["classes", "confidence", ...viewsOf(model)].includes(state.tab);
    const other = state.other === model ? state.model : state.other; // the two change places
    change({ model, other, stageClass: null, stage: null, solo: null, ...(isKnown && state.tab !== "stages" ? {} : { tab: "classes" }) });
  };
  byId("other").onchange = (event) => {
    const other = event.target.selectedIndex === 0 ? null : event.target.value;
    change({ other, solo: null, split: 0.5 });
  };
  onChange(["models", "model", "other"], showModels);
}

startKey();
startAsking();
startStage();
startCompare();
startPanel();
startPixel();
startReadout();
startModels();
startCamera(startPicture());
loadModels();
