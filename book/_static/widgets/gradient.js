// What batch norm takes from a gradient: the values of one batch as axes, dy as an arrow to move, and its parts.
"use strict";

(() => {
  const { element, shape, number, normals, slider, choice, button } = widgets;
  const LIMIT = 2, REACH = 2.6, TILT = (22 * Math.PI) / 180; // of dy; of lines; of the view
  const START = { m: 3, x: [8, 3, 1], dy: [1.6, -0.8, 0.8], turn: 110 };
  const MODES = ["3", "2"];

  const dot = (a, b) => a.reduce((sum, v, i) => sum + v * b[i], 0);
  const times = (k, a) => a.map((v) => k * v);
  const plus = (a, b) => a.map((v, i) => v + b[i]);
  const list = (a) => `(${a.map((v) => number(v)).join(", ")})`;

  // A batch x and a gradient dy to its output: the parts of dy along 1 and along x̂, what is left, and dx; γ = 1, ε = 0.
  const split = (x, dy) => {
    const m = x.length, one = x.map(() => 1), mean = dot(x, one) / m;
    const c = x.map((v) => v - mean), deviation = Math.sqrt(dot(c, c) / m);
    if (deviation < 1e-9) return { one, mean, deviation: 0 };
    const hat = times(1 / deviation, c);
    const along = [times(dot(dy, one) / m, one), times(dot(dy, hat) / m, hat)];
    const left = plus(dy, times(-1, plus(...along)));
    const squares = [...along, left].map((v) => dot(v, v));
    return { one, mean, deviation, hat, along, left, squares, dx: times(1 / deviation, left) };
  };

  widgets.register("gradient", (root) => {
    const state = {}, normal = normals(3);
    let WIDTH = 600, view, dragged = null;

    const reset = () => Object.assign(state, START, { x: [...START.x], dy: [...START.dy] });
    const turn = (dy) => { // no further than the sliders go, in their steps
      state.dy = dy.map((v) => Math.round(10 * Math.max(-LIMIT, Math.min(LIMIT, v))) / 10);
      draw();
    };
    const point = (values) => [...values, ...state.dy.slice(values.length)];

    const sliders = {};
    const controls = element("div", { class: "widget-controls" });
    const batch = choice("gradient-m", "values m", MODES, (name) => { state.m = Number(name); draw(); });
    const add = (name, label, min, max, step, set, shown = (v) => number(v, 1)) => {
      sliders[name] = slider(`gradient-${name}`, label, { min, max, step, shown }, (value) => { set(value); draw(); });
      controls.append(sliders[name].label);
    };
    const digits = "₁₂₃";
    for (let i = 0; i < 3; i++) {
      add(`dy${i + 1}`, `dy${digits[i]}`, -LIMIT, LIMIT, 0.1, (v) => { state.dy[i] = v; });
    }
    for (let i = 0; i < 3; i++) add(`x${i + 1}`, `x${digits[i]}`, 0, 10, 0.5, (v) => { state.x[i] = v; });
    add("turn", "turn the view", 0, 180, 5, (v) => { state.turn = v; }, (v) => `${v}°`);
    const now = () => split(state.x.slice(0, state.m), state.dy.slice(0, state.m));
    controls.append(batch.group, element("div", { class: "widget-buttons" },
      button("dy along 1", () => { state.dy = point(now().one); draw(); }),
      button("dy along x̂", () => { const { hat } = now(); if (hat) state.dy = point(hat); draw(); }),
      button("random dy", () => turn(state.dy.map(normal))),
      button("start again", () => { reset(); draw(); })));
    const drawing = shape("svg", { role: "img" }), picture = shape("g");
    const handle = shape("circle", { r: 11, class: "handle" });
    const title = shape("title", {}, "dy, its parts along 1 and x̂, and what is left; in words below.");
    drawing.append(title, picture, handle);
    const result = element("p", { class: "widget-result", "aria-live": "polite" });
    root.append(controls, drawing, result);

    // What goes right and up on the page, of three values; two lie flat.
    const project = () => {
      if (state.m === 2) return { right: [1, 0], up: [0, 1] };
      const a = (state.turn * Math.PI) / 180;
      return {
        right: [-Math.sin(a), Math.cos(a), 0],
        up: [-Math.sin(TILT) * Math.cos(a), -Math.sin(TILT) * Math.sin(a), Math.cos(TILT)],
      };
    };
    const at = (v) => [view.x + view.scale * dot(v, view.right), view.y - view.scale * dot(v, view.up)];

    handle.addEventListener("pointerdown", (event) => {
      dragged = { x: event.clientX, y: event.clientY, dy: state.dy.slice(0, state.m) };
      handle.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    handle.addEventListener("pointermove", (event) => {
      if (!dragged) return;
      const unit = (view.scale * drawing.getBoundingClientRect().width) / WIDTH;
      const across = (event.clientX - dragged.x) / unit, upward = (dragged.y - event.clientY) / unit;
      turn(point(plus(dragged.dy, plus(times(across, view.right), times(upward, view.up)))));
    });
    for (const end of ["pointerup", "pointercancel"]) handle.addEventListener(end, () => { dragged = null; });

    const line = (from, to, kind) => {
      const [x1, y1] = at(from), [x2, y2] = at(to);
      return shape("line", { x1, y1, x2, y2, class: kind });
    };
    const arrow = (from, to, kind) => {
      const [x1, y1] = at(from), [x2, y2] = at(to), length = Math.hypot(x2 - x1, y2 - y1);
      if (length < 1) return [];
      const size = Math.min(11, length), [u, v] = [(x2 - x1) / length, (y2 - y1) / length];
      const [bx, by] = [x2 - size * u, y2 - size * v];
      const d = [[x2, y2], [bx - 0.45 * size * v, by + 0.45 * size * u], [bx + 0.45 * size * v, by - 0.45 * size * u]];
      return [shape("line", { x1, y1, x2: bx, y2: by, class: kind }),
        shape("path", { d: `M${d.map((p) => p.map((q) => q.toFixed(1)).join(" ")).join("L")}z`, class: `${kind} head` })];
    };
    // beside the end of a line, further out where another name is already
    const name = (v, words, kind, taken) => {
      const [x, y] = at(v), length = Math.hypot(x - view.x, y - view.y) || 1;
      const place = [x, y];
      let away = 14;
      do {
        place[0] = x + (away * (x - view.x)) / length;
        place[1] = y + (away * (y - view.y)) / length + 5;
        away += 6;
      } while (away < 60 && taken.some(([p, q]) => Math.abs(p - place[0]) < 28 && Math.abs(q - place[1]) < 16));
      taken.push(place);
      return shape("text", { x: place[0], y: place[1], "text-anchor": "middle", class: kind }, words);
    };

    function legend(top) {
      const entries = [["whole", "dy: take it by its ring"], ["one", "its part along 1"], ["hat", "its part along x̂"],
        ["left", "what is left"]];
      entries.forEach(([kind, words], i) => {
        const y = top + 20 * i;
        picture.append(shape("line", { x1: 0, x2: 28, y1: y + 8, y2: y + 8, class: `part ${kind}` }),
          shape("text", { x: 36, y: y + 13 }, words));
      });
      return 20 * entries.length;
    }

    // The squares of the three parts make up that of dy.
    function bar(top, { squares }) {
      const whole = squares.reduce((a, b) => a + b, 0);
      picture.append(shape("text", { x: 0, y: top + 12 }, "shares of |dy|²"));
      if (whole < 1e-12) return;
      let x = 0;
      ["one", "hat", "left"].forEach((kind, i) => {
        const width = (WIDTH * squares[i]) / whole;
        picture.append(shape("rect", { x, y: top + 20, width, height: 18, class: `share ${kind}` }));
        if (width > 40) {
          picture.append(shape("text", { x: x + width / 2, y: top + 55, "text-anchor": "middle" },
            number(squares[i] / whole)));
        }
        x += width;
      });
    }

    function draw(width = WIDTH) {
      WIDTH = width;
      const { m } = state, x = state.x.slice(0, m), dy = state.dy.slice(0, m), parts = split(x, dy);
      for (const [key, { label, set }] of Object.entries(sliders)) {
        label.hidden = m === 2 && (key.endsWith("3") || key === "turn");
        if (key === "turn") set(state.turn);
        else set(state[key.slice(0, -1)][key.slice(-1) - 1]);
      }
      batch.set(String(m));
      picture.replaceChildren();
      const under = WIDTH < 520, height = Math.min(WIDTH, 400), top = under ? 90 : 0;
      view = { ...project(), scale: height / 6.2, x: under ? WIDTH / 2 : WIDTH / 2 + 60, y: top + height / 2 };
      legend(2);
      const none = x.map(() => 0), axis = (i) => x.map((_, j) => (i === j ? REACH : 0));
      const taken = [], drawn = x.flatMap((_, i) => [line(times(-1, axis(i)), axis(i), "grid"),
        name(axis(i), `dy${digits[i]}`, "axis-name", taken)]);
      const direction = (v, kind, words) => {
        const end = times(REACH / Math.sqrt(dot(v, v)), v);
        drawn.push(line(times(-1, end), end, `direction ${kind}`));
        if (words) drawn.push(name(end, words, "direction-name", taken));
      };
      if (parts.hat && m === 3) {
        // the plane of 1 and x̂: a disc
        const ring = Array.from({ length: 72 }, (_, k) => {
          const [a, b] = [Math.cos((k * Math.PI) / 36), Math.sin((k * Math.PI) / 36)];
          return at(times(REACH / Math.sqrt(m), plus(times(a, parts.one), times(b, parts.hat))));
        });
        drawn.unshift(shape("path", { d: `M${ring.map((p) => p.map((q) => q.toFixed(1)).join(" ")).join("L")}z`,
          class: "plane" }));
        const [p, q, r] = parts.one, [f, g, h] = parts.hat;
        direction([q * h - r * g, r * f - p * h, p * g - q * f], "left", "");
      }
      direction(parts.one, "one", "1");
      if (parts.hat) {
        direction(parts.hat, "hat", "x̂");
        const [first] = parts.along, shadow = plus(...parts.along);
        drawn.push(line(shadow, dy, "guide"), ...arrow(none, first, "part one"), ...arrow(first, shadow, "part hat"));
        if (m === 3) drawn.push(line(parts.left, dy, "guide"), ...arrow(none, parts.left, "part left"));
      }
      drawn.push(...arrow(none, dy, "part whole"));
      picture.append(...drawn);
      const [hx, hy] = at(dy);
      handle.setAttribute("cx", hx.toFixed(1));
      handle.setAttribute("cy", hy.toFixed(1));
      if (parts.hat) bar(top + height, parts);
      drawing.setAttribute("viewBox", `0 0 ${WIDTH} ${top + height + 62}`);
      const said = `x = ${list(x)}: mean ${number(parts.mean)}, deviation ${number(parts.deviation)}. `;
      if (!parts.hat) {
        result.textContent = `${said}The values are all the same: there is no x̂ without ε, and nothing to divide by.`;
        return;
      }
      const whole = dot(dy, dy), share = whole < 1e-12 ? "" : `, ${number(parts.squares[2] / whole)} of |dy|²`;
      result.textContent = `${said}x̂ = ${list(parts.hat)}. dy = ${list(dy)}. Taken away: along 1 ${list(parts.along[0])}, ` +
        `along x̂ ${list(parts.along[1])}. Left: ${list(parts.left)}${share}. ` +
        `With γ = 1 and ε = 0, dx = left / σ = ${list(parts.dx)}. ` +
        (m === 3 ? "Wherever dy points, what is left lies on one line." : "Wherever dy points, nothing is left.");
    }

    reset();
    return draw;
  });
})();
