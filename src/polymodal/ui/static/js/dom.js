// Elements from text: whatever a record holds is shown, never run.

/** An element with attributes, listeners (`onclick`) and children; texts stay texts. */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((one) => one !== null && one !== undefined));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

function svg(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/** How the lines of a chosen run look: colour, dash and symbol. */
export function swatch(look) {
  const picture = svg("svg", { viewBox: "0 0 26 12", width: 26, height: 12, class: "swatch", "aria-hidden": "true" });
  const line = { x1: 1, y1: 6, x2: 25, y2: 6, stroke: look.colour, "stroke-width": 2.2 };
  if (look.dashed) line["stroke-dasharray"] = "4 3";
  picture.append(svg("line", line), svg("path", { d: look.path, fill: look.colour, "fill-rule": "evenodd", transform: "translate(13 6)" }));
  return picture;
}

export const byId = (id) => document.getElementById(id);

/** Calls a function once, some time after the last of several calls. */
export function later(milliseconds, call) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...values), milliseconds);
  };
}
