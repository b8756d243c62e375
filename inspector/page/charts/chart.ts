/**
 * Describes a statechart that is laid out: scripts/charts.ts writes it at build time, and the page draws it.
 *
 * Guarantees: plain JSON with absolute coordinates, in pixels of the chart at its natural size.
 * Limits: `ids` of an edge are those of all transitions that share its line; the daemon names the transitions that were taken by
 * the same ids.
 */
export type Point = [x: number, y: number];

export interface Box {
  x: number;
  y: number;
  w: number;
  h: number;
}

export interface ChartNode extends Box {
  /** The path of states, joined by dots, as the state of a machine is named everywhere. */
  id: string;
  key: string;
  parent: string;
  type: string;
  initial: boolean;
  tags: string[];
  description: string;
  invoke: string[];
}

export interface ChartEdge {
  /** SOURCE|EVENT|INDEX of each transition. */
  ids: string[];
  source: string;
  target: string;
  labels: string[];
  /** The labels that have room beside the line. */
  shown: string[];
  points: Point[];
  labelBox: Box;
}

/** Describes states and lines that are laid out. */
export interface Drawing {
  id: string;
  title: string;
  width: number;
  height: number;
  nodes: ChartNode[];
  edges: ChartEdge[];
}

/** Describes a whole machine. */
export interface Chart extends Drawing {
  /** Transitions that every state has unless it says otherwise. */
  anywhere: { target: string; labels: string[] }[];
  /** The states at the top alone; null if no state is nested. */
  overview: Drawing | null;
  /** The inside of each nested state at the top, by its name. */
  parts: Record<string, Drawing>;
}

export type Charts = Record<string, Chart>;
