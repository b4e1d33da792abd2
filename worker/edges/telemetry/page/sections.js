// Each section of the page from the document of `page/status`.

import { byId, create, fillAll, fillBar, fillFacts, fillTable, setAttributes, setText, show } from "./dom.js";
import { bytes, clock, count, duration, plural, rate } from "./format.js";
import { drawCharts, drawStrip } from "./charts.js";

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
const WEEK = 7 * 86400;
// Infinite forecasts arrive as the text "inf".
const isFinite = (value) => typeof value === "number";

export function render(status) {
  renderMasthead(status);
  renderVerdict(status);
  renderJourney(status);
  renderOutlook(status);
  renderHistory(status);
  renderApplications(status);
  renderPartitions(status);
  renderDeadLetters(status);
  renderErrors(status);
  show(byId("details"), true);
}

function renderMasthead(status) {
  const uptime = duration(status.time_unix_seconds - status.started_unix_seconds);
  setText(byId("host"), status.host);
  setText(byId("identity"), `group ${status.group_id}, up for ${uptime}`);
  setText(byId("version"), `appmetrica-worker ${status.version}`);
}

export function renderVerdict(status) {
  const [first, ...others] = status.situations;
  const verdict = byId("verdict");
  setAttributes(verdict, { "data-urgency": first.urgency, "data-state": first.state });
  setText(byId("verdict-title"), first.title);
  setText(byId("verdict-since"), sinceText(first, status));
  setText(byId("verdict-consequence"), first.consequence);
  setText(byId("verdict-action"), first.action);
  fillAll(byId("also-list"), others, () => create("li"), (item, situation) => {
    const since = sinceText(situation, status);
    setText(item, situation.title + (since ? ` (${since})` : ""));
    setAttributes(item, { class: `u-${situation.urgency}` });
  });
  show(byId("also"), others.length > 0);
  document.title = `${first.title} · ${status.host}`;
}

function sinceText(situation, status) {
  if (situation.since_unix_seconds === null) return "";
  return `for ${duration(status.time_unix_seconds - situation.since_unix_seconds)}`;
}

// --- the journey ---------------------------------------------------------------------------------

function renderJourney(status) {
  const { flow, records_held: held, destination, forecast } = status;
  const states = new Set(status.situations.map((situation) => situation.state));
  const oldestEnd = Math.max(0, ...status.partitions.map((one) => one.end_age_seconds ?? 0));
  const isOutside = states.has("kafka_down") || states.has("joining");
  setAttributes(byId("node-kafka"), {
    "data-trouble": states.has("kafka_down") ? "critical" : states.has("joining") ? "warning" : "",
  });
  setAttributes(byId("node-api"), {
    "data-trouble": states.has("api_down") ? "critical" : states.has("held") || states.has("throttled") ? "warning" : "",
  });
  setAttributes(byId("node-worker"), {
    "data-trouble": states.has("topic_blocked") || states.has("clock_doubted") || states.has("imbalance") ? "critical" : "",
  });
  // Outside of the group nothing is known of the partitions.
  setText(byId("lag"), isOutside && status.partition_count === 0 ? "unknown" : count(status.lag_records));
  fillFacts(byId("kafka-facts"), [
    ["produced", rate(forecast.produced_per_second)],
    ["partitions here", count(status.partition_count)],
    oldestEnd > 20 ? ["ends known since", `${duration(oldestEnd)} ago`, "u-critical"] : null,
    ["last commit", ago(status.last_commit_timestamp_seconds, status)],
  ]);
  renderLink("received", flow?.received);
  setText(byId("held"), count(sum(Object.values(held))));
  fillFacts(byId("worker-facts"), [
    ["batching", count(held.batching)],
    ["waiting to be sent", count(held.waiting)],
    ["in flight", count(held.in_flight)],
    held.linked ? ["duplicates of these", count(held.linked)] : null,
    held.dead_letter || held.parking ? ["being written to Kafka", count(held.dead_letter + held.parking)] : null,
  ]);
  setText(byId("memory"), `${bytes(status.held_bytes)} of ${bytes(status.held_bytes_max)}`);
  fillBar(byId("memory-bar"), status.held_bytes / status.held_bytes_max);
  renderLink("delivered", flow?.delivered);
  setText(byId("requests"), count(destination.requests_in_flight));
  fillFacts(byId("api-facts"), [
    ["breaker", breakerText(destination, status), destination.breaker === "closed" ? "" : "u-critical"],
    ["requests", rate(flow?.requests)],
    ["failed", rate(flow?.requests_failed), flow?.requests_failed > 0 ? "u-warning" : ""],
    ["last delivery", ago(status.last_delivery_timestamp_seconds, status)],
  ]);
  setText(byId("concurrency"), `${destination.requests_in_flight} of ${destination.requests_in_flight_limit} at once`);
  fillBar(byId("concurrency-bar"), destination.requests_in_flight / destination.requests_in_flight_limit);
  renderExits(status);
}

function renderLink(name, perSecond) {
  setText(byId(`rate-${name}`), rate(perSecond));
  setAttributes(byId(`link-${name}`), { "data-flow": perSecond > 0 ? "some" : "none" });
}

function breakerText(destination, status) {
  if (destination.next_probe_unix_seconds === null) return destination.breaker;
  const seconds = destination.next_probe_unix_seconds - status.time_unix_seconds;
  return `${destination.breaker}, probe in ${duration(seconds)}`;
}

function ago(unixSeconds, status) {
  return unixSeconds ? `${duration(status.time_unix_seconds - unixSeconds)} ago` : "never";
}

function renderExits({ flow, totals }) {
  const exits = [
    ["duplicates dropped", "duplicates", ""],
    ["dead letters", "dead_lettered", totals.dead_lettered ? "u-warning" : ""],
    ["skipped", "skipped", ""],
    ["parked", "parked", totals.parked ? "u-warning" : ""],
  ];
  const make = () => create("li", "", create("span", "name"), create("span", "rate"), create("span", "total"));
  fillAll(byId("exits"), exits, make, (item, [name, key, className]) => {
    const [nameElement, rateElement, totalElement] = item.children;
    setText(nameElement, name);
    setText(rateElement, rate(flow?.[key]));
    setText(totalElement, `${count(totals[key])} in all`);
    setAttributes(item, { class: className });
  });
}

// --- what follows --------------------------------------------------------------------------------

function renderOutlook(status) {
  const { forecast, events_expiring_within_seconds: expiring } = status;
  const oldest = status.oldest_unsettled_event_timestamp_seconds;
  const left = forecast.oldest_event_seconds_left;
  fillFacts(byId("outlook"), [
    ["The lag is gone", drainText(forecast.lag_drain_seconds)],
    ["Oldest waiting event", oldest === null ? "none waits" : `${duration(status.time_unix_seconds - oldest)} old`],
    left === null ? null : ["It is too old in", duration(left), left < 86400 ? "u-critical" : ""],
    ["First loss", ...lossFact(forecast)],
    ["Too old within a day", expiringText(expiring), expiring["86400"] ? "u-critical" : ""],
    ["Workers needed here", forecast.desired_replicas.toFixed(1)],
  ]);
}

function drainText(seconds) {
  if (seconds === null) return "not known yet";
  if (!isFinite(seconds)) return "never: it does not fall";
  return seconds === 0 ? "now: there is none" : `in ${duration(seconds)}`;
}

// Without measured rates nothing is known of what the future brings.
function lossFact({ loss_begins_seconds: seconds, settled_per_second: settled }) {
  if (seconds === null || settled === null) return ["not known yet", ""];
  return isFinite(seconds) ? [`in ${duration(seconds)}`, seconds < WEEK ? "u-warning" : ""] : ["none in sight", ""];
}

function expiringText(expiring) {
  const [hour, sixHours, day] = [expiring["3600"], expiring["21600"], expiring["86400"]];
  return day ? `${count(day)} events (1 h: ${count(hour)}, 6 h: ${count(sixHours)})` : "no event";
}

// --- the past ------------------------------------------------------------------------------------

function renderHistory({ history, held_bytes_max: heldMax }) {
  const ages = history.ages_seconds;
  drawStrip(ages, history.urgency);
  drawCharts([
    { name: "Received", values: history.received_per_second, format: rate, ages },
    { name: "Delivered", values: history.delivered_per_second, format: rate, ages },
    { name: "Lag", values: history.lag_records, format: count, ages },
    { name: "Memory", values: history.held_bytes, format: bytes, ages, top: heldMax },
    { name: "Dead letters", values: history.dead_lettered_per_second, format: rate, ages, className: "bad" },
    { name: "Failed requests", values: history.requests_failed_per_second, format: rate, ages, className: "bad" },
  ]);
}

// --- the tables ----------------------------------------------------------------------------------

const KEYS = { usable: "usable", refused: "refused", file_unusable: "file unusable" };

function renderApplications(status) {
  const isApiDown = status.destination.breaker === "open" || status.destination.breaker === "probing";
  const rows = status.applications.map((one) => {
    const isFree = one.state === "delivering";
    const next = one.next_request_unix_seconds;
    return [
      String(one.application_id),
      {
        text: isFree ? (isApiDown ? "waits for the API" : "delivering") : `${one.state}: ${one.reason}${one.is_parking ? ", parking" : ""}`,
        className: one.state === "held" ? "u-critical" : isFree ? "" : "u-warning",
      },
      { text: KEYS[one.key] ?? one.key, className: one.key === "usable" ? "" : "u-critical" },
      one.since_unix_seconds === null ? "" : duration(status.time_unix_seconds - one.since_unix_seconds),
      next === null ? "" : `in ${duration(next - status.time_unix_seconds)}`,
      isFree ? "" : count(one.rows),
    ];
  });
  setText(byId("applications-caption"), shownText(rows.length, status.application_count, "application"));
  fillTable(byId("applications"), rows, "No application is configured.");
}

function shownText(shown, all, noun) {
  return shown < all ? `${count(shown)} of ${plural(all, noun)}, those in trouble first` : plural(all, noun);
}

function renderPartitions(status) {
  const rows = status.partitions.map((one) => [
    `${one.topic}-${one.partition}`,
    one.position === undefined ? "" : count(one.lag_records),
    one.position === undefined ? "" : `${count(one.span_records)}`,
    partitionState(one),
  ]);
  const shown = shownText(rows.length, Math.max(status.partition_count, rows.length), "partition");
  setText(byId("partitions-caption"), `${shown}. A span of ${count(status.span_records_max)} pauses a partition.`);
  fillTable(byId("partitions"), rows, "No partition is assigned to this worker.");
}

function partitionState(one) {
  if (one.trouble !== null) return { text: one.trouble, className: "u-critical" };
  if (one.is_draining) return { text: "draining", className: "u-warning" };
  return one.is_paused ? { text: "paused", className: "u-warning" } : "reading";
}

function renderDeadLetters({ dead_letters: deadLetters }) {
  const rows = Object.entries(deadLetters).map(([reason, number]) => [
    reason,
    count(number),
    { text: `appmetrica-worker dlq peek --reason ${reason}`, code: true },
  ]);
  fillTable(byId("dead-letters"), rows, "None since the start of the worker.");
}

function renderErrors({ last_errors: errors }) {
  const rows = errors.map((line) => {
    const moment = new Date(line.ts);
    return [
      Number.isNaN(moment.getTime()) ? line.ts || "no time" : clock(moment),
      { text: line.event, className: line.level === "warning" ? "u-warning" : "u-critical" },
      { text: [line.action, line.fields].filter(Boolean).join("\n"), className: "fields" },
    ];
  });
  fillTable(byId("errors"), rows, "None since the start of the worker.");
}
