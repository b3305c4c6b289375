// Signals through depth: a batch on its way through a random network, a gradient on its way back, layer by layer.
"use strict";

(() => {
  const { element, shape, number, normals, slider, choice, button } = widgets;
  const UNITS = 100, EXAMPLES = 64, DEEPEST = 60; // of the network
  const LIMIT = 4, BINS = 40, ROWS = 25; // of the histograms
  const NORMS = ["none", "batch norm"];
  const START = { variance: 2, depth: 50, activation: "ReLU", norm: NORMS[0], draw: 1 };
  const ACTIVATIONS = { // the function, and its slope
    ReLU: [(a) => Math.max(a, 0), (a) => (a > 0 ? 1 : 0)],
    tanh: [Math.tanh, (a) => 1 - Math.tanh(a) ** 2],
    linear: [(a) => a, () => 1],
  };

  const array = (size, value) => Float64Array.from({ length: size }, value);
  const meanSquare = (values) => values.reduce((sum, v) => sum + v * v, 0) / values.length;

  // scale · h wᵀ for h (examples, units) and w (units, units), in blocks of 4 by 2
  function times(h, w, scale) {
    const n = UNITS, out = new Float64Array(EXAMPLES * n);
    for (let b = 0; b < EXAMPLES; b += 4) {
      for (let i = 0; i < n; i += 2) {
        let s00 = 0, s10 = 0, s20 = 0, s30 = 0, s01 = 0, s11 = 0, s21 = 0, s31 = 0;
        for (let j = 0, p = b * n, q = i * n; j < n; j++, p++, q++) {
          const w0 = w[q], w1 = w[q + n], h0 = h[p], h1 = h[p + n], h2 = h[p + 2 * n], h3 = h[p + 3 * n];
          s00 += h0 * w0; s10 += h1 * w0; s20 += h2 * w0; s30 += h3 * w0;
          s01 += h0 * w1; s11 += h1 * w1; s21 += h2 * w1; s31 += h3 * w1;
        }
        [s00, s10, s20, s30].forEach((s, k) => { out[(b + k) * n + i] = scale * s; });
        [s01, s11, s21, s31].forEach((s, k) => { out[(b + k) * n + i + 1] = scale * s; });
      }
    }
    return out;
  }

  // calls use(first) for the first entry of each unit's column
  const columns = (use) => { for (let i = 0; i < UNITS; i++) use(i); };
  const over = (values, i) => {
    let sum = 0;
    for (let p = i; p < values.length; p += UNITS) sum += values[p];
    return sum / EXAMPLES;
  };

  // (a − μ)/σ over the batch, in place; gives 1/σ of each unit
  function normalize(a) {
    const inverse = new Float64Array(UNITS);
    columns((i) => {
      const mean = over(a, i);
      let sum = 0;
      for (let p = i; p < a.length; p += UNITS) sum += (a[p] -= mean) ** 2;
      inverse[i] = 1 / Math.sqrt(sum / EXAMPLES);
      for (let p = i; p < a.length; p += UNITS) a[p] *= inverse[i];
    });
    return inverse;
  }

  // the gradient before that from the one after it, in place
  function denormalize(delta, a, inverse) {
    columns((i) => {
      const mean = over(delta, i);
      let along = 0;
      for (let p = i; p < a.length; p += UNITS) along += delta[p] * a[p];
      along /= EXAMPLES;
      for (let p = i; p < a.length; p += UNITS) delta[p] = inverse[i] * (delta[p] - mean - a[p] * along);
    });
  }

  // inputs, the gradient that enters at the end, and weights of variance 1/n: the same for the same number
  function drawn(seed) {
    const normal = normals(seed), size = EXAMPLES * UNITS;
    const inputs = array(size, normal), sent = array(size, normal);
    const weights = Array.from({ length: DEEPEST }, () => array(UNITS * UNITS, () => normal() / Math.sqrt(UNITS)));
    return { inputs, sent, weights };
  }

  // a and δ of each layer
  function signals({ inputs, sent, weights }, { variance, depth, activation, norm }) {
    const [phi, slope] = ACTIVATIONS[activation], sigma = Math.sqrt(variance), normed = norm !== NORMS[0];
    const a = [], inverses = [], delta = [];
    for (let l = 0, h = inputs; l < depth; l++) {
      a.push(times(h, weights[l], sigma));
      if (normed) inverses.push(normalize(a[l]));
      h = a[l].map(phi);
    }
    const turned = new Float64Array(UNITS * UNITS);
    delta[depth - 1] = sent;
    for (let l = depth - 1; l > 0; l--) {
      const d = delta[l].slice();
      if (normed) denormalize(d, a[l], inverses[l]);
      for (let i = 0; i < UNITS; i++) for (let j = 0; j < UNITS; j++) turned[j * UNITS + i] = weights[l][i * UNITS + j];
      delta[l - 1] = times(d, turned, sigma);
      for (let p = 0; p < d.length; p++) delta[l - 1][p] *= slope(a[l - 1][p]);
    }
    return { a, delta };
  }

  // what the theory of wide layers says: mean squares of a and δ by layer
  function theory({ variance, depth, activation, norm }) {
    const [phi, slope] = ACTIVATIONS[activation];
    const expected = (f) => { // over a standard normal z; no node at the kink of ReLU
      let sum = 0;
      for (let z = -7.975; z < 8; z += 0.05) sum += f(z) * Math.exp(-z * z / 2);
      return sum * 0.05 / Math.sqrt(2 * Math.PI);
    };
    const normed = norm !== NORMS[0], q = [normed ? 1 : variance], back = [];
    const spread = expected((z) => phi(z) ** 2) - expected(phi) ** 2;
    while (q.length < depth) q.push(normed ? 1 : variance * expected((z) => phi(Math.sqrt(q[q.length - 1]) * z) ** 2));
    back[depth - 1] = 1;
    for (let l = depth - 1; l > 0; l--) {
      const factor = (normed ? 1 / spread : variance) * expected((z) => slope(Math.sqrt(q[l - 1]) * z) ** 2);
      back[l - 1] = back[l] * factor;
    }
    return { q, back };
  }

  const RAISED = { "-": "⁻", ...Object.fromEntries([..."⁰¹²³⁴⁵⁶⁷⁸⁹"].map((raised, n) => [n, raised])) };
  const power = (n) => (n ? `10${[...String(n)].map((c) => RAISED[c]).join("")}` : "1");
  const scale = (x) => {
    const [digits, exponent] = x.toExponential(1).split("e");
    return x >= 0.01 && x < 1000 ? number(x) : `${digits}·${power(Number(exponent))}`;
  };

  widgets.register("signals", (root) => {
    const state = {};
    let network, WIDTH = 600, found;

    function update(changed) {
      if ("draw" in changed) network = drawn(changed.draw);
      Object.assign(state, changed);
      const { a, delta } = signals(network, state);
      const varying = a.map((values) => {
        let sum = 0;
        columns((i) => { sum += over(values, i) ** 2; });
        return meanSquare(values) - sum / UNITS;
      });
      found = { a, delta, forward: a.map(meanSquare), backward: delta.map(meanSquare), varying, ...theory(state) };
      draw();
    }

    const controls = element("div", { class: "widget-controls" });
    const variance = slider("signals-variance", "scale σ_w²", { min: 0.5, max: 4, step: 0.1, shown: (v) => number(Number(v), 1) },
      (value) => update({ variance: value }));
    const depth = slider("signals-depth", "layers", { min: 10, max: DEEPEST, step: 1, shown: String },
      (value) => update({ depth: value }));
    const activation = choice("signals-activation", "activation", Object.keys(ACTIVATIONS),
      (name) => update({ activation: name }));
    const norm = choice("signals-norm", "normalization", NORMS, (name) => update({ norm: name }));
    controls.append(variance.label, depth.label, activation.group, norm.group, element("div", { class: "widget-buttons" },
      button("other weights", () => update({ draw: state.draw + 1 })),
      button("start again", () => update(START))));
    const drawing = shape("svg", { role: "img" });
    const result = element("p", { class: "widget-result", "aria-live": "polite" });
    root.append(controls, drawing, result);

    const text = (x, y, words, anchor = "middle") => shape("text", { x, y, "text-anchor": anchor }, words);
    const line = (x1, y1, x2, y2, name) => shape("line", { x1, x2, y1, y2, class: name });

    // Histograms of layer after layer, each of the height of a normal distribution's at most.
    function ridge(left, width, top, pitch, rows, layers, name, title) {
      const at = (v) => left + width * (0.5 + v / (2 * LIMIT + 0.8)), base = (k) => top + pitch * (k + 1);
      const parts = [text(left + width / 2, top - 12, title)];
      rows.forEach((l, k) => {
        const counts = new Array(BINS).fill(0), values = layers[l - 1];
        let outside = 0;
        for (const v of values) {
          if (Math.abs(v) < LIMIT) counts[Math.floor((v / LIMIT + 1) * BINS / 2)] += 1;
          else outside += 1;
        }
        const full = values.length * 0.4 * 2 * LIMIT / BINS;
        const steps = counts.map((c, n) => {
          const y = base(k) - pitch * 1.15 * Math.min(1, c / full);
          return `${at((2 * n + 1) / BINS * LIMIT - LIMIT).toFixed(0)},${y.toFixed(1)}`;
        });
        const [first, last] = [at(-LIMIT), at(LIMIT)].map((x) => `${x.toFixed(0)},${base(k).toFixed(1)}`);
        parts.push(shape("path", { d: `M${first}L${steps.join(" ")} ${last}`, class: `${name} ridge` }));
        if (outside > 0.1 * values.length) {
          const y = base(k) - pitch / 2;
          for (const side of [-1, 1]) {
            const x = at(side * (LIMIT + 0.35));
            parts.push(shape("path", { d: `M${x.toFixed(0)} ${y.toFixed(1)}l${-side * 6} -4v8z`, class: `${name} tip` }));
          }
        }
      });
      const bottom = base(rows.length - 1);
      parts.push(line(at(-LIMIT), bottom, at(LIMIT), bottom, "axis"));
      for (const v of [-LIMIT, 0, LIMIT]) parts.push(line(at(v), bottom, at(v), bottom + 5, "axis"), text(at(v), bottom + 19, number(v, 0)));
      drawing.append(...parts);
    }

    // Layers at the left of what has them as rows.
    function names(left, top, pitch, rows) {
      const y = (l) => top + pitch * (rows.indexOf(l) + 1);
      const shown = rows.filter((l) => l === 1 || l === state.depth || (l % 10 === 0 && state.depth - l > 2));
      drawing.append(text(left, top - 12, "layer", "end"), ...shown.map((l) => text(left, y(l), String(l), "end")));
    }

    // Mean squares by layer, the layers downwards, on a logarithmic axis.
    function scales(left, width, top, height, title) {
      const { forward, backward, varying, q, back } = found, lines = [q, back, varying, forward, backward];
      const largest = Math.max(...lines.flat().map((v) => Math.abs(Math.log10(v))));
      const decades = [3, 10, 20, 40].find((d) => d >= largest) ?? 60;
      const x = (v) => left + width * (0.5 + Math.log10(v) / (2 * decades)), y = (l) => top + height * l / state.depth;
      const classes = ["theory", "theory", "forward varying", "forward curve", "backward curve"];
      drawing.append(text(left + width / 2, top - 12, title));
      const bottom = top + height;
      for (const d of [-1, -0.5, 0, 0.5, 1].map((part) => Math.round(part * decades))) {
        const place = x(10 ** d);
        drawing.append(line(place, top, place, bottom, "grid"));
        if (Math.abs(d) % decades === 0) drawing.append(text(place, bottom + 19, power(d)));
      }
      lines.forEach((values, n) => {
        const points = Array.from(values, (v, l) => `${x(v).toFixed(1)},${y(l + 1).toFixed(1)}`).join(" ");
        drawing.append(shape("polyline", { points, class: classes[n] }));
      });
    }

    function legend(top, entries) {
      const wide = WIDTH >= 520;
      entries.forEach(([name, words], i) => {
        const x = wide ? (i % 2) * WIDTH / 2 : 0, y = top + 20 * (wide ? Math.floor(i / 2) : i);
        drawing.append(line(x, y, x + 26, y, name), text(x + 34, y + 5, words, "start"));
      });
      return top + 20 * (wide ? Math.ceil(entries.length / 2) : entries.length);
    }

    function draw(width = WIDTH) {
      WIDTH = width;
      variance.set(state.variance);
      depth.set(state.depth);
      activation.set(state.activation);
      norm.set(state.norm);
      const { a, delta, forward, backward, varying, q, back } = found, L = state.depth;
      drawing.replaceChildren(shape("title", {}, "Distributions and mean squares, layer by layer; in words below."));
      const every = Math.ceil(L / ROWS);
      const rows = a.map((_, n) => n + 1).filter((l) => l === 1 || l % every === 0 && l > every || l === L);
      const pitch = 400 / rows.length;
      const top = legend(10, [["forward curve", "forward: mean square of a"], ["backward curve", "backward: mean square of δ"],
        ["forward varying", "variance of a over the batch"], ["theory", "theory of wide layers"]]) + 24;
      const left = 42, wide = WIDTH >= 520, gap = 20;
      const one = wide ? (WIDTH - left - 2 * gap) / 3 : (WIDTH - left - gap) / 2;
      names(left - 8, top, pitch, rows);
      ridge(left, one, top, pitch, rows, a, "forward", "activations a ↓");
      ridge(WIDTH - one, one, top, pitch, rows, delta, "backward", "gradients δ ↑");
      const below = top + 400 + 64;
      if (wide) scales(left + one + gap + 14, one - 28, top, 400, "mean squares");
      else {
        const short = 240;
        drawing.append(text(left - 8, below - 12, "layer", "end"),
          ...[1, L].map((l) => text(left - 8, below + short * l / L + 5, String(l), "end")));
        scales(left + 14, WIDTH - left - 34, below, short, "mean squares");
      }
      drawing.setAttribute("viewBox", `0 0 ${WIDTH} ${(wide ? top + 400 : below + 240) + 26}`);

      const factor = (from, to) => number((to / from) ** (1 / (L - 1)), 3);
      const alike = 100 * (1 - varying[L - 1] / forward[L - 1]);
      result.textContent =
        `${state.activation}, σ_w² = ${number(state.variance, 1)}, normalization: ${state.norm}. ` +
        `${L} layers of ${UNITS} units, ${EXAMPLES} examples, draw ${state.draw} of the weights. ` +
        `Forward: the mean square of a is ${scale(forward[0])} at layer 1 and ${scale(forward[L - 1])} at layer ${L}, ` +
        `a factor of ${factor(forward[0], forward[L - 1])} per layer; theory: ${factor(q[0], q[L - 1])}. ` +
        `At layer ${L}, ${number(alike, 0)} % of it is the same for all examples. ` +
        `Backward: that of δ is ${scale(backward[L - 1])} at layer ${L} and ${scale(backward[0])} at layer 1, ` +
        `a factor of ${factor(backward[L - 1], backward[0])} per layer; theory: ${factor(back[L - 1], back[0])}` +
        (state.norm === NORMS[0] ? "." : ", for large batches.");
    }

    update(START);
    return draw;
  });
})();
