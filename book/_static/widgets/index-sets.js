// The index-set explorer: which cells of a small tensor share one mean and one variance.
"use strict";

(() => {
  const EXAMPLES = 3, CHANNELS = 4, POSITIONS = 4, EPS = 1e-5;
  // method → which axes are averaged over; group norm averages over channels of one group only
  const METHODS = {
    "batch norm": { n: true, c: false, p: true },
    "layer norm": { n: false, c: true, p: true },
    "instance norm": { n: false, c: false, p: true },
    "group norm": { n: false, c: "group", p: true },
  };
  const OWN = "your own choice";
  // values that differ in mean and spread by example and by channel, so that each set tells something
  const value = (n, c, p) => ((2 * n + 2 * c + 2 * p + n * c + 4 * p * p * (n + 1)) % 11) - 4 + 2 * c - n;

  const { element } = widgets;
  const number = (x) => (Object.is(Math.round(x * 100), -0) ? "0.00" : x.toFixed(2)).replace("-", "−");

  widgets.register("index-sets", (root) => {
    const state = { method: "batch norm", n: true, c: false, p: true, groups: 2, cell: [0, 0, 0] };

    const method = element("select", { id: "index-sets-method" });
    for (const name of [...Object.keys(METHODS), OWN]) method.append(element("option", {}, name));
    const groups = element("select", { id: "index-sets-groups" });
    for (const count of [1, 2, 4]) groups.append(element("option", {}, String(count)));
    groups.value = String(state.groups);
    const groupsLabel = element("label", { for: "index-sets-groups" }, "groups ", groups);

    const boxes = {};
    const axes = element("fieldset", {}, element("legend", {}, "averaged over"));
    for (const [axis, name] of [["n", "examples N"], ["c", "channels C"], ["p", "positions H, W"]]) {
      boxes[axis] = element("input", { type: "checkbox", id: `index-sets-${axis}` });
      axes.append(element("label", { for: `index-sets-${axis}` }, boxes[axis], ` ${name}`));
      boxes[axis].addEventListener("change", () => {
        state[axis] = boxes[axis].checked;
        const fitting = Object.entries(METHODS).find(([, m]) => ["n", "c", "p"].every((a) => m[a] === state[a]));
        state.method = fitting ? fitting[0] : OWN;
        draw();
      });
    }
    method.addEventListener("change", () => {
      state.method = method.value;
      if (METHODS[method.value]) Object.assign(state, METHODS[method.value]);
      else if (state.c === "group") state.c = true; // one's own choice has boxes alone, and no groups
      draw();
    });
    groups.addEventListener("change", () => {
      state.groups = Number(groups.value);
      draw();
    });

    const cells = new Map();
    const tensor = element("div", { class: "index-sets-tensor" });
    for (let n = 0; n < EXAMPLES; n++) {
      const grid = element("div", { class: "index-sets-grid", role: "group", "aria-label": `example ${n + 1}` });
      for (let c = 0; c < CHANNELS; c++) {
        for (let p = 0; p < POSITIONS; p++) {
          const cell = element("button", { type: "button" }, String(value(n, c, p)).replace("-", "−"));
          cell.addEventListener("click", () => choose(n, c, p));
          cell.addEventListener("keydown", (event) => move(event, n, c, p));
          cells.set(`${n},${c},${p}`, cell);
          grid.append(cell);
        }
      }
      tensor.append(element("figure", {}, grid, element("figcaption", {}, `example ${n + 1}`)));
    }
    const result = element("p", { class: "widget-result", "aria-live": "polite" });
    root.append(
      element("div", { class: "widget-controls" },
        element("label", { for: "index-sets-method" }, "method ", method), groupsLabel, axes),
      element("p", { class: "widget-strip" }, "Rows are the channels C, columns the positions H, W."), tensor, result,
    );

    function choose(n, c, p) {
      state.cell = [n, c, p];
      draw();
    }

    function move(event, n, c, p) {
      // to the right of an example stands the next one
      const here = n * POSITIONS + p, last = EXAMPLES * POSITIONS - 1;
      const step = {
        ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -here], End: [0, last - here],
      }[event.key];
      if (!step) return;
      event.preventDefault();
      const across = here + step[1];
      const row = c + step[0];
      if (across < 0 || across >= EXAMPLES * POSITIONS || row < 0 || row >= CHANNELS) return;
      const target = [Math.floor(across / POSITIONS), row, across % POSITIONS];
      choose(...target);
      cells.get(target.join()).focus();
    }

    function inside(n, c, p) {
      const [n0, c0, p0] = state.cell;
      const size = CHANNELS / state.groups;
      const channel = state.c === "group" ? Math.floor(c / size) === Math.floor(c0 / size) : state.c || c === c0;
      return (state.n || n === n0) && channel && (state.p || p === p0);
    }

    function draw() {
      method.value = state.method;
      for (const axis of ["n", "c", "p"]) {
        boxes[axis].checked = Boolean(state[axis]);
        boxes[axis].indeterminate = state[axis] === "group";
      }
      groupsLabel.hidden = state.c !== "group";
      const values = [];
      for (const [key, cell] of cells) {
        const [n, c, p] = key.split(",").map(Number);
        const belongs = inside(n, c, p);
        const chosen = key === state.cell.join();
        if (belongs) values.push(value(n, c, p));
        cell.classList.toggle("inside", belongs);
        cell.setAttribute("aria-pressed", String(chosen));
        cell.tabIndex = chosen ? 0 : -1;
        cell.setAttribute("aria-label",
          `example ${n + 1}, channel ${c + 1}, position ${p + 1}: ${value(n, c, p)}${belongs ? ", in the set" : ""}`);
      }
      const mean = values.reduce((a, b) => a + b, 0) / values.length;
      const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length;
      const x = value(...state.cell);
      const xHat = (x - mean) / Math.sqrt(variance + EPS);
      const count = new Set([...cells.keys()].map((key) => {
        const [n, c, p] = key.split(",").map(Number);
        const channel = state.c === "group" ? Math.floor(c / (CHANNELS / state.groups)) : state.c ? "" : c;
        return [state.n ? "" : n, channel, state.p ? "" : p].join();
      })).size;
      result.textContent =
        `The chosen cell holds ${String(x).replace("-", "−")}. Its set has ${values.length} ` +
        `${values.length === 1 ? "cell" : "cells"}: mean ${number(mean)}, variance ${number(variance)}, so x̂ = ${number(xHat)}. ` +
        `The tensor has ${count} such ${count === 1 ? "set" : "sets"}.` +
        (values.length === 1 ? " One value has no spread: x̂ is 0 whatever it is." : "");
    }
    draw();
    return () => {}; // its cells take their width from the page
  });
})();
