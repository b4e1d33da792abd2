// Asks the worker every two seconds, while the page is visible, and says so when no answer comes.

import { byId, setAttributes, setText, show } from "./dom.js";
import { clock } from "./format.js";
import { render } from "./sections.js";

const INTERVAL = 2000;
// A worker that does not answer for this long is stuck or gone; an answer takes milliseconds.
const ANSWER_TIME_MAX = 4000;
const FAILURES_MAX = 2;

let answeredAt = null;
let failures = 0;
let lastVerdict = null;
let timer = null;

async function ask() {
  timer = null;
  let status;
  try {
    status = await fetchStatus();
  } catch (error) {
    failures += 1;
    if (failures >= FAILURES_MAX) renderSilence(error);
    return;
  } finally {
    schedule(INTERVAL);
  }
  failures = 0;
  answeredAt = new Date();
  lastVerdict = status.situations[0].title;
  setAttributes(document.body, { "data-answering": "yes" });
  render(status);
  announce(status.situations[0].state, lastVerdict);
  setText(byId("freshness"), `live, ${clock(answeredAt)}`);
}

async function fetchStatus() {
  const response = await fetch("page/status", {
    cache: "no-store", signal: AbortSignal.timeout(ANSWER_TIME_MAX),
  });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  return response.json();
}

// What is shown is the past now: it stays, and looks like it.
function renderSilence(error) {
  const verdict = byId("verdict");
  const since = answeredAt === null ? "" : ` since ${clock(answeredAt)}`;
  setAttributes(document.body, { "data-answering": "no" });
  setAttributes(verdict, { "data-urgency": "silent", "data-state": "silent" });
  setText(byId("verdict-title"), `This worker does not answer${since}`);
  setText(byId("verdict-since"), "");
  setText(byId("verdict-consequence"), answeredAt === null
    ? "It may be starting, have ended, or be out of reach from here."
    : `It may have ended, be restarting, or be out of reach from here. Everything below is from ${clock(answeredAt)}.`);
  setText(byId("verdict-action"), "Look at its log; the page continues by itself when it answers again.");
  show(byId("also"), lastVerdict !== null);
  if (lastVerdict !== null) {
    const item = document.createElement("li");
    item.textContent = `Last known: ${lastVerdict}`;
    byId("also-list").replaceChildren(item);
  }
  setText(byId("freshness"), error.name === "TimeoutError" ? "no answer in time" : "no connection");
  document.title = "No answer · AppMetrica worker";
  announce("silent", `This worker does not answer${since}`);
}

// To a screen reader, only a change of the state is news: not every number in the headline.
let announced = null;
function announce(state, title) {
  if (state === announced) return;
  announced = state;
  setText(byId("announcement"), title);
}

function schedule(delay) {
  if (timer === null && !document.hidden) timer = setTimeout(ask, delay);
}

// A page in the background asks nothing of the worker.
document.addEventListener("visibilitychange", () => {
  if (document.hidden && timer !== null) {
    clearTimeout(timer);
    timer = null;
  } else if (!document.hidden) {
    schedule(0);
  }
});

schedule(0);
