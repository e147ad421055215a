// A PNG as its numbers. A canvas would give colours instead, and two classes may have the same one.

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const GREY = 0;
const INDEXED = 3;

/**
 * Decode a grey or indexed PNG that is not interlaced.
 *
 * @param {Uint8Array} bytes The file.
 * @returns {Promise<{width: number, height: number, depth: number, values: Uint8Array | Uint16Array}>} Bits per value,
 *   and the values row by row: palette indices, or grey as it is stored.
 */
export async function decodePng(bytes) {
  const { header, data } = read(bytes);
  const { width, height, depth } = header;
  const rowBytes = Math.ceil((width * depth) / 8);
  const raw = await inflate(data, height * (rowBytes + 1));
  const rows = unfilter(raw, height, rowBytes, depth === 16 ? 2 : 1);
  return { width, height, depth, values: unpack(rows, width, height, depth, rowBytes) };
}

function read(bytes) {
  if (SIGNATURE.some((value, index) => bytes[index] !== value)) throw new Error("this is no PNG");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const data = [];
  let header = null;
  for (let start = 8; start + 12 <= bytes.length; ) {
    const length = view.getUint32(start);
    const kind = String.fromCharCode(...bytes.subarray(start + 4, start + 8));
    if (start + 12 + length > bytes.length) break;
    if (kind === "IHDR") header = readHeader(view, start + 8);
    if (kind === "IDAT") data.push(bytes.subarray(start + 8, start + 8 + length));
    if (kind === "IEND") break;
    start += length + 12;
  }
  if (header === null || data.length === 0) throw new Error("this PNG is cut off");
  return { header, data };
}

function readHeader(view, start) {
  const header = { width: view.getUint32(start), height: view.getUint32(start + 4), depth: view.getUint8(start + 8) };
  const color = view.getUint8(start + 9);
  const isKnown = (color === INDEXED && header.depth <= 8) || color === GREY;
  if (!isKnown || view.getUint8(start + 12) !== 0) {
    throw new Error(`this PNG (colour type ${color}, ${header.depth} bits) is neither grey nor indexed, or interlaced`);
  }
  return header;
}

/** The unpacked data, which must have exactly this many bytes; more is not waited for. */
async function inflate(parts, size) {
  const found = new Uint8Array(size);
  const reader = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  let filled = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (filled + value.length > size) {
      await reader.cancel();
      throw new Error("this PNG holds more than its size");
    }
    found.set(value, filled);
    filled += value.length;
  }
  if (filled !== size) throw new Error("this PNG is cut off");
  return found;
}

/** Rows without their filters (PNG specification, section 9). `step`: bytes from a value to its left neighbour. */
function unfilter(raw, height, rowBytes, step) {
  const rows = new Uint8Array(height * rowBytes);
  for (let y = 0; y < height; y += 1) {
    const from = y * (rowBytes + 1);
    const to = y * rowBytes;
    const kind = raw[from];
    if (kind > 4) throw new Error(`this PNG has an unknown filter (${kind})`);
    for (let x = 0; x < rowBytes; x += 1) {
      const left = x < step ? 0 : rows[to + x - step];
      const above = y === 0 ? 0 : rows[to + x - rowBytes];
      let guess = 0;
      if (kind === 1) guess = left;
      else if (kind === 2) guess = above;
      else if (kind === 3) guess = (left + above) >> 1;
      else if (kind === 4) guess = paeth(left, above, x < step || y === 0 ? 0 : rows[to + x - rowBytes - step]);
      rows[to + x] = raw[from + 1 + x] + guess; // the array keeps the low eight bits
    }
  }
  return rows;
}

function paeth(left, above, corner) {
  const toLeft = Math.abs(above - corner);
  const toAbove = Math.abs(left - corner);
  const toCorner = Math.abs(left + above - 2 * corner);
  if (toLeft <= toAbove && toLeft <= toCorner) return left;
  return toAbove <= toCorner ? above : corner;
}

function unpack(rows, width, height, depth, rowBytes) {
  if (depth === 8) return rows;
  if (depth === 16) {
    const values = new Uint16Array(width * height);
    for (let i = 0; i < values.length; i += 1) values[i] = 256 * rows[2 * i] + rows[2 * i + 1];
    return values;
  }
  const values = new Uint8Array(width * height);
  const [perByte, mask] = [8 / depth, (1 << depth) - 1];
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const shift = 8 - depth * ((x % perByte) + 1); // the leftmost value has the highest bits
      values[y * width + x] = (rows[y * rowBytes + Math.floor(x / perByte)] >> shift) & mask;
    }
  }
  return values;
}

/** The bytes of a base64 text. */
export function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index += 1) bytes[index] = text.charCodeAt(index);
  return bytes;
}
