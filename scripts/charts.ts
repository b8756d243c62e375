/**
 * Lays out the statecharts of all machines once, at build time, so that the inspector's page only draws them
 * (dist/inspector/machines.json).
 *
 * Guarantees: the charts are those of the machine objects that run. Coordinates are absolute, in pixels of a chart at its
 * natural size. Transitions between the same two states are one line, which has the ids of all of them.
 * Limits: the root and its transitions are not drawn, because each would be a line from everywhere; `anywhere` lists them.
 * The widths of texts are estimates for system fonts, a little wide.
 */
import { createRequire } from 'node:module';
import type { ELK, ElkExtendedEdge, ElkNode, LayoutOptions } from 'elkjs/lib/elk-api.js';
import type { AnyStateMachine, AnyStateNode } from 'xstate';
import type { Box, Chart, ChartEdge, ChartNode, Drawing, Point } from '../inspector/page/charts/chart.ts';
import { MACHINES, arrowsOf, childrenOf, descendants, initialOf, pathOf, type Arrow } from './machine-graph.ts';

/** elkjs is CommonJS, and its declaration does not say so. */
const Layout = createRequire(import.meta.url)('elkjs/lib/elk.bundled.js') as new () => ELK;

const LABEL_LINES = 3;
const LINE_HEIGHT = 13;
const NODE = { height: 28, invoking: 42, margin: 24, least: 72 };
const FONT = { name: 13, small: 10.5, overview: 15 };

const OPTIONS: LayoutOptions = {
  'elk.algorithm': 'layered',
  'elk.direction': 'DOWN',
  'elk.edgeRouting': 'ORTHOGONAL',
  'elk.json.shapeCoords': 'ROOT',
  'elk.json.edgeCoords': 'ROOT',
  'elk.padding': '[top=34,left=14,bottom=14,right=14]',
  'elk.spacing.nodeNode': '22',
  'elk.spacing.edgeNode': '14',
  'elk.spacing.edgeEdge': '9',
  'elk.spacing.edgeLabel': '3',
  'elk.layered.spacing.nodeNodeBetweenLayers': '26',
  'elk.layered.spacing.edgeNodeBetweenLayers': '12',
  'elk.layered.spacing.edgeEdgeBetweenLayers': '8',
  'elk.layered.nodePlacement.strategy': 'NETWORK_SIMPLEX',
  'elk.layered.compaction.postCompaction.strategy': 'EDGE_LENGTH',
  'elk.layered.thoroughness': '10',
};

/** Estimates the width of a text in a system font of this size. */
export function textWidth(text: string, size: number): number {
  let em = 0;
  for (const letter of text) em += /[iljtfr.,:;|()[\] ]/.test(letter) ? 0.36 : /[mwMW%@]/.test(letter) ? 0.92 : 0.62;
  return Math.ceil(em * size);
}

/** Describes the transitions between the same two states, as one line. */
interface Line {
  ids: string[];
  source: string;
  target: string;
  labels: string[];
}

/**
 * Returns the two states that the line of a transition joins: a line ends at the border of a nested state instead of leading
 * inside, because dozens of transitions from one nested state to another (each failure to `rollingBack`) would hide the chart.
 */
export function ends({
  source,
  target,
}: Pick<Arrow, 'source' | 'target'>): [source: AnyStateNode, target: AnyStateNode] {
  const depth = source.path.findIndex((key, i) => target.path[i] !== key);
  const shared = depth === -1 ? source.path.length : depth;
  return [upTo(source, shared + 1), upTo(target, shared + 1)];
}

const upTo = (node: AnyStateNode, depth: number): AnyStateNode =>
  node.parent === undefined || node.path.length <= depth ? node : upTo(node.parent, depth);

/** Joins transitions whose lines are the same. */
export function joined(arrows: readonly Arrow[]): Line[] {
  const lines = new Map<string, Line>();
  for (const arrow of arrows) {
    const [source, target] = ends(arrow).map(pathOf) as [string, string];
    const line = lines.get(`${source}>${target}`) ?? { ids: [], source, target, labels: [] };
    line.ids.push(arrow.id);
    const text = arrow.label.replace(' [by outcome]', '').replace(/^always (?=\[)/, '');
    if (!line.labels.includes(text)) line.labels.push(text);
    lines.set(`${source}>${target}`, line);
  }
  return [...lines.values()];
}

/** Returns the lines of text beside an edge: all, or the first and how many more there are. */
export function labelLines(labels: readonly string[]): string[] {
  if (labels.length <= LABEL_LINES) return [...labels];
  return [...labels.slice(0, LABEL_LINES - 1), `${labels.length - LABEL_LINES + 1} more`];
}

const isNested = (node: AnyStateNode): boolean => childrenOf(node).length > 0;

function elkNode(node: AnyStateNode, inside: boolean): ElkNode {
  const id = pathOf(node);
  const children = inside ? childrenOf(node).map((child) => elkNode(child, inside)) : [];
  if (children.length > 0) return { id, children, layoutOptions: OPTIONS };
  const invokes = inside ? node.invoke.map((invoked) => invoked.id).join(', ') : '';
  const font = inside ? FONT.name : FONT.overview;
  const bold = isNested(node) ? 1.12 : 1;
  const width = Math.max(textWidth(node.key, font * bold), textWidth(invokes, FONT.small) + 12) + NODE.margin;
  return { id, width: Math.max(width, NODE.least), height: invokes === '' ? NODE.height : NODE.invoking };
}

function elkEdge(line: Line, index: number, labelled: boolean): ElkExtendedEdge {
  const edge = { id: `edge-${index}`, sources: [line.source], targets: [line.target] };
  if (!labelled) return edge;
  const lines = labelLines(line.labels);
  const width = Math.max(...lines.map((text) => textWidth(text, FONT.small))) + 6;
  const label = { id: `label-${index}`, text: lines.join('\n'), width, height: lines.length * LINE_HEIGHT + 2 };
  return { ...edge, labels: [label] };
}

const round = (value = 0): number => Math.round(value * 10) / 10;
const boxOf = ({ x, y, width, height }: Pick<ElkNode, 'x' | 'y' | 'width' | 'height'>): Box => ({
  x: round(x),
  y: round(y),
  w: round(width),
  h: round(height),
});

function edgeOf({ ids, source, target, labels }: Line, laidOut: ElkExtendedEdge | undefined): ChartEdge {
  const section = laidOut?.sections?.[0];
  const corners = section === undefined ? [] : [section.startPoint, ...(section.bendPoints ?? []), section.endPoint];
  const points = corners.map(({ x, y }): Point => [round(x), round(y)]);
  const [first = ''] = labels;
  const label = laidOut?.labels?.[0];
  return label === undefined
    ? {
        ids,
        source,
        target,
        labels,
        shown: [labels.length > 1 ? `${first} …` : first],
        points,
        labelBox: middleOf(points),
      }
    : { ids, source, target, labels, shown: labelLines(labels), points, labelBox: boxOf(label) };
}

/** Returns the middle of the longest stretch of a line. */
function middleOf(points: readonly Point[]): Box {
  let longest = -1;
  let middle: Point = [0, 0];
  for (const [i, [x, y]] of points.slice(1).entries()) {
    const [fromX, fromY] = points[i] ?? [x, y];
    const length = Math.hypot(x - fromX, y - fromY);
    if (length > longest) [longest, middle] = [length, [(x + fromX) / 2, (y + fromY) / 2]];
  }
  return { x: round(middle[0]), y: round(middle[1] - LINE_HEIGHT / 2), w: 0, h: LINE_HEIGHT };
}

/** Describes what is drawn as one chart. */
interface Picture {
  id: string;
  title: string;
  /** Holds the states that stand side by side. */
  tops: AnyStateNode[];
  lines: Line[];
  direction: 'RIGHT' | 'DOWN';
  /** False: nested states are drawn as boxes alone, and the text of a line has no room of its own. */
  inside: boolean;
}

async function layOut({ id, title, tops, lines, direction, inside }: Picture): Promise<Drawing> {
  const graph: ElkNode = {
    id: 'root',
    layoutOptions: { ...OPTIONS, 'elk.direction': direction },
    children: tops.map((node) => elkNode(node, inside)),
    edges: lines.map((line, index) => elkEdge(line, index, inside)),
  };
  const laidOut = await new Layout().layout(graph);
  const boxes = new Map<string, Box>();
  const walk = (node: ElkNode): void => {
    boxes.set(node.id, boxOf(node));
    for (const child of node.children ?? []) walk(child);
  };
  walk(laidOut);
  const edges = new Map(laidOut.edges?.map((edge) => [edge.id, edge]));
  const nodes = inside ? tops.flatMap((top) => [top, ...descendants(top)]) : tops;
  return {
    id,
    title,
    width: round(laidOut.width),
    height: round(laidOut.height),
    nodes: nodes.map((node): ChartNode => ({
      id: pathOf(node),
      key: node.key,
      parent: node.parent === undefined ? '' : pathOf(node.parent),
      ...(boxes.get(pathOf(node)) ?? { x: 0, y: 0, w: 0, h: 0 }),
      type: node.type,
      initial: node.parent !== undefined && initialOf(node.parent).includes(node),
      tags: node.tags,
      description: node.description ?? '',
      invoke: inside ? node.invoke.map((invoked) => invoked.id) : [],
    })),
    edges: lines.map((line, index) => edgeOf(line, edges.get(`edge-${index}`))),
  };
}

/** Lays out one machine: all of it, and if it has nested states, the states at the top alone, and the inside of each. */
export async function chartOf(id: string, machine: AnyStateMachine, title: string): Promise<Chart> {
  const { root } = machine;
  const tops = childrenOf(root);
  const lines = joined(descendants(root).flatMap(arrowsOf));
  const nested = tops.filter(isNested);
  const direction = nested.length > 0 ? 'RIGHT' : 'DOWN';
  const whole = await layOut({ id, title, tops, lines, direction, inside: true });
  const isTop = (path: string): boolean => !path.includes('.');
  const between = lines.filter(({ source, target }) => isTop(source) && isTop(target));
  const parts: Record<string, Drawing> = {};
  for (const part of nested) {
    const within = lines.filter(({ source, target }) =>
      [source, target].every((path) => path.startsWith(`${part.key}.`)),
    );
    const picture = { id, title: `${title}: ${part.key}`, tops: childrenOf(part), lines: within, inside: true };
    parts[part.key] = await layOut({ ...picture, direction: 'DOWN' });
  }
  return {
    ...whole,
    anywhere: joined(arrowsOf(root)).map(({ target, labels }) => ({ target, labels })),
    overview:
      nested.length === 0 ? null : await layOut({ id, title, tops, lines: between, direction: 'DOWN', inside: false }),
    parts,
  };
}

/** Lays out all machines, or those of these names. */
export async function allCharts(names: readonly string[] = Object.keys(MACHINES)): Promise<Record<string, Chart>> {
  const charts: Record<string, Chart> = {};
  for (const [name, [machine, title]] of Object.entries(MACHINES))
    if (names.includes(name)) charts[name] = await chartOf(name, machine, title);
  return charts;
}
