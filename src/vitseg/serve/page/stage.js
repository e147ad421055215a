// The picture: its size on the page, and what is drawn there.

import { byId, percent } from "./dom.js";
import { compose, paintClasses, paintMap, paintSureness } from "./paint.js";
import { sizeOf } from "./picture.js";
import { onChange, results, shownMap, shownView, state } from "./state.js";

const LOWEST = 220; // pixels of the page that the picture may have at least, however low the window is
const NARROWEST = 900; // from this width of the window on the panel stands beside the picture

let layers = [];
let isAsked = false;

/** What lies over the image; painted anew only where it may have changed. */
function paintLayers() {
  const found = results();
  if (found.length === 0) layers = [];
  else if (state.tab === "classes") layers = found.map((result) => paintClasses(result));
  else if (state.tab === "confidence") layers = found.filter((result) => result.sureness).map(paintSureness);
  else {
    const view = shownView();
    layers = view === null ? [] : [paintMap(view, shownMap(view))];
  }
  redraw();
}

/** Draw in the next frame, once however often it was asked for. */
function redraw() {
  if (isAsked) return;
  isAsked = true;
  requestAnimationFrame(() => {
    isAsked = false;
    draw();
  });
}

function draw() {
  const canvas = byId("picture");
  const context = canvas.getContext("2d");
  if (sizeOf(state.image, results()) === null) return context.clearRect(0, 0, canvas.width, canvas.height);
  const isClasses = state.tab === "classes";
  compose(context, {
    layers,
    isGrey: !isClasses && layers.length > 0,
    isSmooth: state.tab === "stages",
    opacity: isClasses ? state.opacity.classes : state.opacity.maps,
    split: state.split,
  });
}

/** Fit the picture into the page; it covers the same place whatever is drawn. */
function fit() {
  const size = sizeOf(state.image, results()) ?? { width: 4, height: 3 };
  const space = byId("space");
  const isWide = innerWidth >= NARROWEST;
  const top = space.getBoundingClientRect().top + scrollY;
  const most = isWide ? innerHeight - top - byId("bar").offsetHeight - 28 : 0.62 * innerHeight;
  const scale = Math.min(space.clientWidth / size.width, Math.max(LOWEST, most) / size.height);
  const [width, height] = [Math.max(1, Math.round(size.width * scale)), Math.max(1, Math.round(size.height * scale))];
  byId("plane").style.width = `${width}px`;
  byId("plane").style.height = `${height}px`;
  const canvas = byId("picture");
  const sharp = Math.min(devicePixelRatio || 1, 3);
  const [across, down] = [Math.round(width * sharp), Math.round(height * sharp)];
  if (canvas.width !== across || canvas.height !== down) [canvas.width, canvas.height] = [across, down];
  draw();
  document.dispatchEvent(new Event("fitted"));
}

function describe() {
  const [result] = results();
  const name = state.image?.name ?? "";
  const found = result?.classes.slice(0, 6).map((entry) => `${entry.name} ${percent(entry.area, 0)}`) ?? [];
  byId("picture").setAttribute("aria-label", found.length ? `${name}: ${found.join(", ")}` : name);
}

/** The pixel of the image at a place of the window. */
export function pixelAt(clientX, clientY) {
  const size = sizeOf(state.image, results());
  const box = byId("picture").getBoundingClientRect();
  const place = (share, count) => Math.min(count - 1, Math.max(0, Math.floor(share * count)));
  return {
    x: place((clientX - box.left) / box.width, size.width),
    y: place((clientY - box.top) / box.height, size.height),
  };
}

export function startStage() {
  const show = () => {
    byId("work").hidden = state.image === null;
    byId("start").hidden = state.image !== null;
    byId("new-image").hidden = state.image === null;
    document.body.dataset.state = state.image === null ? "empty" : "open";
  };
  onChange(["image"], show);
  onChange(["image", "answers", "model", "other"], fit);
  onChange(["image", "answers", "model", "other", "tab", "stageClass", "stage", "colors", "hidden", "solo"], paintLayers);
  onChange(["opacity", "split"], redraw);
  onChange(["image", "answers", "model"], describe);
  const watch = new ResizeObserver(fit);
  for (const id of ["space", "messages"]) watch.observe(byId(id));
  addEventListener("resize", fit);
  show();
}
