/**
 * Publishes ports through slirp4netns itself.
 *
 * Guarantees: the present forwards are read from the program each time and kept nowhere else. An existing forward is success; a
 * change that fails is undone as a whole (D13). If the program is gone, its forwards are gone too.
 * Limits: slirp4netns 1.2 forwards tcp and udp over IPv4. A host port cannot get another target without a moment in which
 * nobody listens on it. Forwards that others have added to the same program are left alone.
 */
import type { OwnedTarget } from '../../plan/containers/change.ts';
import { portText } from '../../plan/ports/port-text.ts';
import { FaultError } from '../../state/faults.ts';
import { addForward, listForwards, removeForward, SlirpGone, type HostForward } from '../uplinks/slirp-api.ts';

export interface SlirpForwardInput {
  /** The uplink's directory. */
  directory: string;
  /** The ports that exist afterwards, in place of `replacing`. */
  targets: readonly OwnedTarget[];
  replacing: readonly OwnedTarget[];
}

type Forward = Omit<HostForward, 'id'>;

export async function slirpForward({ directory, targets, replacing }: SlirpForwardInput): Promise<void> {
  if (targets.length === 0) return slirpUnforward({ directory, targets: replacing });
  const wanted = new Map(targets.map(forwardOf).map((forward) => [keyOf(forward), forward]));
  const unwanted = new Set(replacing.filter(isCarried).map(forwardOf).map(keyOf));
  const present = await listForwards(directory);
  const there = new Set(present.map(keyOf));
  const going = present.filter((entry) => unwanted.has(keyOf(entry)) && !wanted.has(keyOf(entry)));
  const coming = [...wanted].flatMap(([key, forward]) => (there.has(key) ? [] : [forward]));
  const undo: (() => Promise<unknown>)[] = [];
  try {
    for (const { id, ...forward } of going) {
      await removeForward(directory, id);
      undo.push(() => addForward(directory, forward));
    }
    for (const forward of coming) {
      undo.push(() => remove(directory, (entry) => keyOf(entry) === keyOf(forward)));
      await addForward(directory, forward).catch((error: unknown) => {
        throw about(error, forward);
      });
    }
  } catch (error) {
    // Steps that cannot be undone end with the program. The caller must get the original error.
    for (const back of undo.reverse()) await back().catch(() => {});
    throw error;
  }
}

export async function slirpUnforward({ directory, targets }: Omit<SlirpForwardInput, 'replacing'>): Promise<void> {
  const unwanted = new Set(targets.filter(isCarried).map(forwardOf).map(keyOf));
  try {
    await remove(directory, (entry) => unwanted.has(keyOf(entry)));
  } catch (error) {
    if (!(error instanceof SlirpGone)) throw error;
  }
}

async function remove(directory: string, which: (entry: HostForward) => boolean): Promise<void> {
  for (const { id } of (await listForwards(directory)).filter(which)) await removeForward(directory, id);
}

/** True for ports that slirp4netns can forward. It never has the others, so there is nothing to remove. */
const isCarried = ({ protocol, hostIp, address }: OwnedTarget): boolean =>
  protocol !== 'sctp' && !hostIp.includes(':') && !address.includes(':');

function forwardOf(target: OwnedTarget): Forward {
  const { protocol, hostIp, hostPort, address, containerPort } = target;
  if (!isCarried(target)) {
    const to = portText(protocol, hostIp, hostPort);
    const message = `slirp4netns cannot publish ${to}: it forwards tcp and udp over IPv4`;
    throw new FaultError('UPLINK_FAILED', message, { object: to });
  }
  return {
    proto: protocol,
    host_addr: hostIp === '' ? '0.0.0.0' : hostIp,
    host_port: hostPort,
    guest_addr: address,
    guest_port: containerPort,
  };
}

const keyOf = ({ proto, host_addr, host_port, guest_addr, guest_port }: Forward): string =>
  `${proto} ${host_addr}:${host_port} ${guest_addr}:${guest_port}`;

function about(error: unknown, { proto, host_addr, host_port }: Forward): unknown {
  if (!(error instanceof FaultError)) return error;
  const object = `${host_addr}:${host_port}/${proto}`;
  return FaultError.of({ ...error.fault, message: `${error.message} (${object})`, object });
}
