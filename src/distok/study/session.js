// What a participant does, without the page: the plan drawn from a code, votes, undo, resuming, and the file at the end.
// Pure functions on plain values, so that they can be tested without a browser.
"use strict";

const Session = (() => {
  const CHOICES = ["left", "right", "tie"];

  // FNV-1a, 32 bits.
  function seedOf(text) {
    let hash = 0x811c9dc5;
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
    return hash >>> 0;
  }

  // Mulberry32: numbers in [0, 1) from a 32-bit seed.
  function random(seed) {
    return () => {
      seed = (seed + 0x6d2b79f5) | 0;
      let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }

  function shuffled(list, next) {
    const out = list.slice();
    for (let i = out.length - 1; i > 0; i--) {
      const j = Math.floor(next() * (i + 1));
      [out[i], out[j]] = [out[j], out[i]];
    }
    return out;
  }

  function cleanCode(text) {
    return String(text).toUpperCase().replace(/[^A-Z0-9-]/g, "").slice(0, 24);
  }

  function drawCode(next) {
    const letters = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"; // none that look alike
    return Array.from({ length: 8 }, () => letters[Math.floor(next() * letters.length)]).join("");
  }

  // Which block, in which order, which picture on which side: a function of the study and the code alone.
  function plan(study, code) {
    const next = random(seedOf(study.id + "/" + code));
    const block = Math.floor(next() * study.blocks.length);
    const trials = shuffled(study.blocks[block], next).map((id) => {
      const pictures = study.trials[id].pictures;
      const [left, right] = next() < 0.5 ? pictures : [pictures[1], pictures[0]];
      return { trial: id, left, right };
    });
    return { block, trials };
  }

  function start(study, code, now) {
    return { study: study.id, participant: code, started: now, finished: null, ...plan(study, code), votes: [] };
  }

  function done(state) {
    return state.votes.length >= state.trials.length;
  }

  function vote(study, state, choice, ms, now) {
    if (done(state) || !CHOICES.includes(choice) || (choice === "tie" && !study.ties)) return state;
    const votes = [...state.votes, { ...state.trials[state.votes.length], choice, ms: Math.max(0, Math.round(ms)) }];
    return { ...state, votes, finished: votes.length === state.trials.length ? now : null };
  }

  function undo(state) {
    return { ...state, votes: state.votes.slice(0, -1), finished: null };
  }

  // A stored session, or null where it is damaged or of another study.
  function restore(study, text) {
    try {
      const stored = JSON.parse(text);
      if (stored.study !== study.id || cleanCode(stored.participant) !== stored.participant || !stored.participant) return null;
      let state = start(study, stored.participant, String(stored.started));
      for (const each of stored.votes) {
        const planned = state.trials[state.votes.length];
        if (!planned || each.trial !== planned.trial || each.left !== planned.left || each.right !== planned.right) return null;
        const before = state.votes.length;
        state = vote(study, state, each.choice, Number(each.ms) || 0, stored.finished);
        if (state.votes.length === before) return null;
      }
      return state;
    } catch {
      return null;
    }
  }

  function store(state) {
    const { trials, ...rest } = state; // the plan is drawn again from the code
    return JSON.stringify(rest);
  }

  function file(state) {
    return JSON.stringify({ format: "picture-study-votes", version: 1, ...JSON.parse(store(state)) }, null, 1) + "\n";
  }

  function fileName(state) {
    return "votes-" + state.study + "-" + state.participant + ".json";
  }

  return { seedOf, random, shuffled, cleanCode, drawCode, plan, start, done, vote, undo, restore, store, file, fileName };
})();
