/**
 * firewalld's zones, as they are in force now: which bridges are in which, and putting bridges of ours into `trusted`.
 *
 * firewalld lets pass and in what its zones allow, and rejects what comes from an interface that is in none as the default zone
 * says: containers reach nothing outside and no name server. A bridge in `trusted` is let through. Bridges, not subnets: a
 * source of a zone counts on every interface, so that whoever forges the address of a container would be trusted too, and it
 * goes before the interfaces of other zones, which somebody may have chosen for this bridge.
 * Guarantees: of the configuration only that in force is changed (the permanent one is read); run twice, the outcome is the
 * same. Each question is bounded in time. Where firewalld has no table it is not asked: that costs one look at the kernel.
 * The table is what tells that it works in this network namespace: the bus alone could lead to that of another.
 * Limits: firewalld's nftables backend, its default since 0.6; with iptables (deprecated) it is not seen. It works in the
 * namespace of the host, so other outsides have none. busctl is asked, which comes with systemd, as firewalld's package does;
 * firewall-cmd says the same and starts Python first (0.17 s, where busctl takes 0.01 s).
 * Source: firewalld.dbus(5).
 */
import { execFile } from 'node:child_process';
import { z } from 'zod';
import type { ChangeInput, LookInput } from '../machines/firewalld.ts';
import type { ZonesSeen } from '../machines/plan/firewalld.ts';
import { EffectError } from './effect.ts';
import type { Kernel } from './kernel.ts';

/** The name of the table that firewalld itself has, in the family inet. */
export const FIREWALLD_TABLE = 'firewalld';

const BUSCTL = '/usr/bin/busctl';
const NAME = 'org.fedoraproject.FirewallD1';
const PATH = '/org/fedoraproject/FirewallD1';
/** Service, object and interface, as busctl wants them. */
const ZONE = [NAME, PATH, `${NAME}.zone`];
const CONFIG = [NAME, `${PATH}/config`, `${NAME}.config`];
const BUS = ['org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus'];

/** It answers in 10 ms, and not at all while it reloads, which takes a fraction of a second. */
const PATIENCE_S = 3;
/** More zones than anybody has. */
const MOST_BYTES = 1024 * 1024;
const MOST_TEXT = 300;

/** A zone without interfaces, or without sources, has no such key in the answer. */
const Names = z.array(z.string()).default([]);
const ActiveZones = z.record(z.string(), z.object({ interfaces: Names, sources: Names }));
const Text = z.string();
const Truth = z.boolean();

/**
 * The zones that have interfaces or sources; null where no firewalld is at work. Its table is away for a moment while it
 * reloads, or for good when somebody flushed the ruleset: what it has of ours it may have still. Throws FIREWALLD_FAILED.
 */
export const lookAtZones =
  (kernel: Kernel) =>
  async ({ outside, bound, leaving }: LookInput): Promise<ZonesSeen | null> => {
    if (outside !== null) return null;
    const hasTable = async () => (await kernel.outside(null).kernel.nftTable('inet', FIREWALLD_TABLE)) !== null;
    if (!(await hasTable()) && !(bound && (await isOnBus()))) return null;
    try {
      return await seeZones(leaving);
    } catch (error) {
      // It ended meanwhile.
      if (!(await hasTable()) && !(await isOnBus())) return null;
      throw error;
    }
  };

async function seeZones(leaving: readonly string[]): Promise<ZonesSeen> {
  const zones = await ask(ActiveZones, ZONE, 'getActiveZones');
  const permanent: string[] = [];
  for (const bridge of leaving) {
    if ((await ask(Text, CONFIG, 'getZoneOfInterface', bridge)) !== '') permanent.push(bridge);
  }
  return { zones, permanent };
}

/** These errors mean that somebody else has moved the bridge meanwhile. The next look shows where it is. */
const DONE_ALREADY = new Set(['ZONE_ALREADY_SET', 'ZONE_CONFLICT', 'UNKNOWN_INTERFACE']);

/** Throws FIREWALLD_FAILED; some of it may be done then. */
export async function changeZones({ zone, add, remove }: ChangeInput): Promise<void> {
  const words = [
    ...add.map((bridge) => ['addInterface', bridge] as const),
    ...remove.map((bridge) => ['removeInterface', bridge] as const),
  ];
  for (const [method, bridge] of words) {
    try {
      await ask(Text, ZONE, method, zone, bridge);
    } catch (error) {
      if (!(error instanceof Refusal && DONE_ALREADY.has(error.word))) throw error;
    }
  }
}

/** firewalld refuses, or does not answer as it should. `word`: its own name for the error; empty when it has none. */
class Refusal extends EffectError {
  readonly word: string;
  constructor(method: string, text: string) {
    super({ code: 'FIREWALLD_FAILED', message: `firewalld refuses ${method}: ${text}` });
    this.word = /^([A-Z_]+)(?::|$)/.exec(text)?.[1] ?? '';
  }
}

/** Without a bus nobody is on it. */
const isOnBus = (): Promise<boolean> => ask(Truth, BUS, 'NameHasOwner', NAME).catch(() => false);

/** Calls a method with texts; the answer is the one value that it returns. It starts no firewalld that does not run. */
async function ask<T>(shape: z.ZodType<T>, whom: readonly string[], method: string, ...words: string[]): Promise<T> {
  const options = ['--system', '--json=short', '--auto-start=no', `--timeout=${PATIENCE_S}`];
  const signature = words.length === 0 ? [] : ['s'.repeat(words.length), ...words];
  const said = await busctl(method, [...options, 'call', '--', ...whom, method, ...signature]);
  try {
    return z.object({ data: z.tuple([shape]) }).parse(JSON.parse(said)).data[0] as T;
  } catch {
    throw new Refusal(method, `its answer has another form: ${said.slice(0, MOST_TEXT)}`);
  }
}

function busctl(method: string, words: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    // Its own deadline ends it earlier; this one is for a bus that does not take the question.
    const bounds = { env: {}, timeout: (PATIENCE_S + 1) * 1000, killSignal: 'SIGKILL', maxBuffer: MOST_BYTES } as const;
    execFile(BUSCTL, words, bounds, (error, said, complaint) => {
      if (error === null) return resolve(said);
      const text = error.code === 'ENOENT' ? `there is no ${BUSCTL} to ask it with` : complaint.trim() || error.message;
      // The first line is the error. When a transaction failed, firewalld writes the whole of it behind.
      const [first = ''] = text.replace(/^Call failed: /, '').split('\n');
      reject(new Refusal(method, first.slice(0, MOST_TEXT)));
    });
  });
}
