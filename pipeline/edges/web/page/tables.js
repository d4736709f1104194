// A table of the pipeline: its keys as rows, with what each operator says of them.

import { draw, remember, sparkline, told } from "./drawing.js";
import { ask, pathOf } from "./stream.js";

const SUGGESTIONS = 10;
const TYPING = 200;

/** An element with text, attributes and children. */
export function make(name, { text, children = [], ...attributes } = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...children);
  return made;
}

/** A key of a table: its newest record, and the last values of each operator. */
export class Row {
  record = null;
  series = new Map();
  #cells = new Map();
  #beat = 0;

  constructor(table, key) {
    Object.assign(this, { table, key });
    this.button = make("button", { type: "button", class: "key", text: key === "" ? "(empty)" : key });
    this.button.addEventListener("click", () => table.open(this));
    this.note = make("span", { class: "note" });
    this.element = make("tr", { role: "row", children: [
      make("th", { scope: "row", role: "rowheader", children: [this.button, this.note] }),
      ...table.operators.map((operator) => this.#cell(operator)),
    ] });
  }

  #cell(operator) {
    const value = make("span", { class: "value", text: told(null) }), spark = sparkline(120, 28);
    const label = make("span", { class: "label", "aria-hidden": "true", text: operator });
    const cell = make("td", { role: "cell", children: [label, value, spark] });
    this.#cells.set(operator, { cell, value, spark });
    this.series.set(operator, []);
    return cell;
  }

  update(record) {
    const seen = this.record;
    if (seen !== null && seen.partition === record.partition && seen.offset === record.offset) return;
    this.note.textContent = "";
    this.#beat = 1 - this.#beat;
    for (const [operator, { cell, value, spark }] of this.#cells) {
      const before = value.textContent, series = this.series.get(operator);
      value.textContent = told(record[operator]);
      if (this.record !== null && before !== value.textContent) cell.dataset.beat = this.#beat;
      remember(series, record[operator]);
      draw(spark, series);
    }
    this.record = record;
  }

  /** There is nothing to show of it, and why. */
  clear(why) {
    this.record = null;
    this.note.textContent = why;
    for (const [operator, { value, spark }] of this.#cells) {
      value.textContent = told(null);
      this.series.set(operator, []);
      draw(spark, []);
    }
  }
}

/** A table; `open` shows a row alone, `keep` shows a key from now on, `kept` says whether one is. */
export class Table {
  rows = new Map();

  constructor(name, info, { open, keep, kept }) {
    Object.assign(this, { name, open, kept, operators: Object.keys(info.operators), info });
    this.told = make("p", { class: "told" });
    this.empty = make("p", { class: "empty", text: "Nothing is committed yet." });
    this.body = make("tbody", { role: "rowgroup" });
    const heads = this.operators.map((operator) => make("th", { scope: "col", role: "columnheader", children: [
      operator, make("span", { class: "note", text: info.operators[operator].type }),
    ] }));
    const title = make("h2", { id: `table-${name}`, text: name });
    this.scroll = make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Keys of ${name}`, children: [
      make("table", { class: "keys", role: "table", "aria-label": name, children: [
        make("thead", { role: "rowgroup", children: [make("tr", { role: "row", children: [
          make("th", { scope: "col", role: "columnheader", text: "key" }), ...heads,
        ] })] }),
        this.body,
      ] }),
    ] });
    this.element = make("section", { class: "table", "aria-labelledby": title.id, children: [
      make("header", { children: [title, this.told, this.#finder(keep)] }), this.empty, this.scroll,
    ] });
    this.#settle();
  }

  /** A field to name a key in; what is typed is looked for among the keys. */
  #finder(keep) {
    const list = make("datalist", { id: `keys-${this.name}` });
    const input = make("input", {
      type: "text", placeholder: "a key", list: list.id, autocomplete: "off", spellcheck: "false", required: "",
      "aria-label": `A key of ${this.name}`,
    });
    const form = make("form", { children: [input, list, make("button", { text: "Show" })] });
    let typing = 0;
    input.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => this.#suggest(input.value, list), TYPING);
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      keep(this, input.value);
      input.value = "";
    });
    return form;
  }

  async #suggest(prefix, list) {
    const query = new URLSearchParams({ prefix, limit: SUGGESTIONS });
    const answer = await ask(`tables/${encodeURIComponent(this.name)}?${query}`).then((a) => a.json(), () => null);
    list.replaceChildren(...(answer?.keys ?? []).map((key) => make("option", { value: key })));
  }

  /** The row of a key, made if there is none. */
  row(key) {
    if (!this.rows.has(key)) {
      this.rows.set(key, new Row(this, key));
      this.place(key);
    }
    return this.rows.get(key);
  }

  /** Put a row where it belongs: one that is kept stands above the others. */
  place(key) {
    const kept = this.kept(this.name, key), { element, record, note } = this.row(key);
    element.classList.toggle("kept", kept);
    this.body.insertBefore(element, kept ? this.body.firstChild : null);
    if (record === null && kept) note.textContent = "looking for it";
    this.#settle();
  }

  /** What the worker shows of the table now, and what is new of that. */
  update({ keys, records, too_long: tooLong }) {
    const shown = new Set(keys);
    for (const [key, row] of this.rows) {
      if (shown.has(key)) continue;
      if (this.kept(this.name, key)) row.clear("nothing of it is committed on this worker");
      else this.drop(key);
    }
    for (const record of records) this.row(record.key).update(record);
    for (const [key, bytes] of Object.entries(tooLong)) {
      this.row(key).clear(`its record has ${bytes.toLocaleString("en")} bytes: too long to be shown here`);
    }
  }

  drop(key) {
    this.rows.get(key)?.element.remove();
    this.rows.delete(key);
    this.#settle();
  }

  #settle() {
    this.empty.hidden = this.rows.size > 0;
    this.scroll.hidden = this.rows.size === 0;
  }
}

/** What a memory gives for a query. */
export async function readOut(row, operator, query) {
  const body = JSON.stringify({ operator, query });
  return (await ask(`${pathOf(row.table.name, row.key)}/read`, { method: "POST", body })).json();
}
