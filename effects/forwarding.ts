/**
 * The switches under /proc/sys that make a host forward, with those that the kernel changes beside them: remembered as
 * they were found, turned on, and put back.
 *
 * Turning net.ipv4.ip_forward on or off makes the kernel reset `forwarding` of every interface, and accept_redirects of
 * `all` (inet_forward_change in net/ipv4/devinet.c); net.ipv6.conf.all.forwarding resets `forwarding` of every interface
 * (addrconf_forward_change in net/ipv6/addrconf.c), and with forwarding on an interface whose accept_ra is 1 no longer
 * believes router advertisements (Documentation/networking/ip-sysctl.rst), by which a host may have its default route.
 *
 * Guarantees: what is remembered of a family is remembered only where that family is not forwarded yet; where it is,
 * nothing is changed. An interface that believed advertisements goes on to (2 instead of 1), also one that appears while
 * networks are up; one that did not is left alone.
 * Limits: a switch that someone else sets meanwhile is put back all the same. Large receive offload, which the kernel turns
 * off where it forwards, stays off.
 */
import type { Switches } from '../machines/firewall.ts';
import { isKernelError, type Outside } from '../native/index.ts';
import { EffectError } from './effect.ts';
import type { Kernel } from './kernel.ts';
import { FAMILIES, type Family } from './rule-words.ts';
import type { Closed } from './ruleset.ts';
import { writeIfThere } from './switches.ts';

const FORWARDING: Record<Family, string> = { 4: 'net/ipv4/ip_forward', 6: 'net/ipv6/conf/all/forwarding' };
const ALL_REDIRECTS = 'net/ipv4/conf/all/accept_redirects';

const forwardingOf = (family: Family, name: string) => `net/ipv${family}/conf/${name}/forwarding`;
const advertisementsOf = (name: string) => `net/ipv6/conf/${name}/accept_ra`;

/** Reads, of each family that is not forwarded yet, its switch and every other one that changes when it is turned on. */
export async function readForwarding(native: Outside): Promise<Switches> {
  const names = ['default', ...(await native.links()).map(({ name }) => name)];
  const found = await read(native, [FORWARDING[4], FORWARDING[6]]);
  const beside = [
    ...(found[FORWARDING[4]] === '0' ? [ALL_REDIRECTS, ...names.map((name) => forwardingOf(4, name))] : []),
    ...(found[FORWARDING[6]] === '0' ? names.flatMap((name) => [forwardingOf(6, name), advertisementsOf(name)]) : []),
  ];
  return { ...found, ...(await read(native, beside)) };
}

/** Lets present and future interfaces believe router advertisements when IPv6 is forwarded, if they do so before. */
export async function keepAdvertisements(native: Outside, found: Switches): Promise<void> {
  for (const [key, value] of Object.entries(found)) {
    const isRouter = found[key.replace(/accept_ra$/, 'forwarding')] === '1';
    if (!key.endsWith('/accept_ra') || value !== '1' || isRouter) continue;
    try {
      await writeIfThere(native, { [key]: '2' });
    } catch (error) {
      // Then IPv6 is not turned on either, and it goes on to believe them.
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
    throw new EffectError({ code: 'SWITCH_READ_ONLY', message, errno: 'EROFS', object: name });
  }
}

/**
 * The switches that networks need and that are not as they were set: forwarding, and what lets an interface believe router
 * advertisements all the same. `has6`: a network has IPv6. Never those that cleat did not have to turn on.
 */
export async function lostSwitches(native: Outside, found: Switches, has6: boolean): Promise<Record<string, string>> {
  const believers = Object.keys(found).filter(
    (key) => key.endsWith('/accept_ra') && found[key] === '1' && found[key.replace(/accept_ra$/, 'forwarding')] !== '1',
  );
  const wanted: Record<string, string> = { [FORWARDING[4]]: '1', ...(has6 ? { [FORWARDING[6]]: '1' } : {}) };
  const now = await read(native, [...Object.keys(wanted), ...believers]);
  const off = Object.entries(wanted).filter(([key, value]) => now[key] !== undefined && now[key] !== value);
  // Turned off for good by somebody, an interface believes nothing (0): that is theirs to say.
  const shut = believers.filter((key) => now[key] === '1').map((key): [string, string] => [key, '2']);
  return Object.fromEntries([...shut, ...off]);
}

/** Writes what lostSwitches found. Forwarding comes last there, because with it the kernel changes other switches. */
export async function restoreForwarding(native: Outside, lost: Readonly<Record<string, string>>): Promise<void> {
  for (const [key, value] of Object.entries(lost)) {
    if (Object.values(FORWARDING).includes(key)) await turnOn(native, key);
    else await writeIfThere(native, { [key]: value });
  }
}

const isReadOnly = (error: unknown): boolean => isKernelError(error) && error.code === 'EROFS';

/**
 * Writes the switches of the families first, because writing them resets those of every interface. Where /proc/sys has become
 * read-only, they belong to whoever shut it: that they stay as they are is reported, and no reason to keep the table.
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
  // An interface that appeared meanwhile was born with what we wrote to `default`.
  const usual = found[advertisementsOf('default')];
  if (usual !== '1') return;
  const born = (await native.links()).map(({ name }) => advertisementsOf(name)).filter((key) => !(key in found));
  const now = await read(native, born);
  await writeDifferent(native, Object.fromEntries(born.filter((key) => now[key] === '2').map((key) => [key, usual])));
}

/**
 * The families that a host did not forward when cleat found it: there the ruleset stops what is not of our networks
 * (ruleset-sources.ts), unless the operator wants it forwarded.
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
