// What differs between the chosen runs: scores, options, and what they ran on.

import { ask } from "./api.js";
import { h, swatch } from "./dom.js";
import { figure, lowerIsBetter, moment, NONE, option, printable, score, span } from "./format.js";
import { state, tell } from "./state.js";
import { labelOf } from "./tray.js";

let place = null;
let parts = null;
let whole = false; // also what is the same in all
let turn = 0;
const known = new Map(); // key to what the server said, and of which state of the run

export function show(element) {
  if (place === null) build(element);
  draw();
}

export function news(told) {
  if (told === null || told.changed.some((row) => state.chosen.has(row.key))) draw();
}

function build(element) {
  place = element;
  const same = h("label", { class: "inline" }, h("input", { type: "checkbox", id: "same", onchange: (event) => { whole = event.target.checked; draw(); } }), "also what is the same in all");
  parts = { tools: h("div", { class: "tools" }, same), chance: h("div", { class: "chance" }), box: h("div", { class: "scroll tall" }), hint: h("p", { class: "empty" }, "Choose two runs or more in the table: what differs between them stands here.") };
  parts.tools.append(parts.chance);
  element.append(parts.tools, parts.hint, parts.box);
}

async function draw() {
  const mine = ++turn;
  const keys = [...state.chosen.keys()];
  const few = keys.length < 2;
  parts.hint.hidden = !few;
  parts.tools.hidden = parts.box.hidden = few;
  if (few) return;
  const runs = await Promise.all(keys.map(load));
  if (mine !== turn) return;
  if (parts.chance.dataset.keys !== JSON.stringify(keys)) {
    parts.chance.dataset.keys = JSON.stringify(keys);
    parts.chance.replaceChildren(...chance(keys));
  }
  const { scrollTop, scrollLeft } = parts.box;
  parts.box.replaceChildren(tableOf(keys, runs));
  parts.box.scrollTo(scrollLeft, scrollTop);
}

function tableOf(keys, runs) {
  const sections = [
    ["Scores", rowsOf(runs, ({ record }) => record.scores).sort((a, b) => b.name.startsWith("test/") - a.name.startsWith("test/")), scoreCells],
    ["Options", rowsOf(runs, ({ options }) => options), optionCells],
    ["What they ran on", rowsOf(runs, facts), optionCells],
  ];
  const head = h("tr", {}, h("th", { class: "text" }, ""), keys.map((key) => h("th", {}, h("span", { class: "whose" }, swatch(state.chosen.get(key)), h("button", { type: "button", class: "link", onclick: () => tell("open", key) }, labelOf(key))))));
  const bodies = sections.map(([title, all, cells]) => {
    const rows = all.filter((row) => whole || title === "Scores" || differs(row.values));
    const line = h("tr", { class: "section" }, h("th", { class: "text", scope: "colgroup", colspan: keys.length + 1 }, title, h("small", {}, rows.length ? "" : " no difference")));
    return h("tbody", {}, line, rows.map((row) => h("tr", {}, h("th", { class: "text", scope: "row" }, printable(row.name)), cells(row))));
  });
  return h("table", { class: "differences" }, h("thead", {}, head), bodies);
}

async function load(key) {
  const version = JSON.stringify(state.rows.get(key));
  if (known.get(key)?.version !== version) {
    const told = await ask("/api/run", { key }).catch(() => ({ record: { scores: {}, versions: {}, host: {}, code: {}, data: {} }, options: {} }));
    known.set(key, { version, told });
  }
  return known.get(key).told;
}

function rowsOf(runs, valuesOf) {
  const all = runs.map(valuesOf);
  const names = [...new Set(all.flatMap((values) => Object.keys(values)))];
  return names.map((name) => ({ name, values: all.map((values) => values[name]) }));
}

const differs = (values) => new Set(values.map((one) => JSON.stringify(one))).size > 1;

function scoreCells({ name, values }) {
  const numbers = values.filter((one) => typeof one === "number");
  const best = numbers.length > 1 && differs(numbers) ? (lowerIsBetter(name) ? Math.min : Math.max)(...numbers) : null;
  return values.map((one) => h("td", { title: typeof one === "number" ? figure(one) : null }, one === best ? h("b", {}, score(one)) : score(one) || NONE));
}

function optionCells({ values }) {
  const counts = new Map();
  for (const one of values) counts.set(JSON.stringify(one), (counts.get(JSON.stringify(one)) ?? 0) + 1);
  const most = [...counts].sort((a, b) => b[1] - a[1])[0];
  const usual = counts.size > 1 && most[1] > values.length / 2 ? most[0] : null;
  // What most of them have stands back; what sets one apart stands out.
  return values.map((one) => h("td", { class: usual !== null && JSON.stringify(one) !== usual ? "apart" : null }, option(one)));
}

function facts({ record }) {
  const { host, code, data } = record;
  const versions = Object.fromEntries(Object.entries(record.versions ?? {}).map(([name, one]) => [`version of ${name}`, one]));
  return {
    experiment: record.experiment, seed: record.seed ?? undefined, status: record.status, started: moment(record.started), took: span(record.duration_s) || undefined,
    code: code.commit ? code.commit.slice(0, 12) + (code.dirty ? ", with changes" : "") : undefined,
    data: data.fingerprint, rows: data.rows, machine: host.name, cores: host.cores, ...versions,
  };
}

/** Asks whether the difference is more than chance: it takes a process, so only when wished. */
function chance(keys) {
  const said = h("div", { class: "verdicts", role: "status" });
  const button = h("button", { type: "button", onclick: async () => {
    button.disabled = true;
    said.replaceChildren(h("p", { class: "side" }, "comparing; this takes some seconds"));
    try {
      const { comparisons } = await ask("/api/compare", { key: keys });
      said.replaceChildren(h("ul", {}, comparisons.map(({ verdict }) => h("li", {}, printable(named(verdict, keys))))));
    } catch (error) {
      said.replaceChildren(h("p", { class: "fault" }, printable(error.message)));
    }
    button.disabled = false;
  } }, "Is the difference more than chance?");
  return [button, said];
}

/** A verdict names runs by their ids; people know them by what differs. */
function named(verdict, keys) {
  return keys.reduce((words, key) => words.replaceAll(key.slice(key.indexOf("/") + 1), labelOf(key)), verdict);
}
