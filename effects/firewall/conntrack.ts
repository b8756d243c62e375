/**
 * Makes the kernel's connection tracking agree with the present rules. As long as its packets keep coming, an entry outlives
 * its rule, the owner of its address and the ruleset that it was made under.
 *
 * Guarantees: an effect that takes something away (a port, an address, a path between networks) ends when no entry is left
 * that only the old rules would have made. An effect that only adds does not wait, and neither does the teardown of a
 * container: its entries are deleted in the background, and its ports are not published again before that. A deletion that
 * fails is reported and tried again until it succeeds. Entries that the present rules would make are not touched
 * (native/conntrack/conntrack-judge.h decides).
 * Limits: background deletions are lost if the daemon ends; the next daemon repeats them with its first comparison of the
 * ruleset (`reviewed`). slirp4netns and the forwarder end their own connections.
 */
import { familyOf } from '../../plan/addresses/address.ts';
import type { OwnedTarget } from '../../plan/containers/change.ts';
import type { RulesetFindings, VerifyInput } from '../../machines/firewall.ts';
import { isKernelError, type ConntrackPort, type Outside } from '../../native/index.ts';
import type { RulesetDirectory } from './firewall-repair.ts';
import { delay, undelayed } from '../delay.ts';
import { retryUntilDone } from '../retry.ts';
import type { Kernel } from '../kernel.ts';

// --- Addresses --------------------------------------------------------------------------------------------------

/** Deletes the entries of addresses that have no owner any more. Call it when no process can send from them any more. */
export async function forgetAddresses(native: Outside, addresses: readonly string[]): Promise<void> {
  if (addresses.length === 0) return;
  await native.conntrackForget({ addresses: [...addresses], ports: [], networks: [] });
}

/**
 * A walk through the kernel's table takes 10 ms of a processor, however few of its entries are ours (native/conntrack/conntrack.cc). If
 * teardowns follow one another, walks are at least this far apart, and each serves all teardowns that have come by then.
 */
const APART_MS = 300;

/** A walk that has not begun, and the addresses that it is for. */
interface Walk {
  addresses: Set<string>;
  done: Promise<void>;
}

interface Walks {
  /** The time at which the last walk began, on the clock of performance.now(). */
  began: number;
  next: Walk | null;
}

const walksBehind = new WeakMap<Outside, Walks>();

/** Like forgetAddresses, for containers that are being torn down: nobody gets the addresses before it resolves. */
export function forgetAddressesBehind(native: Outside, addresses: readonly string[]): Promise<void> {
  if (addresses.length === 0) return Promise.resolve();
  const walks = walksBehind.get(native) ?? { began: -APART_MS, next: null };
  walksBehind.set(native, walks);
  walks.next ??= gather(native, walks);
  for (const address of addresses) walks.next.addresses.add(address);
  return walks.next.done;
}

function gather(native: Outside, walks: Walks): Walk {
  const all = new Set<string>();
  const walk = async () => {
    await delay(Math.max(0, walks.began + APART_MS - performance.now()));
    walks.began = performance.now();
    walks.next = null;
    await forgetAddresses(native, [...all]);
  };
  return { addresses: all, done: walk() };
}

// --- Ports ------------------------------------------------------------------------------------------------------

/** Converts a port for the native code: an open port has its destination, a closed one has none. */
function portOf(target: OwnedTarget, is: 'open' | 'closed'): ConntrackPort {
  const { protocol, hostPort, address, containerPort } = target;
  const hostIp = ['0.0.0.0', '::'].includes(target.hostIp) ? '' : target.hostIp;
  const port = { protocol, hostIp, hostPort, family: familyOf(address) } as const;
  return is === 'open' ? { ...port, address, containerPort } : port;
}

const keyOf = ({ protocol, family, hostIp, hostPort }: ConntrackPort) => `${protocol} ${family} ${hostIp} ${hostPort}`;

/** The deletions of one outside that run in the background. */
interface Backlog {
  ports: Map<string, ConntrackPort>;
  /** Closed ports that may still have connections. */
  closing: Map<string, Promise<void>>;
}

const backlogs = new WeakMap<Outside, Backlog>();

function backlogOf(native: Outside): Backlog {
  let backlog = backlogs.get(native);
  if (backlog === undefined) backlogs.set(native, (backlog = { ports: new Map(), closing: new Map() }));
  return backlog;
}

/** Deletes the connections to targets that these ports no longer have. */
export async function forgetPorts(
  native: Outside,
  open: readonly OwnedTarget[],
  closed: readonly OwnedTarget[],
): Promise<void> {
  const ports = [...closed.map((target) => portOf(target, 'closed')), ...open.map((target) => portOf(target, 'open'))];
  if (ports.length === 0) return;
  for (const port of ports) backlogOf(native).ports.delete(keyOf(port));
  await native.conntrackForget({ addresses: [], ports, networks: [] });
}

/**
 * The kernel walks its whole table at once (10 ms), during which no RCU grace period ends, so everyone who makes or unmounts a
 * namespace waits. So all deletions within this time share one walk, after the teardown that began it.
 */
const LATER_MS = 50;

/** Like forgetPorts, but in the background. */
export function forgetPortsLater(
  kernel: Kernel,
  native: Outside,
  open: readonly OwnedTarget[],
  closed: readonly OwnedTarget[],
): void {
  const { ports, closing } = backlogOf(native);
  const gone = closed.map((target) => portOf(target, 'closed'));
  for (const port of [...gone, ...open.map((target) => portOf(target, 'open'))]) ports.set(keyOf(port), port);
  const attempt = attempted(kernel, async () => {
    await delay(LATER_MS);
    const batch = [...ports];
    if (batch.length === 0) return;
    await native.conntrackForget({ addresses: [], ports: batch.map(([, port]) => port), networks: [] });
    // A port that was opened or closed again meanwhile has another entry here.
    for (const [key, port] of batch) if (ports.get(key) === port) ports.delete(key);
  });
  for (const port of gone) closing.set(keyOf(port), attempt);
  void attempt.then(() => {
    for (const port of gone) if (closing.get(keyOf(port)) === attempt) closing.delete(keyOf(port));
  });
}

/** Resolves when the old connections of these ports are deleted, so that they cannot be confused with new ones. */
export async function portsForgotten(native: Outside, targets: readonly OwnedTarget[]): Promise<void> {
  const { closing } = backlogOf(native);
  const waited = targets.flatMap((target) => closing.get(keyOf(portOf(target, 'closed'))) ?? []);
  if (waited.length > 0) await undelayed(Promise.all(waited));
}

// --- The whole ruleset ------------------------------------------------------------------------------------------

/** Judges every entry of an outside by its networks and by the ports of its containers at rest. Never fails. */
export const reviewConntrack =
  (kernel: Kernel, ruleset: RulesetDirectory) =>
  (outside: string | null): Promise<void> =>
    attempted(kernel, async () => {
      const native = kernel.outsideIfThere(outside)?.kernel;
      if (native === undefined) return;
      const { networks, ports } = ruleset(outside);
      await native.conntrackForget({
        addresses: [],
        ports: ports.map((port) => portOf(port, 'open')),
        networks: networks.map(({ rules: { subnets, internal, isolate, masquerade, outbound } }) => ({
          subnets: subnets.map(({ cidr }) => cidr),
          internal,
          isolate,
          masquerade,
          outbound: [...outbound],
        })),
      });
    });

type Review = ReturnType<typeof reviewConntrack>;

/** Wraps a change of rules that closes paths: the change ends when its review has ended. */
export const thenReview =
  <Input extends { outside: string | null }>(change: (input: Input) => Promise<void>, review: Review) =>
  async (input: Input): Promise<void> => {
    await change(input);
    await review(input.outside);
  };

/** Wraps a change of rules that opens nothing new: its review follows in the background. */
export const andReview =
  <Input extends { outside: string | null }, Output>(change: (input: Input) => Promise<Output>, review: Review) =>
  async (input: Input): Promise<Output> => {
    const output = await change(input);
    void review(input.outside);
    return output;
  };

/**
 * Wraps a comparison of the ruleset. A review follows if the comparison repaired something, was requested, or is the first one.
 */
export const reviewed = (
  repair: (input: VerifyInput) => Promise<RulesetFindings>,
  review: Review,
): ((input: VerifyInput) => Promise<RulesetFindings>) => {
  const known = new Set<string | null>();
  return async (input) => {
    const findings = await repair(input);
    if (findings.repaired.length === 0 && !input.asked && known.has(input.outside)) return findings;
    known.add(input.outside);
    await review(input.outside);
    return findings;
  };
};

/** True if the outside was closed (`close` of Kernel) because it has no users; then nothing needs deletion. */
const isLetGo = (error: unknown): boolean =>
  isKernelError(error) && error.code === 'EBADF' && error.syscall === 'outside';

/** Resolves after the first attempt. Reports a failure, and tries again until an attempt succeeds. */
const attempted = (kernel: Kernel, work: () => Promise<void>): Promise<void> =>
  new Promise((resolve) => {
    const attempt = async () => {
      try {
        await work();
      } catch (error) {
        if (!isLetGo(error)) throw error;
      }
      resolve();
    };
    retryUntilDone(attempt, (error) => {
      kernel.failed('deleting outdated entries of connection tracking', error);
      resolve();
    });
  });
