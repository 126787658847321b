// The curves of the chosen runs, a picture a score, side by side; new points come by themselves.

import { ask } from "./api.js";
import { draw as drawChart, drop } from "./charts.js";
import { h, swatch } from "./dom.js";
import { figure, lowerIsBetter, printable } from "./format.js";
import { choose, state } from "./state.js";
import { labelOf } from "./tray.js";

const FIRST = 6; // pictures at first
const FEW_POINTS = 40; // up to here each point is marked
const CHART_GROUP = "curves";
const runs = new Map(); // key to { next, names, points }
let wanted = null; // names of scores; null: the first ones
let across = "epoch";
let smooth = 0;
let place = null;
let busy = false;
let again = false;

export function show(element) {
  if (place === null) build(element);
  load();
}

export function news() {
  load();
}

let tools, grid, hint;
function build(element) {
  place = element;
  const axis = h("div", { class: "chips", role: "group", "aria-label": "Horizontal axis" }, ["epoch", "step"].map((name) => h("button", { type: "button", class: "chip", "aria-pressed": String(name === across), onclick: (event) => {
    across = name;
    for (const one of event.target.parentElement.children) one.setAttribute("aria-pressed", String(one === event.target));
    drawAll();
  } }, name)));
  const slider = h("input", { type: "range", min: 0, max: 0.95, step: 0.05, value: 0, "aria-label": "Smoothing", oninput: (event) => { smooth = Number(event.target.value); drawAll(); } });
  const names = h("details", { class: "menu" }, h("summary", {}, "Scores"), h("div", { class: "choices" }));
  tools = h("div", { class: "tools" }, names, axis, h("label", { class: "inline" }, "smooth", slider));
  grid = h("div", { class: "pictures" });
  hint = h("div", { class: "empty" });
  element.append(tools, hint, grid);
}

async function load() {
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  try {
    do {
      again = false;
      for (const key of runs.keys()) if (!state.chosen.has(key)) runs.delete(key);
      await Promise.all([...state.chosen.keys()].map(fetchRun));
      if (wanted === null) {
        await Promise.all([...state.chosen.keys()].map(fetchRun));
      }
      drawAll();
    } while (again);
  } finally {
    busy = false;
  }
}

async function fetchRun(key) {
  const names = shownNames();
  let run = runs.get(key);
  if (!run || names.some((name) => !run.points.has(name))) {
    run = { next: 0, names: run?.names ?? new Set(), points: new Map(names.map((name) => [name, new Map()])), running: false };
    runs.set(key, run);
  }
  for (let more = true; more; ) {
    const told = await ask("/api/points", { key, from: run.next, name: [...run.points.keys()] }).catch(() => null);
    if (told === null) return;
    if (told.start < run.next) run.points.forEach((points) => points.clear()); // another file by now
    for (const name of told.names) run.names.add(name);
    for (const [name, points] of Object.entries(told.points)) {
      // A continued run says a step anew: what it said last counts.
      for (const point of points) run.points.get(name)?.set(`${point[0]} ${point[1]} ${point[2]}`, point);
    }
    run.next = told.next;
    more = told.more;
  }
}

function allNames() {
  const names = new Set([...state.chosen.keys()].flatMap((key) => [...(runs.get(key)?.names ?? [])]));
  const order = (name) => [name.startsWith("val/") ? 0 : name.startsWith("train/") ? 1 : 2, name.endsWith("/loss") ? 1 : 0];
  return [...names].sort((a, b) => { const [x, y] = [order(a), order(b)]; return x[0] - y[0] || x[1] - y[1] || (a < b ? -1 : 1); });
}

function shownNames() {
  if (wanted) return wanted;
  const names = allNames();
  const first = [...names.filter((name) => name.startsWith("val/")), ...["train/loss", "train/lr"].filter((name) => names.includes(name))];
  return (first.length ? first : names).slice(0, FIRST);
}

function drawNames() {
  const box = tools.querySelector(".choices");
  const shown = new Set(shownNames());
  box.replaceChildren(...allNames().map((name) => h("label", {}, h("input", { type: "checkbox", checked: shown.has(name), onchange: (event) => {
    if (event.target.checked) shown.add(name);
    else shown.delete(name);
    wanted = allNames().filter((one) => shown.has(one));
    load();
  } }), h("span", {}, printable(name)))));
}

function drawAll() {
  const none = state.chosen.size === 0;
  tools.hidden = grid.hidden = none;
  hint.hidden = !none;
  if (none) {
    const newest = h("button", { type: "button", class: "main", onclick: () => state.shown.slice(0, 5).forEach((key) => choose(key, true)) }, "Choose the first five of the table");
    hint.replaceChildren(h("p", {}, "Choose runs in the table: their curves stand here side by side."), state.shown.length ? newest : "");
  }
  // A menu that is open is being used: it is not drawn anew under the pointer.
  if (!tools.querySelector("details").contains(document.activeElement)) drawNames();
  const names = none ? [] : shownNames();
  const known = new Map([...grid.children].map((one) => [one.dataset.name, one]));
  for (const [name, figure] of known) if (!names.includes(name)) { drop(figure.querySelector(".picture")); figure.remove(); }
  for (const name of names) {
    const figure = known.get(name) ?? h("figure", { "data-name": name }, h("figcaption", {}, printable(name)), h("div", { class: "picture", role: "img" }));
    grid.append(figure);
    drawOne(figure, name);
  }
}

function drawOne(element, name) {
  const lines = [...state.chosen].flatMap(([key, look]) => linesOf(key, look, name));
  const told = lines.filter((line) => line.strong && line.data.length);
  const picture = element.querySelector(".picture");
  picture.setAttribute("aria-label", `${printable(name)} by ${across}: ${told.map((line) => `${line.name} ends at ${figure(line.data.at(-1)[1])}`).join(", ") || "no points yet"}`);
  drawChart(picture, (colour) => optionOf(colour, lines, name, picture), CHART_GROUP);
}

/** A strong line for a run; where it has folds, their mean, and a faint line for each. */
function linesOf(key, look, name) {
  const folds = new Map();
  for (const [fold, epoch, step, value] of runs.get(key)?.points.get(name)?.values() ?? []) {
    const x = across === "epoch" && epoch !== null ? epoch + 1 : step;
    if (x === null) continue;
    if (!folds.has(fold)) folds.set(fold, new Map());
    const sums = folds.get(fold);
    const [sum, number] = sums.get(x) ?? [0, 0];
    sums.set(x, [sum + value, number + 1]);
  }
  const lines = [...folds.values()].map((sums) => [...sums].map(([x, [sum, number]]) => [x, sum / number]).sort((a, b) => a[0] - b[0]));
  const label = labelOf(key);
  if (lines.length < 2) return [{ name: label, look, strong: true, data: smoothed(lines[0] ?? []) }];
  const means = new Map();
  for (const [x, y] of lines.flat()) means.set(x, [...(means.get(x) ?? []), y]);
  // Folds that have stopped drop out: the mean ends where fewer than half are left.
  const mean = [...means].filter(([, values]) => 2 * values.length >= lines.length).map(([x, values]) => [x, values.reduce((a, b) => a + b) / values.length]).sort((a, b) => a[0] - b[0]);
  return [...lines.map((data) => ({ name: label, look, strong: false, data: smoothed(data) })), { name: label, look, strong: true, data: smoothed(mean) }];
}

function smoothed(points) {
  if (!smooth) return points;
  let kept = 0;
  let weight = 0;
  return points.map(([x, y]) => {
    kept = smooth * kept + (1 - smooth) * y;
    weight = smooth * weight + (1 - smooth);
    return [x, kept / weight];
  });
}

function optionOf(colour, lines, name, picture) {
  const axis = { axisLine: { lineStyle: { color: colour.faint } }, axisTick: { show: false }, axisLabel: { color: colour.soft, hideOverlap: true }, splitLine: { lineStyle: { color: colour.faint, opacity: 0.55 } } };
  return {
    grid: { left: 8, right: 14, top: 14, bottom: 26, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
    xAxis: { type: "value", scale: true, name: across, nameLocation: "middle", nameGap: 24, nameTextStyle: { color: colour.soft }, minInterval: 1, ...axis, splitLine: { show: false } },
    yAxis: { type: "value", scale: true, ...axis, axisLabel: { ...axis.axisLabel, formatter: figure } },
    tooltip: { trigger: "axis", confine: true, className: "tip", backgroundColor: colour.paper, borderColor: colour.faint, textStyle: { color: colour.ink, fontSize: 12.5 }, axisPointer: { lineStyle: { color: colour.soft } }, formatter: (points) => (picture.matches(":hover") ? tip(points, lines, name) : "") },
    dataZoom: [{ type: "inside", zoomOnMouseWheel: "ctrl", moveOnMouseWheel: false, filterMode: "none" }],
    series: lines.map(({ name: label, look, strong, data }) => ({
      type: "line", name: label, data, sampling: "lttb", z: strong ? 3 : 2,
      showSymbol: strong && data.length <= FEW_POINTS, symbol: look.symbol, symbolSize: 6,
      silent: !strong, itemStyle: { color: look.colour },
      lineStyle: { color: look.colour, width: strong ? 2 : 0.8, opacity: strong ? 1 : 0.35, type: look.dashed ? [5, 4] : "solid" },
    })),
  };
}

function tip(points, lines, name) {
  const known = points.filter(({ seriesIndex }) => lines[seriesIndex]?.strong);
  const sign = lowerIsBetter(name) ? 1 : -1;
  known.sort((a, b) => sign * (a.value[1] - b.value[1]));
  const rows = known.map(({ seriesIndex, value }) => h("tr", {}, h("td", {}, swatch(lines[seriesIndex].look)), h("td", { class: "text" }, lines[seriesIndex].name), h("td", {}, figure(value[1]))));
  return h("div", {}, h("b", {}, `${across} ${figure(known[0]?.value[0] ?? 0)}`), h("table", {}, rows));
}
