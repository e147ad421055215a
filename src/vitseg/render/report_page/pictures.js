// Pictures of a sample: the photo as it is, everything else painted from label maps.

const report = JSON.parse(document.getElementById("report-data").textContent);
const numClasses = report.classes.length;
const sampleById = new Map(report.samples.map((sample) => [sample.id, sample]));

const HATCH = [128, 168]; // grey stripes of ignored pixels
const WRONG = [255, 20, 90];
const SURE = [[255, 214, 64], [236, 112, 96], [130, 52, 128], [34, 28, 72]]; // from unsure to sure

/** An element; `props` are properties of it, apart from `attributes`. Text is never parsed as HTML. */
function element(tag, props = {}, ...children) {
  const { attributes = {}, ...rest } = props;
  const made = Object.assign(document.createElement(tag), rest);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function percent(share, digits = 1) {
  return share === null || Number.isNaN(share) ? "–" : `${(100 * share).toFixed(digits)} %`;
}

const counted = new Intl.NumberFormat("en");

function pixelText(count) {
  return `${counted.format(count)} ${count === 1 ? "pixel" : "pixels"}`;
}

async function inflate(text, bytesPerValue) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  if (bytesPerValue === 1) return bytes;
  return Uint16Array.from({ length: bytes.length / 2 }, (_, index) => bytes[2 * index] + 256 * bytes[2 * index + 1]);
}

/** The label maps of a sample as arrays; ignored pixels have the number of classes. */
async function unpack(sample) {
  const [labels, prediction, confidence] = await Promise.all([
    inflate(sample.labels, report.indexBytes),
    inflate(sample.prediction, report.indexBytes),
    sample.confidence === null ? null : inflate(sample.confidence, 1),
  ]);
  return { labels, prediction, confidence };
}

/** Colour between the stops of SURE; `share` in [0, 1]. */
function sureColor(share) {
  const place = Math.min(share, 0.9999) * (SURE.length - 1);
  const below = Math.floor(place);
  return SURE[below].map((value, i) => value + (SURE[below + 1][i] - value) * (place - below));
}

/** A canvas of a sample's size; `colorOf(index)` gives red, green, blue and perhaps alpha, or null to leave it clear. */
function paint(sample, description, colorOf) {
  const canvas = element("canvas", { width: sample.width, height: sample.height });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", description);
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(sample.width, sample.height);
  for (let index = 0; index < sample.width * sample.height; index += 1) {
    const color = colorOf(index);
    if (color === null) continue;
    pixels.data.set([color[0], color[1], color[2], color[3] ?? 255], 4 * index);
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

function hatch(sample, index) {
  const diagonal = (index % sample.width) + Math.floor(index / sample.width);
  const grey = HATCH[Math.floor(diagonal / 4) % 2];
  return [grey, grey, grey];
}

function photo(sample) {
  return element("img", {
    src: sample.image, alt: `image ${report.ids[sample.id]}`, width: sample.width, height: sample.height,
  });
}

function classPicture(sample, map, description) {
  return paint(sample, description, (index) =>
    map[index] === numClasses ? hatch(sample, index) : report.classes[map[index]].color);
}

/** The photo, dark and grey, with some pixels marked. */
function overlay(sample, layer) {
  const dim = photo(sample);
  dim.className = "dim";
  dim.alt = "";
  return element("div", { className: "layers" }, dim, layer);
}

function errorPicture(sample, { labels, prediction }) {
  return overlay(sample, paint(sample, "wrong pixels", (index) => {
    if (labels[index] === numClasses) return hatch(sample, index);
    return labels[index] === prediction[index] ? null : WRONG;
  }));
}

function confidencePicture(sample, { confidence }) {
  const colors = Array.from({ length: report.levels }, (_, level) => sureColor((level + 0.5) / report.levels));
  return paint(sample, "confidence", (index) => colors[confidence[index]]);
}

/** The pixels labelled as one class and predicted as another. */
function confusionPicture(sample, { labels, prediction }, label, predicted) {
  const color = label === predicted ? [60, 150, 255] : WRONG;
  return overlay(sample, paint(sample, confusionName(label, predicted), (index) =>
    labels[index] === label && prediction[index] === predicted ? color : null));
}

function confusionName(label, predicted) {
  const name = report.classes[label].name;
  return label === predicted ? `${name}, right` : `${name} → ${report.classes[predicted].name}`;
}

/** All pictures of a sample, [caption, element] each. */
function allPictures(sample, maps) {
  const pictures = [
    ["Image", photo(sample)],
    ["Ground truth", classPicture(sample, maps.labels, "ground truth")],
    ["Prediction", classPicture(sample, maps.prediction, "prediction")],
    ["Errors", errorPicture(sample, maps)],
  ];
  if (maps.confidence !== null) pictures.push(["Confidence", confidencePicture(sample, maps)]);
  return pictures;
}

function figure([caption, picture]) {
  return element("figure", {}, picture, element("figcaption", { textContent: caption }));
}

/** A class' colour as a small square. */
function swatch(index) {
  const made = element("span", { className: "patch" });
  made.style.background = `rgb(${report.classes[index].color.join(",")})`;
  return made;
}

/** The classes that occur in the labels or the prediction, the most frequent first. */
function classLegend(sample, { labels, prediction }) {
  const areas = new Float64Array(numClasses + 1);
  for (const map of [labels, prediction]) for (const index of map) areas[index] += 1;
  const present = [...areas.keys()].filter((index) => index < numClasses && areas[index]);
  present.sort((a, b) => areas[b] - areas[a]);
  const legend = element("ul", { className: "legend" });
  for (const index of present) legend.append(element("li", {}, swatch(index), report.classes[index].name));
  if (areas[numClasses]) legend.append(element("li", {}, element("span", { className: "patch ignored" }), "ignored"));
  return legend;
}

/** Calls `show` once, when `target` comes near the visible part of the page. */
function whenNear(target, show) {
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    show();
  }, { rootMargin: "600px" });
  observer.observe(target);
}
