/**
 * Draws a statechart once; then only what is lit changes. The mouse, fingers and keys zoom and move it.
 *
 * Guarantees: a change of state touches the classes of a few elements. From afar, the names of the states at the top stay
 * legible and the rest is left out; near by, everything is legible.
 */
import { html } from 'htm/preact';
import type { VNode } from 'preact';
import { useEffect, useLayoutEffect, useMemo, useRef } from 'preact/hooks';
import type { Chart, ChartEdge, ChartNode, Drawing } from '../../charts/chart.ts';
import { linesOf, litNodes, nodeOf } from '../../charts/lit.ts';
import { pathOf } from '../../charts/path.ts';
import { accountOf, sentence } from '../../charts/words.ts';
import { ChartSight, type Place } from './chart-sight.ts';

interface ChartProps {
  /** The machine, which knows what its states mean. */
  machine: Chart;
  /** Is the part that is drawn: all, the states at the top, or the inside of one. */
  drawing: Drawing;
  state: string;
  /** The transitions that led to this state; another list flashes. */
  taken: readonly string[];
  /** A small one beside another: no buttons. */
  small?: boolean;
}

const LABEL_LINE = 13;
/** The scales from which on a chart can be read: an overview has larger names, and no small texts. */
const LEGIBLE = { overview: 0.55, labelled: 0.85 };

function Node({ node }: { node: ChartNode }): VNode {
  const { id, key, x, y, w, h, parent, type, initial, tags, description, invoke } = node;
  const nested = type === 'compound';
  const classes = ['node', type, parent === '' ? 'top' : 'inner', ...tags].join(' ');
  return html`<g class=${classes} data-node=${id}>
    <title>${description === '' ? id : `${id}: ${description}`}</title>
    <rect x=${x} y=${y} width=${w} height=${h} rx=${nested ? 8 : 6} />
    ${initial ? html`<circle class="initial" cx=${x + 7} cy=${y + 7} r="3" />` : null}
    <text class="name" x=${x + 12} y=${nested || invoke.length > 0 ? y + 19 : y + h / 2 + 4.5}>${key}</text>
    ${invoke.length > 0 ? html`<text class="invoke" x=${x + 12} y=${y + 34}>${`▸ ${invoke.join(', ')}`}</text>` : null}
  </g>`;
}

function Edge({ edge, index }: { edge: ChartEdge; index: number }): VNode {
  const { points, shown, labelBox, source, target, labels } = edge;
  return html`<g class="edge" data-edge=${index}>
    <title>${`${source} to ${target}: ${labels.join(', ')}`}</title>
    <path d=${pathOf(points)} marker-end="url(#arrow)" />
    ${shown.map((text, i) => html`<text x=${labelBox.x + 3} y=${labelBox.y + 10 + i * LABEL_LINE}>${text}</text>`)}
  </g>`;
}

/** Draws the names that are read from afar last: nothing may cover them. */
function Lines({ drawing }: { drawing: Drawing }): VNode {
  return html`<g>
    ${drawing.nodes.map((node) => html`<${Node} key=${node.id} node=${node} />`)}
    ${drawing.edges.map((edge, index) => html`<${Edge} key=${index} edge=${edge} index=${index} />`)}
    ${drawing.nodes
      .filter(({ parent }) => parent === '')
      .map(
        ({ id, key, x, y, w, h }) =>
          html`<text key=${id} class="far-name" data-far=${id} x=${x + w / 2} y=${y + h / 2}>${key}</text>`,
      )}
  </g>`;
}

/** Returns what is worth looking at in this state: it, and the nested state around it or else everything. */
function placeOf(drawing: Drawing, state: string): Place {
  const all = { x: 0, y: 0, w: drawing.width, h: drawing.height };
  const lit = litNodes(state).flatMap((id) => nodeOf(drawing, id) ?? []);
  const [outer] = lit;
  const isOpen = outer !== undefined && drawing.nodes.some(({ parent }) => parent === outer.id);
  const fromAfar =
    drawing.nodes.some(({ parent }) => parent !== '') && drawing.nodes.some(({ parent }) => parent === '');
  return { around: isOpen ? outer : all, state: lit.at(-1) ?? all, fromAfar: fromAfar && !isOpen };
}

/** Lights the state and the lines that led to it. */
function light(svg: SVGSVGElement, drawing: Drawing, state: string, taken: readonly string[]): void {
  for (const old of svg.querySelectorAll('.lit, .here, .taken')) old.classList.remove('lit', 'here', 'taken');
  const lit = litNodes(state).filter((id) => nodeOf(drawing, id) !== undefined);
  for (const id of lit) {
    svg.querySelector(`[data-node="${CSS.escape(id)}"]`)?.classList.add('lit');
    svg.querySelector(`[data-far="${CSS.escape(id)}"]`)?.classList.add('lit');
  }
  // In an overview, the nested state that the machine is in somewhere stands for what is inside.
  const here = lit.at(-1);
  if (here !== undefined) svg.querySelector(`[data-node="${CSS.escape(here)}"]`)?.classList.add('here');
  for (const index of linesOf(drawing, taken)) {
    const edge = svg.querySelector(`[data-edge="${index}"]`);
    edge?.classList.add('taken');
    if (matchMedia('(prefers-reduced-motion: reduce)').matches) continue;
    // Only the opacity, so that a large chart is not laid out again in each frame.
    edge?.animate([{ opacity: 1 }, { opacity: 0.15 }, { opacity: 1 }], { duration: 600, easing: 'ease-out' });
  }
}

export function ChartView({ machine, drawing, state, taken, small = false }: ChartProps): VNode {
  const frame = useRef<HTMLDivElement>(null);
  const svg = useRef<SVGSVGElement>(null);
  const sight = useRef<ChartSight | null>(null);
  const lines = useMemo(() => html`<${Lines} drawing=${drawing} />`, [drawing]);

  const legible = drawing === machine.overview ? LEGIBLE.overview : LEGIBLE.labelled;
  useLayoutEffect(() => {
    if (frame.current === null || svg.current === null) return undefined;
    const made = new ChartSight(frame.current, svg.current, drawing, placeOf(drawing, state), legible);
    sight.current = made;
    made.show(placeOf(drawing, state), false);
    return () => made.end();
  }, [drawing]);
  useEffect(() => {
    if (svg.current !== null) light(svg.current, drawing, state, taken);
  }, [drawing, state, taken]);
  useEffect(() => sight.current?.follow(placeOf(drawing, state)), [drawing, state]);

  const words = sentence(accountOf(machine, state));
  const button = (label: string, sign: string, act: () => void): VNode =>
    html`<button type="button" aria-label=${label} title=${label} onClick=${act}>${sign}</button>`;
  return html`<div class="chart ${small ? 'small' : ''} ${drawing === machine.overview ? 'overview' : ''}">
    <div
      class="chart-frame"
      ref=${frame}
      tabindex="0"
      role="group"
      aria-roledescription="statechart"
      aria-label="${drawing.title}. ${words} Keys: plus and minus zoom, arrows move, 0 shows all, f follows."
    >
      <svg ref=${svg} aria-hidden="true" width="100%" height="100%">
        <defs>
          <marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
            <path d="M0 0.5L7.5 4L0 7.5z" />
          </marker>
        </defs>
        ${lines}
      </svg>
    </div>
    ${
      small
        ? null
        : html`<div class="chart-buttons" role="group" aria-label="Zoom">
            ${button('Zoom in', '+', () => sight.current?.zoom(1.4))}
            ${button('Zoom out', '−', () => sight.current?.zoom(1 / 1.4))}
            ${button('Show the whole chart', '⤢', () => sight.current?.whole())}
            ${button('Show the current state', '◎', () => sight.current?.show(placeOf(drawing, state)))}
          </div>`
    }
  </div>`;
}
