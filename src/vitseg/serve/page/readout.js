// What is said of the pixel that is looked at: beside it, and in the line below the picture.

import { byId, element, named, patch, percent, seconds } from "./dom.js";
import { factsAt } from "./facts.js";
import { sizeOf } from "./picture.js";
import { compares, onChange, results, state } from "./state.js";

const AWAY = 14; // pixels of the page between pointer and tip
const ABOVE_FINGER = 44;

const isReady = () => results().length > 0;

/** Crosshair and tip; both lie over the picture, which is not drawn anew for them. */
function mark() {
  const { point } = state;
  const isThere = point !== null && isReady();
  byId("cross").hidden = !isThere || point.by === "mouse";
  byId("tip").hidden = !isThere;
  if (isThere) {
    const size = sizeOf(state.image, results());
    const plane = byId("plane");
    const [left, top] = [((point.x + 0.5) * plane.clientWidth) / size.width, ((point.y + 0.5) * plane.clientHeight) / size.height];
    const [column, row] = byId("cross").children;
    column.style.transform = `translateX(${left - 0.5}px)`;
    row.style.transform = `translateY(${top - 0.5}px)`;
    byId("tip").replaceChildren(...factsAt(point).map((fact) => line(fact, compares())));
    placeTip(left, top, point.by);
  }
  readOut();
}

/** Beside the pixel, and within the picture as far as there is room. */
function placeTip(left, top, by) {
  const [tip, plane] = [byId("tip"), byId("plane")];
  const { offsetWidth: width, offsetHeight: height } = tip;
  const lift = by === "touch" ? ABOVE_FINGER : AWAY;
  let x = left + AWAY + width > plane.clientWidth ? left - AWAY - width : left + AWAY;
  let y = by === "touch" ? top - lift - height : top + lift;
  if (by === "touch" && y < 0) y = top + lift;
  if (by !== "touch" && y + height > plane.clientHeight) y = top - lift - height;
  x = Math.max(0, Math.min(x, plane.clientWidth - width));
  y = Math.max(0, Math.min(y, plane.clientHeight - height));
  tip.style.transform = `translate(${Math.round(x)}px, ${Math.round(y)}px)`;
}

function line(fact, withModel) {
  const made = element("span", { className: "fact" });
  if (withModel) made.append(named(fact.model, "of"));
  if (fact.color !== null) made.append(patch(fact.color));
  made.append(named(fact.name));
  if (fact.value) made.append(element("b", { textContent: fact.value }));
  return made;
}

/** The line below the picture: the pixel, else what was opened. */
function readOut() {
  const { point, image } = state;
  const text = (words) => element("span", { className: "soft", textContent: words });
  const parts = [];
  if (point !== null && isReady()) {
    parts.push(text(`${point.x}, ${point.y}`), ...factsAt(point).map((fact) => line(fact, false)));
  } else if (image !== null) {
    const size = sizeOf(image, results());
    parts.push(named(image.name));
    if (size !== null) parts.push(text(`${size.width} × ${size.height}`));
    const [result] = results();
    if (result?.seconds?.forward !== undefined) parts.push(text(`in ${seconds(result.seconds.forward)}`));
    if (compares()) parts.push(text(`both agree on ${percent(agreement(), 1)}`));
  }
  byId("readout").replaceChildren(...parts);
}

let agreed = { of: [], share: 0 };

/** Share of the pixels to which both models give a class of the same name; those without data do not count. */
function agreement() {
  const [first, second] = results();
  if (agreed.of[0] === first && agreed.of[1] === second) return agreed.share;
  const numbers = new Map(second.classes.map((entry) => [entry.name, entry.index]));
  const same = new Int32Array(65536).fill(-2);
  for (const { index, name } of first.classes) same[index] = numbers.get(name) ?? -1;
  let [count, known] = [0, 0];
  for (let place = 0; place < first.labels.length; place += 1) {
    const wanted = same[first.labels[place]];
    if (wanted > -2) known += 1;
    if (wanted === second.labels[place]) count += 1;
  }
  agreed = { of: [first, second], share: known === 0 ? 1 : count / known };
  return agreed.share;
}

/** What the server has to say of how it read the image. */
function showNotices() {
  const texts = new Set(results().flatMap((result) => result.notices ?? []));
  byId("notices").hidden = texts.size === 0;
  byId("notices").replaceChildren(...[...texts].map((text) => element("li", { textContent: text })));
}

export function startReadout() {
  onChange(["answers", "model", "other"], showNotices);
  onChange(["point", "image", "answers", "model", "other", "tab", "stage", "stageClass", "colors"], mark);
  document.addEventListener("fitted", mark);
}
