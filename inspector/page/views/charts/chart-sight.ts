/**
 * Keeps a part of a chart in sight, and lets the reader change it: wheel, drag, two fingers, keys, and following the state.
 *
 * Guarantees: writes one attribute per movement, so that a large chart moves without being laid out again. Follows the machine
 * until the reader has moved the chart, and again when asked.
 */
import type { Box, Drawing, Point } from '../../charts/chart.ts';
import { between, centred, fit, isInSight, panned, zoomed, type Size, type View } from '../../charts/view.ts';

/** From this scale on, only the names of the states at the top are shown, larger. */
const FAR = 0.42;
const STEP = 60;
const GLIDE_MS = 260;

/** Names what is to be seen: the state that the machine is in, and what is around it. */
export interface Place {
  around: Box;
  state: Box;
  /** True: the chart can be read from afar, by the names of its nested states. */
  fromAfar: boolean;
}

export class ChartSight {
  readonly #frame: HTMLElement;
  readonly #svg: SVGSVGElement;
  readonly #chart: Drawing;
  readonly #over = new AbortController();
  readonly #resized: ResizeObserver;
  #view: View = { left: 0, top: 0, scale: 1 };
  #following = true;
  /** True once it has been shown: from then on, it moves instead of jumping. */
  #shown = false;
  /** Below this scale nobody can read it. */
  readonly #legible: number;
  #place: Place;
  /** Holds where the fingers or the mouse are that hold the chart. */
  readonly #held = new Map<number, Point>();
  #gliding = 0;

  constructor(frame: HTMLElement, svg: SVGSVGElement, chart: Drawing, place: Place, legible: number) {
    this.#frame = frame;
    this.#svg = svg;
    this.#chart = chart;
    this.#place = place;
    this.#legible = legible;
    const { signal } = this.#over;
    frame.addEventListener('wheel', this.#wheel, { signal, passive: false });
    frame.addEventListener('pointerdown', this.#hold, { signal });
    frame.addEventListener('pointermove', this.#drag, { signal });
    for (const end of ['pointerup', 'pointercancel'] as const) frame.addEventListener(end, this.#release, { signal });
    frame.addEventListener('keydown', this.#key, { signal });
    this.#resized = new ResizeObserver(() => this.#following && this.show(this.#place, this.#shown));
    this.#resized.observe(frame);
  }

  end(): void {
    this.#over.abort();
    this.#resized.disconnect();
    cancelAnimationFrame(this.#gliding);
  }

  get #size(): Size {
    return { width: this.#frame.clientWidth, height: this.#frame.clientHeight };
  }

  /** Shows this place, and follows the machine from here on. */
  show(place: Place, glide = true): void {
    this.#following = true;
    this.#place = place;
    this.#glide(this.#viewOf(place), glide);
    this.#shown = true;
  }

  whole(): void {
    this.#following = false;
    this.#glide(fit({ x: 0, y: 0, w: this.#chart.width, h: this.#chart.height }, this.#size), true);
  }

  /** Shows this place if the state is not in sight, unless the reader has moved the chart. */
  follow(place: Place): void {
    const moved =
      place.around !== this.#place.around || !isInSight(place.state, this.#view, this.#size, this.#legible - 0.01);
    this.#place = place;
    if (this.#following && moved) this.#glide(this.#viewOf(place), true);
  }

  /** Returns a view of all that is around the state; where that would be too small to be read, of the state in the middle. */
  #viewOf({ around, state, fromAfar }: Place): View {
    const whole = fit(around, this.#size);
    return whole.scale >= this.#legible || fromAfar ? whole : centred(state, around, this.#legible, this.#size);
  }

  zoom(factor: number, at: Point = [this.#size.width / 2, this.#size.height / 2]): void {
    this.#following = false;
    this.#apply(zoomed(this.#view, factor, at));
  }

  #move(dx: number, dy: number): void {
    this.#following = false;
    this.#apply(panned(this.#view, dx, dy, this.#chart, this.#size));
  }

  #apply(view: View): void {
    cancelAnimationFrame(this.#gliding);
    this.#view = view;
    const { left, top, scale } = view;
    this.#svg.querySelector(':scope > g')?.setAttribute('transform', `translate(${left} ${top}) scale(${scale})`);
    this.#svg.style.setProperty('--scale', String(scale));
    this.#svg.classList.toggle('far', scale < FAR);
  }

  #glide(to: View, glide: boolean): void {
    if (!glide || matchMedia('(prefers-reduced-motion: reduce)').matches) return this.#apply(to);
    const from = this.#view;
    const begun = performance.now();
    const step = (now: number): void => {
      const part = Math.min(1, (now - begun) / GLIDE_MS);
      this.#apply(between(from, to, 1 - (1 - part) ** 3));
      if (part < 1) this.#gliding = requestAnimationFrame(step);
    };
    cancelAnimationFrame(this.#gliding);
    this.#gliding = requestAnimationFrame(step);
  }

  readonly #wheel = (event: WheelEvent): void => {
    event.preventDefault();
    const { left, top } = this.#frame.getBoundingClientRect();
    this.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0016)), [event.clientX - left, event.clientY - top]);
  };

  readonly #hold = (event: PointerEvent): void => {
    this.#held.set(event.pointerId, [event.clientX, event.clientY]);
    this.#frame.setPointerCapture(event.pointerId);
  };

  readonly #drag = (event: PointerEvent): void => {
    const before = this.#held.get(event.pointerId);
    if (before === undefined) return;
    const now: Point = [event.clientX, event.clientY];
    const other = [...this.#held].find(([id]) => id !== event.pointerId)?.[1];
    this.#held.set(event.pointerId, now);
    if (other === undefined) return this.#move(now[0] - before[0], now[1] - before[1]);
    const { left, top } = this.#frame.getBoundingClientRect();
    const span = (point: Point): number => Math.hypot(point[0] - other[0], point[1] - other[1]) || 1;
    this.zoom(span(now) / span(before), [(now[0] + other[0]) / 2 - left, (now[1] + other[1]) / 2 - top]);
  };

  readonly #release = (event: PointerEvent): void => {
    this.#held.delete(event.pointerId);
  };

  readonly #key = (event: KeyboardEvent): void => {
    const acts: Record<string, () => void> = {
      '+': () => this.zoom(1.3),
      '=': () => this.zoom(1.3),
      '-': () => this.zoom(1 / 1.3),
      '0': () => this.whole(),
      f: () => this.show(this.#place),
      ArrowLeft: () => this.#move(STEP, 0),
      ArrowRight: () => this.#move(-STEP, 0),
      ArrowUp: () => this.#move(0, STEP),
      ArrowDown: () => this.#move(0, -STEP),
    };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = acts[event.key];
    if (act === undefined) return;
    event.preventDefault();
    act();
  };
}
