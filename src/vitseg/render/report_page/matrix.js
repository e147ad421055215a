// The confusion matrix: a canvas, a cursor that follows pointer and arrow keys, the list of the largest confusions.

const FAINTEST = 1e-3; // share of a row at which a colour begins
const LARGEST_CELL = 84; // pixels
const LARGEST_LISTED = 10;
const IMAGES_SHOWN = 6;

const matrixHolder = document.getElementById("matrix");
const cellPanel = document.getElementById("cell");
const tip = document.getElementById("tip");
const rowTotals = report.confusion.map((row) => row.reduce((sum, count) => sum + count, 0));
const allPixels = Math.max(1, rowTotals.reduce((sum, count) => sum + count, 0));
const cellImages = new Map(report.cells.map(([label, predicted, images]) => [label * numClasses + predicted, images]));

function rowShare(label, predicted) {
  return rowTotals[label] ? report.confusion[label][predicted] / rowTotals[label] : 0;
}

/** Strength of the colour in [0, 1], logarithmic in the share. */
function strength(share) {
  return share <= 0 ? 0 : Math.max(0.06, 1 - Math.log(share) / Math.log(FAINTEST));
}

function cellText(label, predicted) {
  const count = report.confusion[label][predicted];
  const share = rowTotals[label] ? `${percent(rowShare(label, predicted), 2)} of ${report.classes[label].name}, ` : "";
  return `${share}${pixelText(count)}`;
}

function themeColor(name) {
  return getComputedStyle(document.body).getPropertyValue(name).trim();
}

/** Geometry in CSS pixels: `cell` is the side of a cell, `left` and `top` leave room for names where they fit. */
function matrixLayout(context) {
  const font = "12px system-ui, sans-serif";
  context.font = font;
  const widest = Math.max(...report.classes.map(({ name }) => context.measureText(name).width));
  const room = matrixHolder.clientWidth;
  const margin = Math.ceil(Math.min(widest, 150)) + 10;
  let cell = Math.min(LARGEST_CELL, Math.floor((room - margin - 2) / numClasses));
  const named = cell >= 14;
  if (!named) cell = Math.max(4, Math.floor((room - 26) / numClasses));
  const flat = named && widest + 6 <= cell;
  const left = named ? margin : 24;
  const top = named && !flat ? margin : 24;
  return { cell, named, flat, left, top, font, side: cell * numClasses };
}

function shorten(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let cut = text;
  while (cut && context.measureText(`${cut}…`).width > width) cut = cut.slice(0, -1);
  return `${cut}…`;
}

function drawNames(context, layout) {
  const { cell, left, top, side } = layout;
  context.fillStyle = themeColor("--soft");
  context.textBaseline = "middle";
  if (!layout.named) {
    context.textAlign = "left";
    context.fillText("predicted →", left, top - 12);
    context.save();
    context.translate(left - 12, top);
    context.transform(0, 1, -1, 0, 0, 0); // downwards
    context.fillText("labelled →", 0, 0);
    context.restore();
    return;
  }
  report.classes.forEach(({ name }, index) => {
    const middle = index * cell + cell / 2;
    context.textAlign = "right";
    context.fillText(shorten(context, name, left - 10), left - 8, top + middle);
    context.save();
    context.translate(left + middle, top - 8);
    context.textAlign = layout.flat ? "center" : "left";
    if (!layout.flat) context.transform(0, -1, 1, 0, 0, 0); // upwards; exact, where rotate(-PI / 2) rounds
    context.fillText(layout.flat ? name : shorten(context, name, top - 10), 0, 0);
    context.restore();
  });
  context.strokeStyle = themeColor("--line");
  context.strokeRect(left - 0.5, top - 0.5, side + 1, side + 1);
}

function drawMatrix(canvas) {
  const context = canvas.getContext("2d");
  const layout = matrixLayout(context);
  const { cell, left, top, side } = layout;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = (left + side + 1) * ratio;
  canvas.height = (top + side + 1) * ratio;
  canvas.style.width = `${left + side + 1}px`;
  canvas.style.height = `${top + side + 1}px`;
  context.scale(ratio, ratio);
  context.font = layout.font;
  context.fillStyle = themeColor("--card");
  context.fillRect(left, top, side, side);
  const gap = cell >= 10 ? 1 : 0;
  const [hit, miss] = [themeColor("--hit"), themeColor("--miss")];
  for (let row = 0; row < numClasses; row += 1) {
    for (let column = 0; column < numClasses; column += 1) {
      const share = rowShare(row, column);
      if (!share) continue;
      context.globalAlpha = strength(share);
      context.fillStyle = row === column ? hit : miss;
      context.fillRect(left + column * cell, top + row * cell, cell - gap, cell - gap);
      if (cell < 40) continue;
      context.globalAlpha = 1;
      context.fillStyle = themeColor(strength(share) > 0.72 ? "--on-color" : "--ink");
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.fillText((100 * share).toFixed(1), left + (column + 0.5) * cell, top + (row + 0.5) * cell);
    }
  }
  context.globalAlpha = 1;
  drawNames(context, layout);
  return layout;
}

function showTip(x, y, label, predicted) {
  tip.replaceChildren(
    element("strong", { textContent: confusionName(label, predicted) }),
    element("br"), cellText(label, predicted),
  );
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(x + 14, window.innerWidth - box.width - 8))}px`;
  tip.style.top = `${Math.max(4, Math.min(y + 16, window.innerHeight - box.height - 8))}px`;
}

/** The images with most pixels of a cell, each with these pixels marked. */
async function showCell(label, predicted) {
  const images = (cellImages.get(label * numClasses + predicted) ?? []).slice(0, IMAGES_SHOWN);
  const heading = element("h3", {}, swatch(label), report.classes[label].name);
  if (label === predicted) heading.append(" predicted rightly");
  else heading.append(" predicted as ", swatch(predicted), report.classes[predicted].name);
  const close = element("button", { type: "button", className: "close", textContent: "Close" });
  const opener = document.activeElement;
  close.onclick = () => {
    cellPanel.hidden = true;
    matrixHolder.dispatchEvent(new CustomEvent("closed"));
    opener.focus({ preventScroll: true });
  };
  const list = element("div", { className: "cell-images" });
  const others = element("ul", { className: "names" });
  cellPanel.replaceChildren(
    element("div", { className: "cell-head" }, heading, close),
    element("p", { className: "soft", textContent: cellText(label, predicted) }), list, others,
  );
  if (!images.length) list.append(element("p", { className: "soft", textContent: "No image has such pixels." }));
  cellPanel.hidden = false;
  close.focus({ preventScroll: true });
  for (const [id, count] of images) {
    const text = `${report.ids[id]}: ${pixelText(count)}`;
    const sample = sampleById.get(id);
    if (!sample) {
      others.append(element("li", { textContent: text }));
      continue;
    }
    const button = element("button", {
      type: "button", className: "sample", attributes: { "aria-label": `Enlarge ${report.ids[id]}` },
    });
    button.onclick = () => openSample(sample, [sample]);
    list.append(element("div", { className: "cell-image" }, element("p", { textContent: text }), button));
    const maps = await unpack(sample);
    button.append(...[
      ["These pixels", confusionPicture(sample, maps, label, predicted)],
      ["Image", photo(sample)],
      ["Ground truth", classPicture(sample, maps.labels, "ground truth")],
      ["Prediction", classPicture(sample, maps.prediction, "prediction")],
    ].map(figure));
  }
  if (others.children.length) others.before(element("p", { className: "soft", textContent: "Without stored pictures:" }));
  if (list.isConnected) cellPanel.scrollIntoView({ block: "nearest" }); // unless another cell was chosen meanwhile
}

/** Places an outline over a cell. */
function moveOutline(outline, layout, cell) {
  outline.hidden = cell === null;
  if (cell === null) return;
  const side = Math.max(layout.cell, 6);
  outline.style.width = outline.style.height = `${side}px`;
  outline.style.left = `${layout.left + (cell[1] + 0.5) * layout.cell - side / 2}px`;
  outline.style.top = `${layout.top + (cell[0] + 0.5) * layout.cell - side / 2}px`;
}

function startMatrix() {
  const canvas = element("canvas", { attributes: { "aria-hidden": "true" } });
  const cursor = element("div", { className: "cursor", hidden: true });
  const chosen = element("div", { className: "cursor chosen", hidden: true });
  const plane = element("div", { className: "plane", tabIndex: 0 }, canvas, cursor, chosen);
  plane.setAttribute("role", "application");
  plane.setAttribute("aria-label",
    `Confusion matrix of ${numClasses} classes. Arrow keys move from cell to cell, Enter shows images.`);
  // No wider than it can get, so that the list stands beside it.
  matrixHolder.parentElement.style.maxWidth = `${Math.max(352, LARGEST_CELL * numClasses + 162)}px`;
  matrixHolder.append(plane);
  let layout = drawMatrix(canvas);
  let place = null;
  let selected = null;

  const redraw = () => {
    layout = drawMatrix(canvas);
    moveOutline(cursor, layout, null);
    moveOutline(chosen, layout, selected);
  };
  const choose = (cell) => {
    selected = cell;
    moveOutline(chosen, layout, cell);
    showCell(...cell);
  };
  const cellAt = (event) => {
    const box = canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left - layout.left) / layout.cell);
    const row = Math.floor((event.clientY - box.top - layout.top) / layout.cell);
    const inside = row >= 0 && column >= 0 && row < numClasses && column < numClasses;
    return inside ? [row, column] : null;
  };
  plane.onpointermove = (event) => {
    const cell = cellAt(event);
    moveOutline(cursor, layout, cell);
    if (cell) showTip(event.clientX, event.clientY, ...cell);
    else tip.hidden = true;
  };
  plane.onpointerleave = () => {
    moveOutline(cursor, layout, null);
    tip.hidden = true;
  };
  plane.onblur = plane.onpointerleave;
  plane.onclick = (event) => {
    place = cellAt(event) ?? place;
    if (cellAt(event)) choose(place);
  };
  plane.onkeydown = (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (step) {
      const from = place ?? [0, 0];
      place = place ? from.map((value, axis) => Math.max(0, Math.min(numClasses - 1, value + step[axis]))) : from;
      moveOutline(cursor, layout, place);
      const box = cursor.getBoundingClientRect();
      showTip(box.right, box.bottom, ...place);
      document.getElementById("matrix-status").textContent = `${confusionName(...place)}: ${cellText(...place)}`;
    } else if ((event.key === "Enter" || event.key === " ") && place) {
      choose(place);
    } else {
      return;
    }
    event.preventDefault();
  };
  matrixHolder.addEventListener("closed", () => {
    selected = null;
    moveOutline(chosen, layout, null);
  });
  new ResizeObserver(redraw).observe(matrixHolder);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  listLargest(choose);
}

function listLargest(choose) {
  const cells = [];
  report.confusion.forEach((row, label) => row.forEach((count, predicted) => {
    if (count && label !== predicted) cells.push([count, label, predicted]);
  }));
  cells.sort((a, b) => b[0] - a[0]);
  const list = document.getElementById("largest");
  for (const [count, label, predicted] of cells.slice(0, LARGEST_LISTED)) {
    const button = element("button", { type: "button" },
      element("span", { className: "pair" }, swatch(label), report.classes[label].name, " → ",
        swatch(predicted), report.classes[predicted].name),
      element("span", { className: "soft", textContent:
        `${percent(count / allPixels, 2)} of all pixels, ${percent(rowShare(label, predicted))} of ${report.classes[label].name}` }));
    button.onclick = () => choose([label, predicted]);
    list.append(element("li", {}, button));
  }
  if (!cells.length) list.replaceWith(element("p", { className: "soft", textContent: "None: every pixel is right." }));
}

function drawScale() {
  const holder = document.getElementById("matrix-scale");
  for (const share of [1e-3, 1e-2, 1e-1, 1]) {
    const steps = ["hit", "miss"].map((kind) => {
      const patch = element("span", { className: `patch ${kind}` });
      patch.style.opacity = strength(share);
      return patch;
    });
    holder.append(element("span", {}, ...steps, `${100 * share} %`));
  }
}
