// Labels photos with a file of `vitseg export --form labels`, in the browser.
// Resize and normalisation are inside the file; names and colours of the classes are in FILE.json beside it.

const RUNTIME = "./node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs";
const LONGEST = 1024; // pixels; the scores of all classes at the photo's size have to fit into WebAssembly's memory

const [file, opacity, status, picture, photoCanvas, labelCanvas, legend] = [
  "file", "opacity", "status", "picture", "photo", "labels", "legend",
].map((id) => document.getElementById(id));

function say(text, isError = false) {
  status.textContent = text;
  status.classList.toggle("error", isError);
}

async function download(url, advice) {
  const answer = await fetch(url).catch(() => {
    throw new Error(`${url}: the server does not answer.`);
  });
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${answer.statusText}. ${advice}`);
  return answer;
}

/** Why this page cannot run a model, or nothing. */
function refusal({ format, form, normalises, batch, model }) {
  const { bands, limits } = model.preprocessing;
  if (format !== "onnx") return `is for ${format}: export it again with --format onnx`;
  if (form !== "labels") return `is of form ${form}, but this page reads labels: export it again with --form labels`;
  if (!normalises) return "takes normalised images: export it again without --outside";
  if ((batch ?? 1) !== 1) return `takes ${batch} images at a time: export it again without --batch`;
  if (bands || limits) return "is for other pictures than browsers read, which are red, green and blue of 8 bits";
  return null;
}

async function readRecord(url) {
  const advice = "Copy the exported file beside this page, with its .json, and name it: ?model=mine.onnx";
  const record = await (await download(`${url}.json`, advice)).json().catch(() => null);
  if (!record?.model?.classes) throw new Error(`${url}.json is not what vitseg export writes beside a file.`);
  const reason = refusal(record);
  if (reason) throw new Error(`${url} ${reason}.`);
  return record;
}

/** What runs the model (`ort`, `session`) and its record. */
async function openModel(url) {
  const record = await readRecord(url);
  const bytes = await (await download(url, "")).arrayBuffer();
  const ort = await import(RUNTIME).catch((error) => {
    throw new Error(`onnxruntime-web does not load (${error.message}). Run npm install in the folder of this page.`);
  });
  ort.env.wasm.numThreads = 1; // more would need a server that isolates the page (COOP and COEP headers)
  ort.env.wasm.proxy = true; // in a worker, so that the page stays alive
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] }).catch((error) => {
    throw new Error(`WebAssembly does not run ${url}: ${error.message ?? error}`);
  });
  return { url, record, ort, session };
}

/** Draw a photo, turned as its camera says and no longer than LONGEST, and give its pixels. */
async function drawPhoto(blob, name) {
  // colours as they are stored, which is how vitseg reads them
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" }).catch(() => {
    throw new Error(`${name} is no picture that this browser reads.`);
  });
  const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  Object.assign(photoCanvas, { width, height });
  const context = photoCanvas.getContext("2d", { alpha: false, willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

/** The label of every pixel, row by row. */
async function segment({ url, record, ort, session }, { data, width, height }) {
  const [wantedHeight, wantedWidth] = record.size ?? [height, width];
  if (wantedHeight !== height || wantedWidth !== width) {
    const sizes = `${wantedWidth} x ${wantedHeight} pixels alone, but this one is run at ${width} x ${height}`;
    throw new Error(`${url} takes photos of ${sizes}: export it again without --size.`);
  }
  const area = width * height;
  const pixels = new Float32Array(3 * area); // (1, 3, H, W), 0 to 255
  for (let place = 0; place < area; place++) {
    for (let channel = 0; channel < 3; channel++) pixels[channel * area + place] = data[4 * place + channel];
  }
  const images = new ort.Tensor("float32", pixels, [1, 3, height, width]);
  const results = await session.run({ [record.inputs[0]]: images });
  return results[record.outputs[0]].data;
}

function drawLabels(labels, palette, { width, height }) {
  const image = new ImageData(width, height);
  labels.forEach((label, place) => image.data.set([...palette[label], 255], 4 * place));
  Object.assign(labelCanvas, { width, height });
  labelCanvas.getContext("2d").putImageData(image, 0, 0);
}

/** All classes, those with most pixels first. */
function drawLegend(labels, { names, palette }) {
  const counts = names.map(() => 0);
  for (const label of labels) counts[label] += 1;
  const order = [...names.keys()].sort((one, other) => counts[other] - counts[one]);
  legend.replaceChildren(
    ...order.map((index) => {
      const row = document.createElement("tr");
      row.classList.toggle("absent", counts[index] === 0);
      const color = row.insertCell();
      color.className = "color";
      color.style.backgroundColor = `rgb(${palette[index].join(" ")})`;
      row.insertCell().textContent = names[index];
      row.insertCell().textContent = `${((100 * counts[index]) / labels.length).toFixed(1)} %`;
      return row;
    }),
  );
}

/** Label a photo and show it; what goes wrong is told in the page. */
async function show(model, name, read) {
  file.disabled = true;
  picture.hidden = true;
  legend.replaceChildren();
  try {
    say(`Labelling ${name} ...`);
    const photo = await drawPhoto(await read(), name);
    const start = performance.now();
    const labels = await segment(model, photo);
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    drawLabels(labels, model.record.model.classes.palette, photo);
    drawLegend(labels, model.record.model.classes);
    picture.hidden = false;
    say(`${name}, labelled at ${photo.width} x ${photo.height} pixels in ${seconds} s.`);
  } catch (error) {
    say(error.message ?? String(error), true);
  }
  file.disabled = false;
}

async function start() {
  const query = new URLSearchParams(location.search);
  const [url, photo] = [query.get("model") ?? "mine.onnx", query.get("photo")];
  const fade = () => (labelCanvas.style.opacity = opacity.value);
  opacity.addEventListener("input", fade);
  fade();
  say(`Loading ${url} ...`);
  let model;
  try {
    model = await openModel(url);
  } catch (error) {
    say(error.message ?? String(error), true);
    return;
  }
  say("Choose a photo.");
  file.disabled = false;
  file.addEventListener("change", () => {
    const [chosen] = file.files;
    if (chosen) show(model, chosen.name, async () => chosen);
  });
  if (photo) show(model, photo, async () => (await download(photo, "")).blob());
}

start();
