/**
 * Finds the part of a long list that is in the document: what is in sight, and a little more on both sides.
 *
 * Guarantees: pure. The rows that are left out have the height of what is left out, so the scroll bar tells the truth.
 * Limits: every row has the same height.
 */

export interface Sight {
  /** In pixels. */
  scrolled: number;
  height: number;
}

export interface Window {
  first: number;
  /** The one after the last. */
  end: number;
  /** Heights of what is left out before and after, in pixels. */
  before: number;
  after: number;
}

const OVERSCAN = 6;

export function windowOf(count: number, rowHeight: number, { scrolled, height }: Sight): Window {
  const most = Math.ceil(height / rowHeight) + 1 + 2 * OVERSCAN;
  const first = Math.max(0, Math.min(Math.floor(scrolled / rowHeight) - OVERSCAN, count - most));
  const end = Math.min(count, first + most);
  return { first, end, before: first * rowHeight, after: (count - end) * rowHeight };
}

/** Returns how far to scroll so that a row is in sight; as it is if the row is in sight already. */
export function scrollTo(index: number, rowHeight: number, { scrolled, height }: Sight): number {
  const top = index * rowHeight;
  if (top < scrolled) return top;
  return top + rowHeight > scrolled + height ? top + rowHeight - height : scrolled;
}

/** Returns the index that a key of the keyboard leads to in a list, or null if it is not for lists. */
export function moved(key: string, index: number, count: number, page = 10): number | null {
  const within = (to: number): number => Math.max(0, Math.min(count - 1, to));
  switch (key) {
    case 'ArrowDown':
      return within(index + 1);
    case 'ArrowUp':
      return within(index - 1);
    case 'PageDown':
      return within(index + page);
    case 'PageUp':
      return within(index - page);
    case 'Home':
      return within(0);
    case 'End':
      return within(count - 1);
    default:
      return null;
  }
}
