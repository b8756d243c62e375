/**
 * Draws the map of the host: host ports on the left, bridges and programs in the middle, containers on the right, lines between.
 *
 * Guarantees: every container on it is a link that the keyboard reaches; hovering or focusing one dims what is not its own.
 * Limits: a large network shows a few of its containers, those in need first, until it is opened; one of hundreds is not
 * shown whole even then, and says how many it leaves out.
 */
import { html } from 'htm/preact';
import { computed, signal } from '@preact/signals';
import type { VNode } from 'preact';
import { choose, chosen, containers, kind, list, networks, search, shared } from '../../live/store.ts';
import { groupsOf } from '../../map/groups.ts';
import { layoutMap, type Card, type GroupBox, type HostMap, type Line, type PortBox } from '../../map/layout.ts';
import { plural } from '../../model/format.ts';
import { fragmentOf } from '../../model/routes.ts';
import { SIGNS, kindOf, kindOfShared } from '../../model/standing.ts';
import { Empty } from '../parts/parts.ts';

const opened = signal<ReadonlySet<string>>(new Set());
/** Names the container whose lines stand out. */
const pointed = signal<string | null>(null);

/** Holds the width that there is for the map. */
const room = signal(innerWidth);
addEventListener('resize', () => (room.value = innerWidth));

const groups = computed(() => groupsOf(list.value, networks.value, shared.value));
const map = computed((): HostMap =>
  layoutMap(groups.value, { chosen: chosen.value, opened: opened.value, room: room.value }),
);

function toggle(key: string): void {
  const next = new Set(opened.value);
  if (!next.delete(key)) next.add(key);
  opened.value = next;
}

function showAll(): void {
  search.value = '';
  kind.value = null;
}

const dimmed = (owner: string): string => (pointed.value === null || pointed.value === owner ? '' : 'dimmed');

/** The width of a letter in pixels. */
const LETTER = 7.4;

/** Cuts a text to what has room in so many pixels. */
function cut(text: string, width: number): string {
  const most = Math.floor(width / LETTER);
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

function CardView({ card }: { card: Card }): VNode {
  const { view, addresses, x, y, w, h } = card;
  const standing = kindOf(view.state);
  return html`<a
    class="card ${standing} ${dimmed(view.id)}"
    href=${fragmentOf({ place: 'containers', id: view.id })}
    onMouseEnter=${() => (pointed.value = view.id)}
    onMouseLeave=${() => (pointed.value = null)}
    onFocus=${() => (pointed.value = view.id)}
    onBlur=${() => (pointed.value = null)}
    onClick=${(event: MouseEvent) => {
      event.preventDefault();
      choose(view.id);
    }}
  >
    <rect x=${x} y=${y} width=${w} height=${h} rx="6" />
    <text x=${x + 12} y=${y + 18}><tspan class="sign">${SIGNS[standing]}</tspan> ${cut(view.id, w * 0.6 - 28)}</text>
    <text class="dim" x=${x + w - 10} y=${y + 18} text-anchor="end">${cut(view.state, w * 0.4)}</text>
    ${addresses.map((address, i) => html`<text class="mono" x=${x + 28} y=${y + 34 + 15 * i}>${address}</text>`)}
    ${addresses.length === 0 ? html`<text class="dim" x=${x + 28} y=${y + 34}>no address of its own</text>` : null}
  </a>`;
}

function GroupView({ box }: { box: GroupBox }): VNode {
  const { group, hidden, x, y, w, h } = box;
  const { key, name, facts, machine } = group;
  const open = opened.value.has(key);
  const mark = machine === null ? '' : `${SIGNS[kindOfShared(machine)]} `;
  const fewer = hidden === 0 ? `fewer of ${name}` : `fewer of ${name}, ${hidden} are left out`;
  return html`<g class="group ${group.kind}">
    <rect x=${x} y=${y} width=${w} height=${h} rx="6" />
    <text class="group-name" x=${x + 12} y=${y + 19}>${mark}${cut(name, w - 36)}</text>
    ${facts.map((fact, i) => html`<text class="mono dim" x=${x + 12} y=${y + 36 + 15 * i}>${cut(fact, w - 20)}</text>`)}
    ${
      hidden === 0 && !open
        ? null
        : html`<a
            class="more"
            href="#/map"
            role="button"
            aria-expanded=${open ? 'true' : 'false'}
            onClick=${(event: MouseEvent) => {
              event.preventDefault();
              toggle(key);
            }}
          >
            <text x=${x + 12} y=${y + 42 + 15 * facts.length}>
              ${cut(open ? fewer : `${hidden} more on ${name}`, w - 20)}
            </text>
          </a>`
    }
  </g>`;
}

export function MapPlace(): VNode {
  const { width, height, outsides, groups, cards, ports, lines } = map.value;
  const shown = list.value.length;
  const total = containers.value.size;
  return html`<section class="map" aria-label="Map of the host">
    <h1 class="unseen">Map of the host</h1>
    <p class="map-head">
      <span class="dim">Host ports on the left lead through bridges and programs to containers on the right.</span>
      ${
        shown === total
          ? null
          : html` <span>Shows ${shown} of ${plural(total, 'container')}.</span>
              <button type="button" class="link" onClick=${showAll}>Show all</button>`
      }
    </p>
    ${
      groups.length === 0
        ? html`<${Empty}>There is no network and no container.<//>`
        : html`<div class="map-frame" tabindex="0" role="group" aria-label="Map">
            <svg viewBox="0 0 ${width} ${height}" width=${width} height=${height}>
              ${outsides.map(
                ({ name, x, y, w, h }) =>
                  html`<g class="outside" key=${name}>
                    <rect x=${x + 1} y=${y + 1} width=${w - 2} height=${h - 2} rx="10" />
                    <text x=${x + 16} y=${y + 22}>${name}</text>
                  </g>`,
              )}
              ${lines.map(
                ({ path, kind, owner }: Line, i: number) =>
                  html`<path
                    key=${i}
                    class="line ${kind} ${dimmed(owner)} ${pointed.value === owner ? 'pointed' : ''}"
                    d=${path}
                  />`,
              )}
              ${groups.map((box: GroupBox) => html`<${GroupView} key=${box.group.key} box=${box} />`)}
              ${ports.map(
                ({ x, y, w, h, text, owner }: PortBox, i: number) =>
                  html`<g class="port ${dimmed(owner)}" key=${i}>
                    <rect x=${x} y=${y} width=${w} height=${h} rx="4" />
                    <text class="mono" x=${x + 8} y=${y + 14}>${cut(text, w - 12)}</text>
                  </g>`,
              )}
              ${cards.map((card: Card) => html`<${CardView} key=${card.view.id} card=${card} />`)}
            </svg>
          </div>`
    }
  </section>`;
}
