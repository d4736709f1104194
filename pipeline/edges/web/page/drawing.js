// Values as people read them, and the line that the last of them make.

const SVG = "http://www.w3.org/2000/svg";
const POINTS = 90;
const LINES = 3;
const NUMBERS_SHOWN = 4;
const PAD = 3;

const formats = Array.from({ length: 9 }, (_, digits) =>
  new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }));

/** A number to five digits, as many behind the point as its size asks for: its width hardly changes as it moves. */
export function number(value) {
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e12) return formats[0].format(value);
  if (size >= 1e12 || size < 1e-5) return value.toExponential(3);
  return formats[Math.min(8, Math.max(0, 4 - Math.floor(Math.log10(size))))].format(value);
}

/** A field of a record: a number, a list, the parts of a read-out; a dash for what is undefined. */
export function told(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "number") return number(value);
  if (Array.isArray(value)) {
    const flat = value.flat(Infinity);
    const shown = flat.slice(0, NUMBERS_SHOWN).map(told).join("  ");
    return flat.length > NUMBERS_SHOWN ? `${shown} … (${flat.length})` : shown;
  }
  return typeof value === "object" ? told(main(value)) : String(value);
}

/** The parts of a field, each by its name; a field without parts is one without a name. */
export function parts(value) {
  const named = value !== null && typeof value === "object" && !Array.isArray(value);
  return named ? Object.entries(value) : [["", value]];
}

/** The numbers of a field that are drawn, at most three. */
export function lines(value) {
  if (typeof value === "number") return [value];
  if (Array.isArray(value)) return value.flat(Infinity).slice(0, LINES).filter((part) => typeof part === "number");
  return value !== null && typeof value === "object" ? lines(main(value)) : [];
}

function main(named) {
  return named.value ?? Object.values(named)[0];
}

/** Add the newest values to a series, which forgets the oldest. */
export function remember(series, value) {
  const newest = lines(value);
  if (newest.length === 0) return;
  if (series.length > 0 && series.at(-1).length !== newest.length) series.length = 0;
  series.push(newest);
  if (series.length > POINTS) series.shift();
}

/** An empty drawing of that many pixels, for the eye alone: the value stands beside it. */
export function sparkline(width, height) {
  const svg = document.createElementNS(SVG, "svg");
  const attributes = { class: "spark", viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" };
  for (const [name, value] of Object.entries(attributes)) svg.setAttribute(name, value);
  return svg;
}

/**
 * Draw a series from its oldest to its newest value, which is marked; `from` is a value that the scale begins with.
 *
 * Each line has a scale of its own: how it moves is what is seen, the numbers stand beside it.
 */
export function draw(svg, series, from = Infinity) {
  const { width, height } = svg.viewBox.baseVal;
  const x = (i) => PAD + (width - 2 * PAD) * (series.length > 1 ? i / (series.length - 1) : 1);
  const shapes = (series.at(-1) ?? []).flatMap((newest, line) => {
    const values = series.map((each) => each[line]);
    const low = Math.min(from, ...values), high = Math.max(...values);
    const y = (value) => height - PAD - (height - 2 * PAD) * (high > low ? (value - low) / (high - low) : 0.5);
    const points = values.map((value, i) => `${x(i).toFixed(1)},${y(value).toFixed(1)}`);
    return [
      shape("polyline", { points: points.join(" "), class: `line line-${line}` }),
      shape("circle", { cx: x(series.length - 1), cy: y(newest), r: 2.2, class: `dot line-${line}` }),
    ];
  });
  svg.replaceChildren(...shapes);
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  return made;
}
