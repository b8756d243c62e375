/**
 * Shows what happened to a container, the newest first: states, what led to them, how long they lasted, and why something failed.
 *
 * Guarantees: a row leads to its moment. The chosen row is that of the moment which is looked at, or the last one before it: not
 * every line of the journal is a row.
 */
import { html } from 'htm/preact';
import { computed } from '@preact/signals';
import type { VNode } from 'preact';
import { moment, past } from '../../live/past.ts';
import { clock, duration } from '../../model/format.ts';
import { rowsOf, type Row } from '../../model/past.ts';
import { kindOf } from '../../model/standing.ts';
import { ListBox, type ListBoxOf } from '../parts/list-box.ts';
import { Empty, Sign } from '../parts/parts.ts';

const rows = computed(() => rowsOf(past.value.lines).reverse());
const chosen = computed(() => {
  const { value } = moment;
  return value === null ? -1 : rows.value.findIndex(({ index }) => index <= value);
});

const EVENTS: ListBoxOf<Row> = {
  label: 'What happened, the newest first',
  name: 'events',
  rowHeight: 40,
  idOf: ({ index }) => `moment-${index}`,
  classOf: ({ kind, fault }) => `event of-${kind} ${fault === null ? '' : 'failed'}`,
  choose: ({ index }) => (moment.value = index),
  show: ({ t, kind, machine, title, cause, ms, fault }) =>
    html`<span class="mono dim">${clock(t)}</span>
      <span class="event-title">
        ${kind === 'state' ? html`<${Sign} kind=${kindOf(title)} />` : null}
        ${kind === 'child' ? html`<span class="dim">${machine} </span>` : null}${title}
      </span>
      <span class="mono dim event-ms">${ms === null ? '' : duration(ms)}</span>
      <span class="event-cause ${fault === null ? 'dim' : 'bad'}">${fault ?? cause}</span>`,
};

export function Timeline(): VNode {
  if (rows.value.length === 0) return html`<${Empty}>Nothing has happened yet.<//>`;
  return html`<${ListBox} of=${EVENTS} items=${rows.value} selected=${chosen.value} />`;
}
