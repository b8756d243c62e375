/**
 * The entries of an owner above a limit of the connection tracking table (native/conntrack/conntrack-limit.cc): entries are
 * written into a real kernel with conntrack(8), and listed afterwards.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openOutside, type Outside } from '../../native/index.ts';
import { kernelFailure, scratch } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const LAN = '192.0.2.2';
const FAR = '198.51.100.2';
const FILE = join(scratch(), 'entries');

const conntrack = suite('limits of connection tracking');
let outside: Outside;

conntrack.before(() => {
  outside = openOutside();
});
conntrack.before.each(() => {
  execFileSync('conntrack', ['-F'], { stdio: 'ignore' });
});

const list = () =>
  execFileSync('conntrack', ['-L'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).split('\n');

const LIMITS = { limit: 2, owners: [] as string[][], exempt: [] as string[] };

/** Entries without translation, of which the first `assured` were answered and are assured. */
function writeFlows(from: string, to: string, count: number, assured: number): void {
  const lines = Array.from({ length: count }, (_, i) => {
    const status = i < assured ? ' -u SEEN_REPLY,ASSURED' : '';
    return `-I -p udp -s ${from} -d ${to} --sport ${1000 + i} --dport 9 -t 600${status}\n`;
  });
  writeFileSync(FILE, lines.join(''));
  execFileSync('conntrack', ['-R', FILE], { stdio: 'pipe' });
}

conntrack('the use says how many entries there are, and how many may be', async () => {
  const before = await outside.conntrackUse();
  writeFlows('10.70.0.2', FAR, 3, 0);
  const after = await outside.conntrackUse();
  assert.is(after.entries - before.entries, 3);
  assert.ok(after.maximum > 1000, JSON.stringify(after));
});

conntrack('limit: entries above it are deleted, those that are not assured first, and no others', async () => {
  writeFlows('10.70.0.2', FAR, 6, 4);
  writeFlows('10.70.0.3', FAR, 2, 0);
  writeFlows('10.70.0.9', FAR, 5, 0); // of the subnet, and of no owner
  writeFlows('10.70.0.1', FAR, 5, 0); // exempt
  writeFlows(LAN, '10.70.0.4', 5, 0); // the one that answers
  writeFlows(LAN, FAR, 5, 0); // of no owner
  writeFlows('fd00:70::2', 'fd00:71::2', 4, 0); // the one that began, not the one that answers
  const owners = [
    ['10.70.0.2/32'],
    ['10.70.0.3/32'],
    ['10.70.0.4/32'],
    ['10.70.0.0/24', 'fd00:70::/64'],
    ['fd00:71::2/128'],
  ];
  const result = await outside.conntrackLimit({ limit: 2, owners, exempt: ['10.70.0.1/32'] });
  assert.equal(result, [
    { entries: 6, forgotten: 4 },
    { entries: 2, forgotten: 0 },
    { entries: 5, forgotten: 3 },
    { entries: 9, forgotten: 7 },
    { entries: 0, forgotten: 0 },
  ]);
  const left = list();
  const of = (word: string) => left.filter((line) => line.includes(word));
  assert.is(of('src=10.70.0.2 ').length, 2);
  assert.ok(of('src=10.70.0.2 ').every((line) => line.includes('[ASSURED]')));
  assert.is(of('src=10.70.0.1 ').length, 5);
  assert.is(of(`src=${LAN} dst=${FAR}`).length, 5);
  assert.equal(
    (await outside.conntrackLimit({ limit: 2, owners, exempt: ['10.70.0.1/32'] })).map(({ forgotten }) => forgotten),
    [0, 0, 0, 0, 0],
  );
});

conntrack('limit: an invalid subnet or limit is refused', async () => {
  for (const wrong of [
    { ...LIMITS, owners: [['10.70.0.2']] },
    { ...LIMITS, owners: [['10.70.0.2/33']] },
    { ...LIMITS, exempt: ['web'] },
  ]) {
    assert.is((await kernelFailure(outside.conntrackLimit(wrong))).code, 'EINVAL');
  }
  for (const limit of [0, -1, 1.5]) {
    const refused = await outside.conntrackLimit({ ...LIMITS, limit }).then(
      () => null,
      (error: unknown) => error,
    );
    assert.instance(refused, TypeError);
  }
});

conntrack.run();
