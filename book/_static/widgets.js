// What the figures to play with have in common: controls, drawings whose lettering keeps its size, and random
// numbers that are the same on every visit.
"use strict";

window.widgets ??= (() => { // once, also on a page with two figures
  const SVG = "http://www.w3.org/2000/svg";
  const NARROW = 240, WIDE = 760;

  const element = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, content] of Object.entries(attributes)) made.setAttribute(name, content);
    made.append(...children);
    return made;
  };

  const shape = (tag, attributes = {}, text = "") => {
    const made = document.createElementNS(SVG, tag);
    for (const [name, content] of Object.entries(attributes)) {
      made.setAttribute(name, typeof content === "number" ? String(Math.round(content * 100) / 100) : content);
    }
    made.textContent = text;
    return made;
  };

  // with a minus sign, and no minus before a zero
  const number = (x, digits = 2) => {
    const text = Math.abs(x) >= 1000 ? x.toExponential(1) : x.toFixed(digits);
    return (Number(text) === 0 ? (0).toFixed(digits) : text).replace("-", "−");
  };

  // numbers between 0 and 1, and normal ones: the same for the same seed
  const uniforms = (seed) => {
    let state = seed;
    return () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return (state + 0.5) / 4294967296;
    };
  };
  const normals = (seed) => {
    const uniform = uniforms(seed);
    return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  };

  // A slider with its value beside it; `set` shows another.
  const slider = (id, label, { min, max, step, shown = number }, changed) => {
    const input = element("input", { type: "range", id, min, max, step });
    const output = element("output", { for: id });
    const set = (value) => {
      input.value = value;
      output.textContent = shown(value);
      input.setAttribute("aria-valuetext", output.textContent);
    };
    input.addEventListener("input", () => changed(Number(input.value)));
    return { label: element("label", { for: id }, `${label} `, input, output), set };
  };

  // One of several; `set` chooses another.
  const choice = (id, legend, names, changed) => {
    const group = element("fieldset", {}, element("legend", {}, legend));
    const inputs = names.map((name, n) => {
      const input = element("input", { type: "radio", name: id, id: `${id}-${n}` });
      input.addEventListener("change", () => changed(name));
      group.append(element("label", { for: `${id}-${n}` }, input, ` ${name}`));
      return input;
    });
    return { group, set: (name) => { inputs[names.indexOf(name)].checked = true; } };
  };

  const button = (text, action) => {
    const made = element("button", { type: "button" }, text);
    made.addEventListener("click", action);
    return made;
  };

  // Builds each figure of this name. `build` gets its place and gives what draws it at a width in pixels, which is
  // called again when the page's width changes.
  const register = (name, build) => {
    for (const root of document.querySelectorAll(`[data-widget="${name}"]`)) {
      const draw = build(root);
      let drawn = 0;
      new ResizeObserver(() => {
        const style = getComputedStyle(root);
        const inside = root.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
        const width = Math.floor(Math.max(NARROW, Math.min(WIDE, inside)));
        if (width !== drawn) draw((drawn = width));
      }).observe(root);
    }
  };

  return { element, shape, number, uniforms, normals, slider, choice, button, register };
})();
