/**
 * The lines of the live table: what fits is shown, what does not is said, and the size of the screen is kept, whatever it is.
 */
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { aligned, widthsOf } from '../../cli/table.ts';
import { firstRow, frameOf, roomFor } from '../../cli/watch/frame.ts';

const frame = suite('frame');

frame('columns are as wide as their widest cell, and the last is not padded', () => {
  const rows = [
    ['ID', 'STATE'],
    ['a', 'up'],
    ['long', ''],
  ];
  assert.equal(widthsOf(rows), [4, 5]);
  assert.equal(aligned(rows), ['ID     STATE', 'a      up', 'long']);
  assert.equal(aligned([['b', 'degraded']], [4, 5]), ['b      degraded']);
});

frame('the heading, the rows that fit, and below what there is more', () => {
  const lines = ['HEAD', 'one', 'two', 'three'];
  const at = (first: number, rows: number) =>
    frameOf(lines, first, 'q ends', { rows, columns: 44 }).map((s) => s.trimEnd());
  assert.equal(at(0, 6), ['HEAD', 'one', 'two', 'three', '', 'q ends']);
  assert.equal(at(1, 4), ['HEAD', 'two', 'three', 'rows 2-3 of 3; arrows scroll; q ends']);
  assert.equal(at(0, 1), ['HEAD']);
});

frame('each frame has the size of the screen, and what is shown exists', () => {
  const size = fc.record({ rows: fc.nat(40), columns: fc.nat(120) });
  const property = fc.property(
    fc.array(fc.string({ unit: 'grapheme' }), { minLength: 1 }),
    fc.integer(),
    size,
    (lines, wanted, screen) => {
      const first = firstRow(wanted, lines.length - 1, screen);
      assert.ok(first >= 0 && (first === 0 || first + roomFor(screen) <= lines.length - 1));
      const shown = frameOf(lines, first, 'status', screen);
      assert.is(shown.length, Math.min(screen.rows, roomFor(screen) + 2));
      for (const line of shown) assert.is(Array.from(line).length, screen.columns);
    },
  );
  fc.assert(property);
});

frame.run();
