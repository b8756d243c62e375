/**
 * Lists of published ports: makes them as short as possible, and splits them again if part of a range is removed.
 *
 * Guarantees: pure, the caller's arrays are left as they are. The meaning of a list is the set of its pairs (host address,
 * protocol, host port -> container port). Coalescing keeps that set, does not depend on the order, and changes nothing the
 * second time. Subtracting leaves exactly the pairs that were not named. Conflicts inside a list are faults.
 * Limits: knows one list; plan/ports.ts and the kernel check other containers and the host.
 *
 * A pair on all addresses, or on all of a family, includes the same pair on a single address, which is left out.
 *
 * As Podman does (ParsePortMapping): a pair named twice is one, also if ranges overlap. Two requests of one container port
 * without a host port are one request, and overlapping ranges without a host port are one range. Adjacent ranges without a
 * host port stay apart, because one range would need consecutive host ports.
 */
import type { ResolvedPort, PortRequest } from '../../state/container.ts';
import type { Fault } from '../../state/faults.ts';
import { span } from './port-text.ts';

/** Consecutive ports of one host address, as requested. `host` 0: any host port. */
interface Run {
  address: string;
  protocol: ResolvedPort['protocol'];
  host: number;
  container: number;
  range: number;
  /** True if `address` is the outer publisher's listening address. */
  outer: boolean;
}

const runOfRun = (run: Run): Run => run;
const pieceOfRun = (run: Run, offset: number, range: number): Run => ({
  ...run,
  host: run.host + offset,
  container: run.container + offset,
  range,
});

const runOf = (mapping: PortRequest): Run => ({
  address: mapping.outer_ip ?? mapping.host_ip ?? '',
  protocol: mapping.protocol ?? 'tcp',
  host: mapping.host_port ?? 0,
  container: mapping.container_port,
  range: mapping.range ?? 1,
  outer: mapping.outer_ip !== undefined,
});

const runOfPort = (port: ResolvedPort): Run => ({
  address: port.outerIp ?? port.hostIp,
  protocol: port.protocol,
  host: port.hostPort,
  container: port.containerPort,
  range: port.range,
  outer: port.outerIp !== null,
});

/**
 * Returns the shortest list, sorted by host address (as text), protocol, host port, container port. Ranges are as long as
 * possible, and no element includes another.
 */
export function coalesce(mappings: readonly PortRequest[]): { ports: PortRequest[] } | { fault: Fault } {
  const runs = mappings.map(runOf).sort(inOrder);
  const fault = conflict(runs.filter(({ host }) => host !== 0));
  if (fault !== null) return { fault };
  const lines = new Map<string, Run[]>();
  for (const run of runs) {
    // Two runs can be joined only on the same line: with the same distance between host and container port.
    const line = `${run.address} ${run.protocol} ${run.host === 0 ? 'any' : run.host - run.container}`;
    lines.set(line, [...join(lines.get(line) ?? [], run)]);
  }
  const all = [...lines.values()].flat();
  return { ports: notIncluded(all, runOfRun, all, pieceOfRun).sort(inOrder).map(mappingOf) };
}

/** Splits published ports into those that mappings name (host port 0: any host port) and those that stay. */
export function subtract(
  ports: readonly ResolvedPort[],
  mappings: readonly PortRequest[],
): { taken: ResolvedPort[]; left: ResolvedPort[] } {
  return cut(ports, runOfPort, mappings.map(runOf), pieceOfPort);
}

const pieceOfPort = (port: ResolvedPort, offset: number, range: number): ResolvedPort => ({
  ...port,
  hostPort: port.hostPort + offset,
  containerPort: port.containerPort + offset,
  range,
});

/** Does the same for requests. A mapping with a host port does not name a request without one. */
export function subtractMappings(
  ports: readonly PortRequest[],
  mappings: readonly PortRequest[],
): { taken: PortRequest[]; left: PortRequest[] } {
  return cut(ports, runOf, mappings.map(runOf), (port, offset, range) => {
    const host = port.host_port ?? 0;
    return {
      ...port,
      ...(host === 0 ? {} : { host_port: host + offset }),
      container_port: port.container_port + offset,
      range,
    };
  });
}

/** Returns the published ports without some of them. */
export function without(ports: readonly ResolvedPort[], gone: readonly ResolvedPort[]): ResolvedPort[] {
  return subtract(ports, gone.map(wishOf)).left;
}

/** Returns the parts of ports that are not published yet, neither on the same host address nor on all of them. */
export const unpublished = (ports: readonly ResolvedPort[], published: readonly ResolvedPort[]): ResolvedPort[] =>
  notIncluded(without(ports, published), runOfPort, published.map(runOfPort), pieceOfPort);

/**
 * Returns the requests that remain once these ports are no longer published. A request without a host port is one request of
 * its container port.
 */
export function unrequest(requested: readonly PortRequest[], gone: readonly ResolvedPort[]): PortRequest[] {
  const byNumber = subtractMappings(requested, gone.map(wishOf));
  let chosen = subtract(gone, byNumber.taken).left;
  return byNumber.left.flatMap((wish) => {
    if ((wish.host_port ?? 0) !== 0) return [wish];
    const given = oneEach(subtract(chosen, [wish]).taken);
    chosen = without(chosen, given);
    return subtractMappings(
      [wish],
      given.map((port) => ({ ...wishOf(port), host_port: 0 })),
    ).left;
  });
}

/** Returns the first of the ports that lead to the same container port. */
function oneEach(ports: readonly ResolvedPort[]): ResolvedPort[] {
  const first: ResolvedPort[] = [];
  for (const port of ports) {
    first.push(
      ...subtract(
        [port],
        first.map((other) => ({ ...wishOf(other), host_port: 0 })),
      ).left,
    );
  }
  return first;
}

/** Returns true if an address belongs to both: "" contains every address, 0.0.0.0 and :: every one of their family. */
export function meet(a: string, b: string): boolean {
  return a === b || includes(a, b) || includes(b, a);
}

/** Returns true if `wide` contains all addresses of `narrow`, and more. */
function includes(wide: string, narrow: string): boolean {
  if (wide === narrow || narrow === '') return false;
  return wide === '' || wide === (narrow.includes(':') ? '::' : '0.0.0.0');
}

/** Returns the parts of ports that no run includes with more addresses. A port without a host port is included in none. */
function notIncluded<Port>(
  ports: readonly Port[],
  runOfIt: (port: Port) => Run,
  runs: readonly Run[],
  piece: (port: Port, offset: number, range: number) => Port,
): Port[] {
  const numbered = runs.filter(({ host }) => host !== 0);
  return ports.flatMap((port) => {
    const { address } = runOfIt(port);
    const wider = numbered.filter((run) => includes(run.address, address)).map((run) => ({ ...run, address }));
    return cut([port], runOfIt, wider, piece).left;
  });
}

const wishOf = (port: ResolvedPort): PortRequest => mappingOf(runOfPort(port));

const mappingOf = ({ address, protocol, host, container, range, outer }: Run): PortRequest => ({
  host_ip: outer ? '' : address,
  host_port: host,
  container_port: container,
  protocol,
  range,
  ...(outer ? { outer_ip: address } : {}),
});

function inOrder(a: Run, b: Run): number {
  const text = compare(a.address, b.address) || compare(a.protocol, b.protocol);
  return text || a.host - b.host || a.container - b.container || a.range - b.range;
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Joins the next run to the runs of one line, which are in order: it extends the last one or becomes a new one. */
function join(line: readonly Run[], next: Run): readonly Run[] {
  const last = line.at(-1);
  const end = last === undefined ? 0 : last.container + last.range;
  const reaches = next.host === 0 ? next.container < end : next.container <= end;
  if (last === undefined || !reaches) return [...line, next];
  const range = Math.max(end, next.container + next.range) - last.container;
  return [...line.slice(0, -1), { ...last, range }];
}

/** Returns a fault for two runs that want one host port for different container ports. */
function conflict(runs: readonly Run[]): Fault | null {
  const byPort = [...runs].sort((a, b) => compare(a.protocol, b.protocol) || a.host - b.host || inOrder(a, b));
  for (const [i, run] of byPort.entries()) {
    for (let j = i + 1; j < byPort.length; j++) {
      const other = byPort[j];
      if (other === undefined || other.protocol !== run.protocol || other.host >= run.host + run.range) break;
      const same = other.host - other.container === run.host - run.container;
      if (same || !meet(run.address, other.address)) continue;
      const message = `ports ${inWords(run)} and ${inWords(other)} overlap: a host port leads to one place`;
      return { code: 'BAD_REQUEST', message };
    }
  }
  return null;
}

/** Returns [::1]:8080-8081:80-81/tcp, the form of the command line. */
function inWords({ address, protocol, host, container, range }: Run): string {
  const at = address === '' ? '' : address.includes(':') ? `[${address}]:` : `${address}:`;
  return `${at}${span(host, range)}:${span(container, range)}/${protocol}`;
}

/** Splits each port into the pieces that some of `wanted` name, and the pieces between. */
function cut<Port>(
  ports: readonly Port[],
  runOfIt: (port: Port) => Run,
  wanted: readonly Run[],
  piece: (port: Port, offset: number, range: number) => Port,
): { taken: Port[]; left: Port[] } {
  const taken: Port[] = [];
  const left: Port[] = [];
  for (const port of ports) {
    const run = runOfIt(port);
    const pieceOf = (from: number, to: number) => (to - from === run.range ? port : piece(port, from, to - from));
    let at = 0;
    for (const { from, to } of spans(wanted.flatMap((wish) => overlap(run, wish)))) {
      if (from > at) left.push(pieceOf(at, from));
      taken.push(pieceOf(from, to));
      at = to;
    }
    if (at < run.range) left.push(pieceOf(at, run.range));
  }
  return { taken, left };
}

interface Span {
  from: number;
  to: number;
}

/** Sorts the parts, and joins those that touch. */
function spans(parts: readonly Span[]): Span[] {
  const result: Span[] = [];
  for (const part of [...parts].sort((a, b) => a.from - b.from)) {
    const last = result.at(-1);
    if (last !== undefined && part.from <= last.to) last.to = Math.max(last.to, part.to);
    else result.push({ ...part });
  }
  return result;
}

/** Returns the part of a run that a wish names, as offsets in the run. */
function overlap(run: Run, wish: Run): Span[] {
  if (run.address !== wish.address || run.protocol !== wish.protocol) return [];
  if (wish.host !== 0 && (run.host === 0 || run.host - run.container !== wish.host - wish.container)) return [];
  const from = Math.max(0, wish.container - run.container);
  const to = Math.min(run.range, wish.container + wish.range - run.container);
  return from < to ? [{ from, to }] : [];
}
