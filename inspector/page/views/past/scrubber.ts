/**
 * Travels in time: a slider over the journal of a container, one step for each line, and the way back to now.
 *
 * Guarantees: what is not now is said to be past, in words; the slider says its moment to a screen reader.
 */
import { html } from 'htm/preact';
import type { VNode } from 'preact';
import { moment, past, pinned, step } from '../../live/past.ts';
import { source } from '../../live/store.ts';
import { clock, dateOf } from '../../model/format.ts';

export function Scrubber(): VNode | null {
  const { lines, moments } = past.value;
  if (lines.length === 0) return null;
  const last = lines.length - 1;
  const at = Math.min(moment.value ?? last, last);
  const shown = moments[at];
  const file = source.value?.kind === 'file';
  const when = shown === undefined ? '' : `${dateOf(shown.t)} ${clock(shown.t)}`;
  const text = `${shown?.state ?? ''}, ${when}, moment ${at + 1} of ${lines.length}`;
  return html`<div class="scrubber ${moment.value === null ? '' : 'travelling'}" role="group" aria-label="Time travel">
    <button type="button" aria-label="One moment back" disabled=${at === 0} onClick=${() => step(-1)}>◀</button>
    <input
      type="range"
      min="0"
      max=${last}
      value=${at}
      aria-label="Moment"
      aria-valuetext=${text}
      onInput=${(event: InputEvent) => step(Number((event.target as HTMLInputElement).value) - at)}
    />
    <button type="button" aria-label="One moment on" disabled=${at === last} onClick=${() => step(1)}>▶</button>
    <span class="scrubber-when mono">
      ${moment.value === null ? (file ? 'the end' : 'now') : shown === undefined ? '' : clock(shown.t)}
      <span class="dim"> ${at + 1}/${lines.length}</span>
    </span>
    <button
      type="button"
      aria-pressed=${pinned.value === null ? 'false' : 'true'}
      aria-label=${pinned.value === null ? 'Compare from here' : 'Stop comparing'}
      title="Show what differs from this moment"
      onClick=${() => (pinned.value = pinned.value === null ? at : null)}
    >
      ${pinned.value === null ? 'Compare' : 'Stop comparing'}
    </button>
    <button type="button" disabled=${moment.value === null} onClick=${() => (moment.value = null)}>
      ${file ? 'To the end' : 'Back to now'}
    </button>
  </div>`;
}
