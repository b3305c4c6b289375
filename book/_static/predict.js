// Predictions: a choice or a curve is made before the answer is opened, and kept in this browser; paper shows all.
"use strict";

(() => {
  // a browser may refuse to keep anything; then nothing is remembered
  const keep = (key, value) => {
    try {
      if (value === null) localStorage.removeItem(key);
      else localStorage.setItem(key, JSON.stringify(value));
    } catch { /* private mode */ }
  };
  const kept = (key) => {
    try { return JSON.parse(localStorage.getItem(key)); } catch { return null; }
  };
  const make = (name, attributes = {}, text = "") => {
    const svg = ["svg", "g", "path", "line", "circle", "rect", "text"].includes(name);
    const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.textContent = text;
    return element;
  };

  // One of the items of the question's list. What was chosen and what happened are said once the answer is open.
  const choice = (question, answer) => {
    const list = [...question.querySelectorAll("ul")].at(-1);
    const items = [...list.children].map((item) => item.innerHTML);
    const right = Number(answer.dataset.answer) - 1;
    const key = "guess " + answer.dataset.name;
    const group = make("fieldset", { class: "choices" });
    group.append(make("legend", {}, "Your guess"));
    const said = make("p", { class: "guess", role: "status" });
    const inputs = items.map((html, n) => {
      const label = make("label");
      const input = make("input", { type: "radio", name: key, value: n });
      const text = make("span");
      text.innerHTML = html;
      label.append(input, text);
      group.append(label);
      input.addEventListener("change", () => { keep(key, n); tell(); });
      return input;
    });
    const tell = () => {
      const chosen = inputs.findIndex((input) => input.checked);
      inputs.forEach((input, n) => input.parentElement.classList.toggle("right", answer.open && n === right));
      said.textContent = !answer.open ? ""
        : chosen < 0 ? "The marked one is what happened."
        : chosen === right ? "Your guess is what happened." : "You guessed otherwise; the marked one is what happened.";
    };
    list.replaceWith(group);
    group.after(said);
    const before = kept(key);
    if (inputs[before]) inputs[before].checked = true;
    answer.addEventListener("toggle", tell);
    tell();
  };

  // A curve over the rows of a table in the answer: a handle a row, moved by mouse, finger or arrow keys.
  const HEIGHT = 250, LEFT = 62, RIGHT = 16, TOP = 12, BOTTOM = 44;
  const curve = (question, answer) => {
    const WIDTH = Math.min(480, Math.max(280, question.clientWidth - 48)); // lettering keeps its size on a phone
    const name = answer.dataset.draw;
    const column = (table) => [...table.querySelectorAll("thead th")].findIndex((th) => th.textContent === name);
    const table = [...answer.querySelectorAll("table.result")].find((t) => column(t) > 0);
    if (!table) return;
    const rows = [...table.querySelectorAll("tbody tr")];
    const over = table.querySelector("thead th").textContent;
    const labels = rows.map((row) => row.children[0].textContent);
    const truth = rows.map((row) => Number(row.children[column(table)].dataset.value));
    const [low, high, scale] = answer.dataset.range.split(" ");
    const to = scale === "log" ? Math.log : (v) => v, from = scale === "log" ? Math.exp : (v) => v;
    const [a, b] = [to(Number(low)), to(Number(high))];
    const x = (n) => LEFT + 14 + (WIDTH - LEFT - RIGHT - 28) * n / Math.max(1, rows.length - 1);
    const y = (share) => HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share;
    const value = (share) => from(a + share * (b - a));
    const shown = (v) => Number(v.toPrecision(2)).toLocaleString("en", { maximumSignificantDigits: 2 });
    const key = "guess " + answer.dataset.name;
    const before = kept(key);
    const shares = Array.isArray(before) && before.length === rows.length ? before : rows.map(() => 0.5);

    const figure = make("figure", { class: "drawn" });
    const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group", "aria-label": `Your guess: ${name} by ${over}` });
    const axis = (x1, y1, x2, y2) => svg.append(make("line", { class: "axis", x1, y1, x2, y2 }));
    axis(LEFT, TOP, LEFT, HEIGHT - BOTTOM);
    axis(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM);
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      svg.append(make("text", { x: LEFT - 8, y: y(share) + 5, "text-anchor": "end" }, shown(value(share))));
      axis(LEFT - 4, y(share), LEFT, y(share));
    }
    labels.forEach((label, n) => svg.append(make("text", { x: x(n), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" }, label)));
    svg.append(make("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, over));
    const measured = make("g", { class: "truth" }), guess = make("path", { class: "guess" });
    svg.append(measured, guess);
    const path = (points) => points.map((share, n) => `${n ? "L" : "M"}${x(n)} ${y(share)}`).join("");
    const truths = truth.map((v) => Math.min(1, Math.max(0, (to(Math.max(v, scale === "log" ? Number(low) : v)) - a) / (b - a))));
    measured.append(make("path", { d: path(truths) }));
    truths.forEach((share, n) => measured.append(make("rect", { x: x(n) - 4, y: y(share) - 4, width: 8, height: 8 })));

    const handles = shares.map((_, n) => {
      const handle = make("circle", {
        class: "handle", cx: x(n), r: 8, tabindex: 0, role: "slider", "aria-label": `${name} at ${labels[n]}`,
        "aria-valuemin": 0, "aria-valuemax": 100, "aria-orientation": "vertical",
      });
      handle.addEventListener("keydown", (event) => {
        const step = { ArrowUp: 0.02, ArrowRight: 0.02, ArrowDown: -0.02, ArrowLeft: -0.02, PageUp: 0.1, PageDown: -0.1, Home: -1, End: 1 }[event.key];
        if (step === undefined) return;
        event.preventDefault();
        set(n, shares[n] + step);
      });
      svg.append(handle);
      return handle;
    });
    const set = (n, share) => {
      shares[n] = Math.min(1, Math.max(0, share));
      keep(key, shares);
      draw();
    };
    const draw = () => {
      guess.setAttribute("d", path(shares));
      handles.forEach((handle, n) => {
        handle.setAttribute("cy", y(shares[n]));
        handle.setAttribute("aria-valuenow", Math.round(100 * shares[n]));
        handle.setAttribute("aria-valuetext", shown(value(shares[n])));
      });
      measured.style.display = answer.open ? "" : "none";
      caption.textContent = answer.open
        ? "Circles: your guess. Squares, dashed: what was measured."
        : `Draw ${name}: drag the circles, or move them with the arrow keys.`;
    };
    const point = (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      const nearest = rows.reduce((best, _, n) => (Math.abs(x(n) - at.x) < Math.abs(x(best) - at.x) ? n : best), 0);
      set(nearest, (HEIGHT - BOTTOM - at.y) / (HEIGHT - BOTTOM - TOP));
    };
    svg.addEventListener("pointerdown", (event) => { svg.setPointerCapture(event.pointerId); point(event); });
    svg.addEventListener("pointermove", (event) => { if (svg.hasPointerCapture(event.pointerId)) point(event); });
    const caption = make("figcaption", { role: "status" });
    figure.append(svg, caption);
    question.append(figure);
    answer.addEventListener("toggle", draw);
    draw();
  };

  const answers = [...document.querySelectorAll("details.answer")];
  for (const answer of answers) {
    const key = "answer " + answer.dataset.name;
    answer.open = kept(key) === true;
    const question = answer.previousElementSibling;
    if (answer.dataset.answer) choice(question, answer);
    if (answer.dataset.draw) curve(question, answer);
    answer.addEventListener("toggle", () => keep(key, answer.open || null));
  }
  // a link into an answer opens it
  const reveal = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const answer = target && target.closest("details.answer");
    if (answer && !answer.open) {
      answer.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", reveal);
  reveal();
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = answers.filter((answer) => !answer.open);
    for (const answer of closed) answer.open = true;
  });
  addEventListener("afterprint", () => { for (const answer of closed) answer.open = false; });
})();
