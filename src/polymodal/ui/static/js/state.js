// What the page knows and what the person chose. Views listen; nothing is asked for here.

import { learnDirections, lowerIsBetter } from "./format.js";

export const MOST_CHOSEN = 12;
const COLOURS = ["#0f7fc2", "#e08a00", "#129a72", "#cc6ba3", "#d1551b", "#8a6fd1"];
const SYMBOLS = ["circle", "diamond", "rect", "triangle", "roundRect", "emptyCircle"];
const PATHS = ["M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0", "M0-4.5L4.5 0L0 4.5L-4.5 0Z", "M-3.5-3.5H3.5V3.5H-3.5Z", "M0-4.2L4.2 3.6H-4.2Z", "M-2-3.5H2Q3.5-3.5 3.5-2V2Q3.5 3.5 2 3.5H-2Q-3.5 3.5-3.5 2V-2Q-3.5-3.5-2-3.5Z", "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0M-1.6 0a1.6 1.6 0 1 1 3.2 0a1.6 1.6 0 1 1-3.2 0"];
const LOOKS = [false, true].flatMap((dashed) => COLOURS.map((colour, place) => ({ colour, dashed, symbol: SYMBOLS[place], path: PATHS[place] })));
const FIRST_SCORES = ["test/uar", "test/accuracy", "val/uar"];

export const state = {
  version: 0,
  instance: "",
  rows: new Map(), // key to row
  rest: 0, // rows that are still to come
  broken: [],
  chosen: new Map(), // key to look, in the order of choosing
  view: "runs",
  words: "",
  status: "",
  within: null, // keys that were brushed among the options and scores
  columns: null, // ids of the columns; null: those that fit
  sort: { field: "started", dir: "desc" },
  shown: [], // keys that pass the filters
};

const listeners = new Map();

export function on(event, call) {
  listeners.set(event, [...(listeners.get(event) ?? []), call]);
}

export function tell(event, ...values) {
  for (const call of listeners.get(event) ?? []) call(...values);
}

/** Takes in what has changed; returns the keys that are new, changed and gone. */
export function take(news) {
  learnDirections(news.higher_is_better);
  const known = state.rows;
  const gone = news.whole ? [...known.keys()] : news.gone;
  if (news.whole) state.rows = new Map();
  const added = [];
  const changed = [];
  for (const row of news.rows) {
    (known.has(row.key) ? changed : added).push(row);
    state.rows.set(row.key, row);
  }
  for (const key of gone) if (!news.rows.some((row) => row.key === key)) state.rows.delete(key);
  const dropped = [...state.chosen.keys()].filter((key) => !state.rows.has(key));
  for (const key of dropped) state.chosen.delete(key);
  // What was told in part is asked for again as a whole.
  const next = news.rest ? { version: 0, instance: "" } : { version: news.version, instance: news.instance };
  Object.assign(state, { ...next, rest: news.rest, broken: news.broken });
  return { added, changed, gone, dropped, whole: news.whole };
}

export function choose(key, wanted) {
  if (wanted && !state.chosen.has(key) && state.chosen.size < MOST_CHOSEN) {
    const taken = new Set(state.chosen.values());
    state.chosen.set(key, LOOKS.find((look) => !taken.has(look)));
  } else if (!wanted) state.chosen.delete(key);
  tell("chosen", [key]);
}

export function clearChosen() {
  const keys = [...state.chosen.keys()];
  state.chosen.clear();
  tell("chosen", keys);
}

/** Names of all scores with how many runs have them, test before the others. */
export function scoreNames() {
  const counts = new Map();
  for (const row of state.rows.values()) {
    for (const name of Object.keys(row.scores ?? {})) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const order = (name) => (name.startsWith("test/") ? 0 : name.startsWith("val/") ? 1 : 2);
  return [...counts].sort(([a], [b]) => order(a) - order(b) || (a < b ? -1 : 1));
}

export function firstScores() {
  const names = scoreNames().map(([name]) => name);
  const first = FIRST_SCORES.filter((name) => names.includes(name));
  return first.length ? first : names.slice(0, 3);
}

/** The best of a score, of the rows given. */
export function best(rows, name) {
  const values = rows.map((row) => row?.scores?.[name]).filter((one) => typeof one === "number");
  if (!values.length) return null;
  const pick = lowerIsBetter(name) ? Math.min : Math.max;
  return values.reduce((a, b) => pick(a, b));
}
