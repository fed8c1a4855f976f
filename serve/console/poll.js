// Ask for the state, as often as the server says; less often while it is away, not at all while nobody looks.
const KEY = "vigil-key";
const PATIENCE_MS = 8000;
const LONGEST_WAIT_S = 15;
const STALE_S = 6; // beyond the time between two polls

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
  headers: () => (key.get() ? { Authorization: `Bearer ${key.get()}` } : {}),
};

export class Poll {
  // `told(document)` is called with a new one, `changed()` after each attempt.
  constructor(told, changed) {
    Object.assign(this, { told, changed, etag: "", pollS: 2, failures: 0, trouble: "", offset: 0, operator: false, locked: false, wait: 2 });
    this.good = null; // when the server answered last, and how old the state was then
    this.timer = 0;
    document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(this.timer) : this.soon(0)));
    addEventListener("online", () => this.soon(0));
  }

  soon(seconds) {
    clearTimeout(this.timer);
    if (!document.hidden) this.timer = setTimeout(() => this.once(), seconds * 1000);
  }

  get age() {
    return this.good ? this.good.age + (performance.now() - this.good.at) / 1000 : 0;
  }

  get stale() {
    return this.good !== null && this.age > STALE_S + this.pollS;
  }

  // Of the server, in Unix seconds.
  get now() {
    return Date.now() / 1000 + this.offset;
  }

  async once() {
    clearTimeout(this.timer);
    if (this.running) return;
    this.running = true;
    let wait;
    try {
      wait = await this.ask();
      this.failures = 0;
      this.trouble = "";
    } catch (error) {
      this.failures += 1;
      this.trouble = error.message ?? String(error);
      wait = Math.min(2 ** (this.failures - 1), LONGEST_WAIT_S);
    } finally {
      this.running = false;
    }
    // So that many do not come all at once; least of all when they have just been told to wait longer.
    this.next = wait * ((wait > 2 * this.wait ? 0.2 : 0.75) + (wait > 2 * this.wait ? 1 : 0.5) * Math.random());
    this.wait = wait;
    this.changed();
    if (!this.locked) this.soon(this.next);
  }

  // Whether a key is asked for, without a refusal that the browser would report as a fault of the page.
  async about() {
    const answer = await fetch("console/about", { cache: "no-store", redirect: "error", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!answer.ok) throw new Error(`the service answers ${answer.status}`);
    return answer.json();
  }

  async ask() {
    if (!key.get() && (this.asksForKey ??= (await this.about()).auth)) {
      this.locked = true;
      return this.pollS;
    }
    const headers = { ...key.headers(), ...(this.etag ? { "If-None-Match": this.etag } : {}) };
    const answer = await fetch("console/state", { headers, cache: "no-store", redirect: "error", signal: AbortSignal.timeout(PATIENCE_MS) });
    this.locked = answer.status === 401;
    this.asksForKey = undefined; // after a restart it may be otherwise
    if (this.locked) {
      this.etag = "";
      return this.pollS;
    }
    if (answer.status !== 200 && answer.status !== 304) throw new Error(`the service answers ${answer.status}`);
    const document_ = answer.status === 200 ? await answer.json() : null;
    const head = (name) => answer.headers.get(`x-vigil-${name}`);
    this.pollS = Number(head("poll-s")) || 2;
    this.offset = Number(head("time")) - Date.now() / 1000;
    this.operator = head("operator") === "1";
    this.good = { at: performance.now(), age: Number(head("age-s")) };
    this.etag = answer.headers.get("etag") ?? "";
    if (document_) this.told(document_);
    return this.pollS;
  }
}

export async function get(path) {
  const answer = await fetch(path, { headers: key.headers(), cache: "no-store", redirect: "error", signal: AbortSignal.timeout(PATIENCE_MS) });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(said.error?.message ?? `the service answers ${answer.status}`);
  return said;
}

export async function send(path, body) {
  const headers = { ...key.headers(), "Content-Type": "application/json" };
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body), redirect: "error", signal: AbortSignal.timeout(45000) });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(said.error?.message ?? `the service answers ${answer.status}`);
  return said;
}
