// Predictions: what a reader has opened stays open, and paper shows all.
"use strict";

(() => {
  const key = (answer) => "answer " + answer.dataset.name;
  const remember = (answer) => {
    // a browser may refuse to keep anything; then nothing is remembered
    try {
      if (answer.open) localStorage.setItem(key(answer), "open");
      else localStorage.removeItem(key(answer));
    } catch { /* private mode */ }
  };
  const remembered = (answer) => {
    try { return localStorage.getItem(key(answer)) === "open"; } catch { return false; }
  };
  const answers = [...document.querySelectorAll("details.answer")];
  for (const answer of answers) {
    answer.open = remembered(answer);
    answer.addEventListener("toggle", () => remember(answer));
  }
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = answers.filter((answer) => !answer.open);
    for (const answer of closed) answer.open = true;
  });
  addEventListener("afterprint", () => { for (const answer of closed) answer.open = false; });
})();
