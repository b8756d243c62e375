/**
 * Reads firewalld's runtime zones and the bridges in them, and puts bridges of ours into `trusted`.
 *
 * firewalld forwards and accepts what its zones allow, and treats an interface without a zone as the default zone says. So
 * without a zone, containers reach nothing outside and no name server; `trusted` lets a bridge through. We add bridges, not
 * subnets, because a zone's source counts on every interface: a host that forges the address of a container would be trusted
 * too. A source also takes precedence over the interfaces of other zones, and an administrator may have chosen such a zone for
 * this bridge.
 * Guarantees: only the runtime configuration is changed (the permanent one is read), and running twice gives the same result.
 * Each request has a deadline. Without a table of firewalld no request is made, so the cost is one read from the kernel. The
 * table shows that firewalld works in this network namespace; the bus alone could lead to the firewalld of another.
 * Limits: only firewalld's nftables backend, its default since 0.6, is recognised, not iptables (deprecated). firewalld works
 * in the namespace of the host, so other outsides have none. We run busctl, which comes with systemd, a dependency of
 * firewalld's package: firewall-cmd does the same but starts Python first (0.17 s; busctl takes 0.01 s).
 * Source: firewalld.dbus(5).
 */
import { execFile } from 'node:child_process';
import { z } from 'zod';
import type { ChangeInput, LookInput } from '../../machines/firewalld.ts';
import type { ZonesSeen } from '../../plan/networks/firewalld.ts';
import { FaultError } from '../../state/faults.ts';
import type { Kernel } from '../kernel.ts';

/** The name of firewalld's own table, in the family inet. */
export const FIREWALLD_TABLE = 'firewalld';

const BUSCTL = '/usr/bin/busctl';
const NAME = 'org.fedoraproject.FirewallD1';
const PATH = '/org/fedoraproject/FirewallD1';
/** Service, object and interface, as busctl takes them. */
const ZONE = [NAME, PATH, `${NAME}.zone`];
const CONFIG = [NAME, `${PATH}/config`, `${NAME}.config`];
const BUS = ['org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus'];

/** firewalld answers in 10 ms. It does not answer while it reloads, which takes a fraction of a second. */
const PATIENCE_S = 3;
/** Larger than the answer for any real number of zones. */
const MOST_BYTES = 1024 * 1024;
const MOST_TEXT = 300;

/** The answer has no such key for a zone without interfaces or without sources. */
const Names = z.array(z.string()).default([]);
const ActiveZones = z.record(z.string(), z.object({ interfaces: Names, sources: Names }));
const Text = z.string();
const Truth = z.boolean();

/**
 * Returns the zones that have interfaces or sources; null if firewalld is not running. Its table is missing for a moment while
 * it reloads, and for good if somebody flushed the ruleset; its zones may still have our bridges then. Throws FIREWALLD_FAILED.
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
      // firewalld has ended meanwhile.
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

/** These errors mean that somebody else has moved the bridge meanwhile. The next read of the zones shows where it is. */
const DONE_ALREADY = new Set(['ZONE_ALREADY_SET', 'ZONE_CONFLICT', 'UNKNOWN_INTERFACE']);

/** Adds and removes bridges of a zone. Throws FIREWALLD_FAILED; part of the change may be done then. */
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

/** firewalld refuses a request, or gives an unexpected answer. `word` is its own name for the error, empty if it has none. */
class Refusal extends FaultError {
  readonly word: string;
  constructor(method: string, text: string) {
    super('FIREWALLD_FAILED', `firewalld refuses ${method}: ${text}`);
    this.word = /^([A-Z_]+)(?::|$)/.exec(text)?.[1] ?? '';
  }
}

/** Without a bus the answer is no. */
const isOnBus = (): Promise<boolean> => ask(Truth, BUS, 'NameHasOwner', NAME).catch(() => false);

/** Calls a method with text arguments; the answer is the one value that the method returns. Does not start firewalld. */
async function ask<T>(shape: z.ZodType<T>, whom: readonly string[], method: string, ...words: string[]): Promise<T> {
  const options = ['--system', '--json=short', '--auto-start=no', `--timeout=${PATIENCE_S}`];
  const signature = words.length === 0 ? [] : ['s'.repeat(words.length), ...words];
  const said = await busctl(method, [...options, 'call', '--', ...whom, method, ...signature]);
  try {
    return z.object({ data: z.tuple([shape]) }).parse(JSON.parse(said)).data[0];
  } catch {
    throw new Refusal(method, `its answer has another form: ${said.slice(0, MOST_TEXT)}`);
  }
}

function busctl(method: string, words: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    // busctl's own timeout ends it earlier; this one is for a bus that does not accept the request.
    const bounds = { env: {}, timeout: (PATIENCE_S + 1) * 1000, killSignal: 'SIGKILL', maxBuffer: MOST_BYTES } as const;
    execFile(BUSCTL, words, bounds, (error, said, complaint) => {
      if (error === null) return resolve(said);
      const text = error.code === 'ENOENT' ? `there is no ${BUSCTL} to ask it with` : complaint.trim() || error.message;
      // The first line is the error. If a transaction failed, firewalld appends the whole transaction.
      const [first = ''] = text.replace(/^Call failed: /, '').split('\n');
      reject(new Refusal(method, first.slice(0, MOST_TEXT)));
    });
  });
}
