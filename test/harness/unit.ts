/**
 * The unit of the package: the capabilities that it leaves, and a daemon that has no more than these.
 *
 * Limits: systemd runs in test/packaging alone; here setpriv(1) sets what the unit says.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { addNetns } from './inside.ts';
import { ROOT } from './sanitized.ts';

/** The kernel's own numbers of capabilities, by their names without CAP_. */
const NUMBERS = new Map(
  [...readFileSync('/usr/include/linux/capability.h', 'utf8').matchAll(/^#define CAP_(\w+)\s+(\d+)$/gm)].map(
    ([, name = '', number]) => [name, Number(number)],
  ),
);

/** Names of capabilities(7) without CAP_, as the bits that /proc/PID/status has. */
export const maskOf = (names: readonly string[]): bigint =>
  names.reduce((bits, name) => {
    const number = NUMBERS.get(name);
    if (number === undefined) throw new Error(`no number for CAP_${name}`);
    return bits | (1n << BigInt(number));
  }, 0n);

/** The capabilities that the unit leaves; systemd.exec(5): lines add up. */
export function capabilitiesOfTheUnit(): string[] {
  const unit = readFileSync(join(ROOT, 'packaging/systemd/system/cleat.service'), 'utf8');
  assert.match(unit, /^NoNewPrivileges=yes$/m);
  const lines = [...unit.matchAll(/^CapabilityBoundingSet=(.*)$/gm)];
  return lines.flatMap(([, names = '']) => names.split(' ').map((name) => name.replace('CAP_', '')));
}

/** A command that becomes the daemon. */
export const launcherOfTheUnit = (): string[] => launcherWith(capabilitiesOfTheUnit());

/** The same with these capabilities alone, named without CAP_. */
export function launcherWith(names: readonly string[]): string[] {
  const bounds = ['-all', ...names.map((name) => `+${name.toLowerCase()}`)].join(',');
  return ['setpriv', '--no-new-privs', '--inh-caps=-all', `--bounding-set=${bounds}`, '--'];
}

/** The rights of a process in /proc/PID/status and /proc/PID/limits. */
export function rightsOf(pid: number) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name: string): string => new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(status)?.[1]?.trim() ?? '';
  const mask = (name: string): bigint => BigInt(`0x${field(name)}`);
  const limit = /^Max open files\s+(\d+)\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/limits`, 'utf8'));
  return {
    /** Real, effective, saved, of the file system. */
    uids: field('Uid').split(/\s+/).map(Number),
    gids: field('Gid').split(/\s+/).map(Number),
    groups: field('Groups'),
    permitted: mask('CapPrm'),
    effective: mask('CapEff'),
    bounding: mask('CapBnd'),
    ambient: mask('CapAmb'),
    noNewPrivileges: field('NoNewPrivs') === '1',
    /** SECCOMP_MODE_FILTER */
    filtered: field('Seccomp') === '2',
    descriptors: Number(limit?.[2]),
  };
}

/** The host has a LAN with a default route, which pasta needs, and /dev/net/tun as udev makes it. */
export function prepareUplinks(): void {
  addNetns('lan');
  execFileSync('ip', ['-batch', '-'], {
    input: `link add lan0 up type veth peer name eth0 netns lan
addr add 192.0.2.1/24 dev lan0
route add default via 192.0.2.2
`,
  });
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', '/dev/net']);
  execFileSync('mknod', ['-m', '666', '/dev/net/tun', 'c', '10', '200']);
}
