// The worker's answers: the stream of what is committed, and questions about a key.

const SILENCE = 10_000;
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 5_000;
const HIDDEN = 10_000;
const TOKEN = "streamfold-token";

/** A refusal of the worker, in its own words. */
export class Refusal extends Error {
  constructor(status, { error, mend }) {
    super(mend ? `${error} – ${mend}` : error);
    this.status = status;
  }
}

/** The token of this tab: never in an address, where others would read it. */
export const token = {
  given: () => sessionStorage.getItem(TOKEN) !== null,
  set: (value) => sessionStorage.setItem(TOKEN, value),
  forget: () => sessionStorage.removeItem(TOKEN),
};

/** Ask the worker; raises Refusal if its answer is no success. */
export async function ask(path, options = {}) {
  const given = sessionStorage.getItem(TOKEN);
  const headers = given === null ? {} : { Authorization: `Bearer ${given}` };
  const answer = await fetch(path, { ...options, headers, cache: "no-store" });
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({ error: answer.statusText }));
  throw new Refusal(answer.status, told);
}

/** The path of a key: what an address would take for "here", "above" or nothing goes as base64. */
export function pathOf(table, key) {
  const plain = [".", "..", ""].includes(key) ? `base64:${btoa(key)}` : key;
  return `tables/${encodeURIComponent(table)}/${encodeURIComponent(plain)}`;
}

/**
 * What is committed, for as long as the page is open: `take` gets each event's name and data, `tell` how it goes.
 *
 * `again()` begins anew at once; while `paused`, or while nobody looks, nothing is asked for.
 */
export class Stream {
  paused = false;
  #connection = new AbortController();
  #wake = () => {};
  #hidden = 0;

  constructor(query, take, tell) {
    Object.assign(this, { query, take, tell });
    document.addEventListener("visibilitychange", () => {
      clearTimeout(this.#hidden);
      if (document.hidden) this.#hidden = setTimeout(() => this.again(), HIDDEN);
      else this.#wake();
    });
  }

  again() {
    this.#connection.abort();
    this.#wake();
  }

  async run() {
    for (let pause = FIRST_PAUSE; ; ) {
      this.#connection = new AbortController();
      if (this.paused || document.hidden) {
        this.tell(this.paused ? "paused" : "hidden");
        await new Promise((wake) => { this.#wake = wake; });
        continue;
      }
      try {
        await this.#listen(() => { pause = FIRST_PAUSE; });
      } catch (error) {
        if (error instanceof Refusal && (await this.tell("refused", error))) continue;
        if (this.#connection.signal.aborted && this.#connection.signal.reason !== "silent") continue;
        this.tell("gone", error);
      }
      await new Promise((wake) => {
        this.#wake = wake;
        setTimeout(wake, pause * (0.75 + Math.random() / 2));
      });
      pause = Math.min(2 * pause, LONGEST_PAUSE);
    }
  }

  async #listen(began) {
    const connection = this.#connection;
    let watchdog = 0;
    const heard = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => connection.abort("silent"), SILENCE);
    };
    try {
      heard();
      const answer = await ask(`live${this.query()}`, { signal: connection.signal });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = ""; ; ) {
        const { done, value } = await reader.read();
        if (done) throw new Error("the worker ended the connection");
        heard();
        const blocks = (rest + value).split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) this.#read(block, began);
      }
    } finally {
      clearTimeout(watchdog);
    }
  }

  #read(block, began) {
    const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s, 2)));
    if (fields.data === undefined) return;
    began();
    this.take(fields.event, JSON.parse(fields.data));
  }
}
