// The table of all runs. Only the rows in sight are drawn, so that ten thousand are no burden.

import { TabulatorFull as Tabulator } from "../vendor/tabulator_esm.min.mjs";
import { FIELDS, fillOptions, shownColumns } from "./columns.js";
import { byId, h } from "./dom.js";
import { ago, count, figure, lowerIsBetter, moment, option, printable, score, span } from "./format.js";
import { choose, MOST_CHOSEN, on, state, tell } from "./state.js";

const WIDTHS = { name: [240, 4], run: [260, 3], experiment: [150, 2], error: [200, 3], parent: [160, 2], root: [120, 1] };
const RIGHT = ["seed", "duration_s", "started"];
const views = new Map(); // key to what the table holds of a run
let table = null;
let ready = null;
let ranges = new Map(); // score to [lowest, highest]
let roots = [];

export function start(found) {
  roots = found;
}

function viewOf(row, known = {}) {
  const { scores = {}, values = {}, ...fields } = row;
  const view = Object.assign(known, { error: undefined, live: values }, fields);
  view.root = roots[Number(row.key.split("/", 1)[0])] ?? "";
  for (const [name, value] of Object.entries(scores)) view[`score:${name}`] = value ?? undefined;
  return view;
}

/** Draws or updates the table after news of the server. */
export async function update({ added, changed, gone, whole }) {
  for (const key of gone) if (whole || !state.rows.has(key)) views.delete(key);
  for (const row of [...added, ...changed]) views.set(row.key, viewOf(row, views.get(row.key)));
  measure();
  if (table === null) return build();
  await ready;
  const columns = shownColumns();
  const options = columns.filter((id) => id.startsWith("option:"));
  const lacks = [...added, ...changed].some((row) => options.some((id) => !(id in views.get(row.key))));
  if (lacks) await fillOptions(options, views).catch(() => undefined);
  if (whole || added.length + gone.length > 200) await table.replaceData([...views.values()]);
  else {
    const there = gone.filter((key) => table.getRow(key));
    if (there.length) await table.deleteRow(there);
    if (added.length) await table.addData(added.map((row) => views.get(row.key)), true);
    for (const row of changed) table.getRow(row.key)?.reformat();
    if (added.length || changed.length) sortAnew();
  }
  if (signature(columns) !== drawnColumns) setColumns();
  else refilter();
}

/** Puts changed rows where they belong; who has scrolled stays there. */
function sortAnew() {
  table.setSort(table.getSorters().map(({ field, dir }) => ({ column: field, dir })));
}

/** Applies the filters anew. */
export function refilter() {
  if (table) ready.then(() => table.setFilter(passes));
}

let passes = () => true;
export function setFilter(test) {
  passes = (view) => test(view);
  refilter();
}

let drawnColumns = "";
const signature = (ids) => ids.join(" ");

function build() {
  const ids = shownColumns();
  drawnColumns = signature(ids);
  table = new Tabulator("#table", {
    index: "key",
    data: [...views.values()],
    columns: definitions(ids),
    height: "100%",
    layout: "fitColumns",
    rowHeight: 32,
    nestedFieldSeparator: false,
    initialSort: [{ column: state.sort.field, dir: state.sort.dir }],
    initialFilter: [],
    headerSortElement: () => h("span", { class: "arrow" }),
    placeholder: placeholder,
    rowFormatter: (row) => row.getElement().classList.toggle("chosen", state.chosen.has(row.getData().key)),
    columnDefaults: { resizable: "header", headerSortTristate: false },
  });
  ready = new Promise((go) => table.on("tableBuilt", go));
  ready.then(() => table.setFilter(passes));
  table.on("rowClick", (event, row) => {
    if (!event.target.closest("input, label, button")) tell("open", row.getData().key);
  });
  table.on("dataSorted", (sorters) => {
    if (sorters.length) state.sort = { field: sorters[0].field, dir: sorters[0].dir };
    tell("place");
  });
  table.on("dataFiltered", (filters, rows) => {
    state.shown = rows.map((row) => row.getData().key);
    tell("shown");
  });
  fillOptions(ids, views).then(() => ids.some((id) => id.startsWith("option:")) && table.redraw(true)).catch(() => undefined);
  return ready;
}

function placeholder() {
  const words = state.rows.size ? "No run is like that." : "No run here yet: `polymodal run` makes one, and it appears here by itself.";
  return h("p", { class: "empty" }, words);
}

export async function setColumns() {
  await ready;
  const ids = shownColumns();
  drawnColumns = signature(ids);
  await fillOptions(ids, views).catch(() => undefined);
  const holder = byId("table").querySelector(".tabulator-tableholder");
  const { scrollTop } = holder;
  table.setColumns(definitions(ids));
  const sorted = table.getColumn(state.sort.field) ? state.sort : { field: "started", dir: "desc" };
  if (table.getColumn(sorted.field)) table.setSort(sorted.field, sorted.dir);
  holder.scrollTop = scrollTop; // other columns are no reason to begin again
}

on("chosen", (keys) => {
  for (const key of keys) table?.getRow(key)?.reformat();
});

function measure() {
  ranges = new Map();
  for (const row of state.rows.values()) {
    for (const [name, value] of Object.entries(row.scores ?? {})) {
      if (typeof value !== "number") continue;
      const range = ranges.get(name);
      if (!range) ranges.set(name, [value, value]);
      else if (value < range[0]) range[0] = value;
      else if (value > range[1]) range[1] = value;
    }
  }
}

function definitions(ids) {
  const box = { field: "key", title: "", width: 38, headerSort: false, frozen: true, resizable: false, formatter: checkbox, cssClass: "box", titleFormatter: () => h("span", { class: "unseen" }, "choose") };
  return [box, ...ids.map(definition)];
}

function definition(id) {
  const [kind, ...rest] = id.split(":");
  const name = rest.join(":");
  const title = kind === "field" ? FIELDS[name] ?? name : name;
  // A real button: the keyboard reaches it, and its press sorts like a click on the head.
  const shared = { title, titleFormatter: () => h("button", { type: "button", class: "head", title: printable(title) }, printable(title)), sorter: byValue };
  if (kind === "score") {
    return { ...shared, field: id, width: Math.min(150, Math.max(92, 34 + 7.4 * name.length)), cssClass: "right", hozAlign: "right", headerHozAlign: "right", formatter: scoreCell(name), headerSortStartingDir: lowerIsBetter(name) ? "asc" : "desc" };
  }
  if (kind === "option") {
    return { ...shared, field: id, minWidth: 90, width: Math.min(230, Math.max(96, 34 + 7.4 * name.length)), cssClass: "right", hozAlign: "right", headerHozAlign: "right", formatter: (cell) => text(option(cell.getValue())) };
  }
  const [minWidth, widthGrow] = WIDTHS[name] ?? [];
  const size = minWidth ? { minWidth, widthGrow } : { width: { status: 128, started: 112, seed: 66, duration_s: 84, kind: 78 }[name] };
  const right = RIGHT.includes(name) ? { cssClass: "right", hozAlign: "right", headerHozAlign: "right", headerSortStartingDir: "desc" } : {};
  const tint = name === "name" && window.innerWidth >= 700 ? { frozen: true } : {};
  return { ...shared, field: name, ...size, ...right, ...tint, formatter: FORMATTERS[name] ?? ((cell) => text(printable(cell.getValue() ?? ""))) };
}

/** What is missing comes last, and equals stand as ever, the newest first, whichever way is sorted. */
function byValue(a, b, aRow, bRow, column, dir) {
  const lacks = (value) => value === undefined || value === null || value === "";
  const ahead = dir === "asc" ? 1 : -1;
  if (lacks(a) !== lacks(b)) return (lacks(a) ? 1 : -1) * ahead;
  if (a !== b && !lacks(a)) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a === "number" || typeof b === "number") return typeof a === "number" ? -1 : 1;
    return a < b ? -1 : 1;
  }
  const [one, other] = [aRow.getData(), bRow.getData()].map(({ started, key }) => `${started} ${key}`);
  return (one > other ? -1 : one < other ? 1 : 0) * ahead;
}

const text = (words, title = "") => h("span", title ? { title } : {}, words);

const FORMATTERS = {
  name: (cell) => {
    const { name, run, key } = cell.getData();
    const label = name && name !== cell.getData().experiment ? name : run;
    return h("button", { type: "button", class: "link run", title: printable(run), onclick: () => tell("open", key) }, printable(label));
  },
  status: (cell) => statusOf(cell.getData()),
  started: (cell) => text(ago(cell.getValue()), moment(cell.getValue())),
  duration_s: (cell) => text(span(cell.getValue())),
};

export function statusOf({ status, error, live = {} }) {
  const epoch = status === "running" && typeof live.epoch === "number" ? h("small", {}, `epoch ${live.epoch + 1}`) : null;
  return h("span", { class: `status ${/^\w+$/.test(status) ? status : ""}`, title: error ? printable(error) : "" }, h("span", { class: "dot" }), printable(status), epoch);
}

function scoreCell(name) {
  return (cell) => {
    const value = cell.getValue();
    const view = cell.getData();
    const [low, high] = ranges.get(name) ?? [0, 0];
    if (typeof value !== "number") {
      const live = view.live?.[name];
      return typeof live === "number" && view.status === "running" ? h("i", { title: "so far" }, score(live)) : "";
    }
    const share = high > low ? (value - low) / (high - low) : 0;
    const good = lowerIsBetter(name) ? 1 - share : share;
    cell.getElement().style.setProperty("--share", `${(0.42 * good ** 2).toFixed(3)}`);
    cell.getElement().classList.add("heat");
    const top = high > low && value === (lowerIsBetter(name) ? low : high);
    return h(top ? "b" : "span", { title: top ? `${figure(value)}, the best` : figure(value) }, score(value));
  };
}

function checkbox(cell) {
  const { key, run } = cell.getData();
  const checked = state.chosen.has(key);
  const full = !checked && state.chosen.size >= MOST_CHOSEN;
  const toggle = (event) => {
    choose(key, event.target.checked);
    byId("table").querySelector(`input[data-key="${CSS.escape(key)}"]`)?.focus();
  };
  return h("label", { class: "hit", title: full ? `${count(MOST_CHOSEN, "run")} are chosen already` : "" }, h("input", { type: "checkbox", checked, disabled: full, "data-key": key, "aria-label": `choose ${printable(run)}`, onchange: toggle }));
}
