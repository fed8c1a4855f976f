// What an operator does: each act is confirmed in a dialog, which shows how it went.
import { $, el, show, text } from "./dom.js";
import { send } from "./poll.js";

const MODES = [["auto", "auto: retrain, and promote what passes the gate"], ["suggest", "suggest: open episodes, train nothing"], ["observe", "observe: only report"], ["", "what the settings say"]];

// `act` gives what is said when it is done.
function ask({ title, words, label, choices, why = true, confirm, act }) {
  const dialog = $("dialog");
  text("dialog-title", title);
  text("dialog-text", words);
  text("dialog-ok", confirm);
  text("dialog-cancel", "Cancel");
  show("dialog-choice", Boolean(choices));
  show("dialog-why", why);
  show("dialog-result", false);
  show("dialog-ok", true);
  $("dialog-reason").value = "";
  $("dialog-ok").disabled = false;
  if (choices) {
    text("dialog-label", label);
    $("dialog-select").replaceChildren(...choices.map(([value, name, selected]) => el("option", { value, selected: Boolean(selected) }, name)));
  }
  $("dialog-form").onsubmit = async (event) => {
    event.preventDefault();
    $("dialog-ok").disabled = true;
    const told = (words_, state) => {
      text("dialog-result", words_);
      $("dialog-result").className = state;
      show("dialog-result", true);
    };
    told("…", "");
    try {
      told(await act($("dialog-select").value, $("dialog-reason").value.trim()), "done");
      show("dialog-ok", false);
      text("dialog-cancel", "Close");
    } catch (error) {
      told(error.message, "failed");
      $("dialog-ok").disabled = false;
    }
  };
  dialog.showModal();
}

const RULES = [["", "only this one"], ["rule", "hold back incidents like it from now on"], ["every", "hold them back for every entity"]];

// An operator's word on an incident.
export function judge(incident, verdict, done) {
  const dismissed = verdict === "dismiss";
  ask({
    title: dismissed ? "Dismiss the incident" : "Confirm the incident", confirm: dismissed ? "Dismiss" : "Confirm",
    label: "What about others like it?", choices: dismissed ? RULES : null,
    words: dismissed ? "It was no incident. A rule is listed by vigil rules list, and can be undone." : "It was one: a label for precision, recall and the next retraining.",
    act: async (choice, reason) => {
      const rule = choice === "every" ? { entity: null } : choice === "rule";
      const said = await send(`incidents/${encodeURIComponent(incident.id)}/verdict`, { verdict, reason, rule });
      done();
      return said.rule ? `Dismissed. Rule ${said.rule.id} holds back ${said.rule.sentence}.` : `The incident is ${said.incident.verdict}.`;
    },
  });
}

const moved = (said) => `Version ${said.version} is champion. ${said.lagging.length ? `${said.lagging.join(", ")} will follow.` : said.replicas.length ? "All replicas serve it." : "Replicas follow within seconds."}`;

export function acts(state, done) {
  $("dialog-cancel").addEventListener("click", () => $("dialog").close());
  const then = async (promise, words) => {
    const said = await promise;
    done();
    return words(said);
  };
  $("promote").addEventListener("click", () => {
    const { champion, challenger, versions } = state().models;
    const others = versions.filter((v) => v.version !== champion?.version);
    if (challenger && challenger.version !== champion?.version && !others.some((v) => v.version === challenger.version)) others.unshift(challenger);
    const choices = others.map((v) => [v.version, `version ${v.version}${v.verdict ? `, gate ${v.verdict}` : ""}${v.version === challenger?.version ? ", challenger" : ""}`, v.version === challenger?.version]);
    ask({
      title: "Promote a version", label: "Version", choices: choices.length ? choices : null, why: choices.length > 0, confirm: "Promote",
      words: choices.length ? `It replaces version ${champion?.version ?? "none"} on every replica, without dropping a request, and ends a canary.` : "There is no other version to promote: train one with vigil train --data P.",
      act: (version, reason) => then(send("models/promote", { version, ...(reason ? { reason } : {}) }), moved),
    });
    show("dialog-ok", choices.length > 0);
  });
  $("rollback").addEventListener("click", () => ask({
    title: "Roll back", confirm: "Roll back", words: `The version before ${state().models.champion?.version ?? "the champion"} becomes champion again on every replica, and a canary ends.`,
    act: (_, reason) => then(send("models/rollback", reason ? { reason } : {}), moved),
  }));
  $("mode").addEventListener("click", () => ask({
    title: "Switch the governor's mode", label: "Mode", confirm: "Switch", why: false, words: "It holds from now on, also over restarts.",
    choices: MODES.map(([value, name]) => [value, name, value === state().governor.mode]),
    act: (mode) => then(send("drift/mode", { mode: mode || null }), (said) => `The mode is ${said.mode ?? "what the settings say"}.`),
  }));
}
