/**
 * Where uplinks are tested: a world to go out to, namespaces to go out from, and a look for what was left behind.
 *
 * Limits: the runner's own pid namespace: everything that runs in it is this test's.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { createActor, fromPromise, toPromise } from 'xstate';
import type { Kernel } from '../../effects/kernel.ts';
import { uplinkEffects } from '../../effects/uplink.ts';
import type { UplinkInput, UplinkStart, UplinkVerify } from '../../machines/plan/uplink.ts';
import { uplinkMachine, type UplinkOutput } from '../../machines/uplink.ts';
import { openOutside } from '../../native/index.ts';
import type { UplinkFeatures, UplinkLink } from '../../state/uplink.ts';
import { addNetns } from './inside.ts';

export const outside = openOutside();
/** Without the watch on links, which would keep the test from ending. */
export const kernel = { outside: () => ({ kernel: outside }) } as unknown as Kernel;

/** The outside has a link with addresses of both families and the default routes. */
export function makeWorld(): void {
  execFileSync('ip', ['-batch', '-'], {
    input: [
      'link add world type bridge',
      'addr add 10.99.1.2/24 dev world',
      'addr add fd99::2/64 dev world nodad',
      'link set world up',
      'route add default via 10.99.1.1',
      'route add ::/0 via fd99::1 dev world',
    ].join('\n'),
  });
}

/** A container's namespace as the daemon makes it: no IPv6 until somebody wants it. */
export async function container(name: string): Promise<string> {
  const path = addNetns(name);
  await outside.sysctlWrite(
    {
      'net/ipv6/conf/default/disable_ipv6': '1',
      'net/ipv6/conf/default/accept_dad': '0',
      'net/ipv6/conf/default/accept_ra': '0',
    },
    path,
  );
  return path;
}

/** What runs in this pid namespace beside the test and its shell: pid to command line. */
export function processes(): Map<number, string> {
  const found = new Map<number, string>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === 1 || Number(name) === process.pid) continue;
    try {
      const words = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      if (words !== '') found.set(Number(name), words);
    } catch {
      // it has just ended
    }
  }
  return found;
}

/** A directory for uplinks, and the check that nothing is left in it, nor running, nor mounted. */
export class Uplinks {
  readonly parent = mkdtempSync(join(tmpdir(), 'uplinks-'));
  readonly #mounts = mounts();
  readonly #before = new Set(processes().keys());

  at(token: string): string {
    return join(this.parent, token);
  }

  /** A program that is broken in one way or another: for those alone. */
  broken(name: string, ...lines: string[]): string {
    mkdirSync(this.scripts, { recursive: true });
    const path = join(this.scripts, name);
    writeFileSync(path, ['#!/bin/sh', ...lines, ''].join('\n'), { mode: 0o755 });
    return path;
  }

  get scripts(): string {
    return `${this.parent}.programs`;
  }

  running(): string[] {
    return [...processes()].filter(([pid]) => !this.#before.has(pid)).map(([pid, words]) => `${pid} ${words}`);
  }

  /** The pid of the one process whose command line begins with this. */
  pidOf(words: string): number {
    const found = [...processes()].filter(([pid, line]) => !this.#before.has(pid) && line.startsWith(words));
    assert.is(found.length, 1, `one process of ${words}: ${this.running().join(', ')}`);
    return found[0]?.[0] ?? 0;
  }

  nothingLeft(): void {
    assert.equal(readdirSync(this.parent), []);
    assert.equal(this.running(), []);
    assert.equal(mounts(), this.#mounts);
  }

  end(): void {
    rmSync(this.scripts, { recursive: true, force: true });
    rmSync(this.parent, { recursive: true, force: true });
  }
}

function mounts(): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '');
}

/** An uplink as its container's machine runs it, with the real effects. */
export function runUplink(input: UplinkInput): Promise<UplinkOutput> {
  const effects = uplinkEffects(kernel, '/nowhere'); // directories are named in full
  const actors = {
    probeUplink: fromPromise<UplinkFeatures, Parameters<typeof effects.probeUplink>[0]>(({ input: probe }) =>
      effects.probeUplink(probe),
    ),
    startUplink: fromPromise<void, UplinkStart>(({ input: start }) => effects.startUplink(start)),
    verifyUplink: fromPromise<UplinkLink, UplinkVerify>(({ input: verify }) => effects.verifyUplink(verify)),
    stopUplink: fromPromise<void, { directory: string }>(({ input: stop }) => effects.stopUplink(stop)),
  };
  return toPromise(createActor(uplinkMachine.provide({ actors }), { input }).start());
}

/** The output with what a link has by chance looked at and left out. */
export function settled({ link, ...rest }: UplinkOutput): object {
  if (link === null) return { ...rest, link };
  const { mac, ...known } = link;
  assert.match(mac, /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
  return { ...rest, link: known };
}
