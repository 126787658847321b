// The runs that are chosen, each with how its lines look: the legend of all pictures.

import { byId, h, swatch } from "./dom.js";
import { printable } from "./format.js";
import { choose, clearChosen, on, state, tell } from "./state.js";

/** What a chosen run is called where there is little room: the words that the others lack. */
export function labelOf(key) {
  const row = state.rows.get(key);
  if (!row) return key;
  if (!row.name || row.name === row.experiment) return printable(row.run);
  const others = [...state.chosen.keys()].filter((other) => other !== key).map((other) => state.rows.get(other)?.name.split(" ") ?? []);
  const words = row.name.split(" ");
  const apart = others.length ? words.filter((word) => !others.every((other) => other.includes(word))) : words;
  const alike = others.some((other) => other.join(" ") === row.name);
  const seed = alike && row.seed !== undefined ? [`seed=${row.seed}`] : [];
  return printable([...(apart.length ? apart : alike ? [] : words), ...seed].join(" ") || row.run);
}

export function draw() {
  const tray = byId("tray");
  tray.hidden = state.chosen.size === 0;
  const chips = [...state.chosen].map(([key, look]) => h("li", { class: "taken" },
    swatch(look),
    h("button", { type: "button", class: "link", title: printable(state.rows.get(key)?.run ?? key), onclick: () => tell("open", key) }, labelOf(key)),
    h("button", { type: "button", class: "away", "aria-label": `leave out ${labelOf(key)}`, onclick: () => choose(key, false) }, "×")));
  tray.replaceChildren(h("ul", {}, chips), h("button", { type: "button", class: "quiet", onclick: clearChosen }, "Clear"));
}

on("chosen", draw);
