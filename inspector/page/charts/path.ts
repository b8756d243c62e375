/**
 * Makes the line of a transition an SVG path, with rounded corners.
 *
 * Guarantees: pure; begins and ends where the layout says.
 */
import type { Point } from './chart.ts';

const RADIUS = 6;

export function pathOf(points: readonly Point[]): string {
  const [first, ...rest] = points;
  const last = rest.pop();
  if (first === undefined || last === undefined) return '';
  let path = `M${first[0]} ${first[1]}`;
  for (const [i, corner] of rest.entries()) {
    const before = rest[i - 1] ?? first;
    const after = rest[i + 1] ?? last;
    const radius = Math.min(RADIUS, distance(before, corner) / 2, distance(corner, after) / 2);
    const [ax, ay] = towards(corner, before, radius);
    const [bx, by] = towards(corner, after, radius);
    path += `L${ax} ${ay}Q${corner[0]} ${corner[1]} ${bx} ${by}`;
  }
  return `${path}L${last[0]} ${last[1]}`;
}

const distance = ([ax, ay]: Point, [bx, by]: Point): number => Math.hypot(bx - ax, by - ay);

function towards(from: Point, to: Point, length: number): Point {
  const whole = distance(from, to) || 1;
  const at = (i: 0 | 1): number => Math.round((from[i] + ((to[i] - from[i]) * length) / whole) * 10) / 10;
  return [at(0), at(1)];
}
