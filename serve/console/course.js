// The course of an incident: its score and leading features over time, with what was expected of them.
import { el, svg } from "./dom.js";
import { get } from "./poll.js";
import { ago, number, value } from "./words.js";

const HEIGHT = 30;

// It is asked for when it is opened, and again whenever the incident has changed meanwhile.
export function course(incident, former) {
  const lines = former?.querySelector(".course") ?? el("ul", { class: "course" });
  const details = el("details", { open: former?.querySelector("details")?.open ?? false }, el("summary", {}, "course"), lines);
  details.addEventListener("toggle", async () => {
    if (!details.open) return;
    try {
      lines.replaceChildren(...drawn(await get(`incidents/${encodeURIComponent(incident.id)}`)));
    } catch (error) {
      lines.replaceChildren(el("li", { class: "hint" }, error.message));
    }
  });
  return details;
}

function drawn(incident) {
  const { at, scores, threshold, features } = incident.points;
  if (!at.length) return [el("li", { class: "hint" }, "No rows of it are kept.")];
  const expected = Object.fromEntries(incident.features.map((f) => [f.feature, f.expected]));
  const lines = [["score", scores, threshold, "threshold"], ...Object.entries(features).map(([name, values]) => [name, values, expected[name] ?? null, "expected"])];
  const within = [incident.onset, incident.end ?? at.at(-1)];
  return lines.map(([name, values, limit, meaning]) => el("li", {}, el("span", { class: "name", title: name }, name), line(name, at, values, limit, within), el("span", { class: "hint" }, `${range(values)}${limit === null ? "" : `, ${meaning} ${value(limit)}`}`)));
}

function range(values) {
  const known = values.filter((v) => v !== null);
  return known.length ? `${value(Math.min(...known))} to ${value(Math.max(...known))}` : "no values";
}

function line(name, at, values, limit, [from, to]) {
  const known = [...values, limit].filter((v) => v !== null);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const [first, last] = [at[0], Math.max(at.at(-1), at[0] + 1)];
  const x = (time) => (100 * (Math.min(Math.max(time, first), last) - first)) / (last - first);
  const y = (v) => HEIGHT - 2 - ((HEIGHT - 4) * (v - low)) / (high - low || 1);
  const words = `${name}: ${range(values)} in ${ago(last - first)}, ${number(values.length)} points`;
  const level = limit === null ? [] : [svg("line", { class: "floor", x1: 0, x2: 100, y1: y(limit), y2: y(limit) })];
  return svg("svg", { viewBox: `0 0 100 ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": words },
    svg("rect", { class: "within", x: x(from), y: 0, width: Math.max(1, x(to) - x(from)), height: HEIGHT }), ...level, ...unbroken(at, values).map((part) => svg("polyline", { class: "line", points: part.map(([time, v]) => `${x(time).toFixed(1)},${y(v).toFixed(1)}`).join(" ") })));
}

// A value that is missing breaks the line.
function unbroken(at, values) {
  const parts = [[]];
  values.forEach((v, i) => (v === null ? parts.push([]) : parts.at(-1).push([at[i], v])));
  return parts.filter((part) => part.length);
}
