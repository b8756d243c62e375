/**
 * Shows a list in which one row can be chosen, with only the rows in sight in the document.
 *
 * Guarantees: follows the ARIA pattern of a listbox: keys move through the whole list, also where it is not drawn; the list names
 * the chosen row, and a row says its place among all. The chosen row is scrolled into sight when another one is chosen. A row is
 * drawn again only when its item, its place or the choice has changed.
 * Limits: every row has the same height.
 */
import { html } from 'htm/preact';
import { Component, type VNode } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { moved, scrollTo, windowOf, type Sight } from '../../model/virtual-window.ts';

/** Says what the items of a list are, and how one of them is shown. */
export interface ListBoxOf<T> {
  label: string;
  /** The class of the list in the style sheets. */
  name: string;
  rowHeight: number;
  /** Returns the id of a row in the document. */
  idOf: (item: T) => string;
  classOf: (item: T) => string;
  show: (item: T) => VNode;
  choose: (item: T) => void;
}

interface OptionProps<T> {
  of: ListBoxOf<T>;
  item: T;
  index: number;
  size: number;
  selected: boolean;
}

class Option<T> extends Component<OptionProps<T>> {
  override shouldComponentUpdate(next: Readonly<OptionProps<T>>): boolean {
    const { item, index, size, selected } = this.props;
    return item !== next.item || index !== next.index || size !== next.size || selected !== next.selected;
  }

  override render({ of, item, index, size, selected }: OptionProps<T>): VNode {
    return html`<div
      class="${of.classOf(item)} ${selected ? 'selected' : ''}"
      role="option"
      id=${of.idOf(item)}
      aria-selected=${selected ? 'true' : 'false'}
      aria-setsize=${size}
      aria-posinset=${index + 1}
      onClick=${() => of.choose(item)}
    >
      ${of.show(item)}
    </div>`;
  }
}

/** Returns a reference for an element that scrolls, and what of it is in sight. */
function useSight(): { element: { current: HTMLElement | null }; sight: Sight } {
  const element = useRef<HTMLElement | null>(null);
  const [sight, setSight] = useState<Sight>({ scrolled: 0, height: 600 });
  useLayoutEffect(() => {
    const { current } = element;
    if (current === null) return undefined;
    let frame = 0;
    const look = (): void => {
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(() => setSight({ scrolled: current.scrollTop, height: current.clientHeight }));
    };
    const resized = new ResizeObserver(look);
    resized.observe(current);
    current.addEventListener('scroll', look, { passive: true });
    look();
    return () => {
      cancelAnimationFrame(frame);
      resized.disconnect();
      current.removeEventListener('scroll', look);
    };
  }, []);
  return { element, sight };
}

interface ListBoxProps<T> {
  of: ListBoxOf<T>;
  items: readonly T[];
  /** The index of the chosen item; -1: none is chosen. */
  selected: number;
}

export function ListBox<T>({ of, items, selected }: ListBoxProps<T>): VNode {
  const { element, sight } = useSight();
  const { label, name, rowHeight, idOf, choose } = of;
  const { first, end, before, after } = windowOf(items.length, rowHeight, sight);
  const chosen = items[selected];
  const id = chosen === undefined ? undefined : idOf(chosen);
  useEffect(() => {
    const { current } = element;
    if (current === null || id === undefined) return;
    const scrolled = scrollTo(selected, rowHeight, { scrolled: current.scrollTop, height: current.clientHeight });
    if (scrolled !== current.scrollTop) current.scrollTop = scrolled;
  }, [id]);
  const onKeyDown = (event: KeyboardEvent): void => {
    const to = moved(event.key, selected, items.length);
    const item = to === null ? undefined : items[to];
    if (item === undefined) return;
    event.preventDefault();
    choose(item);
  };
  return html`<div
    class=${name}
    ref=${element}
    role="listbox"
    aria-label=${label}
    aria-activedescendant=${selected >= first && selected < end ? id : undefined}
    tabindex="0"
    onKeyDown=${onKeyDown}
  >
    <div role="presentation" style=${{ paddingTop: `${before}px`, paddingBottom: `${after}px` }}>
      ${items.slice(first, end).map((item, i) => {
        const index = first + i;
        return html`<${Option}
          key=${idOf(item)}
          of=${of}
          item=${item}
          index=${index}
          size=${items.length}
          selected=${index === selected}
        />`;
      })}
    </div>
  </div>`;
}
