/**
 * Shows JSON as a tree that is opened step by step. What is opened stays open when the values change.
 *
 * Guarantees: only what is open is in the document; works with the keyboard as the browser's own `details` does.
 */
import { html } from 'htm/preact';
import type { VNode } from 'preact';
import { useState } from 'preact/hooks';
import { branchOf, type Branch } from '../../model/tree.ts';

interface TreeProps {
  value: unknown;
  /** Branches that are open from the beginning. */
  open?: readonly string[];
}

function BranchView({ branch, opened }: { branch: Branch; opened: boolean }): VNode {
  const [open, setOpen] = useState(opened);
  const { key, kind, text, inside } = branch;
  if (inside.length === 0)
    return html`<li class="leaf"><span class="key">${key}</span><span class="value ${kind}">${text}</span></li>`;
  return html`<li>
    <details open=${open} onToggle=${(event: Event) => setOpen((event.currentTarget as HTMLDetailsElement).open)}>
      <summary><span class="key">${key}</span> <span class="dim">${text}</span></summary>
      ${
        open
          ? html`<ul>
              ${inside.map((item) => html`<${BranchView} key=${item.key} branch=${item} opened=${false} />`)}
            </ul>`
          : null
      }
    </details>
  </li>`;
}

export function Tree({ value, open = [] }: TreeProps): VNode {
  return html`<ul class="tree">
    ${branchOf('', value).inside.map(
      (branch) => html`<${BranchView} key=${branch.key} branch=${branch} opened=${open.includes(branch.key)} />`,
    )}
  </ul>`;
}
