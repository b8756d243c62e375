/**
 * Published ports that slirp4netns itself carries into the container.
 *
 * Guarantees: what is there is asked of the program each time, so that nothing of it is kept anywhere else. What is there
 * already is success; a change that fails is taken back as a whole (D13). Where the program is gone, everything that it
 * forwarded is.
 * Limits: slirp4netns 1.2 forwards tcp and udp over IPv4. The same host port cannot be led elsewhere without a moment in
 * which nobody listens on it. What others have asked the same program for is left alone.
 */
import type { OwnedTarget } from '../machines/plan/change.ts';
import { EffectError } from './effect.ts';
import { addForward, listForwards, removeForward, SlirpGone, type HostForward } from './slirp-api.ts';

export interface SlirpForwardInput {
  /** The uplink's. */
  directory: string;
  /** What is to be there afterwards, in place of `replacing`. */
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
    // What cannot be taken back goes with the program; why it was tried is what the caller has to know.
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

/** What it refuses is not there to be taken away. */
const isCarried = ({ protocol, hostIp, address }: OwnedTarget): boolean =>
  protocol !== 'sctp' && !hostIp.includes(':') && !address.includes(':');

function forwardOf(target: OwnedTarget): Forward {
  const { protocol, hostIp, hostPort, address, containerPort } = target;
  if (!isCarried(target)) {
    const to = `${hostIp === '' ? '' : `[${hostIp}]:`}${hostPort}/${protocol}`;
    const message = `slirp4netns cannot publish ${to}: it forwards tcp and udp over IPv4`;
    throw new EffectError({ code: 'UPLINK_FAILED', message, object: to });
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
  if (!(error instanceof EffectError)) return error;
  const object = `${host_addr}:${host_port}/${proto}`;
  return new EffectError({ ...error.fault, message: `${error.message} (${object})`, object });
}
