/**
 * Describes what a growth scenario has found, and what is drawn of it.
 */
export interface Point {
  at: number;
  ms: number;
  kb: number | null;
}

export interface Curve {
  name: string;
  points: Point[];
}

export interface Growth {
  /** Names what there are more and more of. */
  of: string;
  curves: Curve[];
}
