// slow: 25 s, what leads out is started for each of a few lives, and once cannot be
/**
 * What leads an ordinary user's networks out, as a plan and the audit see it: a plan shows that it is started, before it runs; the audit
 * finds what nobody needs, what has lost its directory, and that it is missing.
 */
import { copyFileSync, chownSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { AuditReport } from '../../state/answers/audit.ts';
import { on } from '../harness/daemon.ts';
import { until } from '../harness/native.ts';
import { Planning } from '../harness/planned.ts';
import { killed, RootlessDaemon, TestUser } from '../harness/rootless.ts';

const wayOut = suite('rootless way out');

const ann = new TestUser('ann', 1901);
const daemon = new RootlessDaemon(ann);
const program = '/run/programs/slirp4netns';
const home = `${ann.runtime}/cleat/rootless`;
mkdirSync('/run/programs');
const give = () => copyFileSync('/usr/bin/slirp4netns', program);
give();
daemon.uplinks = { rootlessUplink: 'slirp4netns', slirp4netns: program };

const findings = async () => (await daemon.get<AuditReport>('/v1/audit')).body.findings;
const found = async () => (await findings()).map(({ kind, object, problem }) => `${kind} ${object} ${problem}`);
const repair = () => ann.cleat('audit', '--repair');
const configure = { type: 'configure', id: 'c' } as const;

wayOut('the plan of the first container on a network shows that what leads out is started', async () => {
  await daemon.start();
  const planning = await Planning.of(daemon);
  await daemon.done({ type: 'create', id: 'c', networks: on('cleat') });
  const { hash, steps } = await planning.planned(configure);
  const starts = steps.findIndex(({ effect }) => effect === 'startUplink');
  assert.ok(starts > 0, JSON.stringify(steps.map(({ machine, state, effect }) => [machine, state, effect])));
  assert.is(steps[starts]?.machine, 'uplink');
  const path = steps.filter(({ machine }) => machine === 'rootless').map(({ state }) => state);
  assert.equal(path, ['raising', 'up']);
  assert.not.ok(
    ann.processes().some((line) => line.includes('cleat-keeper')),
    'a plan starts nothing',
  );
  assert.match(ann.cleat('configure', 'c', '--dry-run'), /slirp4netns/);
  // Applied, it is what happens.
  const { status, body } = await planning.apply(hash);
  assert.equal([status, body.state], [200, 'up']);
  assert.is(ann.processes().filter((line) => line.includes('cleat-keeper')).length, 1);
  const again = await planning.planned({ type: 'reload', id: 'c' });
  assert.not.ok(
    again.steps.some(({ effect }) => effect === 'startUplink'),
    'it runs',
  );
  await daemon.down('c');
  await daemon.clean();
});

wayOut('a plan foresees that it cannot be started', async () => {
  rmSync(program, { force: true });
  const planning = await Planning.of(daemon);
  await daemon.done({ type: 'create', id: 'c', networks: on('cleat') });
  await planning.assertAsPlanned(configure);
  assert.is(planning.counts.refusals, 1);
  give();
  await daemon.down('c');
});

wayOut('the audit finds a keeper that has lost its directory, and a repair ends it', async () => {
  await daemon.up('c', { networks: on('cleat') });
  const keeper = ann.processOf('cleat-keeper');
  rmSync(`${home}/uplink`, { recursive: true });
  await until('another one leads out', () => existsSync(`${home}/uplink/keeper`));
  const lost = /^process cleat-keeper \(pid (\d+)\) without \S+\/rootless\/uplink leaked$/;
  await until('it is found', async () => (await found()).some((line) => lost.exec(line)?.[1] === String(keeper)));
  repair();
  await daemon.clean();
  assert.ok(ann.processOf('cleat-keeper') !== keeper);
});

wayOut('the audit says that it is missing', async () => {
  rmSync(program, { force: true });
  killed(ann.processOf('cleat-keeper'));
  await until('it is missing', async () => (await found()).includes('uplink rootless/uplink missing'));
  give();
  await until('it is back', async () => (await findings()).length === 0);
});

wayOut('the audit finds what nobody needs, and a repair removes it', async () => {
  await daemon.down('c');
  for (const name of ['uplink', 'other']) {
    mkdirSync(`${home}/${name}`, { recursive: true });
    chownSync(`${home}/${name}`, ann.uid, ann.uid);
  }
  chownSync(home, ann.uid, ann.uid);
  assert.equal((await found()).sort(), ['uplink rootless/other leaked', 'uplink rootless/uplink leaked']);
  repair();
  await daemon.clean();
  assert.not.ok(existsSync(home));
  assert.is(await daemon.stop(), 0);
  await until('nothing is left', () => ann.processes().length === 0);
});

wayOut.after(async () => {
  await daemon.kill();
});

wayOut.run();
