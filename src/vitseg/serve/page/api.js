// What the page asks of the server, and what its refusals mean.

import { bytesOf, decodePng } from "./png.js";

const KEY = "vitseg-api-key"; // in the storage of the tab, which forgets it when it is closed
const UNREACHED = 0; // in place of a status

export class ServerError extends Error {
  constructor(status, message, retryAfter = null) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

export const hasKey = () => sessionStorage.getItem(KEY) !== null;
export const keepKey = (key) => sessionStorage.setItem(KEY, key);

/** The answer of the server as text; addresses are relative, so that the page works behind a prefix, too. */
async function ask(path, options = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  if (hasKey()) headers["X-API-Key"] = sessionStorage.getItem(KEY);
  const answer = await fetch(path, { ...options, headers, cache: "no-store" }).catch((error) => {
    throw error.name === "AbortError" ? error : new ServerError(UNREACHED, "");
  });
  const text = await answer.text();
  if (!answer.ok) throw new ServerError(answer.status, messageIn(text), waitIn(answer));
  return text;
}

/** The server's own words; "" where something before it answered. */
function messageIn(text) {
  try {
    const { error } = JSON.parse(text);
    return typeof error === "string" ? error : "";
  } catch {
    return "";
  }
}

/** Seconds after which the server wants to be asked again, or null. */
function waitIn(answer) {
  const text = answer.headers.get("Retry-After");
  if (text === null) return null;
  const wait = /^\d+$/.test(text.trim()) ? Number(text) : (Date.parse(text) - Date.now()) / 1000;
  return Number.isFinite(wait) ? Math.max(1, Math.ceil(wait)) : null;
}

function post(path, query, blob, signal) {
  const type = blob.type.startsWith("image/") ? blob.type : "application/octet-stream";
  const options = { method: "POST", body: blob, headers: { "Content-Type": type }, signal };
  return ask(`${path}?${new URLSearchParams(query)}`, options);
}

export async function listModels() {
  return JSON.parse(await ask("v1/models"));
}

/** All classes of a model: index, name, color. */
export async function listClasses(model, signal) {
  return JSON.parse(await ask(`v1/models/${encodeURIComponent(model)}/classes`, { signal })).classes;
}

/** The labels of an image, with the confidence of each pixel and the classes that occur, largest first. */
export async function segment(model, blob, signal) {
  const query = { model, format: "png", confidence: "true", areas: "true" };
  const text = await post("v1/segment", query, blob, signal);
  const answer = JSON.parse(text);
  const mask = bytesOf(answer.mask.png);
  const grey = answer.confidence ? decodePng(bytesOf(answer.confidence)) : null;
  const [labels, confidence] = await Promise.all([decodePng(mask), grey]);
  const classes = [...answer.classes].sort((a, b) => b.area - a.area);
  return { ...answer, text, maskFile: mask, labels: labels.values, sureness: confidence?.values ?? null, classes };
}

/** A view of how a model came to its labels; `of` names the class of a view of stages. */
export async function explain(model, view, of, blob, signal) {
  const query = { model, view, ...(of === null ? {} : { class: of }) };
  const answer = JSON.parse(await post("v1/explain", query, blob, signal));
  const parts = answer.stages ?? [{ png: answer.png }];
  const maps = await Promise.all(parts.map((part) => decodePng(bytesOf(part.png))));
  const names = answer.stages?.map((stage) => stage.name) ?? answer.names;
  return { view, names, maps, probability: answer.probability ?? null };
}

const TITLES = {
  400: "The server could not use this request",
  403: "The server does not allow this",
  404: "The server does not know this",
  408: "Sending the image took too long",
  411: "The server could not use this request",
  413: "This image is too large for the server",
  415: "The server cannot read this kind of file",
  422: "The server cannot use this image",
  429: "The server is busy",
  500: "The server made a mistake",
  502: "The server does not answer",
  503: "The server is not ready",
  504: "This took longer than the server allows",
};

/** Whether the same request may succeed later. */
export const mayPass = ({ status }) => status === undefined || [UNREACHED, 408, 429].includes(status) || status >= 500;

/** An error for people: a title, and what to do. */
export function inWords(error) {
  if (error.status === UNREACHED) {
    return { title: "The server cannot be reached", text: "Look whether it still runs, and whether you are connected." };
  }
  if (error instanceof ServerError) {
    const title = TITLES[error.status] ?? `The server refused this (${error.status})`;
    const again = error.retryAfter === null ? "" : `Try again in ${counted(error.retryAfter)}.`;
    return { title, text: [sentence(error.message), again].filter(Boolean).join(" ") };
  }
  return { title: "The answer of the server cannot be read", text: sentence(error.message) };
}

const counted = (count) => (count === 1 ? "1 second" : `${count} seconds`);

/** The words of an error as a sentence. */
function sentence(text) {
  if (text === "") return "";
  const begun = text[0].toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}
