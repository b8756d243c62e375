/**
 * The ground of uplink tests: an outside with a network, namespaces of containers, and a check for remains.
 *
 * Limits: the runner's own pid namespace: everything that runs in it belongs to this test.
 */
import { NO_SCOPES } from './effects.ts';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import * as assert from 'uvu/assert';
import { createActor, fromPromise, toPromise } from 'xstate';
import type { Kernel } from '../../effects/kernel.ts';
import { uplinkEffects } from '../../effects/uplinks/uplink.ts';
import { watchUplink } from '../../effects/uplinks/uplink-keeper.ts';
import type { UplinkInput, UplinkStart, UplinkVerify } from '../../plan/uplinks/uplink.ts';
import { uplinkMachine, type UplinkOutput } from '../../machines/uplink.ts';
import { openOutside } from '../../native/index.ts';
import type { UplinkFeatures, UplinkLink } from '../../state/uplink.ts';
import type { Agent } from './agent.ts';
import { addNetns, agentIn } from './inside.ts';
import { commandLines } from './native.ts';

export const outside = openOutside();
/** A kernel without the watch on links, which would keep the test from ending. */
const kernel = { outside: () => ({ kernel: outside }), listening: () => outside, own: null } as unknown as Kernel;

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

/** The same, with a server that sends "world CLIENT" on port 7001, of TCP and UDP. */
export async function makeServedWorld(): Promise<Agent> {
  makeWorld();
  const agent = await agentIn(null);
  await agent.serve('world', 'tcp', 7001);
  await agent.serve('world', 'udp', 7001);
  return agent;
}

/** A container's namespace as the daemon makes it: without IPv6 until it is needed. */
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

/** The input of an uplink without special options: of container c1, on the side of the test. */
export const uplinkInput = (
  verb: UplinkInput['verb'],
  of: Pick<UplinkInput, 'directory' | 'netns' | 'settings'> & Partial<UplinkInput>,
): UplinkInput => ({ verb, owner: 'c1:1', outside: null, boundTo: null, apiSocket: false, ports: [], ...of });

/** Resolves when the end of an uplink is reported. */
export const toldOfEnd = (directory: string): Promise<void> =>
  new Promise((resolve) => void watchUplink(directory, () => resolve()));

/** A directory for uplinks, and the check that nothing is left in it, nor running, nor mounted. */
export class Uplinks {
  readonly parent = mkdtempSync(join(tmpdir(), 'uplinks-'));
  readonly #mounts = mounts();
  readonly #before = new Set(commandLines().keys());

  constructor() {
    chmodSync(tmpdir(), 0o711); // the programs run as users of their own, and have to reach it
  }

  at(token: string): string {
    return join(this.parent, token);
  }

  /** A program that is broken in some way: for the tests of broken ones. */
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
    return [...commandLines()]
      .filter(([pid]) => !this.#before.has(pid))
      .map(([pid, words]) => `${pid} ${words.join(' ')}`);
  }

  assertNothingLeft(): void {
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
  // As in the daemon: the plan has the name of the directory, and the effects know where it is.
  const home = dirname(dirname(input.directory)); // it is not empty, so that it stays
  const effects = uplinkEffects(kernel, home, () => Promise.resolve(), NO_SCOPES);
  const planned = { ...input, directory: relative(home, input.directory) };
  const actors = {
    probeUplink: fromPromise<UplinkFeatures, Parameters<typeof effects.probeUplink>[0]>(({ input: probe }) =>
      effects.probeUplink(probe),
    ),
    startUplink: fromPromise<void, UplinkStart>(({ input: start }) => effects.startUplink(start)),
    verifyUplink: fromPromise<UplinkLink, UplinkVerify>(({ input: verify }) => effects.verifyUplink(verify)),
    stopUplink: fromPromise<void, { directory: string }>(({ input: stop }) => effects.stopUplink(stop)),
  };
  return toPromise(createActor(uplinkMachine.provide({ actors }), { input: planned }).start());
}

/** The output, with the random values of a link checked and left out. */
export function settled({ link, ...rest }: UplinkOutput): object {
  if (link === null) return { ...rest, link };
  const { mac, ...known } = link;
  assert.match(mac, /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
  return { ...rest, link: known };
}
