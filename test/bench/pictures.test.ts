/**
 * The growth curves: what is drawn can be read on light and dark pages, and is the data of the repository.
 */
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { pictures, readCurves, writePictures } from '../../bench/plot/pictures.ts';
import { picture, type Panel, type Series } from '../../bench/plot/svg.ts';

const ROOT = resolve(import.meta.dirname, '../../..');
const NAMES = ['floor', 'cleat', 'netavark', 'CNI'];

const panelOf = (y: Panel['y'], series: Panel['series']): Panel => ({ title: 'time, ms', x: 'containers', y, series });
const draw = (...panels: Panel[]): string => picture('A title', 'a note', panels, NAMES);

const attribute = (tag: string, name: string): number => Number(new RegExp(`\\b${name}="([^"]*)"`).exec(tag)?.[1]);
const pointsOf = (svg: string): [number, number][][] =>
  [...svg.matchAll(/<polyline[^>]* points="([^"]*)"/g)].map(([, points = '']) =>
    points.split(' ').map((point) => point.split(',').map(Number) as [number, number]),
  );
/** The names at the ends of lines, with their baselines. */
const endNames = (svg: string): { name: string; y: number }[] =>
  [...svg.matchAll(/(<text class="s\d name"[^>]*>)([^<]*)/g)].map(([, tag = '', name = '']) => ({
    name,
    y: attribute(tag, 'y'),
  }));

/** The contrast of two colours (WCAG 2). */
function contrast(one: string, other: string): number {
  const light = (colour: string): number => {
    const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => {
      const part = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
      return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [dark = 0, bright = 0] = [light(one), light(other)].sort((a, b) => a - b);
  return (bright + 0.05) / (dark + 0.05);
}

const drawing = suite('growth curves');

drawing('each point is where its value is, by its scale', () => {
  const series = [
    {
      name: 'cleat',
      points: [
        [1, 1],
        [10, 10],
        [100, 100],
      ] as [number, number][],
    },
  ];
  const [first = [0, 0], middle = [0, 0], last = [0, 0]] = pointsOf(draw(panelOf('log', series)))[0] ?? [];
  assert.ok(first[0] < last[0] && first[1] > last[1]);
  for (const axis of [0, 1]) assert.ok(Math.abs(middle[axis]! - (first[axis]! + last[axis]!) / 2) < 0.2);
  const [low = [0, 0], , high = [0, 0]] = pointsOf(draw(panelOf('linear', series)))[0] ?? [];
  // From 0: the point at 1 is a hundredth of the way up.
  assert.ok((348 - low[1]) / (348 - high[1]) < 0.02, `${low[1]} ${high[1]}`);
});

drawing('nothing is outside the picture, for values of every size', () => {
  for (const scale of [0.001, 0.07, 1, 3, 999, 1e6]) {
    const points: [number, number][] = [1, 4, 4000].map((x) => [x, scale * (1 + Math.log(x))]);
    for (const y of ['log', 'linear'] as const) {
      const svg = draw(panelOf(y, [{ name: 'cleat', points }]), panelOf(y, [{ name: 'CNI', points }]));
      assert.not.match(svg, /NaN|Infinity|undefined/);
      for (const [px, py] of pointsOf(svg).flat()) {
        assert.ok(px >= 0 && px <= 960 && py >= 84 && py <= 348, `${scale} ${y}: ${px},${py}`);
      }
    }
  }
});

drawing('a curve of one point, and a curve without any, are no defect', () => {
  const svg = draw(
    panelOf('log', [
      { name: 'cleat', points: [[1, 5]] },
      { name: 'CNI', points: [] },
    ]),
  );
  assert.not.match(svg, /NaN|Infinity/);
  assert.equal(
    endNames(svg).map(({ name }) => name),
    ['cleat'],
  );
});

drawing('names do not cover each other where lines end together, at the top or at the bottom', () => {
  for (const end of [100, 1]) {
    const series = NAMES.map((name): Series => ({
      name,
      points: [
        [1, 101 - end],
        [10, end],
      ],
    }));
    const found = endNames(draw(panelOf('log', series))).sort((a, b) => a.y - b.y);
    assert.is(found.length, 4);
    for (let i = 1; i < found.length; i++) assert.ok(found[i]!.y - found[i - 1]!.y >= 15, `${end}`);
    assert.ok(found.at(-1)!.y <= 352);
  }
});

drawing('on light and on dark pages, text and lines stand out from the background', () => {
  const svg = draw(panelOf('log', [{ name: 'cleat', points: [[1, 1]] }]));
  const schemes = [...svg.matchAll(/svg \{ (--[^}]*?)(?: font: [^}]*)?\}/g)].map(([, rules = '']) =>
    Object.fromEntries([...rules.matchAll(/--(\w+): (#\w{6});/g)].map(([, name = '', colour = '']) => [name, colour])),
  );
  assert.is(schemes.length, 2);
  assert.match(svg, /@media \(prefers-color-scheme: dark\)/);
  assert.match(svg, /<rect class="background"/);
  for (const { background = '', rule: _, ...seen } of schemes) {
    assert.is(Object.keys(seen).length, 6);
    for (const [name, colour] of Object.entries(seen)) {
      assert.ok(contrast(colour, background) >= 4, `${name} ${colour} on ${background}`);
    }
  }
  assert.ok(contrast(schemes[0]!['background']!, schemes[1]!['background']!) > 10);
});

drawing('words of the data cannot leave their element', () => {
  const svg = picture('a <b> & "c"', 'x', [panelOf('log', [{ name: 'cleat', points: [[1, 1]] }])], NAMES);
  assert.match(svg, /a &lt;b&gt; &amp; &quot;c&quot;/);
  assert.not.match(svg, /<b>/);
});

drawing('the pictures of docs/performance.md are those of the data beside the code', () => {
  const page = readFileSync(join(ROOT, 'docs/performance.md'), 'utf8');
  const made = pictures(readCurves(ROOT));
  assert.equal(
    [...made.keys()].sort(),
    ['containers', 'networks', 'ports'].map((of) => `docs/images/growth-${of}.svg`),
  );
  for (const [path, svg] of made) {
    assert.ok(page.includes(`](${path.replace('docs/', '')})`), `${path} is not on the page`);
    assert.ok(
      readFileSync(join(ROOT, path), 'utf8') === svg,
      `${path} is not that of the data (npm run bench -- --plot)`,
    );
  }
});

drawing('data that is kept makes the same pictures again', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pictures-'));
  const { machine } = readCurves(ROOT);
  // What is rounded moves by more than a tenth of a pixel.
  const points = [1.0004, 1.5, 1.9].map((ms, i) => ({ at: 10 ** i, ms, kb: 70_000 / 3 }));
  const curves = { recorded: '2026-01-02', machine, growths: [{ of: 'ports', curves: [{ name: 'cleat', points }] }] };
  assert.equal(writePictures(curves, folder), ['docs/images/growth-ports.svg', 'bench/plot/curves.json']);
  for (const [path, svg] of pictures(readCurves(folder))) assert.ok(readFileSync(join(folder, path), 'utf8') === svg);
});

drawing.run();
