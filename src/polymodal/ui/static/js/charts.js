// Pictures: ECharts, loaded when the first is drawn, in the page's own colours and fonts.

let library = null;
const alive = new Map(); // element to what draws it

/** Draws into an element, and again when its size, or light and dark, change. */
export async function draw(element, optionOf, group = "") {
  library ??= import("../vendor/echarts.esm.min.mjs");
  const echarts = await library;
  let chart = echarts.getInstanceByDom(element);
  if (!chart) {
    chart = echarts.init(element, null, { renderer: "canvas" });
    if (group) {
      chart.group = group;
      echarts.connect(group);
    }
    new ResizeObserver(() => element.clientWidth && chart.resize()).observe(element);
  }
  const render = () => chart.setOption({ ...shared(), ...optionOf(colours()) }, { replaceMerge: ["series", "xAxis", "yAxis", "parallelAxis"] });
  alive.set(element, render);
  render();
  return chart;
}

/** Changes a part of what is drawn: what was zoomed or brushed stays so. */
export async function change(element, option) {
  (await library)?.getInstanceByDom(element)?.setOption(option);
}

export function drop(element) {
  alive.delete(element);
  library?.then((echarts) => echarts.getInstanceByDom(element)?.dispose());
}

export function colours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(["ink", "soft", "paper", "faint", "card", "low", "high"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

function shared() {
  const { ink } = colours();
  return { animation: false, backgroundColor: "transparent", textStyle: { color: ink, fontFamily: getComputedStyle(document.body).fontFamily } };
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const render of alive.values()) render();
});
