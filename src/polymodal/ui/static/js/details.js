// One run: how it ended, what it scored, what made it, where its report is.

import { ask } from "./api.js";
import { byId, h } from "./dom.js";
import { moment, option, printable, score, span } from "./format.js";
import { choose, on, state } from "./state.js";
import { statusOf } from "./table.js";

let open = null; // key of the run that is shown
let shown = null; // key of the run that is drawn
let opener = null;

export async function show(key) {
  if (open === null) opener = document.activeElement;
  open = key;
  const panel = byId("details");
  try {
    const told = await ask("/api/run", { key });
    if (open !== key) return;
    // Drawn anew while it is looked at: what was open and where the keyboard was stay so.
    const opened = panel.querySelector("details")?.open && shown === key;
    const focused = [...panel.querySelectorAll("button, a, summary")].indexOf(document.activeElement);
    panel.replaceChildren(...content(told));
    shown = key;
    if (opened) panel.querySelector("details").open = true;
    if (focused >= 0) panel.querySelectorAll("button, a, summary")[focused]?.focus();
  } catch (error) {
    panel.replaceChildren(closer(), h("p", { class: "fault" }, error.message));
  }
  const first = panel.hidden;
  panel.hidden = false;
  if (first) panel.querySelector("button")?.focus();
}

export function hide() {
  if (open === null) return;
  open = null;
  byId("details").hidden = true;
  opener?.focus?.();
}

/** Draws it anew where the shown run has changed. */
export function refresh(keys) {
  if (open !== null && keys.includes(open)) show(open);
}

const closer = () => h("button", { type: "button", class: "away", "aria-label": "close", onclick: hide }, "×");

function content({ key, record, options, overrides, folder, report }) {
  const chosen = state.chosen.has(key);
  const pick = h("button", { type: "button", onclick: () => { choose(key, !state.chosen.has(key)); show(key); } }, chosen ? "Leave out" : "Choose");
  const page = h("a", { class: "button main", href: report, target: "_blank", rel: "noopener" }, "Report");
  const title = record.name && record.name !== record.experiment ? record.name : record.run_id;
  return [
    h("div", { class: "top" }, h("h2", {}, printable(title)), closer()),
    h("p", { class: "side" }, printable(record.run_id)),
    h("p", { class: "line" }, statusOf(record), page, pick),
    record.error ? h("p", { class: "fault" }, printable(record.error)) : null,
    scores(record),
    pairs(facts(record, folder)),
    overrides.length ? [h("h3", {}, "Changed on the command line"), h("pre", {}, overrides.map(printable).join("\n"))] : null,
    h("h3", {}, "Repeat it"),
    h("pre", {}, record.kind === "run" ? `polymodal run --again ${printable(record.run_id)}` : record.command.map(printable).join(" ")),
    h("details", {}, h("summary", {}, "All options"), pairs(Object.entries(options).map(([name, value]) => [name, option(value)]))),
  ].flat().filter(Boolean);
}

function scores({ scores: all }) {
  const names = Object.keys(all);
  if (!names.length) return null;
  const parts = [...new Set(names.map((name) => name.split("/", 1)[0]))].sort((a, b) => (b === "test") - (a === "test") || (a < b ? -1 : 1));
  const tails = [...new Set(names.map((name) => name.slice(name.indexOf("/") + 1)))];
  const head = h("tr", {}, h("th", { class: "text" }, "score"), parts.map((part) => h("th", {}, printable(part))));
  const rows = tails.map((tail) => h("tr", {}, h("th", { class: "text" }, printable(tail)), parts.map((part) => h("td", {}, score(all[`${part}/${tail}`])))));
  return h("div", { class: "scroll" }, h("table", {}, h("thead", {}, head), h("tbody", {}, rows)));
}

function facts(record, folder) {
  const code = record.code.commit ? record.code.commit.slice(0, 12) + (record.code.dirty ? ", with changes" : "") : null;
  const told = [
    ["experiment", record.experiment], ["kind", record.kind], ["from", record.parent], ["seed", record.seed],
    ["started", moment(record.started)], ["took", span(record.duration_s)], ["machine", record.host.name],
    ["code", code], ["rows", record.data.rows], ["data", record.data.fingerprint?.slice?.(0, 12)], ["folder", folder],
  ];
  return told.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) => [name, printable(value)]);
}

const pairs = (list) => h("dl", {}, list.flatMap(([name, value]) => [h("dt", {}, printable(name)), h("dd", {}, value)]));

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !byId("columns").open) hide();
});
on("open", show);
