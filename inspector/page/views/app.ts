/**
 * Draws the whole page: the head with the connection, the places, the words for a screen reader, and the keys that work everywhere.
 */
import { html } from 'htm/preact';
import type { VNode } from 'preact';
import { useEffect } from 'preact/hooks';
import { moment, step } from '../live/past.ts';
import {
  announcement,
  chosen,
  failure,
  go,
  hello,
  notifications,
  route,
  search,
  source,
  standing,
} from '../live/store.ts';
import { clock } from '../model/format.ts';
import { fragmentOf, type Route } from '../model/routes.ts';
import { Detail } from './detail.ts';
import { DriftPlace } from './places/drift.ts';
import { Help, helping } from './help.ts';
import { ContainerList } from './list.ts';
import { MapPlace } from './places/map.ts';
import { SharedPlace } from './places/shared.ts';

const PLACES: [route: Route, label: string, key: string][] = [
  [{ place: 'containers', id: null }, 'Containers', 'c'],
  [{ place: 'shared', key: null }, 'Shared', 's'],
  [{ place: 'map' }, 'Map', 'm'],
  [{ place: 'drift' }, 'Drift', 'd'],
];

function Connection(): VNode {
  const now = standing.value;
  const words = {
    connecting: '◌ connecting',
    live: '● live',
    lost: '✕ the daemon is not there',
    refused: '✕ refused',
  }[now.is];
  return html`<span class="connection ${now.is}" role="status">${words}</span>`;
}

function Notice(): VNode | null {
  const now = standing.value;
  if (now.is === 'lost') {
    return html`<p class="notice bad" role="alert">
      The daemon has not answered since ${clock(now.since)}: it has ended, or is being restarted. What you see is how it
      was then. Containers keep their networks. This page comes back by itself.
    </p>`;
  }
  if (now.is === 'refused') {
    return html`<p class="notice bad" role="alert">You may not look at this daemon. ${now.why}</p>`;
  }
  return null;
}

function Head(): VNode {
  const file = source.value?.kind === 'file' ? source.value.name : null;
  const drifted = notifications.value.filter(({ type }) => type === 'drift').length;
  const about = hello.value;
  return html`<header class="head">
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <strong class="brand">cleat</strong>
    ${
      file === null
        ? html`<nav aria-label="Places">
            ${PLACES.map(
              ([to, label]) =>
                html`<a
                  key=${label}
                  href=${fragmentOf(to)}
                  aria-current=${to.place === route.value.place ? 'page' : undefined}
                >
                  ${label}${to.place === 'drift' && drifted > 0 ? html`<span class="count">${drifted}</span>` : null}
                </a>`,
            )}
          </nav>`
        : html`<span class="badge">file: ${file}</span>`
    }
    <span class="spacer"></span>
    ${about === null ? null : html`<span class="dim small about">${about.instance} ${about.version} pid ${about.pid}</span>`}
    ${file === null ? html`<${Connection} />` : null}
    <button type="button" class="quiet" aria-label="Help: keys and signs" onClick=${() => (helping.value = true)}>
      ?
    </button>
  </header>`;
}

function skip(event: MouseEvent): void {
  event.preventDefault();
  document.getElementById('main')?.focus();
}

function Place(): VNode {
  if (source.value?.kind === 'file') return html`<div class="single"><${Detail} /></div>`;
  switch (route.value.place) {
    case 'shared':
      return html`<${SharedPlace} />`;
    case 'map':
      return html`<${MapPlace} />`;
    case 'drift':
      return html`<${DriftPlace} />`;
    case 'containers':
      return html`<div class="split ${chosen.value === null ? '' : 'chosen'}"><${ContainerList} /><${Detail} /></div>`;
  }
}

function useKeys(): void {
  useEffect(() => {
    let going = false;
    const onKeyDown = (event: KeyboardEvent): void => {
      const { key, target } = event;
      if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]') !== null) return;
      const typing = target instanceof HTMLElement && target.matches('input:not([type=range]), select, textarea');
      if (key === 'Escape') {
        if (target instanceof HTMLInputElement && target.id === 'search') {
          search.value = '';
          target.blur();
        } else moment.value = null;
        return;
      }
      if (typing) return;
      const place = going ? PLACES.find(([, , letter]) => letter === key)?.[0] : undefined;
      going = key === 'g';
      if (place !== undefined) return go(place);
      if (key === '/') {
        event.preventDefault();
        if (route.value.place !== 'containers') go({ place: 'containers', id: null });
        requestAnimationFrame(() => document.getElementById('search')?.focus());
      } else if (key === '?') helping.value = true;
      else if (key === '[') step(-1);
      else if (key === ']') step(1);
    };
    addEventListener('keydown', onKeyDown);
    return () => removeEventListener('keydown', onKeyDown);
  }, []);
}

export function App(): VNode {
  useKeys();
  return html`<${Head} />
    <main id="main" tabindex="-1">
      <${Notice} />
      ${
        failure.value === null
          ? source.value === null
            ? html`<p class="empty">Loading…</p>`
            : html`<${Place} />`
          : html`<p class="notice bad" role="alert">${failure.value}</p>`
      }
    </main>
    <p class="unseen" role="status" aria-live="polite">${announcement.value}</p>
    <${Help} />`;
}
