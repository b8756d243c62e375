/**
 * Lists what other programs changed, what of it was repaired, what a container used beyond its share, and operations that failed.
 *
 * Guarantees: says who did it where the kernel says so, and whether it was repaired or left as it is.
 * Limits: begins when the page is opened; the journal of a container has what came before.
 */
import { html } from 'htm/preact';
import { computed } from '@preact/signals';
import type { VNode } from 'preact';
import { choose, containers, notifications } from '../../live/store.ts';
import { clock, faultText } from '../../model/format.ts';
import type { Notification } from '../../model/wire.ts';
import { Empty } from '../parts/parts.ts';

const SHOWN = 200;

const rows = computed(() =>
  notifications.value
    .filter(({ type }) => type === 'drift' || type === 'repaired' || type === 'limited' || type === 'failed')
    .toReversed()
    .slice(0, SHOWN),
);

const WORDS = { drift: '▲ drift', repaired: '✓ repaired', limited: '▲ limited', failed: '✕ failed' } as const;

function what(notification: Notification): VNode[] {
  switch (notification.type) {
    case 'drift':
    case 'repaired':
      return notification.drift.map(
        ({ kind, object }, i) => html`<div key=${i}>${kind} <span class="mono">${object}</span></div>`,
      );
    case 'limited': {
      const { what, entries, limit, forgotten } = notification;
      return [html`<div>${entries} ${what}, ${limit} allowed; ${forgotten} were taken from it</div>`];
    }
    case 'failed':
      return [html`<div>${notification.event}: ${faultText(notification.fault)}</div>`];
    case 'requested':
    case 'done':
    case 'state':
    case 'machine':
    case 'forwarder':
    case 'daemon':
    case 'missed':
      return [];
  }
}

function aftermath(notification: Notification): string {
  if (notification.type !== 'drift') return '';
  const { action, by } = notification;
  return [by === null ? '' : `by ${by}`, action === 'repair' ? 'is repaired' : 'is left so'].filter(Boolean).join('; ');
}

export function DriftPlace(): VNode {
  const standing = [...containers.value.values()].filter(({ drift }) => drift.length > 0);
  return html`<section class="drift-place" aria-label="Drift and repairs">
    <h1 class="unseen">Drift and repairs</h1>
    ${
      standing.length === 0
        ? null
        : html`<h2>Now missing or changed</h2>
            <ul class="users">
              ${standing.map(
                ({ id, drift }) =>
                  html`<li key=${id}>
                    <button type="button" class="link" onClick=${() => choose(id)}>${id}</button>
                    <span> ${drift.map(({ kind, object }) => `${kind} ${object}`).join('; ')}</span>
                  </li>`,
              )}
            </ul>`
    }
    <h2>What happened</h2>
    ${
      rows.value.length === 0
        ? html`<${Empty}>Nothing has drifted or failed since this page was opened.<//>`
        : html`<div class="table-frame" tabindex="0" role="group" aria-label="Drift, repairs and failures">
            <table>
              <thead>
                <tr>
                  <th>when</th>
                  <th>what</th>
                  <th>container</th>
                  <th>network</th>
                  <th>object</th>
                  <th>and then</th>
                </tr>
              </thead>
              <tbody>
                ${rows.value.map((notification, i) => {
                  const { type, t, id } = notification;
                  const network = 'network' in notification ? notification.network : null;
                  return html`<tr key=${`${t} ${i}`} class="of-${type}">
                    <td class="mono">${clock(t)}</td>
                    <td class="word">${WORDS[type as keyof typeof WORDS]}</td>
                    <td>
                      ${id === null ? '' : html`<button type="button" class="link" onClick=${() => choose(id)}>${id}</button>`}
                    </td>
                    <td>${network}</td>
                    <td>${what(notification)}</td>
                    <td class="dim">${aftermath(notification)}</td>
                  </tr>`;
                })}
              </tbody>
            </table>
          </div>`
    }
  </section>`;
}
