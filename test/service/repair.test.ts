// slow: 30 s, the daemon is killed and started again for each file that is damaged
// as user: proving
/**
 * `audit --repair` lists, and then removes, what lost snapshots and definitions leave behind. Named objects stay, and
 * so do objects of others.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { AuditReport, RepairReport } from '../../state/answers/audit.ts';
import { on, pathOf, port, TestDaemon, type Answer } from '../harness/daemon.ts';
import { addNetns, withAgents } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { assertComesBackTo, inspect, ipJson } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { clear } from '../harness/rounds.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const repairs = suite('repair');
const WEB = { subnets: [{ subnet: '10.70.0.0/24' }, { subnet: 'fd00:70::/64' }] };
const outside = addNetns('x');

repairs.before(async () => {
  await daemon.start();
  await daemon.network({ name: 'web', ...WEB });
  await daemon.network({ name: 'back', subnets: [{ subnet: '10.71.0.0/24' }], dns_enabled: true });
});
repairs.before.each(() => clear(daemon));
repairs.after(async () => {
  await daemon.stop();
});

const audit = async (): Promise<AuditReport> => (await daemon.get<AuditReport>('/v1/audit')).body;
const repair = async (): Promise<RepairReport> => {
  const { status, text, body }: Answer<RepairReport> = await daemon.request('POST', '/v1/audit/repair');
  assert.is(status, 200, text);
  return body;
};
const kinds = (findings: AuditReport['findings']): string[] => [...new Set(findings.map(({ kind }) => kind))].sort();
const loseSnapshot = (id: string): void => rmSync(`${daemon.runDir}/containers/${id}.json`);

repairs(
  'after a lost snapshot, all that was the container’s is listed, changes nothing, and goes with the repair',
  async () => {
    const before = inspect(daemon, outside);
    const networks = on('web', 'back');
    await daemon.up('a', {
      networks,
      port_mappings: [port(8080, 80), port(9000, 90, { host_ip: '127.0.0.1' })],
      files: true,
    });
    await daemon.up('plain', { networks: {} });
    await daemon.up('f', { networks: on('web'), port_mappings: [port(8081, 80)], port_handler: 'forwarder' });
    await daemon.up('up', { uplink: { program: 'slirp4netns' } });
    await daemon.up('out', { outside, networks, port_mappings: [port(8080, 80)] });
    const stays = await daemon.up('stays', { networks: on('web'), port_mappings: [port(8082, 80)] });
    await daemon.kill();
    for (const id of ['a', 'plain', 'f', 'up', 'out']) loseSnapshot(id);
    await daemon.start();
    await until('the start is over', async () => (await audit()).findings.every(({ kind }) => kind !== 'table'));
    const listed = await audit();
    assert.equal(kinds(listed.findings), ['file', 'link', 'namespace', 'neighbour', 'port', 'uplink'].sort());
    assert.ok(listed.findings.every(({ problem, removable }) => problem === 'leaked' && removable === true));
    assert.equal((await audit()).findings, listed.findings);
    const report = await repair();
    assert.equal([report.findings, report.refused], [[], []]);
    assert.equal(report.removed, listed.findings);
    await withAgents([pathOf(stays), null], async (inside, host) => {
      await inside.serve('stays', 'tcp', 80);
      assert.match(await host.dial('tcp', '127.0.0.1', 8082), /^stays /);
    });
    await daemon.down('stays');
    await assertComesBackTo(before, () => inspect(daemon, outside));
  },
);

for (const [how, spoil] of Object.entries({
  gone: (path: string) => rmSync(path),
  'cut off': (path: string) => truncateSync(path, 20),
})) {
  repairs(`when a definition is ${how}, its bridge and rules go with the last container of the network`, async () => {
    const before = inspect(daemon, outside);
    await daemon.network({ name: 'lost', subnets: [{ subnet: '10.77.0.0/24' }] });
    await daemon.up('a', { networks: on('lost') });
    await daemon.up('b', { networks: on('lost'), outside });
    await daemon.stop();
    spoil(`${daemon.stateDir}/networks/lost.json`);
    await daemon.start();
    assert.is((await daemon.request('DELETE', '/v1/networks/lost')).status, 404);
    // Its containers need it: nothing is removed from them.
    const used = await repair();
    assert.equal(used.removed, []);
    assert.equal(
      used.findings.map(({ kind, object, problem, owner }) => [kind, object, problem, owner]),
      [
        ['network', 'lost', 'missing', 'a'],
        ['network', 'lost', 'missing', 'b'],
      ],
    );
    await daemon.down('a', 'b');
    assert.equal(kinds((await audit()).findings).includes('link'), true);
    const report = await repair();
    assert.equal([report.findings, report.refused], [[], []]);
    rmSync(`${daemon.stateDir}/networks/lost.json.unreadable`, { force: true });
    await assertComesBackTo(before, () => inspect(daemon, outside));
  });
}

repairs('rules of a network that nobody names go, beside those of one in use', async () => {
  await daemon.network({ name: 'lost', subnets: [{ subnet: '10.77.0.0/24' }], dns_enabled: true });
  await daemon.up('a', { networks: on('lost') });
  await daemon.up('b', { networks: on('web') });
  await daemon.kill();
  loseSnapshot('a');
  rmSync(`${daemon.stateDir}/networks/lost.json`);
  await daemon.start();
  assert.ok(kinds((await audit()).findings).includes('rule'));
  const { findings, refused } = await repair();
  assert.equal([findings, refused], [[], []]);
  assert.not.match(execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' }), /10\.77\.0\./);
  await daemon.down('b');
});

repairs('objects of others stay: their pins, links, elements, processes and files', async () => {
  const pin = `${daemon.netnsDir}/netns-01234567-89ab-cdef-0123-456789abcdef`;
  writeFileSync(pin, '');
  execFileSync('unshare', ['--net', 'mount', '--bind', '/proc/self/ns/net', pin]);
  execFileSync('ip', ['link', 'add', 'theirs', 'type', 'bridge']);
  execFileSync('ip', ['link', 'set', 'theirs', 'alias', 'cleat:other:a:1:web', 'group', '7']);
  mkdirSync(`${daemon.runDir}/theirs`);
  const other = spawn('sleep', ['100']);
  await daemon.up('a', { networks: on('web') });
  const { removed, findings } = await repair();
  assert.equal([removed, findings], [[], []]);
  assert.ok(ipJson<{ ifname: string }[]>(undefined, 'link').some(({ ifname }) => ifname === 'theirs'));
  assert.ok(readFileSync('/proc/self/mountinfo', 'utf8').includes(pin));
  assert.ok(existsSync(`${daemon.runDir}/theirs`));
  assert.is(other.exitCode, null);
  other.kill();
  execFileSync('umount', [pin]);
  rmSync(pin);
  execFileSync('ip', ['link', 'del', 'theirs']);
  rmSync(`${daemon.runDir}/theirs`, { recursive: true });
  await daemon.down('a');
});

repairs('a repair while containers come and go removes nothing of theirs', async () => {
  const rounds = async (n: number) => {
    for (let round = 0; round < 6; round++) {
      const id = `c${n}-${round}`;
      const view = await daemon.up(id, {
        networks: on('web', 'back'),
        port_mappings: [port(8100 + n, 80)],
        files: true,
      });
      await withAgents([pathOf(view), null], async (inside, host) => {
        await inside.serve(id, 'tcp', 80);
        assert.match(await host.dial('tcp', '127.0.0.1', 8100 + n), new RegExp(`^${id} `));
      });
      await daemon.down(id);
    }
  };
  let over = false;
  const repairing = (async () => {
    let times = 0;
    for (; !over; times++) await repair();
    return times;
  })();
  try {
    await Promise.all([rounds(1), rounds(2), rounds(3)]);
  } finally {
    over = true;
  }
  assert.ok((await repairing) > 3);
  await daemon.clean();
});

repairs('a user who is not root may audit, and not repair', async () => {
  const script = `require('http').request({socketPath:${JSON.stringify(daemon.socket)},method:'POST',path:'/v1/audit/repair'},
    (a) => a.pipe(process.stdout)).end()`;
  execFileSync('chmod', ['666', daemon.socket]);
  const said = execFileSync('setpriv', ['--reuid=1234', '--clear-groups', process.execPath, '-e', script], {
    encoding: 'utf8',
  });
  assert.match(said, /"code":"NOT_ALLOWED"/);
  await Promise.resolve();
});

repairs.run();
