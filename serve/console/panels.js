// Everything but the charts: what the document says, in words.
import { $, el, keyed, show, svg, text } from "./dom.js";
import { ago, clock, count, moment, number, percent, small, value } from "./words.js";

const FIRST_FEATURES = 12;
const LATEST = 7;
const LATELY_S = 14;
const HIGHEST = 3; // floors; a trend that goes beyond is cut there

export function tiles(monitor, now) {
  const { traffic, totals, features, governor: governor_, models } = monitor;
  const recent = (name) => traffic[name].filter((x, i) => x !== null && traffic.at[i] > now - LATELY_S).slice(-3);
  const mean = (xs) => (xs.length ? xs.reduce((a, b) => a + b) / xs.length : null);
  text("t-rate", number(mean(recent("ok")) ?? 0, totals.ok && totals.ok < 6000 ? 1 : 0));
  text("t-rate-hint", totals.refused ? `${number(totals.refused)} refused in 10 min` : `${number(totals.ok)} in 10 min`);
  text("t-anomalies", number(totals.anomalies));
  const budget = models.threshold ? `, budget ${percent(models.threshold.budget)}` : "";
  text("t-anomalies-hint", totals.rows ? `${percent(totals.anomalies / totals.rows)} of rows${budget}` : `no rows lately${budget}`);
  text("t-latency", small(mean(recent("p99_ms"))));
  const half = mean(recent("p50_ms"));
  text("t-latency-hint", half === null ? "no requests lately" : `half within ${small(half)} ms`);
  const [nearest] = features;
  text("t-drift", nearest ? number(nearest.nearness, 2) : "–");
  text("t-drift-hint", nearest ? nearest.feature : "no window yet");
  $("t-drift").closest(".tile").classList.toggle("over", Boolean(nearest) && nearest.nearness >= 1);
  text("t-governor", governor_.phase);
  text("t-governor-hint", `${governor_.mode}: ${brief(governor_.reason)}`);
  for (const hint of document.querySelectorAll(".tile .hint")) hint.title = hint.textContent;
}

export function reasons(anomaly) {
  if (!anomaly.reasons.length) return [el("p", { class: "hint" }, "Too many at once to explain each")];
  return anomaly.reasons.map((reason) => {
    const bar = el("i");
    bar.style.width = `${Math.round(100 * reason.share)}%`;
    const z = `${reason.z > 0 ? "+" : "−"}${number(Math.abs(reason.z), 1)} sd`;
    return el("div", { class: "reason" }, el("span", { class: "name" }, reason.feature), el("span", {}, `${value(reason.value)} (${z})`), el("span", { class: "bar" }, bar));
  });
}

export const idOf = (anomaly) => `${anomaly.at}-${anomaly.score}-${anomaly.request_id}`;

// `point(anomaly)` shows it in the chart; null ends that.
export function latest(anomalies, point) {
  show("latest-empty", !anomalies.length);
  keyed($("latest"), anomalies.slice(0, LATEST), idOf, (anomaly) => {
    const [first, ...others] = anomaly.reasons;
    const why = first ? [el("b", {}, first.feature), ` ${value(first.value)}`, others.length ? `, ${others.map((r) => r.feature).join(", ")}` : ""] : ["not explained"];
    const all = anomaly.reasons.map((r) => `${r.feature} ${value(r.value)}, ${number(r.z, 1)} standard deviations, ${percent(r.share, 0)} of it`).join("; ");
    const button = el("button", { type: "button", title: `request ${anomaly.request_id || "without id"}, version ${anomaly.version}` },
      el("span", { class: "when" }, clock(anomaly.at)), el("span", { class: "score" }, number(anomaly.score, 3)),
      el("span", { class: "why", "aria-hidden": "true" }, ...why), el("span", { class: "vh" }, `over ${number(anomaly.threshold, 3)}. ${all || "Not explained"}`));
    for (const type of ["mouseenter", "focus"]) button.addEventListener(type, () => point(anomaly));
    for (const type of ["mouseleave", "blur"]) button.addEventListener(type, () => point(null));
    return el("li", {}, button);
  });
}

function sparkline(feature, highest) {
  const trend = feature.trend.length > 1 ? feature.trend : [feature.trend[0] ?? 0, feature.trend[0] ?? 0];
  const x = (i) => (100 * i) / (trend.length - 1);
  const y = (v) => 40 - (38 * Math.min(v, highest)) / highest;
  const points = trend.map((v, i) => `${x(i).toFixed(1)},${y(v).toFixed(1)}`).join(" ");
  const words = `${feature.feature}: ${number(feature.ratio, 2)} times its floor; in the last ${trend.length} windows from ${number(Math.min(...trend), 2)} to ${number(Math.max(...trend), 2)}`;
  return svg("svg", { viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img", "aria-label": words },
    svg("polygon", { class: "area", points: `0,40 ${points} 100,40` }),
    svg("line", { class: "floor", x1: 0, x2: 100, y1: y(1), y2: y(1) }),
    svg("polyline", { class: "line", points }),
    svg("line", { class: "end", x1: 100, x2: 100, y1: y(trend.at(-1)), y2: y(trend.at(-1)) }));
}

export function drift(monitor, all) {
  const { features, window: window_ } = monitor;
  const known = features.length > 0;
  show("drift-empty", !known);
  const highest = Math.min(HIGHEST, Math.max(1.25, ...features.flatMap((f) => f.trend)) * 1.05);
  const shown = features.slice(0, all ? features.length : FIRST_FEATURES);
  keyed($("features"), shown.map((f) => ({ ...f, highest })), (f) => f.feature, (feature) => {
    const over = feature.nearness >= 1;
    const sub = feature.correlation >= 1 ? `moves otherwise with the others: ${number(feature.correlation, 2)}×` : `shifted by ${number(feature.effect, 2)} sd`;
    return el("li", { class: `feature${over ? " over" : ""}`, title: feature.feature }, el("span", { class: "name" }, feature.feature),
      el("span", { class: "value" }, `${number(feature.ratio, 2)}×`), sparkline(feature, feature.highest), el("span", { class: "sub" }, sub));
  });
  show("more", features.length > FIRST_FEATURES);
  text("more", all ? `Show the nearest ${FIRST_FEATURES} only` : `Show all ${features.length}`);
  $("more").setAttribute("aria-expanded", String(all));
  const { rows, size } = window_;
  const rest = monitor.feature_count > features.length ? `, the nearest ${features.length} of ${monitor.feature_count}` : "";
  text("drift-hint", known ? `distance over its floor (dashed), one step a window of ${number(size)} rows; ${number(rows)} rows into the next${rest}` : "");
  if (known) return;
  text("drift-empty-text", size === null ? "There is no champion yet, so there is nothing to compare live rows with."
    : `No window yet: the first verdict comes after ${number(size)} rows, ${number(rows)} are there. Each feature then shows how far it has moved, against what is ordinary for it.`);
  show("drift-progress", size !== null);
  $("drift-progress").value = size ? rows / size : 0;
}

const digest = (model) => el("span", { class: "digest" }, (model.digest ?? "").slice(0, 12));

export function models(models_, now) {
  text("convergence", models_.convergence);
  const made = (model) => `made ${ago(now - model.created)} ago${model.trigger ? `, trigger ${model.trigger}` : ""}`;
  const rows = [];
  const { champion, challenger, canary, shadow, threshold } = models_;
  rows.push(["Champion", champion ? [`version ${champion.version} `, digest(champion), ` ${made(champion)}`] : ["none yet: train and promote one with vigil train --data P, then vigil promote V"]]);
  if (threshold) rows.push(["Threshold", [`${number(threshold.value, 4)}, for ${percent(threshold.budget)} of normal rows (${threshold.policy.replaceAll("_", " ")})`]]);
  if (models_.alert_rate !== null) rows.push(["Alert rate", [`${percent(models_.alert_rate)} in the latest window, ${percent(models_.usual_alert_rate)} is usual`]]);
  rows.push(["Challenger", challenger && challenger.version !== champion?.version ? [`version ${challenger.version} `, digest(challenger), ` ${made(challenger)}, gate ${challenger.verdict || "unknown"}`] : ["none: the next training brings one"]]);
  rows.push(["Canary", canary ? [`version ${canary.version} answers ${percent(canary.share, 0)} of the requests: ${count(canary.arms.canary.requests, "request")}, ${count(canary.arms.canary.errors, "error")}${canary.stopped ? `; stopped: ${canary.stopped}` : ""}`] : ["none"]]);
  if (shadow) rows.push(["Shadow", [`version ${shadow.challenger} beside ${shadow.champion}: ${count(shadow.rows, "row")}, ${shadow.kendall_tau === null ? "" : `rank correlation ${number(shadow.kendall_tau, 2)}, `}alerts ${percent(shadow.challenger_alert_rate)} against ${percent(shadow.champion_alert_rate)}`]]);
  keyed($("models"), rows.flatMap(([name, parts]) => [{ name, dt: true }, { name, words: parts.map((p) => p.textContent ?? p) }]), (item) => `${item.name}${item.dt ? "" : "="}`,
    (item) => (item.dt ? el("dt", {}, item.name) : el("dd", {}, ...rows.find(([name]) => name === item.name)[1])));
  keyed($("replicas"), models_.replicas, (r) => r.replica, (r) => {
    const refused = Object.entries(r.refused ?? {}).map(([version, reason]) => `refuses ${version}: ${reason}`).join("; ");
    return el("tr", { class: models_.lagging.includes(r.replica) ? "lags" : "", title: refused }, el("td", {}, r.replica),
      el("td", {}, `${r.version ?? "none"}${r.canary ? ` (canary ${r.canary})` : ""}${refused ? " ⚠ " : ""}`, ...(refused ? [el("span", { class: "vh" }, refused)] : [])),
      el("td", {}, r.since ? moment(r.since, now) : "–"), el("td", {}, r.source ?? "–"));
  });
}

// Without the gate's checks, which the timeline has.
const brief = (reason) => reason.replace(/^(\w+: [^:;]*): .*(; quiet for [^;]*)$/s, "$1$2");

export function governor(monitor, now) {
  const { governor: g, feedback } = monitor;
  for (const phase of $("phases").children) {
    if (phase.textContent === g.phase) phase.setAttribute("aria-current", "step");
    else phase.removeAttribute("aria-current");
  }
  text("governor-reason", brief(g.reason));
  const facts = [["Mode", g.mode === g.settings_mode ? g.mode : `${g.mode}, by hand`], ["Retrainings left today", `${g.retrains_left} of ${g.retrains_a_day}`], ["Training time left today", `${number(g.seconds_left)} s`]];
  if (g.phase === "collecting") facts.push(["Rows since the drift", `${number(g.rows)} of ${number(g.rows_wanted)}`]);
  if (g.phase === "cooling") facts.push(["Rests for", `${count(g.cooldown, "window")}${g.until > now ? `, ${ago(g.until - now)}` : ""}`]);
  const share = (found) => `${percent(found.value, 0)} (${percent(found.low, 0)} to ${percent(found.high, 0)})`;
  const { precision, recall, labelled } = feedback.champion;
  facts.push(["Labelled rows", labelled ? `${number(labelled)}${precision ? `; precision ${share(precision)}` : ""}${recall ? `; recall ${share(recall)}` : ""}` : "none yet: POST /feedback"]);
  keyed($("governor"), facts, ([name]) => name, ([name, words]) => el("div", {}, el("dt", {}, name), el("dd", {}, words)));
}

export function timeline(events, now) {
  show("timeline-empty", !events.length);
  keyed($("timeline"), events, (event) => event.id, (event, former) => {
    const detail = event.detail.filter(Boolean);
    const more = detail.length ? [el("details", { open: former?.querySelector("details")?.open ?? false }, el("summary", {}, "why"), el("ul", {}, ...detail.map((d) => el("li", {}, d))))] : [];
    const at = new Date(event.at * 1000);
    return el("li", { class: `k-${event.kind}` }, el("time", { dateTime: at.toISOString(), title: at.toLocaleString() }, moment(event.at, now)), el("span", { class: "mark", "aria-hidden": "true" }), el("div", {}, el("p", {}, event.text), ...more));
  });
}

export function links(found) {
  const own = [["API", "docs"], ["Metrics", "metrics"], ["Drift as JSON", "drift"]];
  const others = Object.entries(found).filter(([, url]) => /^https?:\/\//.test(url));
  keyed($("links"), [...own, ...others], ([name]) => name, ([name, url]) => el("li", {}, el("a", { href: url, ...(url.includes("://") ? { rel: "noreferrer" } : {}) }, name)));
}
