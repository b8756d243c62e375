/**
 * The figures that are judged, each with its budget: the one place of both.
 *
 * Guarantees: a figure that a scenario reports is one of these. A ratio has both of its sides from one interleaved run, where the
 * floor has every trick of the kernel that cleat has. A figure without a budget is there to be compared with the last record
 * (record/): an absolute budget follows the machine, and the ratio beside it does so less.
 */
import { check, kb, mb, ms, percent, perSecond, times, type Check } from './report.ts';

interface Figure {
  better: 'less' | 'more';
  budget: number | null;
  show: (value: number) => string;
}

const atMost = (budget: number | null, show = times): Figure => ({ better: 'less', budget, show });
const atLeast = (budget: number | null, show = times): Figure => ({ better: 'more', budget, show });
const plain = String;

export const FIGURES = {
  'create, stream, to floor': atMost(1.3),
  'create, requests, to floor': atMost(2),
  'create, stream, nothing prepared, to floor': atMost(2),
  'create, requests, nothing prepared, to floor': atMost(3),
  'create, netavark to stream': atLeast(10),
  'create, netavark to requests': atLeast(10),
  'create with 2 ports, to none': atMost(1.2),
  'create with 206 ports': atMost(12, ms),
  'create with 1 port, 10,000 published, to the first': atMost(1.25),
  "teardown's answer, to floor + round trip + intent": atMost(3),
  '256 at once': atLeast(1000, perSecond),
  '256 at once, to floor': atLeast(null),
  '256 at once, nothing prepared': atLeast(650, perSecond),
  '256 at once, nothing prepared, to floor': atLeast(null),
  '400 torn down and gone': atMost(400, ms),
  '400 torn down and gone, to floor': atMost(null),
  'create with 1,000 standing, to the first': atMost(1.5),
  'create with 4,000 standing, to the first': atMost(2),
  "create with 4,000 standing, growth to the floor's": atMost(1.1),
  'memory, empty': atMost(60 * 1024, mb),
  'memory, 1,000 containers': atMost(100 * 1024, mb),
  'memory, 1,000 containers just made': atMost(null, mb),
  'idle with 1,000 containers, of one core': atMost(0.5, percent),
  'ready, empty': atMost(150, ms),
  'ready, empty, to bare Node': atMost(null),
  'ready after a kill with 1,000': atMost(300, ms),
  'missing from the list after it': atMost(0, plain),
  'links gone or made again after it': atMost(0, plain),
  'a command (cleat ps)': atMost(80, ms),
  'a command, to bare Node': atMost(null),
  'netavark executable, its own cost': atMost(2, ms),
  'CNI executable, its own cost': atMost(2, ms),
  'forwarder to rootlessport, one connection': atLeast(1.3),
  'forwarder to rootlessport, 8 connections': atLeast(1.3),
  'forwarder to rootlessport, connections/s': atLeast(1.3),
  'forwarder to a plain veth, one connection': atLeast(0.7),
  'forwarder, processes for a port': atMost(0, plain),
  'forwarder, memory for a port': atMost(10, kb),
  'container to container, to by hand': atLeast(0.97),
  'out of a container, to by hand': atLeast(0.97),
  'in by a port, to by hand': atLeast(0.97),
  'container to container, 10,000 ports, to by hand': atLeast(0.97),
  'out of a container, 10,000 ports, to by hand': atLeast(0.97),
  'in by a port, 10,000 ports, to by hand': atLeast(0.97),
  'overlay: an event at all of 100 hosts, p99': atMost(250, ms),
  'overlay: an event at all of 1,000 hosts, p99': atMost(2000, ms),
  'overlay: 900 hosts at once': atMost(1000, ms),
  'overlay: a dead host is gone': atMost(15_000, ms),
  'overlay: writes of an idle host a second': atMost(0.2, (value) => value.toFixed(2)),
  'overlay: throughput between hosts, to by hand': atLeast(0.97),
  'overlay: connections between hosts, to by hand': atLeast(null),
  'overlay: round trips between hosts, to by hand': atLeast(null),
  'overlay: attach, to a bridge': atMost(1.1),
} satisfies Record<string, Figure>;

export type FigureName = keyof typeof FIGURES;

/** Judges a figure; NaN: it was not measured. */
export function figure(name: FigureName, value: number): Check {
  const { better, budget, show } = FIGURES[name];
  return check(name, value, { better, budget, show });
}
