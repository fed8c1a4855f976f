// The charts, by uPlot: scores against the threshold, traffic, latency.
import { $, colours } from "./dom.js";
import { clock, small } from "./words.js";

const NEAR_PX = 14;
const LEAST_SPAN_S = 60;
const SPAN_S = 600;
const font = '12px system-ui, "Segoe UI", Roboto, sans-serif';

class Chart {
  constructor(id, series, options = {}) {
    Object.assign(this, { place: $(id), series, options, data: null, plot: null, range: [0, 1] });
    new ResizeObserver(() => this.resize()).observe(this.place);
    this.paint();
  }

  // Made anew when the theme changes: a canvas knows no style sheet.
  paint() {
    this.plot?.destroy();
    const [text, grid, ...inks] = colours("muted", "grid", ...this.series.map((s) => s.ink));
    const axis = { stroke: text, font, grid: { stroke: grid, width: 1 }, ticks: { show: false }, gap: 6 };
    this.plot = new uPlot(
      {
        ...this.size(), legend: { show: false }, padding: [8, 20, 0, 0],
        cursor: { drag: { x: false, y: false }, points: { show: false }, x: this.options.cursor ?? true, y: false },
        scales: { x: { time: true, range: () => this.range }, y: { range: this.options.y ?? ((_, low, high) => [0, high > 0 ? high * 1.15 : 1]) } },
        axes: [
          { ...axis, space: 66, size: 26, incrs: [1, 2, 5, 10, 15, 30, 60, 120, 180, 300], values: (_, ticks) => ticks.map(clock) },
          { ...axis, size: 46, space: 34, values: (_, ticks) => ticks.map((t) => Number(t.toPrecision(6)).toLocaleString("en")) },
        ],
        series: [{}, ...this.series.map((s, i) => ({ ...s.style(inks[i]), scale: "y", spanGaps: s.spanGaps ?? false }))],
        hooks: { ...(this.options.hooks ?? {}) },
      },
      this.data ?? [[], ...this.series.map(() => [])],
      this.place,
    );
    for (const canvas of this.place.querySelectorAll("canvas")) canvas.setAttribute("aria-hidden", "true");
  }

  size() {
    return { width: Math.max(this.place.clientWidth, 120), height: Math.max(this.place.clientHeight, 80) };
  }

  resize() {
    const size = this.size();
    if (size.width !== this.plot.width || size.height !== this.plot.height) this.plot.setSize(size);
  }

  show(data, range, words) {
    this.data = data;
    this.range = range;
    this.plot.setData(data);
    this.place.setAttribute("aria-label", words);
  }
}

const line = (width, fill) => (ink) => ({ stroke: ink, width, points: { show: false }, ...(fill ? { fill: ink.replace("rgb(", "rgba(").replace(")", ", 0.10)") } : {}) });
const dots = (size) => (ink) => ({ stroke: ink, paths: () => null, points: { show: true, size, fill: ink, stroke: ink, width: 0 } });

// A diamond, so that an anomaly differs from a row by more than its colour.
function diamonds(ink) {
  return {
    stroke: ink, paths: () => null, points: {
      show: (plot, series) => {
        const { ctx } = plot;
        const r = 5.5 * devicePixelRatio;
        ctx.save();
        ctx.fillStyle = ink;
        plot.data[series].forEach((score, i) => {
          if (score === null || score === undefined) return;
          const x = plot.valToPos(plot.data[0][i], "x", true);
          const y = plot.valToPos(score, "y", true);
          ctx.beginPath();
          ctx.moveTo(x, y - r);
          ctx.lineTo(x + r, y);
          ctx.lineTo(x, y + r);
          ctx.lineTo(x - r, y);
          ctx.fill();
        });
        ctx.restore();
        return false;
      },
    },
  };
}

export function window_(times, now) {
  const first = times.length ? Math.min(...times) : now;
  return [Math.max(now - SPAN_S, Math.min(first - 2, now - LEAST_SPAN_S)), now];
}

export class Scores {
  // `near(anomaly, place)` is called when the pointer comes near one, with null when it leaves.
  constructor(near) {
    this.anomalies = [];
    this.near = near;
    const dashed = (ink) => ({ stroke: ink, width: 1.4, dash: [6, 4], points: { show: false }, paths: uPlot.paths.stepped({ align: -1 }) });
    this.chart = new Chart("c-scores", [
      { ink: "soft", style: dots(4.5) },
      { ink: "text", style: dashed, spanGaps: true },
      { ink: "anomaly", style: diamonds },
    ], {
      cursor: false,
      y: (_, low, high) => (Number.isFinite(high) && high > low ? [low - (high - low) * 0.12, high + (high - low) * 0.12] : [0.3, 0.8]),
      hooks: { setCursor: [(plot) => this.pointed(plot)] },
    });
  }

  paint() {
    this.chart.paint();
  }

  pointed(plot) {
    const { left, top } = plot.cursor;
    let best = null;
    let least = NEAR_PX;
    for (const anomaly of left < 0 ? [] : this.anomalies) {
      const d = Math.hypot(plot.valToPos(anomaly.at, "x") - left, plot.valToPos(anomaly.score, "y") - top);
      if (d < least) [best, least] = [anomaly, d];
    }
    if (best !== this.pointedAt) this.near((this.pointedAt = best));
  }

  // Where an anomaly is, in pixels from the corner of the chart.
  place(anomaly) {
    const { plot } = this.chart;
    const over = plot.over.getBoundingClientRect();
    const at = this.chart.place.offsetParent.getBoundingClientRect();
    return [over.left - at.left + plot.valToPos(anomaly.at, "x"), over.top - at.top + plot.valToPos(anomaly.score, "y")];
  }

  show(points, now) {
    this.anomalies = points.anomalies;
    const rows = [
      ...points.at.map((at, i) => [at, points.score[i], points.threshold[i], null]),
      ...points.anomalies.map((a) => [a.at, null, a.threshold, a.score]),
    ].sort((a, b) => a[0] - b[0]);
    if (rows.length) rows.push([now, null, rows.at(-1)[2], null]);
    const columns = [0, 1, 2, 3].map((k) => rows.map((row) => row[k]));
    const [latest] = points.anomalies;
    const words = latest
      ? `Anomaly scores of the last ten minutes: ${points.anomalies.length} anomalies shown, the latest at ${clock(latest.at)} with ${small(latest.score)}, over the threshold ${small(latest.threshold)}. They are listed beside.`
      : "Anomaly scores of the last ten minutes: no anomalies";
    this.chart.show(columns, window_(columns[0], now), words);
  }
}

// Without traffic the server has no steps: here they are nothing, up to `until`.
export function steps(traffic, names, until) {
  const known = new Map(traffic.at.map((at, i) => [at, i]));
  const columns = [[], ...names.map(() => [])];
  for (let at = traffic.at[0]; at <= until; at += traffic.step_s) {
    const i = known.get(at);
    columns[0].push(at + traffic.step_s / 2);
    names.forEach(([name, nothing], k) => columns[k + 1].push(i === undefined ? nothing : traffic[name][i]));
  }
  return columns;
}

export class Lines {
  constructor(id, series, names, words) {
    Object.assign(this, { names, words });
    this.chart = new Chart(id, series);
  }

  paint() {
    this.chart.paint();
  }

  show(traffic, now, until) {
    const columns = steps(traffic, this.names, until);
    this.chart.show(columns, window_(columns[0], now), this.words(columns));
  }
}

const last = (column) => column.findLast((x) => x !== null) ?? null;

export const traffic = () =>
  new Lines("c-traffic", [{ ink: "accent", style: line(1.8, true) }, { ink: "anomaly", style: line(1.6) }], [["ok", 0], ["refused", 0]],
    ([, ok, refused]) => (ok.length ? `Traffic of the last ten minutes: now ${small(last(ok))} answered and ${small(last(refused))} refused requests a second, at most ${small(Math.max(...ok))}` : "No traffic in the last ten minutes"));

export const latency = () =>
  new Lines("c-latency", [{ ink: "soft", style: line(1.6) }, { ink: "accent", style: line(1.8) }], [["p50_ms", null], ["p99_ms", null]],
    ([, p50, p99]) => (p50.length ? `Latency: half of the requests take at most ${small(last(p50))} ms, 99 of 100 at most ${small(last(p99))} ms` : "No latency in the last ten minutes"));
