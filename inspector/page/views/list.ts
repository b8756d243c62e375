/**
 * Shows the list of all containers: search, filter, and the rows.
 *
 * Guarantees: a filter that has no container is offered only while it is chosen, so that one can leave it.
 */
import { html } from 'htm/preact';
import type { VNode } from 'preact';
import { choose, chosen, containers, counts, kind, list, search, standing } from '../live/store.ts';
import { plural } from '../model/format.ts';
import { addressesOf, outsOf } from '../model/search.ts';
import { KINDS, kindOf } from '../model/standing.ts';
import type { ContainerView } from '../model/wire.ts';
import { ListBox, type ListBoxOf } from './parts/list-box.ts';
import { Empty, Sign } from './parts/parts.ts';

const CONTAINERS: ListBoxOf<ContainerView> = {
  label: 'Containers',
  name: 'rows',
  rowHeight: 52,
  idOf: ({ id }) => `container-${id}`,
  classOf: () => 'row',
  choose: ({ id }) => choose(id),
  show: (view) => {
    const { id, name, state } = view;
    const where = [...outsOf(view), ...addressesOf(view)];
    return html`<${Sign} kind=${kindOf(state)} />
      <span class="row-id">${id}${name === id ? null : html` <span class="dim">${name}</span>`}</span>
      <span class="row-state">${state}${view.drift.length > 0 ? ', drift' : ''}</span>
      <span class="row-where dim">${where.join('  ')}</span>`;
  },
};

function Filter(): VNode {
  const all = containers.value.size;
  const chip = (of: typeof kind.value, label: string, count: number): VNode =>
    html`<button
      key=${label}
      type="button"
      class="chip"
      aria-pressed=${kind.value === of ? 'true' : 'false'}
      onClick=${() => (kind.value = of)}
    >
      ${of === null ? null : html`<${Sign} kind=${of} />`}${label}<span class="count">${count}</span>
    </button>`;
  return html`<div class="chips" role="group" aria-label="Show containers that are">
    ${chip(null, 'all', all)}
    ${KINDS.filter((of) => counts.value[of] > 0 || kind.value === of).map((of) => chip(of, of, counts.value[of]))}
  </div>`;
}

export function ContainerList(): VNode {
  const views = list.value;
  const total = containers.value.size;
  return html`<section class="list" aria-label="All containers">
    ${chosen.value === null ? html`<h1 class="unseen">Containers</h1>` : null}
    <div class="list-head">
      <input
        id="search"
        type="search"
        placeholder="Search ( / )"
        aria-label="Search containers by id, name, state, network or address"
        autocomplete="off"
        spellcheck=${false}
        value=${search.value}
        onInput=${(event: InputEvent) => (search.value = (event.target as HTMLInputElement).value)}
      />
      <${Filter} />
      <p class="dim small" role="status">
        ${views.length === total ? plural(total, 'container') : `${views.length} of ${plural(total, 'container')}`}
      </p>
    </div>
    ${
      views.length > 0
        ? html`<${ListBox}
            of=${CONTAINERS}
            items=${views}
            selected=${views.findIndex(({ id }) => id === chosen.value)}
          />`
        : html`<${Empty}
            >${
              total > 0
                ? 'No container is like that.'
                : standing.value.is === 'connecting'
                  ? 'Asking the daemon…'
                  : 'There is no container. `cleat create` makes one.'
            }<//
          >`
    }
  </section>`;
}
