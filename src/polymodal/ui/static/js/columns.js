// Which columns there are, which are shown, and the dialog that chooses them.

import { ask } from "./api.js";
import { byId, h, later } from "./dom.js";
import { count } from "./format.js";
import { firstScores, scoreNames, state, tell } from "./state.js";

export const FIELDS = {
  name: "run", run: "id", experiment: "experiment", kind: "kind", status: "status", parent: "parent",
  seed: "seed", duration_s: "took", started: "started", error: "error", root: "folder",
};
const ALWAYS = "field:name";
const NARROW = 1000; // pixels; below, what the id says anyway is left out
const MOST_LISTED = 300;

/** Ids of the columns to show, from left to right. */
export function shownColumns() {
  if (state.columns) return [ALWAYS, ...state.columns.filter((id) => id !== ALWAYS)];
  const kinds = new Set([...state.rows.values()].map((row) => row.kind));
  const wide = window.innerWidth >= NARROW;
  const scores = firstScores().slice(0, wide ? 3 : 2).map((name) => `score:${name}`);
  const roots = new Set([...state.rows.keys()].map((key) => key.split("/", 1)[0]));
  const fields = wide ? [...(roots.size > 1 ? ["root"] : []), "experiment", ...(kinds.size > 1 ? ["kind"] : []), "status"] : ["status"];
  const last = wide ? ["seed", "duration_s", "started"] : ["started"];
  return [ALWAYS, ...fields.map((one) => `field:${one}`), ...scores, ...last.map((one) => `field:${one}`)];
}

/** Fetches the values of options that are shown into the rows. */
export async function fillOptions(ids, rows) {
  const keys = ids.filter((id) => id.startsWith("option:")).map((id) => id.slice(7));
  if (!keys.length) return;
  const told = await columnsOf(keys);
  told.runs.forEach((run, place) => {
    const row = rows.get(run);
    if (row) for (const key of keys) row[`option:${key}`] = told.columns[key][place] ?? undefined;
  });
}

export const columnsOf = (keys) => ask("/api/columns", { key: keys });

/** Asks until all configurations are read; tells each step. */
export async function survey(step) {
  for (;;) {
    const told = await ask("/api/options");
    step(told);
    if (told.done >= told.total) return told;
    await new Promise((go) => setTimeout(go, 300));
    if (told.done === 0 && told.total === 0) return told;
  }
}

export async function openColumns() {
  const dialog = byId("columns");
  const chosen = new Set(shownColumns());
  const list = h("div", { class: "choices" });
  const search = h("input", { type: "search", placeholder: "Find a column", "aria-label": "Find a column" });
  const note = h("p", { class: "side", role: "status" });
  let options = [];
  const draw = () => {
    const wanted = search.value.trim().toLowerCase();
    const groups = [
      ["Of the run", Object.entries(FIELDS).filter(([id]) => id !== "name").map(([id, title]) => [`field:${id}`, title, ""])],
      ["Scores", scoreNames().map(([name, number]) => [`score:${name}`, name, count(number, "run")])],
      ["Options", options.map(({ key, values }) => [`option:${key}`, key, values > 1 ? count(values, "value") : "the same in all"])],
    ];
    list.replaceChildren(...groups.flatMap(([title, all]) => {
      const some = all.filter(([, name]) => name.toLowerCase().includes(wanted)).slice(0, MOST_LISTED);
      return some.length ? [h("fieldset", {}, h("legend", {}, title), some.map((one) => choice(one, chosen)))] : [];
    }));
  };
  search.addEventListener("input", later(120, draw));
  const usual = h("button", { type: "button", onclick: () => { state.columns = null; dialog.close(); tell("columns"); } }, "The usual ones");
  const done = h("button", { type: "button", class: "main", onclick: () => dialog.close() }, "Done");
  dialog.replaceChildren(h("h2", {}, "Columns"), search, list, note, h("p", { class: "ends" }, usual, done));
  draw();
  if (!dialog.open) dialog.showModal();
  await survey((told) => {
    // Options that differ are what a table is for: they come first.
    options = told.options.sort((a, b) => (b.values > 1) - (a.values > 1) || (a.key < b.key ? -1 : 1));
    note.textContent = told.done < told.total ? `${told.done} of ${told.total} configurations are read` : "";
    draw();
  });
}

function choice([id, title, note], chosen) {
  const toggle = (event) => {
    if (event.target.checked) chosen.add(id);
    else chosen.delete(id);
    state.columns = [...chosen];
    tell("columns");
  };
  return h("label", {}, h("input", { type: "checkbox", checked: chosen.has(id), onchange: toggle }), h("span", {}, title), note ? h("small", {}, note) : null);
}
