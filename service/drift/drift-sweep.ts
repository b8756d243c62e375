/**
 * The sweep looks at everything of an outside again, for changes that no announcement reports: every ten seconds. With more than
 * twenty-five containers it waits a fixed number of milliseconds for each, so that a thousand cost no more processor time than
 * those: 0.3 % (docs/decisions/0043).
 */
const REST_MS = 10_000;
const REST_PER_CONTAINER_MS = 400;

export class Sweep {
  readonly #begin: () => void;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(begin: () => void) {
    this.#begin = begin;
  }

  /** Begins a sweep after a pause that depends on the number of containers. Does not postpone a sweep that is already due. */
  rest(containers: number): void {
    if (this.#timer !== null || this.#closed) return;
    const begin = () => {
      this.#timer = null;
      this.#begin();
    };
    this.#timer = setTimeout(begin, Math.max(REST_MS, containers * REST_PER_CONTAINER_MS)).unref();
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }
}
