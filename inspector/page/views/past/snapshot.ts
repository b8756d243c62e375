/**
 * Shows the inside of a container at the moment that is looked at: its objects in the kernel, its context, its snapshot; or what
 * differs from the moment that it is compared with.
 */
import { html } from 'htm/preact';
import type { VNode } from 'preact';
import { machine, moment, past, pinned } from '../../live/past.ts';
import { clock } from '../../model/format.ts';
import { differences, type MomentDifference } from '../../model/past.ts';
import type { KernelObject } from '../../model/wire.ts';
import { Empty } from '../parts/parts.ts';
import { Tree } from '../parts/tree.ts';

function Objects({ objects, sign = '' }: { objects: readonly KernelObject[]; sign?: string }): VNode {
  return html`<ul class="objects">
    ${objects.map(
      ({ kind, name, detail }) =>
        html`<li key=${`${kind} ${name}`}>
          ${sign === '' ? null : html`<span class=${sign === '+' ? 'good' : 'bad'}>${sign} </span>`}<span class="dim"
            >${kind}</span
          >
          <span class="mono"> ${name}</span> <span class="dim">${detail}</span>
        </li>`,
    )}
  </ul>`;
}

const short = (value: unknown): string => {
  const text = value === undefined ? 'nothing' : JSON.stringify(value);
  return text.length > 160 ? `${text.slice(0, 160)}…` : text;
};

function DifferenceView({ difference, from, to }: { difference: MomentDifference; from: number; to: number }): VNode {
  const { state, context, children, objects } = difference;
  const changes = [...children, ...context];
  const same = state === null && changes.length === 0 && objects.made.length === 0 && objects.gone.length === 0;
  return html`<section aria-label="Difference">
    <h2>From ${clock(from)} to ${clock(to)}</h2>
    ${same ? html`<${Empty}>Nothing is different.<//>` : null}
    ${state === null ? null : html`<p><span class="bad">${state[0]}</span> became <span class="good">${state[1]}</span></p>`}
    <${Objects} objects=${objects.gone} sign="−" />
    <${Objects} objects=${objects.made} sign="+" />
    <ul class="changes">
      ${changes.map(
        (change) =>
          html`<li key=${change.path}>
            <span class="dim">${change.op}</span> <span class="mono">${change.path}</span>
            ${change.op === 'remove' ? null : html`<span class="mono value"> ${short(change.value)}</span>`}
          </li>`,
      )}
    </ul>
  </section>`;
}

export function Snapshot(): VNode {
  const { moments } = past.value;
  const shown = moments[moment.value ?? moments.length - 1];
  const other = pinned.value === null ? undefined : moments[pinned.value];
  if (shown !== undefined && other !== undefined) {
    const [a, b] = (pinned.value ?? 0) <= (moment.value ?? Infinity) ? [other, shown] : [shown, other];
    return html`<${DifferenceView} difference=${differences(a, b)} from=${a.t} to=${b.t} />`;
  }
  const now = moment.value === null ? machine.value : null;
  const context = now?.context ?? shown?.context ?? null;
  return html`<div class="snapshot">
    <h2>In the kernel</h2>
    ${
      shown === undefined || shown.objects.length === 0
        ? html`<${Empty}>The journal names no object at this moment.<//>`
        : html`<${Objects} objects=${shown.objects} />`
    }
    <h2>Context</h2>
    ${
      context === null
        ? html`<${Empty}>The journal does not have the context of this moment.<//>`
        : html`<${Tree} value=${context} open=${['attachments', 'operation']} />`
    }
    ${
      now === null
        ? null
        : html`<h2>Snapshot</h2>
            <${Tree} value=${{ value: now.value, children: now.children, legal: now.legal }} open=${['value']} />`
    }
  </div>`;
}
