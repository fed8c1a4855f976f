// Numbers and times as people read them.
export const number = (value, digits = 0) =>
  value === null || value === undefined || !Number.isFinite(value) ? "–" : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

export const small = (value) => number(value, value === null || Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2);

export const percent = (share, digits = 1) => (share === null || share === undefined ? "–" : `${(100 * share).toLocaleString("en", { maximumFractionDigits: digits })} %`);

export const clock = (at) => new Date(at * 1000).toLocaleTimeString("en-GB");

export const moment = (at, now) => (now - at < 64800 ? clock(at) : new Date(at * 1000).toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" }));

export function ago(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  return s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} days`;
}

export const value = (x) => (Math.abs(x) >= 1e6 || (x !== 0 && Math.abs(x) < 1e-3) ? x.toExponential(2) : Number(x.toPrecision(4)).toLocaleString("en", { maximumFractionDigits: 6 }));

export const count = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;
