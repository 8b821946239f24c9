// Small plots as SVG. Every function clears the svg and draws it anew at the size it has now.

const NAMESPACE = "http://www.w3.org/2000/svg";
const LEFT = 52, RIGHT = 8, TOP = 8, BOTTOM = 20;

function draw(parent, kind, attributes, text) {
  const element = document.createElementNS(NAMESPACE, kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
}

function clear(svg, label) {
  const width = Math.max(svg.clientWidth, 120), height = Math.max(svg.clientHeight, 80);
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("aria-label", label);
  return {width, height, inner: width - LEFT - RIGHT, deep: height - TOP - BOTTOM};
}

/** The next 1, 2 or 5 times a power of ten. */
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

/** Seconds as people read them. */
export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 1) return `${+value.toPrecision(3)} s`;
  return `${+(value * 1000).toPrecision(2)} ms`;
}

function axes(svg, box, top, format) {
  for (const share of [0, 0.5, 1]) {
    const y = TOP + box.deep * (1 - share);
    draw(svg, "line", {class: "grid", x1: LEFT, x2: box.width - RIGHT, y1: y, y2: y});
    draw(svg, "text", {x: LEFT - 6, y: y + 4, "text-anchor": "end"}, format(top * share));
  }
}

function minutes(svg, box, span) {
  draw(svg, "text", {x: LEFT, y: box.height - 5}, `${Math.round(span / 60)} min ago`);
  draw(svg, "text", {x: box.width - RIGHT, y: box.height - 5, "text-anchor": "end"}, "now");
}

function path(values, box, slots, top) {
  const first = slots - values.length;
  let text = "", pen = "M";
  values.forEach((value, index) => {
    if (value === null) { pen = "M"; return; }
    const x = LEFT + box.inner * (first + index + 0.5) / slots;
    text += `${pen}${x.toFixed(1)} ${(TOP + box.deep * (1 - value / top)).toFixed(1)}`;
    // A lone value needs a length to be seen.
    text += pen === "M" ? "h.1" : "";
    pen = "L";
  });
  return text;
}

/** Lines over the last minutes; null leaves a gap. */
export function lines(svg, series, step, slots, label) {
  const box = clear(svg, label);
  const highest = Math.max(0.001, ...series.flatMap((one) => one.values).filter((value) => value !== null));
  const top = ceiling(highest);
  axes(svg, box, top, seconds);
  for (const one of series) draw(svg, "path", {class: one.name, d: path(one.values, box, slots, top)});
  minutes(svg, box, step * slots);
}

/** Bars over the last minutes. */
export function bars(svg, values, step, slots, label) {
  const box = clear(svg, label);
  const top = Math.max(2, ceiling(Math.max(1, ...values)));
  axes(svg, box, top, (value) => `${+value.toPrecision(3)}`);
  const width = box.inner / slots;
  values.forEach((value, index) => {
    const tall = box.deep * value / top;
    const x = LEFT + (slots - values.length + index) * width;
    if (value) draw(svg, "rect", {x, y: TOP + box.deep - tall, width: Math.max(1, width - 0.5), height: tall});
  });
  minutes(svg, box, step * slots);
}

/** Shares of all values per bucket; the last bucket has no upper bound. */
export function histogram(svg, bounds, counts, label) {
  const box = clear(svg, label);
  const total = counts.reduce((sum, count) => sum + count, 0);
  axes(svg, box, 100, (value) => `${value} %`);
  const width = box.inner / counts.length;
  counts.forEach((count, index) => {
    const tall = total ? box.deep * count / total : 0;
    const x = LEFT + index * width;
    draw(svg, "rect", {x: x + 1, y: TOP + box.deep - tall, width: Math.max(1, width - 2), height: tall});
    // Bounds stand between the bars; every third is written.
    if (index < bounds.length && index % 3 === 0)
      draw(svg, "text", {x: x + width, y: box.height - 5, "text-anchor": "middle"}, seconds(bounds[index]));
  });
}
