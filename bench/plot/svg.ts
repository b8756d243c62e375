/**
 * Draws line charts as SVG.
 *
 * Guarantees: a pure function of the data, so the same run makes the same picture. The background is drawn too, and all colours
 * follow the reader's scheme (prefers-color-scheme), so the picture can be read on a light and on a dark page. Series differ in
 * colour and in the shape of their marks, and each line is named where it ends.
 * Limits: x is logarithmic, y is logarithmic or linear from 0; four series; values are positive.
 */

export interface Series {
  name: string;
  points: [x: number, y: number][];
}

export interface Panel {
  title: string;
  /** Names what is counted along x. */
  x: string;
  y: 'log' | 'linear';
  series: Series[];
}

const WIDTH = 960;
const HEIGHT = 400;
const FRAME = { top: 84, bottom: 52, left: 62, right: 84 };
const GAP = 16;
const LINE_HEIGHT = 15;

/** Light and dark; each has a contrast of at least 4 to its background. */
const COLOURS: Record<string, [light: string, dark: string]> = {
  background: ['#ffffff', '#12161c'],
  text: ['#1f2328', '#e6edf3'],
  faint: ['#59636e', '#9aa4af'],
  rule: ['#d8dee4', '#2b333d'],
  s0: ['#59636e', '#a6b0bb'],
  s1: ['#0a5fc0', '#6cb4ff'],
  s2: ['#a94400', '#f2a154'],
  s3: ['#7a2fb8', '#c9a2ff'],
};

/** Draws panels side by side. The same series has the same colour in all: that of its place in `names`. */
export function picture(title: string, note: string, panels: Panel[], names: string[]): string {
  const width = (WIDTH - GAP * (panels.length - 1)) / panels.length;
  const drawn = panels.map((panel, i) => drawPanel(panel, i * (width + GAP), width, names));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img" aria-labelledby="title note">`,
    `<title id="title">${escaped(title)}</title>`,
    `<desc id="note">${escaped(note)}</desc>`,
    `<style>\n${style()}\n</style>`,
    `<rect class="background" width="${WIDTH}" height="${HEIGHT}" rx="8"/>`,
    text(20, 30, title, 'heading'),
    text(20, 49, note, 'faint'),
    ...drawn.flat(),
    '</svg>\n',
  ].join('\n');
}

function style(): string {
  const rules = (scheme: 0 | 1): string =>
    Object.entries(COLOURS)
      .map(([name, pair]) => `--${name}: ${pair[scheme]};`)
      .join(' ');
  const series = [0, 1, 2, 3].map((n) => `.s${n} { stroke: var(--s${n}); fill: var(--s${n}); }`);
  return [
    `svg { ${rules(0)} font: 12px system-ui, sans-serif; }`,
    `@media (prefers-color-scheme: dark) { svg { ${rules(1)} } }`,
    'text { fill: var(--text); stroke: none; }',
    '.background { fill: var(--background); }',
    '.heading { font-size: 15px; font-weight: 600; }',
    '.faint { fill: var(--faint); }',
    '.rule { stroke: var(--rule); }',
    ...series,
    '.line { fill: none; stroke-width: 2; stroke-linejoin: round; }',
    '.name { stroke: none; font-weight: 600; }',
  ].join('\n');
}

function drawPanel({ title, x, y, series }: Panel, offset: number, width: number, names: string[]): string[] {
  const box = {
    left: offset + FRAME.left,
    right: offset + width - FRAME.right,
    top: FRAME.top,
    bottom: HEIGHT - FRAME.bottom,
  };
  const all = series.flatMap(({ points }) => points);
  const xs = all.map(([value]) => value);
  const ys = all.map(([, value]) => value);
  const across = logScale(Math.min(...xs), Math.max(...xs), box.left, box.right);
  const up = y === 'log' ? niceLogScale(ys, box.bottom, box.top) : linearScale(ys, box.bottom, box.top);
  const out = [text(box.left, FRAME.top - 14, title, 'subtitle')];
  for (const tick of up.ticks) {
    const at = round(up.of(tick));
    out.push(`<line class="rule" x1="${round(box.left)}" x2="${round(box.right)}" y1="${at}" y2="${at}"/>`);
    out.push(text(box.left - 8, at + 4, tick.toLocaleString('en'), 'faint', 'end'));
  }
  for (const tick of across.ticks) {
    out.push(text(across.of(tick), box.bottom + 18, tick.toLocaleString('en'), 'faint', 'middle'));
  }
  out.push(text((box.left + box.right) / 2, box.bottom + 38, x, 'faint', 'middle'));
  const ends: End[] = [];
  for (const { name, points } of series) {
    const n = names.indexOf(name);
    const placed = points.map(([px, py]): [number, number] => [round(across.of(px)), round(up.of(py))]);
    const last = placed.at(-1);
    if (last === undefined) continue;
    out.push(`<polyline class="s${n} line" points="${placed.map((point) => point.join(',')).join(' ')}"/>`);
    out.push(...placed.map(([px, py]) => mark(n, px, py)));
    ends.push({ name, x: last[0], y: last[1], colour: `s${n}` });
  }
  for (const end of apart(ends, box.bottom)) {
    out.push(
      `<text class="${end.colour} name" x="${round(end.x + 10)}" y="${round(end.y + 4)}">${escaped(end.name)}</text>`,
    );
  }
  return out;
}

/** Where a line ends, and its name stands. */
interface End {
  name: string;
  x: number;
  y: number;
  colour: string;
}

/** Moves names down or up until none covers another, and none is below the frame. */
function apart(ends: End[], bottom: number): End[] {
  const sorted = [...ends].sort((a, b) => a.y - b.y).map((end) => ({ ...end }));
  for (let i = 1; i < sorted.length; i++) sorted[i]!.y = Math.max(sorted[i]!.y, sorted[i - 1]!.y + LINE_HEIGHT);
  for (let i = sorted.length - 1, most = bottom; i >= 0; i--, most -= LINE_HEIGHT) {
    sorted[i]!.y = Math.min(sorted[i]!.y, most);
  }
  return sorted;
}

function mark(n: number, x: number, y: number): string {
  const shapes = [
    `<circle class="s${n}" cx="${x}" cy="${y}" r="3.5"/>`,
    `<rect class="s${n}" x="${round(x - 3.5)}" y="${round(y - 3.5)}" width="7" height="7"/>`,
    `<path class="s${n}" d="M${x} ${round(y - 4.5)}l4.5 8h-9z"/>`,
    `<path class="s${n}" d="M${x} ${round(y - 5)}l5 5l-5 5l-5 -5z"/>`,
  ];
  return shapes[n] ?? '';
}

interface Scale {
  of: (value: number) => number;
  ticks: number[];
}

/** From the least to the most, with a tick at both ends and at the powers of ten that are not too near to one. */
function logScale(least: number, most: number, from: number, to: number): Scale {
  const span = Math.log10(most / least) || 1;
  const of = (value: number): number => from + ((to - from) * Math.log10(value / least)) / span;
  const powers = decades(least, most).filter((power) => power > least && Math.log10(most / power) > span / 12);
  return { of, ticks: [...new Set([least, ...powers, most])] };
}

/** From a round number below all to one above; a tick at each 1, 2 and 5, or only at powers of ten if there are many. */
function niceLogScale(values: number[], from: number, to: number): Scale {
  const steps = decades(Math.min(...values) / 10, Math.max(...values) * 10).flatMap((power) => [
    power,
    2 * power,
    5 * power,
  ]);
  const least = steps.findLast((step) => step <= Math.min(...values))!;
  const most = steps.find((step) => step >= Math.max(...values) && step > least)!;
  const { of } = logScale(least, most, from, to);
  const between = steps.filter((step) => step >= least && step <= most);
  const powers = between.filter((step) => Number.isInteger(Math.round(Math.log10(step) * 1e9) / 1e9));
  return { of, ticks: between.length > 10 ? powers : between };
}

function linearScale(values: number[], from: number, to: number): Scale {
  const most = Math.max(...values);
  const rough = most / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough)!;
  const count = Math.ceil(most / step);
  const of = (value: number): number => from + ((to - from) * value) / (count * step);
  return { of, ticks: Array.from({ length: count + 1 }, (_, i) => i * step) };
}

function decades(least: number, most: number): number[] {
  const [first, last] = [Math.floor(Math.log10(least)), Math.ceil(Math.log10(most))];
  // 10 ** -3 is not 0.001.
  return Array.from({ length: last - first + 1 }, (_, i) => Number(`1e${first + i}`));
}

const round = (value: number): number => Math.round(value * 10) / 10;

function text(x: number, y: number, words: string, kind: string, anchor = 'start'): string {
  const place = anchor === 'start' ? '' : ` text-anchor="${anchor}"`;
  return `<text class="${kind}" x="${round(x)}" y="${round(y)}"${place}>${escaped(words)}</text>`;
}

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

function escaped(words: string): string {
  return words.replace(/[&<>"]/g, (letter) => ENTITIES[letter] ?? letter);
}
