// The sparklines and the strip of the last 15 minutes. Each has its values in words as its name.

import { create, createSvg, setAttributes, setText, fillAll, byId } from "./dom.js";

const SECONDS = 900;
const WIDTH = 300;
const HEIGHT = 44;
// A point stands for the ten seconds before it; a longer way between two is a gap.
const GAP_SECONDS = 25;

const x = (age) => WIDTH * (1 - Math.min(age, SECONDS) / SECONDS);

export function drawCharts(charts) {
  fillAll(byId("charts"), charts, newChart, fillChart);
}

function newChart() {
  const svg = createSvg("svg", {
    class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
  });
  svg.append(createSvg("path", { class: "area" }), createSvg("path", { class: "line" }));
  const caption = create("figcaption", "", create("span", "name"), create("span", "now"), create("span", "most"));
  return create("figure", "", caption, svg);
}

function fillChart(figure, chart) {
  const [name, now, most] = figure.firstElementChild.children;
  const known = chart.values.filter((value) => value !== null);
  const peak = Math.max(0, ...known);
  setText(name, chart.name);
  setText(now, known.length ? chart.format(known.at(-1)) : "no value yet");
  setText(most, known.length ? `most ${chart.format(peak)}` : "");
  const svg = figure.lastElementChild;
  const top = Math.max(peak, chart.top ?? 0) || 1;
  const y = (value) => HEIGHT - 2 - (HEIGHT - 6) * (value / top);
  const runs = runsOf(chart.ages, chart.values);
  const line = runs.map((run) => path(run, y)).join("");
  const area = runs
    .map((run) => `${path(run, y)}L${x(run.at(-1)[0]).toFixed(1)} ${HEIGHT}L${x(run[0][0]).toFixed(1)} ${HEIGHT}Z`)
    .join("");
  setAttributes(svg.firstElementChild, { d: area });
  setAttributes(svg.lastElementChild, { d: line });
  setAttributes(svg, { "aria-label": spoken(chart, known, peak), class: `spark ${chart.className ?? ""}` });
}

// Split where values are unknown, or where the worker did not observe for a while.
function runsOf(ages, values) {
  const runs = [];
  let run = [];
  values.forEach((value, index) => {
    const isGap = index > 0 && ages[index - 1] - ages[index] > GAP_SECONDS;
    if ((value === null || isGap) && run.length) {
      runs.push(run);
      run = [];
    }
    if (value !== null) run.push([ages[index], value]);
  });
  return run.length ? [...runs, run] : runs;
}

function path(run, y) {
  // A single point is drawn as the ten seconds that it stands for.
  const points = run.length === 1 ? [[run[0][0] + 10, run[0][1]], run[0]] : run;
  return points.map(([age, value], index) => `${index ? "L" : "M"}${x(age).toFixed(1)} ${y(value).toFixed(1)}`).join("");
}

function spoken(chart, known, peak) {
  if (known.length === 0) return `${chart.name}: no value yet`;
  const least = chart.format(Math.min(...known));
  return `${chart.name}: now ${chart.format(known.at(-1))}, least ${least}, most ${chart.format(peak)}`;
}

// How urgent the worst situation was, over time.
export function drawStrip(ages, urgencies) {
  const strip = byId("strip");
  const seconds = 10;
  fillAll(strip, urgencies, () => createSvg("rect", { height: 12, y: 0 }), (rect, urgency) => {
    const index = Array.prototype.indexOf.call(strip.children, rect);
    const left = Math.max(0, SECONDS - ages[index] - seconds);
    setAttributes(rect, { class: `u-${urgency}`, x: left, width: Math.max(0, SECONDS - ages[index] - left) });
  });
  const counts = {};
  for (const urgency of urgencies) counts[urgency] = (counts[urgency] ?? 0) + 1;
  const parts = Object.entries(counts).map(([urgency, number]) => `${urgency} for ${Math.max(1, Math.round(number / 6))} min`);
  setAttributes(strip, { "aria-label": `State of the last 15 minutes: ${parts.join(", ") || "not observed yet"}` });
}
