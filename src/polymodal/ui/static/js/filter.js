// Which runs are meant: plain words are looked for here, `key=value` is asked of the server, which
// reads such words as `polymodal runs` does.

import { ask } from "./api.js";
import { byId, h, later } from "./dom.js";
import { count } from "./format.js";
import { on, state, tell } from "./state.js";
import { setFilter } from "./table.js";

const STATUSES = ["running", "finished", "failed", "interrupted", "killed"];
const SEARCHED = ["name", "run", "experiment", "kind", "parent", "error"];
let meant = null; // keys that the server says are meant; null: all
let fault = "";
let asked = 0;

function test(view) {
  if (state.status && view.status !== state.status) return false;
  if (state.within && !state.within.has(view.key)) return false;
  if (meant && !meant.has(view.key)) return false;
  return plain().every((word) => SEARCHED.some((field) => view[field]?.toLowerCase().includes(word)));
}

const words = () => state.words.split(/\s+/).filter(Boolean);
const plain = () => words().filter((word) => !/[=<>]/.test(word)).map((word) => word.toLowerCase());
const questions = () => words().filter((word) => /[=<>]/.test(word));

export async function apply() {
  const turn = ++asked;
  const word = questions();
  try {
    const told = word.length ? await ask("/api/filter", { word }) : null;
    if (turn !== asked) return;
    [meant, fault] = [told && new Set(told.keys), ""];
  } catch (error) {
    if (turn !== asked) return;
    fault = error.message;
  }
  setFilter(test);
  say();
}

export function drawStatuses() {
  const counts = new Map();
  for (const row of state.rows.values()) counts.set(row.status, (counts.get(row.status) ?? 0) + 1);
  const chips = STATUSES.filter((status) => counts.has(status) || status === state.status).map((status) => {
    const pressed = state.status === status;
    const press = () => {
      state.status = pressed ? "" : status;
      drawStatuses();
      byId("statuses").querySelector(`[data-status="${status}"]`)?.focus();
      apply();
      tell("place");
    };
    return h("button", { type: "button", class: `chip status ${status}`, "aria-pressed": String(pressed), "data-status": status, onclick: press }, h("span", { class: "dot" }), status, h("small", {}, (counts.get(status) ?? 0).toLocaleString("en")));
  });
  byId("statuses").replaceChildren(...chips);
}

function say() {
  const said = byId("said");
  said.classList.toggle("fault", Boolean(fault));
  if (fault) return said.replaceChildren(fault);
  if (state.rest) return said.replaceChildren(`${count(state.rows.size + state.rest, "run")}, loading`);
  const filtered = state.words || state.status || state.within;
  const parts = filtered ? [`${state.shown.length.toLocaleString("en")} of ${count(state.rows.size, "run")}`] : [count(state.rows.size, "run")];
  const within = state.within ? h("button", { type: "button", class: "chip", onclick: () => { state.within = null; apply(); } }, "within the brushed axes", h("span", { "aria-hidden": "true" }, " ×")) : null;
  const broken = state.broken.length ? h("details", {}, h("summary", {}, `${count(state.broken.length, "folder")} cannot be read`), h("ul", {}, state.broken.map((line) => h("li", {}, line)))) : null;
  said.replaceChildren(...parts, ...[within, broken].filter(Boolean));
}

on("shown", say);

export function start() {
  const box = byId("words");
  box.value = state.words;
  const changed = later(220, () => {
    state.words = box.value.trim();
    apply();
    tell("place");
  });
  box.addEventListener("input", changed);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.closest("input, select, textarea, dialog")) {
      event.preventDefault();
      tell("view", "runs");
      box.focus();
      box.select();
    }
  });
}
