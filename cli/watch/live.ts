/**
 * A table on the whole terminal, which is drawn anew as its rows change: `watch` and `stats`.
 *
 * Guarantees: q and Ctrl-C end the command with 0. Nothing is drawn before the first rows are there.
 */
import { aligned } from '../table.ts';
import { printable } from '../terminal.ts';
import { firstRow, frameOf, roomFor } from './frame.ts';
import { Screen } from './screen.ts';

const HINT = 'q ends';
/** Ages, for example, change by themselves: the rows are drawn anew this often. */
const TICK_MS = 1000;

export class LiveTable {
  readonly #headings: string[];
  readonly #rows: () => string[][];
  readonly #screen: Screen;
  #first = 0;
  #status = HINT;
  #open = false;

  constructor(headings: string[], rows: () => string[][]) {
    this.#headings = headings;
    this.#rows = rows;
    this.#screen = new Screen(
      (key) => {
        if (key === 'quit') process.exit(0);
        const page = roomFor(this.#screen.size());
        const by = { up: -1, down: 1, 'page up': -page, 'page down': page, home: -Infinity, end: Infinity }[key];
        this.#first = Math.max(0, this.#first + by);
        this.#draw();
      },
      () => this.#draw(),
    );
    setInterval(() => this.#draw(), TICK_MS);
  }

  /** Draws the rows as they are now. The first call takes the terminal. */
  open(): void {
    if (!this.#open) this.#screen.open();
    this.#open = true;
    this.#draw();
  }

  /** Says something in the last line; null: nothing but how to end it. */
  say(text: string | null): void {
    this.#status = text === null ? HINT : `${text}; ${HINT}`;
    this.#draw();
  }

  #draw(): void {
    if (!this.#open) return;
    const lines = aligned([this.#headings, ...this.#rows().map((row) => row.map(printable))]);
    const size = this.#screen.size();
    this.#first = firstRow(this.#first, lines.length - 1, size);
    this.#screen.show(frameOf(lines, this.#first, this.#status, size));
  }
}
