/**
 * What happened to a container, the newest first: states, what led to them, how long they lasted, and why something failed.
 *
 * Guarantees: only the rows in sight are in the document. A row leads to its moment.
 */
import { html } from 'htm/preact';
import type { VNode } from 'preact';
import { moment, past } from '../../live/past.ts';
import { clock, duration } from '../../model/format.ts';
import { rowsOf, type Row } from '../../model/past.ts';
import { kindOf } from '../../model/standing.ts';
import { moved, scrollTo, windowOf } from '../../model/virtual-window.ts';
import { Empty, Sign } from '../parts/parts.ts';
import { useSight } from '../parts/sight.ts';

const ROW = 40;

function RowView({ row, shown }: { row: Row; shown: boolean }): VNode {
  const { index, t, kind, machine, title, cause, ms, fault } = row;
  return html`<div
    class="event of-${kind} ${shown ? 'selected' : ''} ${fault === null ? '' : 'failed'}"
    role="option"
    id="moment-${index}"
    aria-selected=${shown ? 'true' : 'false'}
    onClick=${() => (moment.value = index)}
  >
    <span class="mono dim">${clock(t)}</span>
    <span class="event-title">
      ${kind === 'state' ? html`<${Sign} kind=${kindOf(title)} />` : null}
      ${kind === 'child' ? html`<span class="dim">${machine} </span>` : null}${title}
    </span>
    <span class="mono dim event-ms">${ms === null ? '' : duration(ms)}</span>
    <span class="event-cause ${fault === null ? 'dim' : 'bad'}">${fault ?? cause}</span>
  </div>`;
}

export function Timeline(): VNode {
  const { element, sight } = useSight();
  const rows = rowsOf(past.value.lines).reverse();
  const index = rows.findIndex((row) => row.index === moment.value);
  const { first, end, before, after } = windowOf(rows.length, ROW, sight);
  const onKeyDown = (event: KeyboardEvent): void => {
    const to = moved(event.key, Math.max(index, 0), rows.length);
    const row = to === null ? undefined : rows[to];
    if (to === null || row === undefined) return;
    event.preventDefault();
    moment.value = row.index;
    const { current } = element;
    if (current !== null)
      current.scrollTop = scrollTo(to, ROW, { scrolled: current.scrollTop, height: current.clientHeight });
  };
  const inSight = rows.slice(first, end);
  if (rows.length === 0) return html`<${Empty}>Nothing has happened yet.<//>`;
  const active = inSight.some((row) => row.index === moment.value) ? `moment-${moment.value}` : undefined;
  return html`<div
    class="events"
    ref=${element}
    role="listbox"
    aria-label="What happened, the newest first"
    aria-activedescendant=${active}
    tabindex="0"
    onKeyDown=${onKeyDown}
  >
    <div role="presentation" style=${{ paddingTop: `${before}px`, paddingBottom: `${after}px` }}>
      ${inSight.map((row) => html`<${RowView} key=${row.index} row=${row} shown=${row.index === moment.value} />`)}
    </div>
  </div>`;
}
