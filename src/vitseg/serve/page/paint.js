// From numbers to colours: pictures of label maps and of maps of one channel.

import { colorOf, isShown, state } from "./state.js";

/** Colours of 0, 0.1, ... 1: samples of "inferno", whose lightness grows evenly (van der Walt and Smith, CC0). */
const HEAT = [
  [0, 0, 4], [22, 11, 57], [66, 10, 104], [106, 23, 110], [147, 38, 103], [188, 55, 84],
  [221, 81, 58], [243, 120, 25], [252, 165, 10], [246, 215, 70], [252, 255, 164],
];
const KINDS = [
  [66, 133, 214], [237, 134, 51], [67, 160, 113], [201, 84, 132], [130, 101, 196], [171, 139, 44],
  [60, 170, 184], [196, 76, 62], [118, 136, 74], [150, 120, 105],
];
const LARGEST_LAYER = 6e6; // pixels; larger pictures are painted smaller, as they are shown

export function heatColor(share) {
  const place = Math.min(share, 0.9999) * (HEAT.length - 1);
  const below = Math.floor(place);
  return HEAT[below].map((value, i) => Math.round(value + (HEAT[below + 1][i] - value) * (place - below)));
}

export const kindColor = (number) => KINDS[number % KINDS.length];

/** The colour of an exit, brighter the earlier it is; of those that stayed it is dark. */
export const exitColor = (number, count) => (number < count ? heatColor(0.92 - (0.57 * number) / count) : heatColor(0.12));

/** Red, green, blue and alpha as a number of a pixel array. Every browser stores the lowest byte first. */
const packed = (color, alpha = 255) => ((alpha << 24) | (color[2] << 16) | (color[1] << 8) | color[0]) >>> 0;

/** The colour of every label of a result; those that are not shown are clear. */
function classTable(result) {
  const table = new Uint32Array(65536);
  for (const { index, name } of result.classes) if (isShown(name)) table[index] = packed(colorOf(name));
  return table;
}

function heatTable() {
  return Uint32Array.from({ length: 256 }, (_, value) => packed(heatColor(value / 255)));
}

function kindTable(view) {
  const table = new Uint32Array(256);
  for (let value = 0; value < 256; value += 1) {
    table[value] = packed(view.view === "exits" ? exitColor(value, view.names.length) : kindColor(value));
  }
  return table;
}

/** A canvas with the colours of a map's values; of a large map every so many pixels are left out, unless `whole`. */
function painted({ width, height, values }, table, whole) {
  const scale = whole ? 1 : Math.min(1, Math.sqrt(LARGEST_LAYER / (width * height)));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer);
  const columns = Uint32Array.from({ length: canvas.width }, (_, x) => Math.floor(((x + 0.5) * width) / canvas.width));
  for (let y = 0; y < canvas.height; y += 1) {
    const row = Math.floor(((y + 0.5) * height) / canvas.height) * width;
    const to = y * canvas.width;
    for (let x = 0; x < canvas.width; x += 1) pixels[to + x] = table[values[row + columns[x]]];
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/** The classes of a result. */
export function paintClasses(result, whole = false) {
  return painted({ ...result, values: result.labels }, classTable(result), whole);
}

export const paintSureness = (result) => painted({ ...result, values: result.sureness }, heatTable(), false);

/** One map of a view. */
export function paintMap(view, number) {
  return painted(view.maps[number], view.view === "stages" ? heatTable() : kindTable(view), false);
}

/**
 * Draw the image and what lies over it.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {{ layers: HTMLCanvasElement[], isGrey: boolean, isSmooth: boolean, opacity: number, split: number }} parts Of
 *   two layers the first is drawn to the left of the share `split` of the width.
 */
export function compose(context, { layers, isGrey, isSmooth, opacity, split }) {
  const { width, height } = context.canvas;
  const { bitmap } = state.image;
  context.globalAlpha = 1;
  context.fillStyle = "#8c9096"; // in place of an image that the browser cannot show
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.imageSmoothingEnabled = true;
  if (bitmap !== null) context.drawImage(bitmap, 0, 0, width, height);
  if (isGrey) {
    context.globalCompositeOperation = "saturation"; // that of a grey, with the lightness of what is there
    context.fillStyle = "#808080";
    context.fillRect(0, 0, width, height);
    context.globalCompositeOperation = "source-over";
  }
  context.globalAlpha = opacity;
  layers.forEach((layer, side) => {
    context.save();
    if (layers.length === 2) {
      const middle = Math.round(split * width);
      context.beginPath();
      context.rect(side === 0 ? 0 : middle, 0, side === 0 ? middle : width - middle, height);
      context.clip();
    }
    context.imageSmoothingEnabled = isSmooth || layer.width > width;
    context.drawImage(layer, 0, 0, width, height);
    context.restore();
  });
  context.globalAlpha = 1;
}

/** The picture of a result's classes at the size of the image, as the user sees it; null: too large for the browser. */
export async function overlayFile(result) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [result.width, result.height];
  const context = canvas.getContext("2d");
  if (context === null) return null;
  const layers = [paintClasses(result, true)];
  compose(context, { layers, isGrey: false, isSmooth: false, opacity: state.opacity.classes, split: 1 });
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}
