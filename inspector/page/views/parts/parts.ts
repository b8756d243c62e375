/**
 * Draws the small pieces that the views are made of: badges of states, tabs, empty places, links.
 *
 * Guarantees: a state is never told by its colour alone. Tabs follow the ARIA pattern: arrows move, one of them is in the tab
 * order.
 */
import { html } from 'htm/preact';
import type { ComponentChildren, VNode } from 'preact';
import { SIGNS, kindOf, type Kind } from '../../model/standing.ts';
import { moved } from '../../model/virtual-window.ts';

/** Shows the sign and the name of a state. */
export function State({ state, kind = kindOf(state) }: { state: string; kind?: Kind }): VNode {
  return html`<span class="state ${kind}"><span class="sign" aria-hidden="true">${SIGNS[kind]}</span>${state}</span>`;
}

export function Sign({ kind }: { kind: Kind }): VNode {
  return html`<span class="sign ${kind}" aria-hidden="true">${SIGNS[kind]}</span>`;
}

/** Shows a sentence of the machines, in which names stand between backticks. */
export function Words({ text }: { text: string }): VNode {
  return html`${text.split('`').map((part, i) => (i % 2 === 0 ? part : html`<code key=${i}>${part}</code>`))}`;
}

export function Empty({ children }: { children?: ComponentChildren }): VNode {
  return html`<p class="empty">${children}</p>`;
}

export interface Tab {
  id: string;
  label: string;
  count?: number | undefined;
}

interface TabsProps {
  label: string;
  tabs: readonly Tab[];
  shown: string;
  show: (id: string) => void;
}

export function Tabs({ label, tabs, shown, show }: TabsProps): VNode {
  const onKeyDown = (event: KeyboardEvent): void => {
    const key = { ArrowRight: 'ArrowDown', ArrowLeft: 'ArrowUp' }[event.key] ?? event.key;
    const index = moved(
      key,
      tabs.findIndex(({ id }) => id === shown),
      tabs.length,
    );
    const to = index === null ? undefined : tabs[index];
    if (to === undefined) return;
    event.preventDefault();
    show(to.id);
    document.getElementById(`tab-${to.id}`)?.focus();
  };
  return html`<div class="tabs" role="tablist" aria-label=${label} onKeyDown=${onKeyDown}>
    ${tabs.map(
      ({ id, label, count }) =>
        html`<button
          key=${id}
          id="tab-${id}"
          role="tab"
          type="button"
          aria-selected=${id === shown ? 'true' : 'false'}
          aria-controls="panel-${id}"
          tabindex=${id === shown ? 0 : -1}
          onClick=${() => show(id)}
        >
          ${label}${count === undefined ? null : html`<span class="count">${count}</span>`}
        </button>`,
    )}
  </div>`;
}

export function Panel({ id, children }: { id: string; children?: ComponentChildren }): VNode {
  return html`<div class="tab-panel" role="tabpanel" id="panel-${id}" aria-labelledby="tab-${id}" tabindex="0">
    ${children}
  </div>`;
}
