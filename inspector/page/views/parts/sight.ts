/** What of a scrolling element is in sight, for lists that have only that part in the document. */
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { Sight } from '../../model/virtual-window.ts';

export function useSight(): { element: { current: HTMLElement | null }; sight: Sight } {
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
