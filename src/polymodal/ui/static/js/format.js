// Numbers, times and texts as people read them; the same forms as the reports have.

const higherIsBetter = new Map(); // name of a score without its split, as the runs record it
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\ud800-\udfff]/gu;
export const NONE = "–";

export const lowerIsBetter = (score) => higherIsBetter.get(score.split("/").pop()) === false;

/** Learns the directions of scores from what the server says of all runs. */
export function learnDirections(directions) {
  for (const [name, higher] of Object.entries(directions ?? {})) higherIsBetter.set(name, higher);
}

/** Three decimals without the zero before the point. */
export function score(value) {
  if (typeof value !== "number") return "";
  const shown = Math.abs(value).toFixed(3).replace(/^0/, "");
  return (value < 0 && Number(shown) !== 0 ? "−" : "") + shown;
}

/** Any number, as short as it can be told. */
export function figure(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(3).replace(/\.?0+e/, "e").replace("e+", "e");
  return String(Number(value.toPrecision(5)));
}

/** Any value of a configuration. */
export function option(value) {
  if (value === undefined) return NONE;
  if (value === null) return "null";
  return typeof value === "number" ? figure(value) : printable(String(value));
}

export const printable = (text) => String(text).replace(CONTROLS, "␚");

export function span(seconds) {
  if (typeof seconds !== "number") return "";
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  return minutes < 2880 ? `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")}` : `${Math.round(minutes / 1440)} d`;
}

export function ago(started) {
  const seconds = (Date.now() - Date.parse(started)) / 1000;
  if (!Number.isFinite(seconds)) return "";
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit} ago`;
  }
  return "just now";
}

export function moment(started) {
  const date = new Date(started);
  return Number.isNaN(date.getTime()) ? printable(started ?? "") : date.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}

export const count = (number, what) => `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;
