// Elements and texts. Names of classes, models and files come from outside: they are set as text, never as HTML.

export const byId = (id) => document.getElementById(id);

/** An element; `props` are properties of it, apart from `attributes`. */
export function element(tag, props = {}, ...children) {
  const { attributes = {}, ...rest } = props;
  const made = Object.assign(document.createElement(tag), rest);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** A name from outside: its letters may run from right to left, and must not turn what stands beside it. */
export const named = (text, className = "name") => element("bdi", { className, textContent: text, title: text });

/** A square of a colour. */
export function patch(color) {
  const made = element("span", { className: "patch", attributes: { "aria-hidden": "true" } });
  made.style.background = cssColor(color);
  return made;
}

export const cssColor = (color) => `rgb(${color[0]} ${color[1]} ${color[2]})`;

export const hexColor = (color) => `#${color.map((value) => value.toString(16).padStart(2, "0")).join("")}`;

export const colorOfHex = (text) => [1, 3, 5].map((start) => parseInt(text.slice(start, start + 2), 16));

/** A share in [0, 1] for people; what is there is never shown as 0. */
export function percent(share, digits = 1) {
  const least = 10 ** -digits;
  if (share > 0 && 100 * share < least) return `< ${least} %`;
  return `${(100 * share).toFixed(digits)} %`;
}

/** Seconds for people. */
export const seconds = (count) => (count < 10 ? `${count.toFixed(2)} s` : `${count.toFixed(0)} s`);

/** Tell whoever does not see the page. */
export function say(text) {
  byId("status").textContent = text;
}
