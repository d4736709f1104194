// The page: what the worker says of itself, its tables, and one key alone.

import { draw, number, parts, remember, sparkline, told } from "./drawing.js";
import { Refusal, Stream, pathOf, token } from "./stream.js";
import { Table, make, readOut } from "./tables.js";

const RATE_SECONDS = 5;
const ASK_AGAIN = 1_000;
const MOST_KEPT = 16;

const byId = (id) => document.getElementById(id);
const tables = new Map();
const figures = new Map();
const history = [];
let configuration = null;

// Keys that are kept on the page stand in its address, so that it can be shared.

let kept = pairs(new URLSearchParams(location.search));

function pairs(query) {
  const names = query.getAll("table"), keys = query.getAll("key");
  return names.slice(0, keys.length).map((name, i) => [name, keys[i]]);
}

function isKept(name, key) {
  return kept.some(([table, other]) => table === name && other === key);
}

function keptQuery() {
  const query = new URLSearchParams(kept.flatMap(([table, key]) => [["table", table], ["key", key]]));
  return kept.length > 0 ? `?${query}` : "";
}

function keep(table, key, wanted = true) {
  if (isKept(table.name, key) === wanted) return;
  kept = kept.filter(([name, other]) => name !== table.name || other !== key);
  if (wanted) kept = [...kept, [table.name, key]].slice(-MOST_KEPT);
  setKept();
  table.place(key);
}

function setKept() {
  globalThis.history.replaceState(null, "", keptQuery() || location.pathname);
  stream.again();
}

// What the worker says of itself

function takeStatus(status) {
  const shape = JSON.stringify(Object.entries(status.tables).map(([name, { operators }]) => [name, operators]));
  configuration ??= shape;
  if (configuration !== shape) location.reload();
  for (const [name, info] of Object.entries(status.tables)) {
    if (!tables.has(name)) {
      tables.set(name, new Table(name, info, { open, keep, kept: isKept }));
      byId("tables").append(tables.get(name).element);
    }
  }
  history.push(totals(status));
  while (history.length > 2 && history.at(-1).time - history[1].time >= RATE_SECONDS) history.shift();
  byId("app").textContent = status.app;
  byId("worker").textContent = status.worker;
  byId("version").textContent = `streamfold ${status.version}`;
  setState(status.ready ? "ready" : "not-ready", status.ready ? "ready" : "not ready", status.app);
  byId("reasons").replaceChildren(...status.reasons.map((text) => make("li", { text })));
  byId("reasons").hidden = status.ready;
  showFigures(status);
  for (const [name, info] of Object.entries(status.tables)) {
    const outputs = rate((then) => then.outputs[name]);
    const keys = info.keys === 1 ? "1 key" : `${number(info.keys)} keys`;
    tables.get(name).told.textContent = `${info.topic} → ${info.output} · ${keys} · ${outputs} records/s`;
  }
  showPartitions(status.partitions);
  showWorkers(status.workers);
}

function totals(status) {
  const events = Object.values(status.streams).map((stream) => stream.events);
  const outputs = Object.entries(status.tables).map(([name, table]) => [name, table.outputs]);
  return {
    time: status.time, events: sum(events), outputs: Object.fromEntries(outputs), letters: sum(Object.values(status.dead_letters)),
  };
}

function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

/** How fast a total grew over the last seconds; a dash before anybody knows. */
function rate(of) {
  const value = speed(of);
  return value === null ? "–" : value > 0 && value < 10 ? value.toFixed(1) : number(Math.round(value));
}

function speed(of) {
  const [first, last] = [history[0], history.at(-1)];
  return last.time > first.time ? Math.max(0, of(last) - of(first)) / (last.time - first.time) : null;
}

function showFigures({ tables: known, partitions, dead_letters: letters }) {
  const behind = sum(partitions.map((partition) => partition.lag ?? 0));
  const outputs = (then) => sum(Object.values(then.outputs));
  const stages = Object.entries(letters).map(([stage, count]) => `${stage} ${number(count)}`).join(", ");
  showFigure("Events a second", rate((then) => then.events), speed((then) => then.events));
  showFigure("Records out a second", rate(outputs), speed(outputs));
  showFigure("Events behind", number(behind), behind);
  showFigure("Keys", number(sum(Object.values(known).map((table) => table.keys))));
  showFigure("Dead letters a second", rate((then) => then.letters), null, stages && `so far: ${stages}`);
  figures.get("Dead letters a second").element.classList.toggle("bad", stages !== "");
}

function showFigure(name, text, drawn = null, more = "") {
  if (!figures.has(name)) {
    const value = make("dd"), spark = sparkline(120, 24), below = make("dd", { class: "more" });
    const element = make("div", { children: [make("dt", { text: name }), value, below] });
    figures.set(name, { element, value, below, spark, series: [] });
    byId("figures").append(element);
  }
  const { value, below, spark, series } = figures.get(name);
  value.textContent = text;
  if (drawn === null) {
    below.textContent = more;
    return;
  }
  remember(series, drawn);
  draw(spark, series, 0);
  if (!spark.parentNode) below.append(spark);
}

function showPartitions(partitions) {
  const running = partitions.filter(({ phase }) => phase === "running").length;
  byId("partitions-told").textContent = `${running} of ${partitions.length} running on this worker`;
  byId("partitions-rows").replaceChildren(...partitions.map((partition) => {
    const { topic, phase, lag, committed, restoring } = partition;
    const state = restoring === null ? phase : `${phase}, ${number(restoring)} records to go`;
    const cells = [partition.partition, state, lag, committed].map((text) => make("td", {
      text: typeof text === "number" ? number(text) : (text ?? "–"),
    }));
    return make("tr", { children: [make("th", { scope: "row", text: topic }), ...cells] });
  }));
}

function showWorkers(workers) {
  const links = workers.map((worker) => make("a", { href: `${location.protocol}//${worker}/`, text: worker }));
  byId("workers").replaceChildren("Other workers: ", ...links.flatMap((link) => [link, " "]));
  byId("workers").hidden = workers.length === 0;
}

function setState(state, text, app = byId("app").textContent) {
  // Said aloud when it changes, and only then.
  if (byId("state").textContent !== text) byId("state").textContent = text;
  byId("state").dataset.state = state;
  document.title = state === "ready" ? `${app} – streamfold` : `${text}: ${app} – streamfold`;
  document.body.toggleAttribute("data-stale", !["ready", "not-ready"].includes(state));
}

// The stream

function take(event, data) {
  if (event === "status") takeStatus(data);
  if (event !== "rows") return;
  for (const [name, news] of Object.entries(data.tables)) tables.get(name)?.update(news);
  refresh();
}

function tell(state, error) {
  if (state === "gone") setState("gone", error instanceof Refusal ? error.message : "no answer: trying again");
  if (state === "paused") setState("waiting", "paused");
  return state === "refused" ? refused(error) : false;
}

/** Whether to ask again at once, now that what was refused is mended. */
async function refused(error) {
  if (error.status === 401) {
    await askForToken();
    return true;
  }
  const wrong = kept.length > 0 && [400, 404].includes(error.status);
  if (wrong) {
    kept = [];
    setKept();
  }
  return wrong;
}

async function askForToken() {
  byId("token-wrong").textContent = token.given() ? "That is not its token." : "";
  setState("waiting", "waiting for the token");
  const dialog = byId("token");
  dialog.showModal();
  await new Promise((closed) => dialog.addEventListener("close", closed, { once: true }));
}

byId("token").addEventListener("cancel", (event) => event.preventDefault());
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set(byId("token-value").value);
  document.body.dataset.token = "";
  byId("token-value").value = "";
  byId("token").close();
});

// One key alone

let opened = null;
let asked = null;

function open(row) {
  opened = row;
  asked = null;
  const { table, key } = row, memories = table.operators.filter((operator) => table.info.operators[operator].query);
  byId("detail-key").textContent = row.button.textContent;
  byId("detail-json").href = pathOf(table.name, key);
  byId("ask").hidden = memories.length === 0;
  byId("ask-operator").replaceChildren(...memories.map((text) => make("option", { text })));
  byId("ask-query").value = "";
  byId("answer").textContent = "";
  byId("keep").setAttribute("aria-pressed", isKept(table.name, key));
  if (memories.length > 0) nameFields();
  byId("detail-values").replaceChildren();
  refresh();
  byId("detail").showModal();
}

function nameFields() {
  const { length, fields } = query();
  const names = Array.isArray(fields) ? fields.join(", ") : `${length} numbers of ${fields}`;
  byId("ask-fields").textContent = `Query: ${names}`;
  byId("ask-query").placeholder = Array(Math.min(length, 4)).fill("0.5").join(", ");
}

function query() {
  return opened.table.info.operators[byId("ask-operator").value].query;
}

function refresh() {
  if (opened === null) return;
  // A key that was quiet made room, and came again: it is another row.
  opened = opened.table.rows.get(opened.key) ?? opened;
  const { table, record, series } = opened;
  const where = record === null ? [] : [`partition ${record.partition}`, `offset ${number(record.offset)}`,
    new Date(1000 * record.time).toLocaleString("en-GB", { timeZone: "UTC" }) + " UTC"];
  byId("detail-where").textContent = [`table ${table.name}`, ...where].join(" · ");
  const list = byId("detail-values");
  for (const [i, operator] of table.operators.entries()) {
    const group = list.children[i] ?? list.appendChild(make("div", {
      children: [make("dt", { text: operator }), sparkline(240, 64)],
    }));
    const values = parts(record?.[operator]).map(([name, value]) => make("dd", {
      text: name ? `${name}  ${told(value)}` : told(value),
    }));
    group.querySelectorAll("dd").forEach((old) => old.remove());
    group.firstChild.after(...values);
    draw(group.querySelector("svg"), series.get(operator));
  }
  if (asked !== null && asked.record !== record) answerSoon(asked, record);
}

/** The memory has changed since it was asked: ask again, but once a second at most. */
function answerSoon(question, record) {
  question.record = record;
  clearTimeout(question.timer);
  question.timer = setTimeout(() => asked === question && answer(), question.at + ASK_AGAIN - performance.now());
}

async function answer() {
  const row = opened, question = asked;
  question.at = performance.now();
  try {
    const found = await readOut(row, question.operator, question.query);
    if (asked === question) showAnswer(parts(found).map(([name, value]) => `${name} ${told(value)}`).join("\n"));
  } catch (error) {
    if (asked === question) showAnswer(error.message);
  }
}

function showAnswer(text) {
  byId("answer").textContent = text;
}

byId("ask-operator").addEventListener("change", nameFields);
byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const numbers = byId("ask-query").value.replace(/[[\],;]/g, " ").trim().split(/\s+/).map(Number);
  const { length } = query();
  asked = null;
  if (numbers.some((value) => !Number.isFinite(value)) || numbers.length !== length) {
    showAnswer(`it takes ${length === 1 ? "a number" : `${length} numbers`}, by commas`);
    return;
  }
  byId("answer").scrollIntoView({ block: "nearest" });
  asked = { operator: byId("ask-operator").value, query: numbers, at: 0, record: opened.record };
  answer();
});
byId("keep").addEventListener("click", () => {
  const { table, key } = opened, wanted = !isKept(table.name, key);
  keep(table, key, wanted);
  byId("keep").setAttribute("aria-pressed", wanted);
});
byId("detail").addEventListener("close", () => {
  opened = asked = null;
});

byId("pause").addEventListener("click", () => {
  stream.paused = !stream.paused;
  byId("pause").setAttribute("aria-pressed", stream.paused);
  stream.again();
});

if (token.given()) document.body.dataset.token = "";
const stream = new Stream(keptQuery, take, tell);
stream.run();
