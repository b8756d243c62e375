/**
 * The list of all containers: search, filter, and the rows in sight.
 *
 * Guarantees: a row is drawn again only when its container has another view. Arrows move through the whole list, also where
 * it is not drawn.
 */
import { html } from 'htm/preact';
import { Component, type VNode } from 'preact';
import { useEffect } from 'preact/hooks';
import { choose, chosen, containers, counts, kind, list, search, standing } from '../live/store.ts';
import { plural } from '../model/format.ts';
import { addressesOf, outsOf } from '../model/search.ts';
import { KINDS, kindOf } from '../model/standing.ts';
import { moved, scrollTo, windowOf } from '../model/virtual-window.ts';
import type { ContainerView } from '../model/wire.ts';
import { Empty, Sign } from './parts/parts.ts';
import { useSight } from './parts/sight.ts';

const ROW = 52;

interface RowProps {
  view: ContainerView;
  index: number;
  size: number;
  selected: boolean;
}

class ContainerRow extends Component<RowProps> {
  override shouldComponentUpdate(next: Readonly<RowProps>): boolean {
    const { view, index, size, selected } = this.props;
    return view !== next.view || index !== next.index || size !== next.size || selected !== next.selected;
  }

  override render({ view, index, size, selected }: RowProps): VNode {
    const { id, name, state } = view;
    const where = [...outsOf(view), ...addressesOf(view)];
    return html`<div
      class="row ${selected ? 'selected' : ''}"
      role="option"
      id="container-${id}"
      aria-selected=${selected ? 'true' : 'false'}
      aria-setsize=${size}
      aria-posinset=${index + 1}
      onClick=${() => choose(id)}
    >
      <${Sign} kind=${kindOf(state)} />
      <span class="row-id">${id}${name === id ? null : html` <span class="dim">${name}</span>`}</span>
      <span class="row-state">${state}${view.drift.length > 0 ? ', drift' : ''}</span>
      <span class="row-where dim">${where.join('  ')}</span>
    </div>`;
  }
}

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

function Rows(): VNode {
  const { element, sight } = useSight();
  const views = list.value;
  const { first, end, before, after } = windowOf(views.length, ROW, sight);
  const index = views.findIndex(({ id }) => id === chosen.value);
  useEffect(() => {
    const { current } = element;
    if (current === null || index === -1) return;
    const scrolled = scrollTo(index, ROW, { scrolled: current.scrollTop, height: current.clientHeight });
    if (scrolled !== current.scrollTop) current.scrollTop = scrolled;
  }, [chosen.value]);
  const onKeyDown = (event: KeyboardEvent): void => {
    const to = moved(event.key, index, views.length);
    const view = to === null ? undefined : views[to];
    if (view === undefined) return;
    event.preventDefault();
    choose(view.id);
  };
  const inSight = views.slice(first, end);
  const active = inSight.some(({ id }) => id === chosen.value) ? `container-${chosen.value}` : undefined;
  return html`<div
    class="rows"
    ref=${element}
    role="listbox"
    aria-label="Containers"
    aria-activedescendant=${active}
    tabindex="0"
    onKeyDown=${onKeyDown}
  >
    <div role="presentation" style=${{ paddingTop: `${before}px`, paddingBottom: `${after}px` }}>
      ${inSight.map(
        (view, i) =>
          html`<${ContainerRow}
            key=${view.id}
            view=${view}
            index=${first + i}
            size=${views.length}
            selected=${view.id === chosen.value}
          />`,
      )}
    </div>
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
        ? html`<${Rows} />`
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
