/**
 * Explains the keys of the page and the signs, to who asks with `?`.
 *
 * Guarantees: every kind of state is explained, because the list is made from the kinds.
 */
import { html } from 'htm/preact';
import { signal } from '@preact/signals';
import type { VNode } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { KINDS, type Kind } from '../model/standing.ts';
import { Sign } from './parts/parts.ts';

export const helping = signal(false);

const KEYS: [keys: string, what: string][] = [
  ['/', 'search'],
  ['?', 'this help'],
  ['g then c, s, m, d', 'containers, shared machines, map, drift'],
  ['↑ ↓ Home End', 'move in a list'],
  ['[ and ]', 'one moment back, one on'],
  ['Esc', 'back to now; leave the search'],
  ['+ − 0 f arrows', 'in a chart: zoom, all of it, follow the state, move'],
];

const MEANING: Record<Kind, string> = {
  up: 'complete',
  working: 'an operation is under way',
  degraded: 'something is missing, and is tried again',
  failed: 'neither made nor undone, or not removed; tried again',
  created: 'has a namespace, and nothing in it yet',
  leaving: 'is being removed',
};

export function Help(): VNode | null {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (helping.value) dialog.current?.showModal();
  }, [helping.value]);
  if (!helping.value) return null;
  const close = (): void => void (helping.value = false);
  return html`<dialog ref=${dialog} class="help" onClose=${close} aria-labelledby="help-title">
    <h2 id="help-title">Keys and signs</h2>
    <dl>
      ${KEYS.map(
        ([keys, what]) =>
          html`<div key=${keys}>
            <dt><kbd>${keys}</kbd></dt>
            <dd>${what}</dd>
          </div>`,
      )}
    </dl>
    <dl>
      ${KINDS.map(
        (kind) =>
          html`<div key=${kind}>
            <dt><${Sign} kind=${kind} /> ${kind}</dt>
            <dd>${MEANING[kind]}</dd>
          </div>`,
      )}
    </dl>
    <p class="dialog-buttons"><button type="button" class="primary" onClick=${close}>Close</button></p>
  </dialog>`;
}
