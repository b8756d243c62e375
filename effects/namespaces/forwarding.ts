/**
 * The switches under /proc/sys that make a host forward, and the switches that the kernel changes together with them. This file
 * reads them before the first change, turns them on, and restores them.
 *
 * Turning net.ipv4.ip_forward on or off makes the kernel reset `forwarding` of every interface, and accept_redirects of `all`
 * (inet_forward_change in net/ipv4/devinet.c); net.ipv6.conf.all.forwarding resets `forwarding` of every interface
 * (addrconf_forward_change in net/ipv6/addrconf.c), and an interface whose accept_ra is 1 ignores router advertisements while
 * forwarding is on (Documentation/networking/ip-sysctl.rst). A host may have its default route from those.
 *
 * Guarantees: the switches of a family are recorded and changed only if the host does not forward that family yet. An interface
 * that accepts advertisements continues to (2 instead of 1), also one that appears while networks are up. An interface that
 * does not is left alone.
 * Limits: a switch that someone else sets meanwhile is restored all the same. Large receive offload, which the kernel turns off
 * on forwarding interfaces, stays off.
 */
import type { Switches } from '../../machines/firewall.ts';
import { isKernelError, type Outside } from '../../native/index.ts';
import { FaultError } from '../../state/faults.ts';
import type { Kernel } from '../kernel.ts';
import { FAMILIES, type Family } from '../ruleset/rule-words.ts';
import type { Closed } from '../ruleset/ruleset-inputs.ts';
import { writeIfThere } from './switches.ts';

const FORWARDING: Record<Family, string> = { 4: 'net/ipv4/ip_forward', 6: 'net/ipv6/conf/all/forwarding' };
const ALL_REDIRECTS = 'net/ipv4/conf/all/accept_redirects';

const forwardingOf = (family: Family, name: string) => `net/ipv${family}/conf/${name}/forwarding`;
const advertisementsOf = (name: string) => `net/ipv6/conf/${name}/accept_ra`;

/** Reads, for each family that is not forwarded yet, its switch and every switch that changes with it. */
export async function readForwarding(native: Outside): Promise<Switches> {
  const names = ['default', ...(await native.links()).map(({ name }) => name)];
  const found = await read(native, [FORWARDING[4], FORWARDING[6]]);
  const beside = [
    ...(found[FORWARDING[4]] === '0' ? [ALL_REDIRECTS, ...names.map((name) => forwardingOf(4, name))] : []),
    ...(found[FORWARDING[6]] === '0' ? names.flatMap((name) => [forwardingOf(6, name), advertisementsOf(name)]) : []),
  ];
  return { ...found, ...(await read(native, beside)) };
}

/** Lets present and future interfaces that accept router advertisements continue to do so while IPv6 is forwarded. */
export async function keepAdvertisements(native: Outside, found: Switches): Promise<void> {
  for (const [key, value] of Object.entries(found)) {
    const isRouter = found[key.replace(/accept_ra$/, 'forwarding')] === '1';
    if (!key.endsWith('/accept_ra') || value !== '1' || isRouter) continue;
    try {
      await writeIfThere(native, { [key]: '2' });
    } catch (error) {
      // Then IPv6 forwarding stays off too, and the interface still accepts them.
      if (!isReadOnly(error)) throw error;
      return;
    }
  }
}

export const forwardIpv4 = (native: Outside): Promise<void> => turnOn(native, FORWARDING[4]);
export const forwardIpv6 = (native: Outside): Promise<void> => turnOn(native, FORWARDING[6]);

/** Writes only a switch that is off: for IPv6 the kernel resets every interface's switch even when the value stays. */
async function turnOn(native: Outside, key: string): Promise<void> {
  if ((await read(native, [key]))[key] === '1') return;
  try {
    await native.sysctlWrite({ [key]: '1' });
  } catch (error) {
    if (!isReadOnly(error)) throw error;
    const name = key.replaceAll('/', '.');
    const message = `${name} is off, and /proc/sys is read-only: networks need it on`;
    throw new FaultError('SWITCH_READ_ONLY', message, { errno: 'EROFS', object: name });
  }
}

/**
 * Returns the switches that networks need and that have changed since: forwarding, and those that let an interface accept
 * router advertisements while forwarding. `has6`: a network has IPv6. Never returns switches that cleat did not have to turn
 * on.
 */
export async function lostSwitches(native: Outside, found: Switches, has6: boolean): Promise<Record<string, string>> {
  const believers = Object.keys(found).filter(
    (key) => key.endsWith('/accept_ra') && found[key] === '1' && found[key.replace(/accept_ra$/, 'forwarding')] !== '1',
  );
  const wanted: Record<string, string> = { [FORWARDING[4]]: '1', ...(has6 ? { [FORWARDING[6]]: '1' } : {}) };
  const now = await read(native, [...Object.keys(wanted), ...believers]);
  const off = Object.entries(wanted).filter(([key, value]) => now[key] !== undefined && now[key] !== value);
  // Leaves out an interface whose value is 0: somebody turned advertisements off on purpose.
  const shut = believers.filter((key) => now[key] === '1').map((key): [string, string] => [key, '2']);
  return Object.fromEntries([...shut, ...off]);
}

/** Writes the result of lostSwitches. Forwarding comes last there, because it makes the kernel change other switches. */
export async function restoreForwarding(native: Outside, lost: Readonly<Record<string, string>>): Promise<void> {
  for (const [key, value] of Object.entries(lost)) {
    if (Object.values(FORWARDING).includes(key)) await turnOn(native, key);
    else await writeIfThere(native, { [key]: value });
  }
}

const isReadOnly = (error: unknown): boolean => isKernelError(error) && error.code === 'EROFS';

/**
 * Writes the switches of the families first, because writing them resets those of every interface. If /proc/sys has become
 * read-only, the switches stay as they are. That is reported, and does not keep the table from being removed.
 */
export async function putBackSwitches(kernel: Kernel, native: Outside, found: Switches): Promise<void> {
  try {
    await writeBack(native, found);
  } catch (error) {
    if (!isReadOnly(error)) throw error;
    kernel.failed('putting back the switches of forwarding', error);
  }
}

async function writeBack(native: Outside, found: Switches): Promise<void> {
  const families = Object.fromEntries(Object.entries(found).filter(([key]) => Object.values(FORWARDING).includes(key)));
  await writeDifferent(native, families);
  await writeDifferent(native, found);
  // An interface that appeared meanwhile got the value that we wrote to `default`.
  const usual = found[advertisementsOf('default')];
  if (usual !== '1') return;
  const born = (await native.links()).map(({ name }) => advertisementsOf(name)).filter((key) => !(key in found));
  const now = await read(native, born);
  await writeDifferent(native, Object.fromEntries(born.filter((key) => now[key] === '2').map((key) => [key, usual])));
}

/**
 * Returns the families that the host did not forward when cleat found it. For those, the ruleset drops packets of other
 * networks (ruleset-sources.ts), unless the operator wants them forwarded.
 */
export function closedFamilies(found: Switches | null, forwardOthers: boolean): Closed {
  const closed = new Map<Family, string[]>();
  if (found === null || forwardOthers) return closed;
  for (const family of FAMILIES) {
    if (found[FORWARDING[family]] !== '0') continue;
    // IPv6 forwards nothing while the switch of all is off (ip6_forward in net/ipv6/ip6_output.c).
    const routers =
      family === 6
        ? []
        : Object.entries(found).flatMap(([key, value]) => {
            const [, name] = /^net\/ipv4\/conf\/([^/]+)\/forwarding$/.exec(key) ?? [];
            return name === undefined || name === 'default' || value !== '1' ? [] : [name];
          });
    closed.set(family, routers);
  }
  return closed;
}

/** Reads switches and leaves out those that are absent: their interface is gone, or the kernel has no IPv6. */
async function read(native: Outside, keys: readonly string[]): Promise<Record<string, string>> {
  const values = await native.sysctlRead([...keys]);
  return Object.fromEntries(keys.flatMap((key, i) => (typeof values[i] === 'string' ? [[key, values[i]]] : [])));
}

async function writeDifferent(native: Outside, wanted: Switches): Promise<void> {
  const now = await read(native, Object.keys(wanted));
  for (const [key, value] of Object.entries(wanted)) {
    if (now[key] !== value) await writeIfThere(native, { [key]: value });
  }
}
