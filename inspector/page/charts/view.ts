/**
 * Computes which part of a chart is in sight, and how large.
 *
 * Guarantees: pure. A view keeps the point under the pointer in place while it zooms, and never loses the whole chart.
 */
import type { Box, Point } from './chart.ts';

export interface Size {
  width: number;
  height: number;
}

/** A point of the chart is shown at x * scale + left, y * scale + top. */
export interface View {
  left: number;
  top: number;
  scale: number;
}

const MIN_SCALE = 0.05;
const MAX_SCALE = 3;
/** So many pixels are between a chart and its frame. */
const EDGE = 16;
/** So many pixels of the chart stay in sight. */
const HOLD = 60;

/** Shows a box whole, in the middle, not larger than `largest`. */
export function fit({ x, y, w, h }: Box, { width, height }: Size, largest = 1, margin = EDGE): View {
  const scale = clamp(
    Math.min((width - 2 * margin) / Math.max(w, 1), (height - 2 * margin) / Math.max(h, 1), largest),
    MIN_SCALE,
    MAX_SCALE,
  );
  return { scale, left: (width - w * scale) / 2 - x * scale, top: (height - h * scale) / 2 - y * scale };
}

/** Shows a box in the middle at this scale, but nothing beyond the edges of what is around it. */
export function centred({ x, y, w, h }: Box, around: Box, scale: number, { width, height }: Size): View {
  const along = (middle: number, first: number, length: number, room: number): number => {
    const most = EDGE - first * scale;
    const least = room - EDGE - (first + length) * scale;
    return least > most ? (least + most) / 2 : clamp(room / 2 - middle * scale, least, most);
  };
  return {
    scale,
    left: along(x + w / 2, around.x, around.w, width),
    top: along(y + h / 2, around.y, around.h, height),
  };
}

export function zoomed(view: View, factor: number, [x, y]: Point): View {
  const scale = clamp(view.scale * factor, MIN_SCALE, MAX_SCALE);
  const real = scale / view.scale;
  return { scale, left: x - (x - view.left) * real, top: y - (y - view.top) * real };
}

/** Moves by pixels of the screen. */
export function panned(view: View, dx: number, dy: number, chart: Size, { width, height }: Size): View {
  return {
    scale: view.scale,
    left: clamp(view.left + dx, HOLD - chart.width * view.scale, width - HOLD),
    top: clamp(view.top + dy, HOLD - chart.height * view.scale, height - HOLD),
  };
}

/** Returns true if a box is in sight, with room around it, and large enough to be read. */
export function isInSight({ x, y, w, h }: Box, view: View, { width, height }: Size, legible: number): boolean {
  const left = x * view.scale + view.left;
  const top = y * view.scale + view.top;
  return (
    view.scale >= legible && left >= 0 && top >= 0 && left + w * view.scale <= width && top + h * view.scale <= height
  );
}

/** Returns a view between two, for a movement that the eye can follow. */
export function between(from: View, to: View, part: number): View {
  const mix = (a: number, b: number): number => a + (b - a) * part;
  return { left: mix(from.left, to.left), top: mix(from.top, to.top), scale: mix(from.scale, to.scale) };
}

const clamp = (value: number, least: number, most: number): number =>
  least > most ? (least + most) / 2 : Math.max(least, Math.min(most, value));
