// The console: asks for the state, and shows it.
import { acts, judge } from "./act.js";
import { latency, Scores, traffic } from "./charts.js";
import { $, show, text } from "./dom.js";
import { incidents } from "./incidents.js";
import * as panels from "./panels.js";
import { key, Poll } from "./poll.js";
import { ago, clock, number } from "./words.js";

let shown = null; // the document that is shown
let pointed = null; // the anomaly whose reasons are shown
let allFeatures = false;
let said = "";

const scores = new Scores((anomaly) => point(anomaly));
const charts = [scores, traffic(), latency()];
const poll = new Poll(told, changed);
acts(() => shown.monitor, () => poll.once());

function told(document_) {
  const former = shown?.monitor?.epoch;
  shown = document_;
  const { monitor } = shown;
  if (former && monitor && monitor.epoch !== former) tell("The monitor has started anew.");
  $("serving").replaceChildren(...serving());
  panels.links(shown.links);
  text("about", `Vigil ${shown.vigil}, model ${shown.model}`);
  render();
}

function serving() {
  if (!shown.version) return [`${shown.model}: no model is loaded`];
  const mode = shown.monitor ? `, governor in mode ${shown.monitor.governor.mode}` : "";
  const bold = document.createElement("b");
  bold.textContent = `version ${shown.version}`;
  return [`${shown.model} `, bold, ` ${(shown.digest ?? "").slice(0, 12)}${mode}`];
}

function render() {
  const { monitor } = shown ?? {};
  if (!monitor) return;
  const now = poll.now;
  const until = now - poll.age - 2.5 * monitor.traffic.step_s;
  panels.tiles(monitor, now - poll.age);
  scores.show(monitor.points, now - poll.age);
  charts[1].show(monitor.traffic, now - poll.age, until);
  charts[2].show(monitor.traffic, now - poll.age, until);
  const none = !monitor.points.at.length && !monitor.points.anomalies.length;
  show("scores-empty", none);
  text("scores-empty", `No rows in the last ten minutes. Each row that is sent to ${location.origin}/predict shows here within two seconds.`);
  panels.latest(monitor.points.anomalies, point);
  const refusals = Object.entries(monitor.traffic.refused_by).filter(([, n]) => n > 0);
  text("refused", refusals.length ? `refused in ten minutes: ${refusals.map(([name, n]) => `${number(n)} ${name}`).join(", ")}` : "");
  incidents(monitor.incidents, now, poll.operator, (incident, verdict) => judge(incident, verdict, () => poll.once()));
  panels.drift(monitor, allFeatures);
  panels.models(monitor.models, now);
  panels.governor(monitor, now);
  panels.timeline(monitor.timeline, now);
  if (pointed) point(monitor.points.anomalies.find((a) => panels.idOf(a) === panels.idOf(pointed)) ?? null);
}

// The reasons of an anomaly, where it is in the chart.
function point(anomaly) {
  pointed = anomaly;
  const tip = $("tip");
  tip.hidden = $("ring").hidden = !anomaly;
  for (const row of $("latest").children) row.firstElementChild.setAttribute("aria-current", String(Boolean(anomaly) && row.dataset.key === panels.idOf(anomaly)));
  if (!anomaly) return;
  const title = document.createElement("h3");
  title.textContent = `${clock(anomaly.at)}: ${number(anomaly.score, 3)}, over ${number(anomaly.threshold, 3)}`;
  const list = document.createElement("div");
  list.className = "reasons";
  list.append(...panels.reasons(anomaly));
  tip.replaceChildren(title, list);
  const [x, y] = scores.place(anomaly);
  $("ring").style.left = `${x}px`;
  $("ring").style.top = `${y}px`;
  const { offsetWidth: width, offsetHeight: height, offsetParent: panel } = tip;
  tip.style.left = `${Math.max(8, Math.min(x - width / 2, panel.clientWidth - width - 8))}px`;
  tip.style.top = `${y - height - 12 > 4 ? y - height - 12 : y + 14}px`;
}

function changed() {
  show("gate", poll.locked);
  for (const part of $("main").children) if (part.id !== "gate" && part.tagName !== "NOSCRIPT") part.hidden = poll.locked || !shown?.monitor;
  if (poll.locked) {
    shown = null;
    $("serving").replaceChildren();
    if (key.get()) text("gate-hint", "The key is not accepted: it may have been revoked.");
    key.set("");
  }
  show("sign", Boolean(key.get()));
  text("sign", "Sign out");
  for (const id of ["promote", "rollback", "mode"]) {
    $(id).disabled = !poll.operator;
    $(id).title = poll.operator ? "" : "for operators: a key that was made with --operator";
  }
  tick();
  if (shown) render();
}

function state() {
  if (poll.locked) return ["locked", "sign in"];
  if (poll.failures > 1 || (poll.failures && !poll.good)) return ["disconnected", "disconnected"];
  if (!shown) return ["starting", "starting"];
  if (poll.stale || !shown.monitor) return ["stale", "stale"];
  return [shown.monitor.status, shown.monitor.status];
}

// Once a second: time passes also when nothing comes.
function tick() {
  const [name, word] = state();
  document.body.dataset.state = name;
  document.body.classList.toggle("old", name === "stale" || name === "disconnected");
  text("status-word", word);
  text("age", !poll.good || poll.locked ? "" : name === "stale" || name === "disconnected" ? `no news for ${ago(poll.age)}` : poll.age < 4 ? "live" : `${ago(poll.age)} ago`);
  const news = {
    "stale": shown?.away ? `What is shown is ${poll.good && shown.monitor ? `${ago(poll.age)} old` : "not complete"}: ${shown.away}` : `What is shown is ${ago(poll.age)} old.`,
    "disconnected": `The service does not answer. The console keeps trying, and goes on by itself${poll.good ? `; what is shown is ${ago(poll.age)} old` : ""}.`,
    "no model": "No model is served yet: train and promote one with vigil train --data P and vigil promote V.",
    "data break": shown?.monitor?.sentence, "drift": shown?.monitor?.sentence,
    "replicas differ": shown?.monitor?.models.convergence,
  }[name];
  show("news", Boolean(news));
  if (news) text("news", news[0].toUpperCase() + news.slice(1));
  document.title = name === "ok" || name === "starting" ? "Vigil" : `${word} · Vigil`;
  if (word !== said && name !== "starting") tell(`Status: ${word}.`);
  if (name !== "starting") said = word;
}

function tell(words) {
  text("said", words);
}

function repaint() {
  for (const chart of charts) chart.paint();
  if (shown) render();
}

$("theme").addEventListener("click", () => {
  const dark = (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("vigil-theme", document.documentElement.dataset.theme);
  } catch { /* a browser that keeps nothing */ }
  repaint();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
$("more").addEventListener("click", () => {
  allFeatures = !allFeatures;
  render();
});
$("gate-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key.set($("gate-key").value.trim());
  $("gate-key").value = "";
  poll.once();
});
$("sign").addEventListener("click", () => {
  key.set("");
  poll.etag = "";
  poll.once();
});
setInterval(tick, 1000);
changed();
poll.once();
