// The gallery of the worst images, and the dialog that shows one of them large.

const FIRST_SHOWN = 12;

const dialog = document.getElementById("sample-dialog");
let wanted = null; // the sample asked for last: unpacking may end in another order

function confusionList(sample) {
  const labelled = sample.confusions.length ? "Largest confusions: " : "";
  const list = element("p", { className: "soft" }, labelled);
  sample.confusions.forEach(([label, predicted, count], index) => {
    list.append(index ? "; " : "", `${confusionName(label, predicted)} (${pixelText(count)})`);
  });
  return list;
}

function galleryItem(sample, rank, all) {
  const row = element("button", {
    type: "button", className: "sample", attributes: { "aria-label": `Enlarge ${report.ids[sample.id]}` },
  });
  row.onclick = () => openSample(sample, all);
  const placeholder = element("div", { className: "placeholder" });
  placeholder.style.aspectRatio = `${5 * sample.width} / ${sample.height}`;
  row.append(placeholder);
  const legend = element("ul", { className: "legend" });
  const item = element("article", { className: "gallery-item" },
    element("h3", {}, element("span", { className: "rank", textContent: rank }), report.ids[sample.id],
      element("span", { className: "value", textContent: `mIoU ${percent(sample.miou)}` }),
      element("span", { className: "value soft", textContent: `${percent(sample.accuracy)} of pixels right` })),
    row, legend, confusionList(sample));
  whenNear(item, async () => {
    const maps = await unpack(sample);
    row.replaceChildren(...allPictures(sample, maps).map(figure));
    legend.replaceWith(classLegend(sample, maps));
  });
  return item;
}

function startGallery() {
  const gallery = document.getElementById("gallery");
  if (!gallery) return;
  const samples = report.worst.map((id) => sampleById.get(id));
  samples.slice(0, FIRST_SHOWN).forEach((sample, index) => gallery.append(galleryItem(sample, index + 1, samples)));
  const rest = samples.length - FIRST_SHOWN;
  if (rest > 0) {
    const more = element("button", { type: "button", className: "more", textContent: `Show ${rest} more` });
    more.onclick = () => {
      const items = samples.slice(FIRST_SHOWN).map((sample, i) => galleryItem(sample, FIRST_SHOWN + i + 1, samples));
      more.replaceWith(...items);
      items[0].querySelector("button").focus();
    };
    gallery.append(more);
  }
  drawRamp(document.getElementById("ramp"));
}

function drawRamp(canvas) {
  const context = canvas.getContext("2d");
  for (let x = 0; x < canvas.width; x += 1) {
    context.fillStyle = `rgb(${sureColor(x / canvas.width).map(Math.round).join(",")})`;
    context.fillRect(x, 0, 1, canvas.height);
  }
}

/** What stands under the pointer, in words. */
function pixelWords(sample, { labels, prediction, confidence }, index) {
  const name = (map) => (map[index] === numClasses ? "ignored" : report.classes[map[index]].name);
  const words = [`labelled ${name(labels)}`, `predicted ${name(prediction)}`];
  if (confidence !== null) {
    const step = 100 / report.levels;
    words.push(`confidence ${Math.round(confidence[index] * step)}–${Math.round((confidence[index] + 1) * step)} %`);
  }
  return words.join(" · ");
}

/** Crosshairs at the same place of every picture, and the classes there. */
function followPointer(grid, sample, maps, readout) {
  const hint = readout.textContent;
  const frames = [...grid.querySelectorAll(".frame")];
  for (const frame of frames) {
    frame.onpointermove = (event) => {
      const box = frame.getBoundingClientRect();
      const across = Math.max(0, Math.min(0.9999, (event.clientX - box.left) / box.width));
      const down = Math.max(0, Math.min(0.9999, (event.clientY - box.top) / box.height));
      for (const other of frames) {
        other.classList.add("aimed");
        other.style.setProperty("--across", `${100 * across}%`);
        other.style.setProperty("--down", `${100 * down}%`);
      }
      const index = Math.floor(down * sample.height) * sample.width + Math.floor(across * sample.width);
      readout.textContent = pixelWords(sample, maps, index);
    };
    frame.onpointerleave = () => {
      for (const other of frames) other.classList.remove("aimed");
      readout.textContent = hint;
    };
  }
}

/** Shows one of `all`; the arrow keys go on to its neighbours. */
async function openSample(sample, all) {
  wanted = sample;
  const maps = await unpack(sample);
  if (wanted !== sample) return;
  const position = all.indexOf(sample);
  const go = (step) => {
    const next = all[position + step];
    if (next) openSample(next, all);
  };
  const button = (text, action, usable = true) => {
    const made = element("button", { type: "button", textContent: text, disabled: !usable });
    made.onclick = action;
    return made;
  };
  const controls = element("div", { className: "controls" });
  if (all.length > 1) {
    controls.append(button("Previous", () => go(-1), position > 0), button("Next", () => go(1), position < all.length - 1));
  }
  const close = button("Close", () => dialog.close());
  controls.append(close);
  const readout = element("p", { className: "readout", textContent: "Point at a picture to read its classes." });
  const grid = element("div", { className: "grid" });
  for (const [caption, picture] of allPictures(sample, maps)) {
    grid.append(figure([caption, element("div", { className: "frame" }, picture)]));
  }
  grid.append(element("div", { className: "about" }, classLegend(sample, maps), confusionList(sample)));
  dialog.replaceChildren(
    element("div", { className: "dialog-head" },
      element("h2", { id: "sample-title", textContent: report.ids[sample.id] }),
      element("span", { className: "value", textContent: `mIoU ${percent(sample.miou)}` }), controls),
    readout, grid,
  );
  followPointer(grid, sample, maps, readout);
  dialog.onkeydown = (event) => {
    if (event.key === "ArrowLeft") go(-1);
    if (event.key === "ArrowRight") go(1);
  };
  if (!dialog.open) dialog.showModal();
  close.focus();
}
