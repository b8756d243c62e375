/**
 * When everything of an outside is looked at again, for what no announcement tells of: every ten seconds, and with more than
 * twenty-five containers after so many milliseconds for each, so that a thousand cost no more of the processor than those: 0.3 %
 * (docs/decisions/0043).
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

  /** Begins after a rest, with so many containers there; one that is due already is not put off. */
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
