// Incidents: the open ones first, what was expected, and the answers of operators.
import { course } from "./course.js";
import { $, el, keyed, show, text } from "./dom.js";
import { ago, count, moment, number, value } from "./words.js";

const OUTCOME = { confirmed: "confirmed", dismissed: "dismissed" };

// `judge(incident, verdict)` opens the dialog of an answer.
export function incidents(found, now, operator, judge) {
  const { open, held, listed } = found;
  show("incidents-empty", !listed.length);
  text("incidents-hint", `${count(open, "open incident")}${held ? `, ${number(held)} held back by rules` : ""}`);
  keyed($("incidents"), listed.map((incident) => ({ ...incident, operator })), (incident) => incident.id, (incident, former) => {
    const at = new Date(incident.onset * 1000);
    const span = incident.state === "open" ? "open" : `${ago(incident.end - incident.onset)} long`;
    return el("li", { class: `incident ${incident.state}` },
      el("time", { dateTime: at.toISOString(), title: at.toLocaleString() }, moment(incident.onset, now)),
      grade(incident),
      el("div", {},
        el("p", {}, el("b", {}, title(incident)), ` ${span}, ${count(incident.rows, "row")}${fate(incident)}`),
        el("p", { class: "hint" }, deviations(incident)),
        course(incident, former)),
      buttons(incident, judge));
  });
}

function title(incident) {
  if (incident.title) return incident.title;
  const { entities, entity_count: all } = incident;
  if (!entities.length || !entities[0]) return "Anomalous rows";
  return all > 3 ? `${entities.slice(0, 3).join(", ")} and ${number(all - 3)} more` : entities.slice(0, 3).join(", ");
}

function fate(incident) {
  if (incident.verdict) return `, ${OUTCOME[incident.verdict]}`;
  return incident.held_by ? `, held back by rule ${incident.held_by}` : "";
}

function deviations(incident) {
  const shown = incident.features.slice(0, 3).map((f) => `${f.feature} ${value(f.observed)} (expected ${value(f.expected)})`);
  return shown.join(", ") || `version ${incident.model_version}`;
}

function grade(incident) {
  const bar = el("i");
  bar.style.width = `${Math.round(100 * incident.grade)}%`;
  return el("span", { class: "grade", role: "img", "aria-label": `grade ${number(incident.grade, 2)}`, title: `grade ${number(incident.grade, 2)}, peak score ${number(incident.peak_score, 3)}` }, bar);
}

function buttons(incident, judge) {
  const made = [["confirm", "Confirm"], ["dismiss", "Dismiss…"]].map(([verdict, name]) => {
    const button = el("button", { type: "button", class: "small", disabled: !incident.operator, title: incident.operator ? "" : "for operators: a key that was made with --operator" }, name);
    button.addEventListener("click", () => judge(incident, verdict));
    return button;
  });
  return el("div", { class: "row" }, ...made);
}
