// The panel beside the picture: tabs, their contents, and what can be saved.

import { classList, startClasses } from "./classes.js";
import { byId, element } from "./dom.js";
import { saveRows } from "./download.js";
import { change, onChange, results, state, viewsOf } from "./state.js";
import { surenessPanel, viewPanel } from "./views.js";

const NAMES = { classes: "Classes", confidence: "Confidence", stages: "Stages", exits: "Exits", tasks: "Tasks" };

let showing = null;

/** The tabs that there are: views that this page does not know are left out. */
function tabsOf() {
  const hasSureness = results().some((result) => result.sureness !== null);
  const views = viewsOf(state.model).filter((view) => view in NAMES);
  return ["classes", ...(hasSureness ? ["confidence"] : []), ...views];
}

function showTabs() {
  const tabs = tabsOf();
  if (results().length > 0 && !tabs.includes(state.tab)) return change({ tab: "classes" });
  const box = byId("tabs");
  box.hidden = tabs.length === 1;
  const are = [...box.querySelectorAll("input")].map((radio) => radio.value);
  if (are.join() !== tabs.join()) {
    for (const label of box.querySelectorAll("label")) label.remove();
    for (const tab of tabs) {
      const radio = element("input", { type: "radio", name: "tab", value: tab, className: "hidden-text" });
      radio.onchange = () => openTab(tab);
      box.append(element("label", {}, radio, element("span", { textContent: NAMES[tab] })));
    }
  }
  for (const radio of box.querySelectorAll("input")) radio.checked = radio.value === state.tab;
}

function openTab(tab) {
  const [result] = results();
  const stageClass = state.stageClass ?? result?.classes[0]?.index ?? null;
  change({ tab, ...(tab === "stages" ? { stageClass } : {}) });
}

/** Write the tab anew; what has the focus keeps it. */
function showContent() {
  byId("panel").hidden = results().length === 0;
  byId("panel").classList.toggle("one", results().length === 1);
  if (results().length === 0) return;
  const box = byId("tab-content");
  const places = () => [...box.querySelectorAll("input, select, button")];
  const place = places().indexOf(document.activeElement);
  if (state.tab === "classes") showing = classList();
  else showing = state.tab === "confidence" ? surenessPanel() : viewPanel();
  box.replaceChildren(...showing.made);
  if (place >= 0) places()[place]?.focus({ preventScroll: true });
}

export function startPanel() {
  onChange(["answers", "model", "other", "tab"], showTabs);
  onChange(["answers", "model", "other", "tab", "stageClass"], showContent);
  onChange(["answers", "model", "other"], () => byId("save-rows").replaceChildren(...saveRows()));
  startClasses(() => showing);
}
