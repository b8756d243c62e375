/**
 * Shows the chosen container: its state, the chart of its machine with those that it invokes, time travel, and what is known of it.
 *
 * Guarantees: everything shown is of one moment, the present or the one that the slider stands on, and the page says which. The
 * facts are always those of the present, and say so.
 */
import { html } from 'htm/preact';
import { signal } from '@preact/signals';
import type { VNode } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { Chart, Drawing } from '../charts/chart.ts';
import { likely, litNodes } from '../charts/lit.ts';
import { accountOf } from '../charts/words.ts';
import { moment, past, pastFailure } from '../live/past.ts';
import { announcement, charts, chosen, containers, go, gone, hello, source } from '../live/store.ts';
import { clock, faultText } from '../model/format.ts';
import type { ContainerView, Line } from '../model/wire.ts';
import { Actions } from './actions.ts';
import { ChartView } from './charts/chart.ts';
import { Facts } from './facts.ts';
import { Empty, Panel, State, Tabs, Words } from './parts/parts.ts';
import { Scrubber } from './past/scrubber.ts';
import { Snapshot } from './past/snapshot.ts';
import { Timeline } from './past/timeline.ts';
import { Waterfall } from './past/waterfall.ts';

/** A chart of what took a millisecond stays on the page for this long. */
const LINGER_MS = 2500;

const tab = signal('timeline');
/** True: the chart has all nested states; false: those at the top. */
const whole = signal(false);

/** Returns the transitions that a machine took into its state, by the last line that is about it. */
function takenBy(chart: Chart, lines: readonly (Line & { edges?: string[] })[], end: number): readonly string[] {
  for (let i = end; i >= 0; i--) {
    const line = lines[i];
    if (line?.kind !== 'passage' || line.machine !== chart.id) continue;
    return line.edges ?? likely(chart, line.from, line.event);
  }
  return NONE;
}
const NONE: readonly string[] = [];

/** Describes a chart beside that of the whole: the inside of a nested state, or a machine that the container has invoked. */
interface Beside {
  key: string;
  machine: Chart;
  drawing: Drawing;
  state: string;
}

function besides(state: string, children: Readonly<Record<string, string>>, whole: boolean): Beside[] {
  const { container } = charts.value;
  const [top = ''] = litNodes(state);
  const part = whole ? undefined : container?.parts[top];
  const inside =
    container === undefined || part === undefined ? [] : [{ key: top, machine: container, drawing: part, state }];
  const invoked = Object.entries(children).flatMap(([id, childState]) => {
    const machine = charts.value[id];
    return machine === undefined ? [] : [{ key: id, machine, drawing: machine, state: childState }];
  });
  return [...inside, ...invoked];
}

/** Keeps on the page for a moment what has ended: an operation takes milliseconds, and eyes are slower. */
function useLinger(now: readonly Beside[], live: boolean): readonly Beside[] {
  const [seen, setSeen] = useState<{ beside: Beside; until: number }[]>([]);
  const key = now.map((beside) => `${beside.key} ${beside.state}`).join();
  useEffect(() => {
    const until = performance.now() + LINGER_MS;
    setSeen((before) => [
      ...before.filter(({ beside }) => !now.some((one) => one.key === beside.key)),
      ...now.map((beside) => ({ beside, until })),
    ]);
    const timer = setTimeout(() => {
      const t = performance.now();
      setSeen((before) => before.filter(({ until }) => until > t));
    }, LINGER_MS + 50);
    return () => clearTimeout(timer);
  }, [key]);
  if (!live) return now;
  return [...now, ...seen.flatMap(({ beside }) => (now.some((one) => one.key === beside.key) ? [] : [beside]))];
}

function Account({ chart, state }: { chart: Chart; state: string }): VNode {
  const { description, ways } = accountOf(chart, state);
  return html`<details class="account">
    <summary>
      <${State} state=${state} /> <span class="dim"><${Words} text=${description} /></span>
    </summary>
    ${
      ways.length === 0
        ? html`<p class="dim">Nothing leads away from here.</p>`
        : html`<ul>
            ${ways.map(
              ({ target, events }) =>
                html`<li key=${target}>
                  ${events.join(', ')} <span class="dim" aria-label="leads to">→</span> <strong>${target}</strong>
                </li>`,
            )}
          </ul>`
    }
  </details>`;
}

function Charts({ state }: { state: string }): VNode | null {
  const { lines, moments } = past.value;
  const at = moment.value ?? lines.length - 1;
  const now = besides(state, moments[at]?.children ?? {}, whole.value);
  const shown = useLinger(now, moment.value === null);
  const { container } = charts.value;
  if (container === undefined) return null;
  const drawing = whole.value ? container : (container.overview ?? container);
  return html`<div class="charts">
    <${ChartView}
      key=${whole.value ? 'whole' : 'overview'}
      machine=${container}
      drawing=${drawing}
      state=${state}
      taken=${takenBy(container, lines, at)}
    />
    <button
      type="button"
      class="whole small"
      aria-pressed=${whole.value ? 'true' : 'false'}
      onClick=${() => (whole.value = !whole.value)}
    >
      ${whole.value ? 'Top states only' : 'All nested states'}
    </button>
    <div class="insets">
      ${shown.map(
        ({ key, machine, drawing, state }) =>
          html`<section
            key=${key}
            class="inset ${now.some((one) => one.key === key) ? '' : 'over'}"
            aria-label=${drawing.title}
          >
            <h2>${key} <${State} state=${state.replace(`${key}.`, '')} kind="working" /></h2>
            <${ChartView}
              machine=${machine}
              drawing=${drawing}
              state=${state}
              taken=${takenBy(machine, lines, at)}
              small=${true}
            />
          </section>`,
      )}
    </div>
  </div>`;
}

function Header({ id, view, state }: { id: string; view: ContainerView | undefined; state: string }): VNode {
  return html`<header class="detail-head">
    ${
      source.value?.kind === 'file'
        ? null
        : html`<button type="button" class="back quiet" onClick=${() => go({ place: 'containers', id: null })}>
            ◀ All containers
          </button>`
    }
    <h1>${id}${view === undefined || view.name === id ? null : html` <span class="dim">${view.name}</span>`}</h1>
    <${State} state=${state} />
    ${moment.value === null ? null : html`<span class="badge">past: ${clock(past.value.moments[moment.value]?.t ?? 0)}</span>`}
    ${view?.owner_gone === true ? html`<span class="badge">owner gone</span>` : null}
  </header>`;
}

function Side({ view }: { view: ContainerView | undefined }): VNode {
  const tabs = [
    { id: 'timeline', label: 'Timeline' },
    { id: 'waterfall', label: 'Waterfall' },
    { id: 'snapshot', label: 'Snapshot' },
    ...(view === undefined ? [] : [{ id: 'facts', label: 'Facts' }]),
  ];
  const shown = tabs.some(({ id }) => id === tab.value) ? tab.value : 'timeline';
  return html`<section class="side" aria-label="What is known of it">
    <${Tabs} label="What is known of it" tabs=${tabs} shown=${shown} show=${(id: string) => (tab.value = id)} />
    <${Panel} id=${shown}>
      ${pastFailure.value === null ? null : html`<p class="bad small" role="alert">${pastFailure.value}</p>`}
      ${shown === 'timeline' ? html`<${Timeline} />` : null} ${shown === 'waterfall' ? html`<${Waterfall} />` : null}
      ${shown === 'snapshot' ? html`<${Snapshot} />` : null}
      ${
        shown === 'facts' && moment.value !== null
          ? html`<p class="small" role="status">These are the facts of now, not of the moment that you look at.</p>`
          : null
      }
      ${shown === 'facts' && view !== undefined ? html`<${Facts} view=${view} />` : null}
    <//>
  </section>`;
}

export function Detail(): VNode {
  const id = chosen.value;
  const view = id === null ? undefined : containers.value.get(id);
  const { moments } = past.value;
  const shown = moments[moment.value ?? moments.length - 1];
  const now = view?.state ?? shown?.state ?? '';
  const state = moment.value === null ? now : (shown?.state ?? '');
  useEffect(() => {
    if (id !== null && state !== '') announcement.value = `${id} is ${state}`;
  }, [id, state]);
  if (id === null) return html`<div class="detail-none"><${Empty}>Choose a container to see its machine.<//></div>`;
  const known = view !== undefined || source.value?.kind === 'file';
  if (!known && moments.length === 0 && hello.value !== null) {
    return html`<div class="detail-none">
      <h1 class="unseen">${id}</h1>
      <${Empty}>There is no container ${id}${gone.value.has(id) ? ' any more: it is gone' : ''}.<//>
      <button type="button" onClick=${() => go({ place: 'containers', id: null })}>All containers</button>
    </div>`;
  }
  const fault = view?.fault ?? null;
  const chart = charts.value['container'];
  return html`<article class="detail" aria-label="Container ${id}">
    <${Header} id=${id} view=${view} state=${state === '' && !known ? 'gone' : state} />
    ${known ? null : html`<p class="notice" role="status">${id} is gone: nothing of it is left. This is what was seen of it.</p>`}
    ${fault === null || moment.value !== null ? null : html`<p class="notice bad">${faultText(fault)}</p>`}
    ${view === undefined || moment.value !== null ? null : html`<${Actions} view=${view} />`}
    <div class="detail-body">
      <div class="stage">
        <${Charts} state=${state} />
        ${chart === undefined ? null : html`<${Account} chart=${chart} state=${state} />`}
        <${Scrubber} />
      </div>
      <${Side} view=${view} />
    </div>
  </article>`;
}
