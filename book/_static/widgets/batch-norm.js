// The batch-norm playground: one feature, a batch, what comes out in training and in evaluation, and what was before.
"use strict";

(() => {
  const { element, shape, number, normals, slider, choice, button } = widgets;
  const LIMIT = 10, LARGEST = 32, KEPT = 60; // values drawn, examples, batches in the history
  const START = { shift: 3, scale: 2, m: 16, gamma: 1, beta: 0, eps: -5, alpha: 0.1, training: true, unbiased: true };
  const MODES = ["training", "evaluation"], DIVISORS = ["m − 1", "m"];

  const statistics = (values) => {
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    return [mean, values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length];
  };

  widgets.register("batch-norm", (root) => {
    const state = {};
    let normal, WIDTH = 600;

    // the first example stays the same; its company changes
    const draft = () => {
      state.z = [1];
      while (state.z.length < LARGEST) state.z.push(normal());
    };
    const batch = () => state.z.slice(0, state.m).map((z) => state.shift + state.scale * z);
    const forward = (x) => {
      const [mean, variance] = state.training ? statistics(x) : [state.mean, state.variance];
      return x.map((v) => ((v - mean) / Math.sqrt(variance + 10 ** state.eps)) * state.gamma + state.beta);
    };
    // of one value there is no variance over m − 1
    const refused = () => state.training && state.unbiased && state.m === 1;

    function next(count) {
      for (let i = 0; i < count && !refused(); i++) {
        const x = batch(), [mean, variance] = statistics(x), y = forward(x)[0];
        if (state.training) {
          const kept = state.unbiased ? (variance * state.m) / (state.m - 1) : variance;
          state.mean += state.alpha * (mean - state.mean);
          state.variance += state.alpha * (kept - state.variance);
          state.batches += 1;
        }
        state.history.push({ mean, y, running: state.mean, training: state.training });
        if (state.history.length > KEPT) state.history.shift();
        draft();
      }
      draw();
    }
    function reset() {
      normal = normals(1);
      Object.assign(state, START, { mean: 0, variance: 1, batches: 0, history: [] });
      draft();
    }

    const sliders = {};
    const controls = element("div", { class: "widget-controls" });
    const add = (name, label, min, max, step, shown = number) => {
      sliders[name] = slider(`batch-norm-${name}`, label, { min, max, step, shown }, (value) => {
        state[name] = value;
        draw();
      });
      controls.append(sliders[name].label);
    };
    add("shift", "shift of the batch", -6, 6, 0.5);
    add("scale", "scale of the batch", 0, 4, 0.1);
    add("m", "examples m", 1, LARGEST, 1, String);
    add("gamma", "γ", -3, 3, 0.1);
    add("beta", "β", -4, 4, 0.1);
    add("eps", "ε", -5, 1, 0.5, (e) => (10 ** e).toPrecision(1));
    add("alpha", "momentum α", 0, 1, 0.05);
    const mode = choice("batch-norm-mode", "mode", MODES, (name) => { state.training = name === MODES[0]; draw(); });
    const divisor = choice("batch-norm-divisor", "variance kept: over", DIVISORS, (name) => {
      state.unbiased = name === DIVISORS[0];
      draw();
    });
    controls.append(mode.group, divisor.group, element("div", { class: "widget-buttons" },
      button("next batch", () => next(1)), button("next 20 batches", () => next(20)),
      button("start again", () => { reset(); draw(); })));
    const drawing = shape("svg", { role: "img" });
    const result = element("p", { class: "widget-result", "aria-live": "polite" });
    root.append(controls, drawing, result);

    const diamond = (x, y, r = 8) =>
      shape("path", { d: `M${x.toFixed(1)} ${(y - r).toFixed(1)}l${r} ${r}l${-r} ${r}l${-r} ${-r}z`, class: "own" });
    const text = (x, y, words, anchor = "start") => shape("text", { x, y, "text-anchor": anchor }, words);

    // Values on a line, with means and deviations around them; what lies outside stands at the edge as an arrow.
    function strip(top, title, values, spreads) {
      const at = (v) => WIDTH / 2 + (Math.max(-LIMIT, Math.min(LIMIT, v)) / LIMIT) * (WIDTH / 2 - 16);
      const parts = [text(0, top + 12, title)];
      for (const [mean, variance, name] of spreads) {
        const deviation = Math.sqrt(variance);
        const left = at(mean - deviation), right = at(mean + deviation);
        parts.push(
          shape("rect", { x: left, y: top + 24, width: Math.max(right - left, 1), height: 40, class: `${name} spread` }),
          shape("line", { x1: at(mean), x2: at(mean), y1: top + 20, y2: top + 68, class: `${name} mean` }));
      }
      parts.push(shape("line", { x1: 0, x2: WIDTH, y1: top + 68, y2: top + 68, class: "axis" }));
      for (let tick = -LIMIT; tick <= LIMIT; tick += 5) {
        parts.push(shape("line", { x1: at(tick), x2: at(tick), y1: top + 68, y2: top + 73, class: "axis" }),
          text(at(tick), top + 87, number(tick, 0), "middle"));
      }
      values.forEach((v, i) => {
        const y = i ? top + 32 + ((i * 7) % 25) : top + 44;
        if (Math.abs(v) > LIMIT) {
          const tip = at(v) + Math.sign(v) * 14, back = -Math.sign(v) * 10;
          const arrow = { d: `M${tip} ${y}l${back} -6v12z`, class: i ? "example outside" : "own outside" };
          parts.push(shape("path", arrow));
        } else if (i) parts.push(shape("circle", { cx: at(v), cy: y, r: 5, class: "example" }));
        else parts.push(diamond(at(v), y, 9));
      });
      drawing.append(...parts);
    }

    // What the batches were, the last one on the right; evaluation has a grey ground.
    function past(top, title, series) {
      const height = 64, left = 34, values = state.history.flatMap((h) => series.map(([key]) => h[key]));
      const low = Math.floor(Math.min(0, ...values)), high = Math.ceil(Math.max(1, ...values));
      const step = (WIDTH - left - 12) / Math.max(state.history.length, 20);
      const x = (i) => left + step * (i + 0.5), y = (v) => top + 22 + (height * (high - v)) / (high - low);
      const parts = [text(0, top + 12, title)];
      state.history.forEach((h, i) => {
        if (!h.training) parts.push(shape("rect", { x: x(i - 0.5), y: y(high), width: step, height, class: "evaluated" }));
      });
      for (const v of [low, high]) {
        parts.push(text(left - 6, y(v) + 5, number(v, 0), "end"),
          shape("line", { x1: left, x2: WIDTH, y1: y(v), y2: y(v), class: "grid" }));
      }
      for (const [key, kind] of series) {
        if (kind === "line") {
          const points = state.history.map((h, i) => `${x(i).toFixed(1)},${y(h[key]).toFixed(1)}`).join(" ");
          parts.push(shape("polyline", { points, class: "running mean" }));
        } else {
          state.history.forEach((h, i) => parts.push(kind === "own" ? diamond(x(i), y(h[key]), 4)
            : shape("circle", { cx: x(i), cy: y(h[key]), r: 2.5, class: "batch dot" })));
        }
      }
      drawing.append(...parts);
    }

    function legend(top) {
      const entries = [["batch", "the batch’s mean ± deviation"], ["running", "the running ones"]];
      const columns = WIDTH < 440 ? 1 : 2;
      entries.forEach(([name, words], i) => {
        const x = (i % columns) * 260, y = top + 20 * Math.floor(i / columns);
        drawing.append(shape("rect", { x, y, width: 28, height: 14, class: `${name} spread` }),
          shape("line", { x1: x + 14, x2: x + 14, y1: y - 1, y2: y + 15, class: `${name} mean` }),
          text(x + 36, y + 12, words));
      });
      return columns === 1 ? 44 : 24;
    }

    function draw(width = WIDTH) {
      WIDTH = width;
      for (const [name, { set }] of Object.entries(sliders)) set(state[name]);
      mode.set(MODES[state.training ? 0 : 1]);
      divisor.set(DIVISORS[state.unbiased ? 0 : 1]);
      const x = batch(), y = forward(x);
      const [mean, variance] = statistics(x), [outMean, outVariance] = statistics(y);
      const by = state.training ? "the batch" : "the running averages";
      drawing.replaceChildren(shape("title", {}, "Inputs, outputs and what the batches before were; in words below."));
      let top = legend(2);
      strip(top, "what comes in: x", x, [[mean, variance, "batch"], [state.mean, state.variance, "running"]]);
      strip((top += 96), `what goes out: y, normalized by ${by}`, y, [[outMean, outVariance, "batch"]]);
      past((top += 96), "before: ● batches’ means, — running mean", [["mean", "dots"], ["running", "line"]]);
      past((top += 98), "before: ◆ the diamond’s y", [["y", "own"]]);
      drawing.setAttribute("viewBox", `0 0 ${WIDTH} ${top + 94}`);
      const outside = [...x, ...y].filter((v) => Math.abs(v) > LIMIT).length;
      result.textContent =
        `Batch: mean ${number(mean)}, variance ${number(variance)}. ` +
        `Running averages after ${state.batches} ${state.batches === 1 ? "batch" : "batches"}: ` +
        `mean ${number(state.mean)}, variance ${number(state.variance)}. Normalized by ${by}. ` +
        `Output: mean ${number(outMean)}, deviation ${number(Math.sqrt(outVariance))}. ` +
        `The diamond: x = ${number(x[0])}, y = ${number(y[0])}.` +
        (outside ? ` ${outside} ${outside === 1 ? "value lies" : "values lie"} outside: ▸.` : "") +
        (refused() ? " One value has no variance over m − 1: PyTorch refuses such a batch in training, and so does this figure." : "");
    }

    reset();
    return draw;
  });
})();
