// The batch-norm playground: one feature, a batch, and what comes out in training and in evaluation.
"use strict";

(() => {
  const MOMENTUM = 0.1, LIMIT = 10;
  const SVG = "http://www.w3.org/2000/svg";

  const element = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, content] of Object.entries(attributes)) made.setAttribute(name, content);
    made.append(...children);
    return made;
  };
  const shape = (tag, attributes) => {
    const made = document.createElementNS(SVG, tag);
    for (const [name, content] of Object.entries(attributes)) made.setAttribute(name, content);
    return made;
  };
  const number = (x) => {
    const text = Math.abs(x) >= 1000 ? x.toExponential(1) : x.toFixed(2);
    return (Number(text) === 0 ? "0.00" : text).replace("-", "−");
  };

  // the same batches on every visit
  function generator(seed) {
    let state = seed;
    const uniform = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return (state + 0.5) / 4294967296;
    };
    return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  }

  function build(root) {
    // one unit of the drawing is one pixel, so that text stays legible on a phone
    const WIDTH = Math.max(240, Math.min(600, root.clientWidth - 34));
    const start = { shift: 3, scale: 2, m: 16, gamma: 1, beta: 0, eps: -5 };
    const state = { ...start, training: true, z: [], mean: 0, variance: 1, batches: 0 };
    let normal = generator(1);

    const sliders = {};
    const controls = element("div", { class: "widget-controls" });
    const add = (name, label, min, max, step, shown = number) => {
      const input = element("input", { type: "range", id: `batch-norm-${name}`, min, max, step });
      const output = element("output", { for: `batch-norm-${name}` });
      sliders[name] = { input, output, shown };
      input.addEventListener("input", () => {
        state[name] = Number(input.value);
        if (name === "m") while (state.z.length < state.m) state.z.push(normal());
        draw();
      });
      controls.append(element("label", { for: `batch-norm-${name}` }, `${label} `, input, output));
    };
    add("shift", "shift of the batch", -6, 6, 0.5);
    add("scale", "scale of the batch", 0, 4, 0.1);
    add("m", "examples m", 2, 32, 1, String);
    add("gamma", "γ", -3, 3, 0.1);
    add("beta", "β", -4, 4, 0.1);
    add("eps", "ε", -5, 1, 0.5, (e) => (10 ** e).toPrecision(1));

    const modes = element("fieldset", {}, element("legend", {}, "mode"));
    const radios = {};
    for (const [name, training] of [["training", true], ["evaluation", false]]) {
      const id = `batch-norm-${name}`;
      radios[name] = element("input", { type: "radio", name: "batch-norm-mode", id });
      modes.append(element("label", { for: id }, radios[name], ` ${name}`));
      radios[name].addEventListener("change", () => {
        state.training = training;
        draw();
      });
    }
    const button = (text, action) => {
      const made = element("button", { type: "button" }, text);
      made.addEventListener("click", () => {
        action();
        draw();
      });
      return made;
    };
    const buttons = element("div", { class: "widget-buttons" },
      button("next batch", () => next(1)), button("next 20 batches", () => next(20)), button("start again", reset));
    controls.append(modes, buttons);

    const strip = (title) => {
      const drawing = shape("svg", { viewBox: `0 0 ${WIDTH} 74`, role: "img" });
      root.append(element("p", { class: "widget-strip" }, title), drawing);
      return drawing;
    };
    root.append(controls);
    const input = strip("what comes in: x");
    const output = strip("what goes out: y");
    const result = element("p", { class: "widget-result", "aria-live": "polite" });
    root.append(result);

    function statistics(values) {
      const mean = values.reduce((a, b) => a + b, 0) / values.length;
      return [mean, values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length];
    }

    function batch() {
      return state.z.slice(0, state.m).map((z) => state.shift + state.scale * z);
    }

    // the first example stays the same; its company changes
    function draft() {
      state.z = [1];
      while (state.z.length < 32) state.z.push(normal());
    }

    function next(count) {
      for (let i = 0; i < count; i++) {
        if (state.training) {
          const [mean, variance] = statistics(batch());
          state.mean += MOMENTUM * (mean - state.mean);
          state.variance += MOMENTUM * ((variance * state.m) / (state.m - 1) - state.variance);
          state.batches += 1;
        }
        draft();
      }
    }

    function reset() {
      normal = generator(1);
      Object.assign(state, start, { training: true, mean: 0, variance: 1, batches: 0 });
      draft();
    }

    function dots(drawing, values, mean, deviation, label) {
      const at = (v) => WIDTH / 2 + (Math.max(-LIMIT, Math.min(LIMIT, v)) / LIMIT) * (WIDTH / 2 - 14);
      drawing.replaceChildren(shape("title", {}));
      drawing.firstChild.textContent = label;
      const left = at(mean - deviation), right = at(mean + deviation);
      drawing.append(
        shape("rect", { x: left, y: 8, width: Math.max(right - left, 1), height: 40, class: "spread" }),
        shape("line", { x1: at(mean), x2: at(mean), y1: 4, y2: 52, class: "mean" }),
        shape("line", { x1: 0, x2: WIDTH, y1: 52, y2: 52, class: "axis" }),
      );
      for (let tick = -LIMIT; tick <= LIMIT; tick += 5) {
        const text = shape("text", { x: at(tick), y: 70, "text-anchor": "middle" });
        text.textContent = String(tick).replace("-", "−");
        drawing.append(shape("line", { x1: at(tick), x2: at(tick), y1: 52, y2: 57, class: "axis" }), text);
      }
      values.forEach((v, i) => {
        if (i) drawing.append(shape("circle", { cx: at(v), cy: 20 + ((i * 7) % 25), r: 5, class: "example" }));
      });
      const x = at(values[0]);
      drawing.append(shape("path", { d: `M${x} 20l9 9l-9 9l-9-9z`, class: "own" }));
    }

    function draw() {
      for (const [name, { input: slider, output: shown, shown: format }] of Object.entries(sliders)) {
        slider.value = state[name];
        shown.textContent = format(state[name]);
        slider.setAttribute("aria-valuetext", format(state[name]));
      }
      radios[state.training ? "training" : "evaluation"].checked = true;
      const x = batch();
      const [mean, variance] = statistics(x);
      const [by, spread] = state.training ? [mean, variance] : [state.mean, state.variance];
      const y = x.map((v) => ((v - by) / Math.sqrt(spread + 10 ** state.eps)) * state.gamma + state.beta);
      const [outMean, outVariance] = statistics(y);
      dots(input, x, mean, Math.sqrt(variance), `inputs: mean ${number(mean)}, deviation ${number(Math.sqrt(variance))}`);
      dots(output, y, outMean, Math.sqrt(outVariance),
        `outputs: mean ${number(outMean)}, deviation ${number(Math.sqrt(outVariance))}`);
      result.textContent =
        `Batch: mean ${number(mean)}, variance ${number(variance)}. ` +
        `Running averages after ${state.batches} batches: mean ${number(state.mean)}, variance ${number(state.variance)}. ` +
        `Normalized by ${state.training ? "the batch" : "the running averages"}. ` +
        `Output: mean ${number(outMean)}, deviation ${number(Math.sqrt(outVariance))}. ` +
        `The diamond: x = ${number(x[0])}, y = ${number(y[0])}.`;
    }

    reset();
    draw();
  }

  for (const root of document.querySelectorAll('[data-widget="batch-norm"]')) build(root);
})();
