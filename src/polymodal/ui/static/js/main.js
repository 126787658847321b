// Starts the page, keeps it up to date, and keeps its state in the address, so that a link or the
// button "back" leads to the same view.

import { ask, Refusal } from "./api.js";
import { openColumns } from "./columns.js";
import * as details from "./details.js";
import { byId } from "./dom.js";
import * as filter from "./filter.js";
import { choose, on, state, take, tell } from "./state.js";
import * as table from "./table.js";
import * as tray from "./tray.js";

const POLL_MS = 2000;
const FIRST_ROWS = 200; // are drawn before the others have come
const VIEWS = ["runs", "curves", "parallel", "differences"];
const KEPT = "polymodal.columns";
const drawn = new Map(); // view to its module, loaded when it is first looked at

// The token has done its work: the cookie lets this browser in, and the address may be shown.
const place = new URLSearchParams(location.hash.slice(1));
history.replaceState(null, "", location.pathname + location.hash);

/** Asks what has changed; says whether there is more to be had at once. */
async function poll() {
  try {
    const told = await ask("/api/runs", { since: state.version, instance: state.instance, most: first ? FIRST_ROWS : 0 });
    const news = take(told);
    live("live", "live");
    if (news.whole || news.added.length || news.changed.length || news.gone.length) await digest(news);
    return told.rest > 0;
  } catch (error) {
    live("lost", error instanceof Refusal ? error.message : "the server does not answer");
    if (!(error instanceof TypeError) && !(error instanceof Refusal)) console.error(error);
    return false;
  }
}

let first = true; // nothing is drawn yet
let whole = false; // all that there was is drawn
async function digest(news) {
  if (!whole && !state.rest) restore();
  await table.update(news);
  filter.drawStatuses();
  tray.draw();
  if (first || state.words || !whole) filter.apply();
  [first, whole] = [false, whole || !state.rest];
  details.refresh(news.changed.map((row) => row.key));
  if (news.dropped.length) tell("chosen", []);
  drawn.get(state.view)?.then((view) => view.news(news));
}

function restore() {
  for (const key of place.getAll("run")) if (state.rows.has(key)) choose(key, true);
}

function live(kind, words) {
  byId("live").className = kind;
  if (byId("live-words").textContent !== words) byId("live-words").textContent = words;
}

async function forever() {
  for (;;) {
    const more = !document.hidden && (await poll());
    if (more) await new Promise((go) => setTimeout(go)); // what there is is painted first
    else await new Promise((go) => {
      const timer = setTimeout(go, POLL_MS);
      document.addEventListener("visibilitychange", () => { clearTimeout(timer); go(); }, { once: true });
    });
  }
}

function show(view) {
  state.view = VIEWS.includes(view) ? view : "runs";
  for (const tab of byId("tabs").children) {
    const current = tab.dataset.view === state.view;
    tab.setAttribute("aria-selected", String(current));
    tab.tabIndex = current ? 0 : -1;
    byId(`view-${tab.dataset.view}`).hidden = !current;
  }
  document.title = state.view === "runs" ? "polymodal" : `polymodal: ${byId(`tab-${state.view}`).textContent.toLowerCase()}`;
  if (state.view !== "runs") {
    if (!drawn.has(state.view)) drawn.set(state.view, import(`./${state.view}.js`));
    drawn.get(state.view).then((module) => module.show(byId(`view-${state.view}`)));
  }
  remember();
}

function remember() {
  const words = new URLSearchParams();
  if (state.view !== "runs") words.set("view", state.view);
  if (state.words) words.set("words", state.words);
  if (state.status) words.set("status", state.status);
  if (state.sort.field !== "started" || state.sort.dir !== "desc") words.set("sort", `${state.sort.dir} ${state.sort.field}`);
  for (const key of state.chosen.keys()) words.append("run", key);
  const hash = words.toString();
  if (whole && hash !== location.hash.slice(1)) history.replaceState(null, "", hash ? `#${hash}` : location.pathname);
}

function begin() {
  state.words = place.get("words") ?? "";
  state.status = place.get("status") ?? "";
  const [dir, field] = (place.get("sort") ?? "").split(/ (.*)/);
  if (field && ["asc", "desc"].includes(dir)) state.sort = { field, dir };
  try {
    state.columns = JSON.parse(localStorage.getItem(KEPT) ?? "null");
  } catch { /* a browser that keeps nothing shows the usual columns */ }
  if (!Array.isArray(state.columns)) state.columns = null;
  filter.start();
  byId("choose-columns").addEventListener("click", openColumns);
  byId("tabs").addEventListener("click", (event) => event.target.dataset.view && show(event.target.dataset.view));
  byId("tabs").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    show(VIEWS[(VIEWS.indexOf(state.view) + step + VIEWS.length) % VIEWS.length]);
    byId(`tab-${state.view}`).focus();
  });
  show(place.get("view") ?? "runs");
}

// Menus close when something else is pressed, and by Escape.
function closeMenus(kept) {
  for (const menu of document.querySelectorAll("details.menu[open], #said details[open]")) if (!menu.contains(kept)) menu.open = false;
}
document.addEventListener("pointerdown", (event) => closeMenus(event.target));
document.addEventListener("keydown", (event) => event.key === "Escape" && closeMenus(null));

on("columns", () => {
  try {
    localStorage.setItem(KEPT, JSON.stringify(state.columns));
  } catch { /* as above */ }
  table.setColumns();
});
on("view", show);
on("within", filter.apply);
on("place", remember);
on("chosen", () => {
  remember();
  drawn.get(state.view)?.then((view) => view.news(null));
});

const about = ask("/api/about").then((told) => {
  byId("roots").textContent = told.roots.join(" · ");
  byId("roots").title = `polymodal ${told.version}`;
  if (told.trackio.length) {
    byId("trackio").hidden = false;
    byId("trackio").href = `/trackio?root=${told.trackio[0]}`;
  }
  table.start(told.roots);
}).catch(() => undefined);
begin();
about.then(forever);
