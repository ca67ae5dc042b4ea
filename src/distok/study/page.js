// The page around a session: what is shown, keys, and what the browser remembers.
"use strict";

(() => {
  const study = JSON.parse(document.getElementById("study").textContent);
  const at = (id) => document.getElementById(id);
  const PREFIX = "picture-study:" + study.id + ":";
  const PAUSE = 250; // ms after a new pair in which nothing counts: a double click is one choice
  let state = null;
  let shown = Infinity;
  let turn = 0; // counts what was shown, so that pictures that are ready too late do not count for the next pair

  const memory = {
    get(key) {
      try { return localStorage.getItem(PREFIX + key); } catch { return null; }
    },
    set(key, value) {
      try { localStorage.setItem(PREFIX + key, value); return true; } catch { return false; }
    },
    drop(key) {
      try { localStorage.removeItem(PREFIX + key); } catch { /* nothing is kept then */ }
    },
  };

  function view(name) {
    for (const each of ["start", "trial", "end"]) at(each).hidden = each !== name;
    at(name + "-title").focus();
  }

  function begin(code) {
    state = Session.restore(study, memory.get("session:" + code) || "") || Session.start(study, code, new Date().toISOString());
    keep();
    proceed();
  }

  function keep() {
    const kept = memory.set("session:" + state.participant, Session.store(state)) && memory.set("last", state.participant);
    at("forgetful").hidden = kept;
  }

  function proceed() {
    if (Session.done(state)) return finish();
    const { trial, left, right } = state.trials[state.votes.length];
    const count = state.votes.length;
    const own = ++turn;
    shown = Infinity;
    at("wish").textContent = study.trials[trial].wish;
    at("left-picture").src = study.pictures[left];
    at("right-picture").src = study.pictures[right];
    at("bar").max = state.trials.length;
    at("bar").value = count;
    at("count").textContent = count + 1 + " of " + state.trials.length;
    at("who").textContent = state.participant;
    at("undo").disabled = count === 0;
    view("trial");
    const ready = () => { if (own === turn) shown = performance.now(); };
    Promise.all([at("left-picture").decode(), at("right-picture").decode()]).then(ready, ready);
  }

  function choose(choice) {
    const ms = performance.now() - shown;
    if (state === null || Session.done(state) || !(ms >= PAUSE)) return;
    state = Session.vote(study, state, choice, ms, new Date().toISOString());
    keep();
    proceed();
  }

  function undo() {
    if (state === null || state.votes.length === 0) return;
    state = Session.undo(state);
    keep();
    proceed();
  }

  function finish() {
    at("text").value = Session.file(state);
    at("file").textContent = Session.fileName(state);
    view("end");
  }

  function download() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([Session.file(state)], { type: "application/json" }));
    link.download = Session.fileName(state);
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  function newcomer() {
    const fresh = new Uint32Array(8);
    crypto.getRandomValues(fresh);
    let i = 0;
    at("code").value = Session.drawCode(() => fresh[i++ % 8] / 4294967296);
    state = null;
    memory.drop("last");
    view("start");
  }

  at("form").addEventListener("submit", (event) => {
    event.preventDefault();
    const code = Session.cleanCode(at("code").value);
    at("no-code").hidden = code !== "";
    if (code) begin(code);
    else at("code").focus();
  });
  at("left").addEventListener("click", () => choose("left"));
  at("right").addEventListener("click", () => choose("right"));
  at("tie").addEventListener("click", () => choose("tie"));
  at("undo").addEventListener("click", undo);
  at("back").addEventListener("click", undo);
  at("download").addEventListener("click", download);
  at("next").addEventListener("click", newcomer);
  at("tie").hidden = at("tie-key").hidden = !study.ties;

  document.addEventListener("keydown", (event) => {
    if (at("trial").hidden || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    const onButton = document.activeElement && document.activeElement.tagName === "BUTTON";
    const act = {
      ArrowLeft: () => choose("left"),
      ArrowRight: () => choose("right"),
      " ": study.ties && !onButton ? () => choose("tie") : null, // on a button, space presses it
      Backspace: undo,
      u: undo,
      U: undo,
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  const last = memory.get("last");
  if (last) begin(last);
  else newcomer();
})();
