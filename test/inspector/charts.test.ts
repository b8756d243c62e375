// slow: 20 s, lays out the charts of seven machines
/**
 * The charts that the page draws: every state and every transition of every machine is in them, once, under the id that the daemon
 * gives it; boxes hold their children and overlap nobody; and what is lit, followed and told of a state.
 */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { AnyStateNode } from 'xstate';
import type { Box, Chart, Charts, Drawing } from '../../inspector/page/charts/chart.ts';
import { likely, linesFrom, linesOf, litNodes, nodeOf, restStates } from '../../inspector/page/charts/lit.ts';
import { pathOf as svgPath } from '../../inspector/page/charts/path.ts';
import { centred, fit, isInSight, panned, zoomed } from '../../inspector/page/charts/view.ts';
import { accountOf, sentence } from '../../inspector/page/charts/words.ts';
import { allCharts, labelLines, textWidth } from '../../scripts/charts.ts';
import { MACHINES, arrowsOf, descendants, pathOf } from '../../scripts/machine-graph.ts';

const BUILT = resolve(import.meta.dirname, '../../inspector/machines.json');

const charts = suite('charts');
const all = JSON.parse(readFileSync(BUILT, 'utf8')) as Charts;
const container = all['container'] as Chart;

const drawingsOf = (chart: Chart): Drawing[] => [
  chart,
  ...(chart.overview === null ? [] : [chart.overview]),
  ...Object.values(chart.parts),
];
const idsOf = (drawing: Drawing): string[] => drawing.edges.flatMap(({ ids }) => ids);

/** XState's own ids of all transitions that lead to a state and do not begin at the root. */
function transitionsOf(root: AnyStateNode): string[] {
  return descendants(root).flatMap((node) =>
    [['', node.always ?? []] as const, ...node.transitions].flatMap(([event, list]) =>
      list.flatMap(({ target }, index) => (target ?? []).map(() => `${pathOf(node)}|${event}|${index}`)),
    ),
  );
}

charts('what is built is what the machines are now', async () => {
  assert.equal(Object.keys(all), Object.keys(MACHINES));
  // The layout takes seconds for the largest: one of the others shows that it is the same.
  const small = Object.fromEntries(Object.entries(all).filter(([name]) => name !== 'container'));
  assert.equal(JSON.parse(JSON.stringify(await allCharts(Object.keys(small)))), small);
});

charts('every state and every transition is drawn, once', () => {
  for (const [name, [machine]] of Object.entries(MACHINES)) {
    const chart = all[name] as Chart;
    assert.equal(
      chart.nodes.map(({ id }) => id),
      descendants(machine.root).map(pathOf),
      name,
    );
    assert.equal(idsOf(chart).sort(), transitionsOf(machine.root).sort(), name);
    assert.is(chart.anywhere.length > 0, arrowsOf(machine.root).length > 0, name);
  }
});

charts('an overview and the insides have the transitions between their own states', () => {
  const { overview, parts } = container;
  const tops = container.nodes.filter(({ parent }) => parent === '').map(({ id }) => id);
  assert.equal(
    overview?.nodes.map(({ id }) => id),
    tops,
  );
  const inside = Object.values(parts).flatMap(idsOf);
  assert.equal([...idsOf(overview as Drawing), ...inside].sort(), idsOf(container).sort());
  assert.equal(
    Object.keys(parts),
    container.nodes.filter(({ parent, type }) => parent === '' && type === 'compound').map(({ id }) => id),
  );
});

const overlap = (a: Box, b: Box): boolean => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
const holds = (a: Box, b: Box): boolean => a.x <= b.x && a.y <= b.y && a.x + a.w >= b.x + b.w && a.y + a.h >= b.y + b.h;

charts('boxes hold their children, and overlap nobody beside them', () => {
  for (const drawing of Object.values(all).flatMap(drawingsOf)) {
    const boxes = new Map(drawing.nodes.map((node) => [node.id, node]));
    for (const node of drawing.nodes) {
      assert.ok(node.w > 0 && node.h > 0, `${drawing.title}: ${node.id} has no size`);
      assert.ok(
        holds({ x: 0, y: 0, w: drawing.width, h: drawing.height }, node),
        `${drawing.title}: ${node.id} is outside`,
      );
      const parent = boxes.get(node.parent);
      if (parent !== undefined) assert.ok(holds(parent, node), `${drawing.title}: ${node.id} leaves ${node.parent}`);
      for (const other of drawing.nodes) {
        if (other === node || other.parent !== node.parent) continue;
        assert.not.ok(overlap(node, other), `${drawing.title}: ${node.id} covers ${other.id}`);
      }
    }
  }
});

charts('names have room in their boxes, and lines lead somewhere', () => {
  for (const drawing of Object.values(all).flatMap(drawingsOf)) {
    for (const { key, w } of drawing.nodes) assert.ok(textWidth(key, 13) + 12 <= w, `${drawing.title}: ${key}`);
    for (const { points, source, target, shown } of drawing.edges) {
      assert.ok(points.length >= 2, `${drawing.title}: ${source} to ${target} has no line`);
      assert.ok(shown.length >= 1 && shown.length <= 3);
    }
  }
});

charts('many labels are a few and their number', () => {
  assert.equal(labelLines(['a', 'b', 'c']), ['a', 'b', 'c']);
  assert.equal(labelLines(['a', 'b', 'c', 'd', 'e']), ['a', 'b', '3 more']);
});

charts('a state is lit with all around it; a transition lights its line', () => {
  assert.equal(litNodes('configuring.leasing'), ['configuring', 'configuring.leasing']);
  assert.equal(litNodes(''), []);
  const id = 'created|configure|0';
  const [index = -1, ...others] = linesOf(container, [id]);
  assert.ok(container.edges[index]?.ids.includes(id));
  assert.equal(others, []);
  assert.equal(linesOf(container, ['nobody|knows|0']), []);
  assert.is(nodeOf(container, 'up')?.tags.includes('rest'), true);
  assert.ok(restStates(container).has('degraded') && !restStates(container).has('configuring'));
});

charts('who wrote no transition down is shown those of the event', () => {
  const event = 'xstate.done.actor.lease';
  const found = likely(container, 'configuring.leasing', event);
  assert.ok(found.length > 0);
  for (const id of found) assert.match(id, /^(configuring(\.leasing)?)?\|xstate\.done\.actor\.lease\|\d+$/);
  assert.equal(likely(container, 'up', event), []);
});

charts('a chart in words says where each event leads', () => {
  const account = accountOf(container, 'created');
  assert.match(account.description, /\w/);
  assert.ok(account.ways.some(({ target, events }) => target === 'configuring' && events.includes('configure')));
  assert.match(sentence(account), /^Now created\. .* configure leads to configuring/);
  assert.equal(accountOf(container, 'gone').ways, []);
  // What leads away from around a state leads away from it too.
  const from = linesFrom(container, 'configuring.leasing').map(({ target }) => target);
  assert.ok(from.includes('rollingBack') && !from.includes('up'), String(from));
});

charts('a line has rounded corners, and its ends where the layout has them', () => {
  assert.is(
    svgPath([
      [0, 0],
      [0, 10],
    ]),
    'M0 0L0 10',
  );
  assert.is(
    svgPath([
      [0, 0],
      [0, 20],
      [20, 20],
    ]),
    'M0 0L0 14Q0 20 6 20L20 20',
  );
  assert.is(svgPath([]), '');
});

charts('zooming keeps what is under the pointer; a chart is never lost', () => {
  const size = { width: 800, height: 600 };
  const box = { x: 100, y: 50, w: 400, h: 200 };
  const view = fit(box, size);
  assert.is(view.scale, 1);
  assert.ok(isInSight(box, view, size, 0.5));
  assert.not.ok(isInSight({ ...box, w: 4000 }, view, size, 0.5));
  const at = (point: number, offset: number, scale: number): number => (point - offset) / scale;
  const nearer = zoomed(view, 2, [300, 200]);
  assert.ok(Math.abs(at(300, view.left, view.scale) - at(300, nearer.left, nearer.scale)) < 1e-9);
  assert.ok(zoomed(view, 1e9, [0, 0]).scale <= 3);
  const away = panned(view, 1e6, -1e6, { width: 1000, height: 1000 }, size);
  assert.ok(away.left < size.width && away.top > -1000 * away.scale);
  // Nothing beyond the edge of what is around is shown while there is more on the other side.
  const corner = centred({ x: 0, y: 0, w: 10, h: 10 }, { x: 0, y: 0, w: 5000, h: 5000 }, 1, size);
  assert.equal([corner.left, corner.top], [16, 16]);
});

charts('the page is small', async () => {
  const { gzipSync } = await import('node:zlib');
  const files = ['index.html', 'main.js', 'main.css', 'machines.json'].map((file) =>
    readFileSync(join(BUILT, '..', file)),
  );
  const bytes = files.reduce((sum, content) => sum + gzipSync(content).length, 0);
  assert.ok(bytes < 150 * 1024, `${bytes} bytes gzipped`);
});

charts.run();
