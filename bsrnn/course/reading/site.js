// The reading room in a page without a kernel: search, predictions that are kept, sections.
"use strict";

const KEPT = "bsrnn predictions";
const kept = () => {
  try { return JSON.parse(localStorage.getItem(KEPT)) || {}; } catch { return {}; }
};

function keep(name, answer) {
  try { localStorage.setItem(KEPT, JSON.stringify({ ...kept(), [name]: answer })); } catch { /* private */ }
}

function element(tag, attributes = {}, ...children) {
  const svg = ["svg", "polyline", "circle", "line", "text", "title"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// Sketches and their pictures share one square of 320 x 180 with a margin.
const WIDE = 320, HIGH = 180, EDGE = 14;
const across = (place, count) => EDGE + (WIDE - 2 * EDGE) * place / (count - 1);
const upwards = (value, [low, high]) => HIGH - EDGE - (HIGH - 2 * EDGE) * (value - low) / ((high - low) || 1);
const points = (heights, range) =>
  heights.map((value, place) => `${across(place, heights.length)},${upwards(value, range)}`).join(" ");

function sketch(kind, before) {
  const [low, high] = kind.y, count = kind.points;
  const heights = before || Array(count).fill((low + high) / 2);
  const line = element("polyline", { fill: "none", stroke: "#6a3d9a", "stroke-width": 2 });
  const drawing = element("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "group",
    "aria-label": `sketch ${kind.y_label} over ${kind.x_label}` }, line);
  const handles = heights.map((_, place) => {
    const x = kind.x[0] + (kind.x[1] - kind.x[0]) * place / (count - 1);
    const handle = element("circle", { r: 7, cx: across(place, count), fill: "#6a3d9a", tabindex: 0, role: "slider",
      "aria-label": `${kind.x_label} ${x.toPrecision(3)}`, "aria-valuemin": low, "aria-valuemax": high });
    handle.addEventListener("keydown", (event) => {
      const by = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1 }[event.key];
      if (by) { event.preventDefault(); set(place, heights[place] + by * (high - low) / 40); }
    });
    drawing.append(handle);
    return handle;
  });
  function set(place, value) {
    heights[place] = Math.min(high, Math.max(low, value));
    draw();
  }
  function draw() {
    line.setAttribute("points", points(heights, kind.y));
    handles.forEach((handle, place) => {
      handle.setAttribute("cy", upwards(heights[place], kind.y));
      handle.setAttribute("aria-valuenow", heights[place].toPrecision(3));
    });
  }
  function drag(event) {
    if (!event.buttons) return;
    const box = drawing.getBoundingClientRect();
    const x = (event.clientX - box.left) * WIDE / box.width, y = (event.clientY - box.top) * HIGH / box.height;
    const place = Math.round((x - EDGE) / (WIDE - 2 * EDGE) * (count - 1));
    if (place >= 0 && place < count) set(place, low + (high - low) * (HIGH - EDGE - y) / (HIGH - 2 * EDGE));
  }
  drawing.addEventListener("pointerdown", drag);
  drawing.addEventListener("pointermove", drag);
  draw();
  const labels = element("small", {}, `${kind.y_label} from ${low} to ${high} over ${kind.x_label} from ${kind.x[0]} to ${kind.x[1]}`);
  return [[element("div", {}, drawing, element("br"), labels)], () => [...heights]];
}

function entry(data) {
  const { name, kind } = data, before = kept()[name];
  if (kind.choices) {
    const radios = kind.choices.map((words) => element("input", { type: "radio", name, value: words }));
    for (const radio of radios) radio.checked = radio.value === before;
    const labels = radios.map((radio) => element("label", {}, radio, ` ${radio.value}`));
    return [labels, () => radios.find((radio) => radio.checked)?.value];
  }
  if (kind.points) return sketch(kind, before);
  const field = element("input", { type: "number", step: "any", "aria-label": data.question, value: before ?? "" });
  return [[field, kind.unit], () => (field.value === "" ? undefined : Number(field.value))];
}

function isClose({ kind, truth, within }, answer) {
  if (kind.choices) return answer === truth;
  if (!kind.points) return Math.abs(answer - truth) <= within;
  const off = answer.reduce((sum, value, place) => sum + Math.abs(value - truth[place]), 0) / answer.length;
  return off <= 0.15 * (kind.y[1] - kind.y[0]);
}

const words = (value, kind) => Array.isArray(value) ? value.map((v) => Number(v.toPrecision(3))).join(", ")
  : typeof value === "number" ? `${Number(value.toPrecision(4))} ${kind.unit || ""}`.trim() : value;

function picture({ kind, truth }, answer) {
  if (kind.choices) return "";
  const lists = kind.points ? [truth, answer] : [[truth, truth], [answer, answer]];
  const range = kind.points ? kind.y : [Math.min(0, truth, answer), Math.max(0, truth, answer)];
  const drawn = lists.map((heights, number) => element("polyline", { points: points(heights, range), fill: "none",
    stroke: number ? "#b2182b" : "#1b7837", "stroke-width": 2, ...(number ? { "stroke-dasharray": "6 4" } : {}) }));
  return element("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, width: WIDE, role: "img",
    "aria-label": "the run, green; your prediction, red and dashed" }, ...drawn);
}

const reveals = [...document.querySelectorAll("[data-reveal]")].map((box) => ({ box, data: JSON.parse(box.dataset.reveal) }));

function reveal({ box, data }, anyway) {
  const answer = kept()[data.name];
  if (answer === undefined && !anyway) {
    const button = element("button", { type: "button" }, "show without predicting");
    button.addEventListener("click", () => reveal({ box, data }, true));
    box.replaceChildren(element("p", {}, "Your prediction is asked for above: commit it first, or "), button);
    return;
  }
  let told = `The run says: ${words(data.truth, data.kind)}. `;
  if (answer === undefined) { box.replaceChildren(element("p", {}, told)); return; }
  const judged = reveals.filter((r) => r.data.name in kept()).map((r) => isClose(r.data, kept()[r.data.name]));
  told += `You predicted ${words(answer, data.kind)}: ${isClose(data, answer) ? "close" : "not close"}. `;
  told += `Close on this page: ${judged.filter(Boolean).length} of ${judged.length}.`;
  box.replaceChildren(element("p", {}, told), picture(data, answer));
}

for (const box of document.querySelectorAll("[data-predict]")) {
  const data = JSON.parse(box.dataset.predict), [controls, read] = entry(data);
  const note = element("output", {}, kept()[data.name] === undefined ? "" : "kept");
  const form = element("form", {}, ...controls, element("button", {}, "Commit"), note);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (read() === undefined) { note.value = "enter something first"; return; }
    keep(data.name, read());
    note.value = "kept";
    reveals.forEach((r) => reveal(r));
  });
  box.append(form);
}
reveals.forEach((r) => reveal(r));

const field = document.querySelector("#search input"), hits = document.querySelector("#hits");
field.addEventListener("input", () => {
  const wanted = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  const score = ([, head, , text]) => wanted.every((word) => (head + " " + text).toLowerCase().includes(word))
    ? 1 + wanted.filter((word) => head.toLowerCase().includes(word)).length : 0;
  const best = wanted.length ? SEARCH.map((row) => [score(row), row]).filter(([s]) => s).sort((a, b) => b[0] - a[0]) : [];
  hits.replaceChildren(...best.slice(0, 12).map(([, [lesson, head, place, text]]) => {
    const at = Math.max(0, text.toLowerCase().indexOf(wanted[0]) - 40);
    return element("a", { href: place, role: "listitem" }, head, element("small", {}, `${lesson}: …${text.slice(at, at + 110)}…`));
  }));
});
document.querySelector("#search").addEventListener("submit", (event) => {
  event.preventDefault();
  hits.querySelector("a")?.click();
});

const sections = document.querySelector(".sections");
if (sections && matchMedia("(min-width: 60rem)").matches) sections.open = true;
