// Options and scores of many runs at once: an axis each, a line a run.

import { change, draw as drawChart } from "./charts.js";
import { columnsOf, survey } from "./columns.js";
import { h } from "./dom.js";
import { count, figure, lowerIsBetter, option, printable, score as scoreText } from "./format.js";
import { choose, firstScores, MOST_CHOSEN, scoreNames, state, tell } from "./state.js";
import { labelOf } from "./tray.js";

const MOST_LINES = 3000;
const MOST_OPTIONS = 60; // that are looked through for those that matter
const MOST_GROUPS = 24; // values of an option; more are only told apart as numbers
const FIRST_OPTIONS = 6;
const FEWEST_OPTIONS = 2; // are shown even where they explain nothing
const UNTOLD = ["tracker.", "alert.", "callbacks.", "task.", "scores.", "data.num_workers", "data.cache_mb", "data.timeout_s"];
let place = null;
let parts = null;
let columns = new Map(); // dotted key to (key of a run to value)
let axes = null; // ids, from left to right
let colourBy = null;
let lines = [];
let made = []; // the axes that are drawn
let drawnAs = ""; // what the picture shows, but for the chosen runs
let read = new Set(); // keys of runs whose options are known

export async function show(element) {
  if (place === null) build(element);
  await load();
}

export function news(news) {
  if (news === null || Date.now() - (parts?.drawn ?? 0) > 5000) load();
}

function build(element) {
  place = element;
  const menu = h("details", { class: "menu" }, h("summary", {}, "Axes"), h("div", { class: "choices" }));
  const score = h("select", { "aria-label": "Score", onchange: (event) => { colourBy = event.target.value; axes = null; redraw(); } });
  const scale = h("span", { class: "scale", "aria-hidden": "true" }, h("i"));
  const note = h("p", { class: "side", role: "status" });
  const found = h("div", { class: "found" });
  const picture = h("div", { class: "picture", role: "img" });
  element.append(h("div", { class: "tools" }, menu, h("label", { class: "inline" }, "coloured by", score), scale, note), h("figure", { class: "wide" }, picture), found);
  parts = { menu, score, scale, note, found, picture, drawn: 0 };
}

async function load() {
  if ([...state.rows.keys()].some((key) => !read.has(key))) {
    const told = await survey(({ done, total }) => { parts.note.textContent = done < total ? `${done.toLocaleString("en")} of ${total.toLocaleString("en")} configurations are read` : ""; });
    const varied = told.options.filter(({ key, values }) => values > 1 && !UNTOLD.some((one) => key.startsWith(one))).map(({ key }) => key).slice(0, MOST_OPTIONS);
    const all = await columnsOf(varied);
    read = new Set(all.runs);
    columns = new Map(varied.map((key) => [key, new Map(all.runs.map((run, place) => [run, all.columns[key][place]]))]));
    columns.set("experiment", new Map([...state.rows.values()].map((row) => [row.key, row.experiment])));
  }
  redraw();
}

function redraw() {
  parts.drawn = Date.now();
  const names = scoreNames().map(([name]) => name);
  if (!names.includes(colourBy)) [colourBy, axes] = [firstScores()[0], null];
  parts.score.replaceChildren(...names.map((name) => h("option", { value: name, selected: name === colourBy }, name)));
  const scored = state.shown.map((key) => state.rows.get(key)).filter((row) => typeof row?.scores?.[colourBy] === "number");
  const kept = scored.slice(0, MOST_LINES);
  const told = explained(kept);
  const strong = told.filter(([, share], place) => share >= 0.01 || place < FEWEST_OPTIONS);
  axes ??= [...strong.slice(0, FIRST_OPTIONS).map(([key]) => `option:${key}`).reverse(), ...[...new Set([...firstScores().filter((name) => name.startsWith("val/")).slice(0, 1), colourBy])].map((name) => `score:${name}`)];
  const first = scored.length > kept.length ? `the first ${MOST_LINES.toLocaleString("en")} of ` : "";
  parts.note.textContent = kept.length ? `${first}${count(scored.length, "run")} of the table with ${colourBy}` : "";
  drawMenu(told);
  place.querySelector("figure").hidden = kept.length < 2;
  if (kept.length < 2) {
    drawnAs = "";
    parts.found.replaceChildren(h("p", { class: "empty" }, "At least two runs with a score are needed."));
    return;
  }
  // Choosing a run, or a run that goes on elsewhere, leaves the brushes where they are.
  const drawing = JSON.stringify([axes, colourBy, kept.map((row) => [row.key, axes.map((id) => valueOf(row, id))])]);
  if (drawing === drawnAs) change(parts.picture, { series: [{ id: "all" }, chosenLines()] });
  else {
    drawnAs = drawing;
    parts.found.replaceChildren();
    drawPicture(kept, told);
  }
}

/** Share of a score's variance between the values of each option, largest first. */
function explained(rows) {
  const values = rows.map((row) => row.scores[colourBy]);
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const whole = values.reduce((sum, one) => sum + (one - mean) ** 2, 0);
  const found = [];
  for (const [key, column] of columns) {
    const groups = new Map();
    rows.forEach((row, place) => {
      const name = String(column.get(row.key));
      const group = groups.get(name) ?? groups.set(name, [0, 0]).get(name);
      group[0] += values[place];
      group[1] += 1;
    });
    if (groups.size < 2) continue;
    let between = 0;
    for (const [sum, number] of groups.values()) between += number * (sum / number - mean) ** 2;
    const free = rows.length - groups.size;
    // Less what as many groups would take by chance; an option with a value a run explains nothing.
    const share = whole > 0 && free > 0 ? Math.max(0, (between - ((groups.size - 1) * (whole - between)) / free) / whole) : 0;
    found.push([key, share]);
  }
  return found.sort((a, b) => b[1] - a[1]);
}

function drawMenu(told) {
  if (parts.menu.contains(document.activeElement)) return;
  const box = (id, title, note) => h("label", {}, h("input", { type: "checkbox", checked: axes.includes(id), onchange: (event) => {
    axes = event.target.checked ? (id.startsWith("option:") ? [id, ...axes] : [...axes, id]) : axes.filter((one) => one !== id);
    redraw();
  } }), h("span", {}, printable(title)), h("small", {}, note));
  parts.menu.querySelector(".choices").replaceChildren(
    h("fieldset", {}, h("legend", {}, `Options, and the share of ${colourBy}'s variance between their values`), told.map(([key, share]) => box(`option:${key}`, key, `${Math.round(100 * share)} %`))),
    h("fieldset", {}, h("legend", {}, "Scores"), scoreNames().map(([name, number]) => box(`score:${name}`, name, count(number, "run")))));
}

const valueOf = (row, id) => (id.startsWith("score:") ? row.scores[id.slice(6)] : columns.get(id.slice(7))?.get(row.key)) ?? undefined;

function axisOf(id, rows, place, colour, width) {
  const name = id.slice(id.indexOf(":") + 1);
  const values = rows.map((row) => valueOf(row, id)).filter((one) => one !== undefined);
  const shared = {
    dim: place, name: titleOf(id), nameLocation: "end", nameGap: 14,
    nameTextStyle: { color: colour.ink, fontWeight: 600, fontSize: 12, width, overflow: "truncate" },
    axisLine: { lineStyle: { color: colour.soft } }, axisTick: { lineStyle: { color: colour.soft } },
    axisLabel: { color: colour.ink, fontSize: 11.5, width: Math.min(150, width - 8), overflow: "truncate", textBorderColor: colour.card, textBorderWidth: 3 },
    areaSelectStyle: { width: 18, color: colour.high, opacity: 0.22, borderColor: colour.high },
  };
  const distinct = [...new Set(values)];
  const numbers = distinct.length > 0 && distinct.every((one) => typeof one === "number");
  if (!numbers || (id.startsWith("option:") && distinct.length <= MOST_GROUPS)) {
    distinct.sort((a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a) < String(b) ? -1 : 1));
    return { ...shared, type: "category", data: distinct.map(option), boundaryGap: true, axisTick: { ...shared.axisTick, alignWithLabel: true } };
  }
  const low = Math.min(...distinct);
  const scale = low > 0 && Math.max(...distinct) / low > 50 ? { type: "log" } : { type: "value", scale: true };
  const format = id.startsWith("score:") ? scoreText : figure;
  return { ...shared, ...scale, axisLabel: { ...shared.axisLabel, formatter: format }, inverse: lowerIsBetter(name) && id.startsWith("score:") };
}

/** The end of a dotted key, as far back as it takes to tell it from the other axes. */
function titleOf(id) {
  if (id.startsWith("score:")) return printable(id.slice(6));
  const words = id.slice(7).split(".");
  const others = axes.filter((one) => one !== id && one.startsWith("option:"));
  for (let number = 1; number <= words.length; number += 1) {
    const title = words.slice(-number).join(".");
    if (!others.some((one) => one.endsWith(`.${title}`) || one.slice(7) === title)) return printable(title);
  }
  return printable(words.join("."));
}

/** Where a run's line meets the axes. */
function point(row) {
  return axes.map((id, place) => {
    const value = valueOf(row, id);
    if (value === undefined) return "-";
    return made[place].type === "category" ? option(value) : value;
  });
}

function chosenLines() {
  const data = lines.filter((row) => state.chosen.has(row.key)).map((row) => {
    const look = state.chosen.get(row.key);
    return { value: point(row), name: labelOf(row.key), lineStyle: { color: look.colour, width: 3, opacity: 1, type: look.dashed ? [6, 4] : "solid" } };
  });
  return { id: "chosen", type: "parallel", smooth: 0.04, z: 5, inactiveOpacity: 0.25, silent: true, data };
}

async function drawPicture(rows, told) {
  lines = rows;
  const values = rows.map((row) => row.scores[colourBy]);
  const sorted = [...values].sort((a, b) => a - b);
  const [low, high] = [sorted[Math.floor(0.02 * (sorted.length - 1))], sorted[Math.ceil(0.98 * (sorted.length - 1))]];
  Object.assign(parts.scale.dataset, { low: scoreText(low), high: scoreText(high) });
  parts.scale.classList.toggle("down", lowerIsBetter(colourBy));
  const strongest = told[0] ? `; ${told[0][0]} has the largest share of its variance, ${Math.round(100 * told[0][1])} %` : "";
  parts.picture.setAttribute("aria-label", `${count(rows.length, "run")} over ${axes.map(titleOf).join(", ")}, coloured by ${colourBy}${strongest}`);
  const chart = await drawChart(parts.picture, (colour) => {
    const width = Math.max(60, (parts.picture.clientWidth - 140) / Math.max(1, axes.length - 1) - 12);
    made = axes.map((id, place) => axisOf(id, rows, place, colour, width));
    const opacity = Math.max(0.12, Math.min(0.7, 60 / rows.length));
    return {
      parallel: { left: 64, right: 76, top: 44, bottom: 22 },
      parallelAxis: made,
      visualMap: { show: false, type: "continuous", seriesIndex: 0, dimension: axes.indexOf(`score:${colourBy}`) >= 0 ? axes.indexOf(`score:${colourBy}`) : 0, min: low, max: high, inRange: { color: lowerIsBetter(colourBy) ? [colour.high, colour.low] : [colour.low, colour.high] } },
      series: [
        { id: "all", type: "parallel", smooth: 0.04, inactiveOpacity: 0.02, activeOpacity: 0.75, progressive: 500, lineStyle: { width: 1.3, opacity }, emphasis: { lineStyle: { width: 3, opacity: 1 } }, data: rows.map(point) },
        chosenLines(),
      ],
    };
  });
  if (!chart.listens) {
    chart.listens = true;
    chart.on("axisareaselected", () => brushed(chart));
    chart.on("click", ({ seriesIndex, dataIndex }) => seriesIndex === 0 && tell("open", lines[dataIndex].key));
  }
}

function brushed(chart) {
  const drawn = chart.getModel().getSeriesByIndex(0);
  const some = axes.some((id, place) => (chart.getModel().getComponent("parallelAxis", place)?.activeIntervals ?? []).length > 0);
  if (!some) {
    parts.found.replaceChildren();
    return;
  }
  const found = drawn.getRawIndicesByActiveState("active").map((place) => lines[place]);
  const sign = lowerIsBetter(colourBy) ? 1 : -1;
  const ranked = [...found].sort((a, b) => sign * (a.scores[colourBy] - b.scores[colourBy]));
  const table = h("button", { type: "button", class: "main", onclick: () => { state.within = new Set(found.map((row) => row.key)); tell("view", "runs"); tell("within"); } }, "Show them in the table");
  const pick = h("button", { type: "button", onclick: () => ranked.slice(0, Math.min(5, MOST_CHOSEN - state.chosen.size)).forEach((row) => choose(row.key, true)) }, "Choose the best five");
  parts.found.replaceChildren(h("p", {}, `${count(found.length, "run")} within the brushed axes`), ...(found.length ? [table, pick] : []));
}
