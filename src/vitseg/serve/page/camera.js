// A picture from the camera.

import { byId } from "./dom.js";
import { open } from "./picture.js";

const REASONS = {
  NotAllowedError: "The browser may not use the camera. Allow it in the settings of this page, then open this again.",
  NotFoundError: "There is no camera.",
  NotReadableError: "Another program uses the camera. Close it, then open this again.",
  OverconstrainedError: "There is no such camera.",
};

let stream = null;
let facing = "environment";

async function begin() {
  stop();
  byId("camera-text").textContent = "Waiting for the camera.";
  byId("take").disabled = true;
  try {
    const video = { facingMode: { ideal: facing }, width: { ideal: 1920 }, height: { ideal: 1080 } };
    const found = await navigator.mediaDevices.getUserMedia({ video, audio: false });
    if (!byId("camera-dialog").open) { // it was closed while the browser asked
      for (const track of found.getTracks()) track.stop();
      return;
    }
    stream = found;
    byId("film").srcObject = stream;
    await byId("film").play();
    byId("camera-text").textContent = "";
    byId("take").disabled = false;
    byId("take").focus();
    const devices = await navigator.mediaDevices.enumerateDevices();
    byId("turn").hidden = devices.filter((device) => device.kind === "videoinput").length < 2;
  } catch (error) {
    if (error.name === "AbortError") return; // closed while it started
    byId("camera-text").textContent = REASONS[error.name] ?? "The camera cannot be used.";
  }
}

function stop() {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  byId("film").srcObject = null;
}

function take() {
  const film = byId("film");
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [film.videoWidth, film.videoHeight];
  canvas.getContext("2d").drawImage(film, 0, 0);
  byId("camera-dialog").close();
  canvas.toBlob((blob) => open(blob, "camera.jpg"), "image/jpeg", 0.95);
}

/** Offer the camera where there may be one. `openApp` opens a phone's own; browsers show films on safe pages alone. */
export function startCamera(openApp) {
  const canFilm = Boolean(navigator.mediaDevices?.getUserMedia);
  const isPhone = matchMedia("(pointer: coarse)").matches;
  byId("open-camera").hidden = !canFilm && !isPhone;
  byId("open-camera").onclick = () => {
    if (!canFilm) return openApp();
    byId("camera-dialog").showModal();
    return begin();
  };
  byId("take").onclick = take;
  byId("turn").onclick = () => {
    facing = facing === "environment" ? "user" : "environment";
    begin();
  };
  byId("camera-close").onclick = () => byId("camera-dialog").close();
  byId("camera-dialog").onclose = stop;
}
