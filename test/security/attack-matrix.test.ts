// proving: 1800
/**
 * The attack matrix: origin x target x family x protocol x trick, against a daemon on a host with two uplinks.
 * test/harness/attacks.ts defines the attacks, test/harness/attack-ground.ts their origins.
 *
 * Guarantees: prints a table of how many were tried, how many came through, and how many should have. With the attacks
 * of each origin go positive controls, sent last by the same way, so that silence is the firewall's work. Every origin
 * is tried with each listed setting of rp_filter and bridge-nf-call, from the second on after the daemon was killed.
 * Limits: everyday runs use two settings, and fewer kinds of packets with each forged source; --prove tries all.
 * Connections that begin before something is unpublished are not tried here, nor expectations of connection tracking
 * (FTP, SIP: no helper is loaded).
 *
 * The table: node dist/test/run.js --output attack-matrix
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { execFileSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { table } from '../../cli/table.ts';
import { makeGround, type Origin } from '../harness/attack-ground.ts';
import type { Attack } from '../harness/attack-tricks.ts';
import { Attacks } from '../harness/attacks.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort, proved } from '../harness/proof.ts';

requirePrivateNamespace();

const PROVING = process.env['CLEAT_PROVE'] !== undefined;
/** rp_filter and bridge-nf-call-iptables. */
const SETTINGS: readonly (readonly [number, number])[] = PROVING
  ? [0, 1, 2].flatMap((filter) => [0, 1].map((nf) => [filter, nf] as const))
  : [
      [0, 0],
      [1, 1],
    ];
/** How many tricks of a kind a failure lists. */
const EXAMPLES = effort('examples', 3, 3);
const PATIENCE_MS = 3000;
const ATTEMPTS = 3;
/** A TAP device queues few frames. */
const AT_ONCE = { uplink: 50, others: 1000 };

type Result = Attack & { through: boolean };

/** The counts of a cell of the table. */
interface Counts {
  tried: number;
  through: number;
  expected: number;
  /** Tried where nothing is promised. */
  free: number;
  freeThrough: number;
  /** Came through and must not; did not come through and must. */
  leaked: number;
  lost: number;
}

const nothing = (): Counts => ({
  tried: 0,
  through: 0,
  expected: 0,
  free: 0,
  freeThrough: 0,
  leaked: 0,
  lost: 0,
});

const matrix = suite('attack matrix');
const ground = await makeGround();
const attacks = new Attacks(ground, PROVING);
const counts = new Map<string, Counts>();

matrix.after(async () => {
  await ground.end();
});

for (const [i, [rpFilter, bridgeNf]] of SETTINGS.entries()) {
  const killed = i > 0;
  const setting = `rp_filter=${rpFilter} bridge-nf-call=${bridgeNf}${killed ? ', after kill -9' : ''}`;
  matrix(`forbidden packets do not come through, and allowed ones do: ${setting}`, async () => {
    if (killed) {
      await ground.daemon.kill();
      await ground.daemon.start();
    }
    ground.setSwitches(rpFilter, bridgeNf);
    const wrong: Result[] = [];
    for (const origin of ground.origins) {
      execFileSync('conntrack', ['--flush'], { stdio: 'ignore' });
      for (const result of await tryAll(origin, attacks.from(origin))) if (!count(result)) wrong.push(result);
    }
    const [came, lost] = [true, false].map((through) => report(wrong.filter((result) => result.through === through)));
    assert.equal({ 'came through': came, 'was lost': lost }, { 'came through': [], 'was lost': [] });
  });
}

matrix('the table lists all packets that were tried', async () => {
  const columns = ['4 tcp', '4 udp', '4 icmp', '4 sctp', '6 tcp', '6 udp', '6 icmp', '6 sctp'];
  const rows = new Map<string, string[]>();
  const all = nothing();
  for (const [key, of] of counts) {
    const [row = '', column = ''] = key.split('|');
    const cells = rows.get(row) ?? [...row.split(' -> '), ...columns.map(() => '')];
    cells[2 + columns.indexOf(column)] = cell(of);
    rows.set(row, cells);
    for (const name of Object.keys(all) as (keyof Counts)[]) all[name] += of[name];
  }
  const lines = [
    'tried/came through/expected to come through, ! where the last two differ; ~tried/came through where nothing is promised',
    ground.bridgeNetfilter ? '' : 'br_netfilter is not there: bridge-nf-call was not tried\n',
    ...(await table(['FROM', 'TO', ...columns.map((name) => `IPv${name}`)], [...rows.values()])),
    '',
    `${all.tried + all.free} tried with ${SETTINGS.length} settings: ` +
      `${all.tried - all.expected} must not come through, ${all.leaked} did; ` +
      `${all.expected} must arrive, ${all.lost} did not; ` +
      `of ${all.free} nothing is promised, ${all.freeThrough} came through`,
  ];
  process.stdout.write(`\n${lines.join('\n')}\n`);
  proved('attacks: origin, target, family, protocol and trick', all.tried + all.free);
  assert.ok(all.tried > 10_000);
});

/** Returns false if the result differs from the promise. */
function count({ origin, target, family, protocol, expected, through }: Result): boolean {
  const key = `${origin} -> ${target}|${family} ${protocol}`;
  const cell = counts.get(key) ?? nothing();
  counts.set(key, cell);
  if (expected === 'either') {
    cell.free++;
    if (through) cell.freeThrough++;
    return true;
  }
  const must = expected === 'arrives';
  cell.tried++;
  if (through) cell.through++;
  if (must) cell.expected++;
  if (through && !must) cell.leaked++;
  if (!through && must) cell.lost++;
  return through === must;
}

async function tryAll(origin: Origin, list: readonly Attack[]): Promise<Result[]> {
  const { stations } = ground;
  const atOnce = origin.kind === 'uplink' ? AT_ONCE.uplink : AT_ONCE.others;
  const controls = list.filter(({ expected }) => expected === 'arrives');
  const ordered = [...list.filter(({ expected }) => expected !== 'arrives'), ...controls];
  const send = async (sent: readonly Attack[]): Promise<void> => {
    for (let step = 0; sent.some(({ steps }) => step < steps.length); step++) {
      const frames = sent.flatMap(({ steps }) => steps[step] ?? []);
      for (let at = 0; at < frames.length; at += atOnce) {
        await stations.send(frames.slice(at, at + atOnce));
        await stations.listen();
      }
    }
  };
  stations.forget();
  await send(ordered);
  // A program that carries datagrams may lose one; the firewall stops a forbidden one each time.
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const limit = performance.now() + PATIENCE_MS;
    while (!controls.every(cameThrough) && performance.now() < limit) {
      await sleep(20);
      await stations.listen();
    }
    const lost = controls.filter((control) => !cameThrough(control));
    if (lost.length === 0) break;
    if (attempt < ATTEMPTS) await send(lost);
  }
  await stations.listen();
  return list.map((attack) => ({ ...attack, steps: [], through: cameThrough(attack) }));
}

function cameThrough({ where, token, segment }: Attack): boolean {
  return where.some(
    (station) =>
      ground.stations.heard(station, token) ||
      (segment !== null && ground.stations.heardSegment(station, segment.address, segment.port)),
  );
}

function cell({ tried, through, expected, free, freeThrough, leaked, lost }: Counts): string {
  return `${tried}/${through}/${expected}${leaked + lost > 0 ? '!' : ''}${free > 0 ? ` ~${free}/${freeThrough}` : ''}`;
}

/** A line for each origin, target and family, with how many and some of the tricks: there may be thousands. */
function report(wrong: readonly Result[]): string[] {
  const groups = new Map<string, string[]>();
  for (const { origin, target, family, trick } of wrong) {
    const line = `${origin} -> ${target}, IPv${family}`;
    groups.set(line, [...(groups.get(line) ?? []), trick]);
  }
  return [...groups].map(([line, tricks]) => `${line}: ${tricks.length}, as ${tricks.slice(0, EXAMPLES).join('; ')}`);
}

matrix.run();
