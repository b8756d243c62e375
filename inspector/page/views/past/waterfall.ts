/**
 * Shows where the milliseconds of each operation went, as bars on the time axis of the operation.
 *
 * Guarantees: each bar says its name and duration in text. The longest effect is named first, because that is what one looks for.
 * Limits: shows the thirty newest operations.
 */
import { html } from 'htm/preact';
import { computed } from '@preact/signals';
import type { VNode } from 'preact';
import { useState } from 'preact/hooks';
import { moment, past } from '../../live/past.ts';
import { isRest } from '../../live/store.ts';
import { clock, duration } from '../../model/format.ts';
import { operationsOf, type Bar, type Operation } from '../../model/waterfall.ts';
import { Empty, State } from '../parts/parts.ts';

const SHOWN = 30;

const operations = computed(() => operationsOf(past.value.lines, isRest));

/** Returns the length of a part of a bar or lane. */
const percent = (part: number, whole: number): string => `${Math.min(100, (100 * part) / Math.max(whole, 0.001))}%`;

function BarView({ bar, whole }: { bar: Bar; whole: number }): VNode {
  const { start, ms, machine, name, kind, waited, fault } = bar;
  const what = machine === 'container' && kind === 'state' ? name : kind === 'effect' ? name : `${machine} ${name}`;
  return html`<li
    class="bar-row of-${kind} ${machine === 'container' ? '' : 'child'} ${fault === null ? '' : 'failed'}"
  >
    <span class="bar-name">
      ${kind === 'effect' ? html`<span class="dim" aria-hidden="true">▸ </span>` : null}${what}${
        fault === null ? null : html` <span class="bad">✕ ${fault.code}</span>`
      }
    </span>
    <span class="mono dim bar-ms">${duration(ms)}</span>
    <span class="bar-lane" aria-hidden="true">
      <span class="bar" style=${{ left: percent(start, whole), width: percent(ms, whole) }}>
        ${waited > 0 ? html`<span class="bar-waited" style=${{ width: percent(waited, ms) }}></span>` : null}
      </span>
    </span>
  </li>`;
}

/** Returns the effect that took the most time. */
function slowest({ bars }: Operation): Bar | undefined {
  const effects = bars.filter(({ kind }) => kind === 'effect');
  return (effects.length > 0 ? effects : bars).toSorted((a, b) => b.ms - a.ms)[0];
}

export function Waterfall(): VNode {
  const [open, setOpen] = useState<number | null>(null);
  const all = operations.value.slice(0, SHOWN);
  if (all.length === 0) return html`<${Empty}>No operation has been seen yet.<//>`;
  const shown = open ?? all[0]?.begun;
  return html`<div class="operations">
    ${all.map((operation) => {
      const { event, begun, ms, to, bars, end } = operation;
      const longest = slowest(operation);
      return html`<details
        key=${begun}
        open=${begun === shown}
        onToggle=${(toggled: Event) => {
          if ((toggled.currentTarget as HTMLDetailsElement).open) setOpen(begun);
        }}
      >
        <summary>
          <span class="mono dim">${clock(begun)}</span> <strong>${event}</strong>
          <span class="mono">${duration(ms)}</span>
          ${to === null ? html`<span class="dim">goes on</span>` : html`<${State} state=${to} />`}
        </summary>
        ${
          longest === undefined
            ? null
            : html`<p class="small dim">Longest: ${longest.name}, ${duration(longest.ms)} of ${duration(ms)}.</p>`
        }
        <ol class="bars">
          ${bars.map((bar, index) => html`<${BarView} key=${index} bar=${bar} whole=${ms} />`)}
        </ol>
        <button type="button" class="quiet" onClick=${() => (moment.value = end - 1)}>Show the moment it ended</button>
      </details>`;
    })}
  </div>`;
}
