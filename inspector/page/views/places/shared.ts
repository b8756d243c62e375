/**
 * Shows what containers share: the machines of networks, firewall, ports, resolver, uplinks and forwarder, and who uses each.
 *
 * Guarantees: each machine that has a chart is drawn with its state; its users lead to where they are shown.
 */
import { html } from 'htm/preact';
import type { VNode } from 'preact';
import { accountOf } from '../../charts/words.ts';
import { charts, choose, containers, go, kind, route, search, shared } from '../../live/store.ts';
import { faultText, plural } from '../../model/format.ts';
import { ORDER } from '../../model/search.ts';
import { kindOfShared } from '../../model/standing.ts';
import type { SharedView } from '../../model/wire.ts';
import { ChartView } from '../charts/chart.ts';
import { ListBox, type ListBoxOf } from '../parts/list-box.ts';
import { Empty, Sign, State, Words } from '../parts/parts.ts';
import { Tree } from '../parts/tree.ts';

const NONE: readonly string[] = [];
const USERS_SHOWN = 60;

function User({ name }: { name: string }): VNode {
  if (containers.value.has(name)) {
    return html`<button type="button" class="link" onClick=${() => choose(name)}>${name}</button>`;
  }
  const show = (): void => {
    search.value = name;
    kind.value = null;
    go({ place: 'containers', id: null });
  };
  return html`<button type="button" class="link" title="Show the containers on it" onClick=${show}>${name}</button>`;
}

function Machine({ machine }: { machine: SharedView }): VNode {
  const { kind: what, name, state, fault, users, detail, outside } = machine;
  const chart = charts.value[what];
  return html`<article class="detail" aria-label="${what} ${name}">
    <header class="detail-head">
      <button type="button" class="back quiet" onClick=${() => go({ place: 'shared', key: null })}>
        ◀ All shared machines
      </button>
      <h1>${what} <span class="dim">${name === what ? '' : name}</span></h1>
      <${State} state=${state} kind=${kindOfShared(machine)} />
      ${outside === null ? null : html`<span class="badge mono">${outside}</span>`}
    </header>
    ${fault === null ? null : html`<p class="notice bad">${faultText(fault)}</p>`}
    <div class="detail-body">
      <div class="stage">
        ${
          chart === undefined
            ? html`<${Empty}>It has no machine of its own: it is a process, and this is what is known of it.<//>`
            : html`<div class="charts">
                  <${ChartView} key=${chart.id} machine=${chart} drawing=${chart} state=${state} taken=${NONE} />
                </div>
                <p class="dim account"><${Words} text=${accountOf(chart, state).description} /></p>`
        }
      </div>
      <section class="side" aria-label="Users and facts">
        <div class="tab-panel" tabindex="0">
          <h2>${plural(users.length, 'user')}</h2>
          ${users.length === 0 ? html`<${Empty}>Nobody uses it.<//>` : null}
          <ul class="users">
            ${users.slice(0, USERS_SHOWN).map((user) => html`<li key=${user}><${User} name=${user} /></li>`)}
            ${users.length > USERS_SHOWN ? html`<li class="dim">and ${users.length - USERS_SHOWN} more</li>` : null}
          </ul>
          <h2>Facts</h2>
          <${Tree} value=${detail} open=${Object.keys(detail)} />
        </div>
      </section>
    </div>
  </article>`;
}

const MACHINES: ListBoxOf<SharedView> = {
  label: 'Shared machines',
  name: 'rows',
  rowHeight: 52,
  idOf: ({ key }) => `machine-${encodeURIComponent(key)}`,
  classOf: () => 'row',
  choose: ({ key }) => go({ place: 'shared', key }),
  show: (machine) => {
    const { kind: what, name, state, users, outside } = machine;
    return html`<${Sign} kind=${kindOfShared(machine)} />
      <span class="row-id">${what} ${name === what ? null : html`<span class="dim">${name}</span>`}</span>
      <span class="row-state">${state}</span>
      <span class="row-where dim">${plural(users.length, 'user')}${outside === null ? '' : `  ${outside}`}</span>`;
  },
};

export function SharedPlace(): VNode {
  const key = route.value.place === 'shared' ? route.value.key : null;
  const all = [...shared.value.values()].sort((a, b) => ORDER.compare(a.key, b.key));
  const machine = key === null ? undefined : shared.value.get(key);
  return html`<div class="split ${key === null ? '' : 'chosen'}">
    <section class="list" aria-label="Shared machines">
      ${machine === undefined ? html`<h1 class="unseen">Shared machines</h1>` : null}
      <div class="list-head"><p class="dim small">${plural(all.length, 'machine')}</p></div>
      ${
        all.length === 0
          ? html`<${Empty}>Nothing is shared yet: networks and the rest begin with the first container.<//>`
          : html`<${ListBox} of=${MACHINES} items=${all} selected=${all.findIndex((one) => one.key === key)} />`
      }
    </section>
    ${
      machine === undefined
        ? html`<div class="detail-none">
            <${Empty}>${key === null ? 'Choose a machine to see its chart and its users.' : 'That machine is gone.'}<//>
          </div>`
        : html`<${Machine} machine=${machine} />`
    }
  </div>`;
}
