// slow: 30 s, repairs fail a few times with growing pauses, and a daemon is started for each policy
/**
 * Why a container is as it is, asked of a real daemon about a real kernel: all is well, and the ways in which it is not. The
 * verdict names the object and the reason, and the exit of each trouble is one that really leads out.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Why, WhyPart } from '../../state/answers/container/why.ts';
import { on, pathOf, port, type TestDaemon } from '../harness/daemon.ts';
import { defective, plant } from '../harness/defects.ts';
import { FakeGvproxy } from '../harness/gvproxy.ts';
import { inside } from '../harness/picture.ts';
import { JudgedDaemon } from '../harness/judged-daemon.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { clear } from '../harness/rounds.ts';

requirePrivateNamespace();

const daemon = new JudgedDaemon();
const gvproxy = new FakeGvproxy();
const planted = `${daemon.directory}/defect`;
daemon.environment = defective(planted);
const why = suite('why');

why.before(async () => {
  await daemon.start();
  await daemon.network({ name: 'web', subnets: [{ subnet: '10.95.0.0/24' }] });
  await daemon.network({ name: 'named', subnets: [{ subnet: '10.96.0.0/24' }], dns_enabled: true });
  await daemon.network({ name: 'tiny', subnets: [{ subnet: '10.97.0.0/30' }] });
});
why.before.each(() => clear(daemon));
why.after(async () => {
  await gvproxy.stop();
  await daemon.stop();
});

const ask = async (id: string): Promise<Why> => {
  const { status, text, body } = await daemon.get<Why>(`/v1/containers/${id}/why`);
  assert.is(status, 200, text);
  return body;
};
const conditionOf = ({ parts }: Why, part: WhyPart['part']): string[] =>
  parts.filter((one) => one.part === part).map(({ condition }) => condition);
const has = (texts: readonly string[], pattern: RegExp): void =>
  assert.ok(
    texts.some((text) => pattern.test(text)),
    `none of ${JSON.stringify(texts)} is like ${pattern}`,
  );
const fileOf = (id: string): string => readFileSync(`${daemon.runDir}/containers/${id}.json`, 'utf8');
const ip = (...words: string[]): string => execFileSync('ip', words, { encoding: 'utf8' });

async function restart(more: Partial<Pick<TestDaemon, 'drift' | 'publisher' | 'uplinks'>>): Promise<void> {
  await clear(daemon);
  await daemon.stop();
  Object.assign(daemon, { drift: [], publisher: null, uplinks: {}, ...more });
  await daemon.start();
}

why('all is well: each part is ok, and nothing blocks', async () => {
  await daemon.up('a', { networks: on('web', 'named'), port_mappings: [port(8080, 80)] });
  const answer = await ask('a');
  assert.equal(
    [answer.well, answer.verdict, answer.blocks, answer.unblocks, answer.retry],
    [true, 'a is up, and nothing is missing.', [], [], null],
  );
  assert.equal(
    answer.parts.map(({ part, object, condition }) => [part, object, condition]),
    [
      ['namespace', null, 'ok'],
      ['attachment', 'web', 'ok'],
      ['attachment', 'named', 'ok'],
      ['names', null, 'ok'],
      ['ports', null, 'ok'],
      ['leases', null, 'ok'],
      ['network', 'web', 'ok'],
      ['network', 'named', 'ok'],
      ['firewall', null, 'ok'],
      ['resolver', null, 'ok'],
    ],
  );
  has(
    answer.parts.map(({ text }) => text),
    /^8080\/tcp leads to 10\.95\.0\.\d+, by the firewall$/,
  );
  assert.equal(
    answer.led.map(({ text }) => text),
    ['Configure was requested.', 'It came up.'],
  );
});

why(
  'containers without networks of their own are well, too: host, none, a namespace that is shared, uplinks',
  async () => {
    await daemon.up('h', { netns: { mode: 'host' } });
    await daemon.up('n', { networks: {} });
    await daemon.up('a', { networks: on('web') });
    await daemon.up('shares', { netns: { mode: 'container', id: 'a' } });
    await daemon.up('s', { uplink: { program: 'slirp4netns' }, port_mappings: [port(8081, 80)] });
    const verdicts = {
      h: "h is up: it uses the host's own network.",
      n: 'n is up on no network, as was requested.',
      shares: 'shares is up: it shares the network of a, and nothing is missing.',
      s: 's is up behind slirp4netns, and nothing is missing.',
    };
    for (const [id, verdict] of Object.entries(verdicts)) {
      const answer = await ask(id);
      assert.equal([answer.verdict, answer.well], [verdict, true], JSON.stringify(answer));
    }
    assert.equal(conditionOf(await ask('s'), 'forwarder'), ['ok']);
  },
);

why('nobody configured it, or configure was refused: who has what it asked for, and what helps', async () => {
  await daemon.done({ type: 'create', id: 'first', networks: on('tiny') });
  const fresh = await ask('first');
  assert.equal(
    [fresh.well, fresh.verdict],
    [false, 'first has no network yet: it was created, and is not configured.'],
  );
  has(fresh.unblocks, /^`cleat configure first` /);
  await daemon.done({ type: 'configure', id: 'first' });
  await daemon.done({ type: 'create', id: 'second', networks: on('tiny'), port_mappings: [port(8080, 80)] });
  assert.is((await daemon.event({ type: 'configure', id: 'second' })).body.error?.code, 'SUBNET_FULL');
  const answer = await ask('second');
  assert.match(answer.verdict, /^second has no network, because configure failed: .*network tiny \(SUBNET_FULL\)\.$/);
  assert.equal([answer.state, answer.retry, answer.well], ['created', null, false]);
  has(answer.blocks, /^The addresses of network tiny are those of first\.$/);
  has(answer.blocks, /^It is not configured again by itself\.$/);
  has(answer.unblocks, /network update/);
  has(
    answer.led.map(({ text }) => text),
    /^Asking for its addresses and host ports failed: .*SUBNET_FULL/,
  );
  // What it names as blocking is what blocks.
  await daemon.down('first');
  await daemon.done({ type: 'configure', id: 'second' });
  assert.ok((await ask('second')).well);
});

why('a namespace whose owner has left: neither is forgotten', async () => {
  await daemon.up('a', { networks: on('web') });
  await daemon.up('b', { netns: { mode: 'container', id: 'a' } });
  await daemon.done({ type: 'teardown', id: 'a' });
  const owner = await ask('a');
  assert.is(owner.verdict, 'a was torn down, but its network stays, because b still uses its namespace.');
  assert.equal(
    [owner.well, owner.blocks],
    [false, ['It was torn down, and stays until b no longer uses its namespace.']],
  );
  const user = await ask('b');
  assert.is(user.well, true, JSON.stringify(user));
  assert.match(user.parts[0]?.text ?? '', /^is that of a, which was torn down/);
});

why('nobody: an id that is gone, or was never there', async () => {
  await daemon.up('a', { networks: on('web') });
  await daemon.down('a');
  for (const id of ['a', 'never']) {
    const { status, body } = await daemon.get(`/v1/containers/${id}/why`);
    assert.equal([status, body.error?.code], [404, 'NO_SUCH_CONTAINER']);
  }
  assert.is((await daemon.get('/v1/containers/%2e%2e%2f/why')).status, 400);
});

why('a bridge of others is missing: the bridge is the reason, and making it helps', async () => {
  ip('link', 'add', 'br0', 'type', 'bridge');
  ip('link', 'set', 'br0', 'up');
  await daemon.network({
    name: 'lan',
    network_interface: 'br0',
    options: { mode: 'unmanaged' },
    subnets: [{ subnet: '192.0.2.0/24', gateway: '192.0.2.1' }],
  });
  await daemon.up('a', { networks: on('lan') });
  ip('link', 'del', 'br0');
  let answer = await ask('a');
  await until('it is degraded, and the network has been tried again', async () => {
    answer = await ask('a');
    return answer.state === 'degraded' && conditionOf(answer, 'network').includes('wrong');
  });
  assert.match(answer.verdict, /^a is degraded: .*bridge br0 must already exist on the host.* \(BRIDGE_MISSING\)\.$/);
  assert.equal([conditionOf(answer, 'attachment'), conditionOf(answer, 'leases')], [['wrong'], ['ok']]);
  has(answer.unblocks, /^Make the bridge/);
  has(answer.unblocks, /^`cleat reload a` tries again at once\.$/);
  assert.ok(answer.retry !== null && answer.retry.attempt > 1 && answer.retry.in_ms <= 60_000);
  has(answer.blocks, /^It is tried again by itself in \d+ s \(attempt \d+\)\.$/);
  ip('link', 'add', 'br0', 'type', 'bridge');
  ip('link', 'set', 'br0', 'up');
  await until('it is well again', async () => (await ask('a')).well);
  await clear(daemon);
  await daemon.request('DELETE', '/v1/networks/lan');
  ip('link', 'del', 'br0');
});

why('a bridge whose name others have taken: the network is the reason, and not only for its containers', async () => {
  await daemon.up('a', { networks: on('web') });
  const { body } = await daemon.get<{ network_interface: string }>('/v1/networks/web');
  const bridge = body.network_interface;
  process.kill(daemon.pid, 'SIGSTOP'); // an earlier repair would be quicker
  ip('link', 'del', bridge);
  ip('link', 'add', bridge, 'type', 'ifb');
  process.kill(daemon.pid, 'SIGCONT');
  let answer = await ask('a');
  await until('the network could not be repaired', async () => {
    answer = await ask('a');
    return answer.state === 'degraded' && conditionOf(answer, 'network').includes('wrong');
  });
  assert.match(answer.verdict, new RegExp(`^a is degraded: .*${bridge}.* \\(NAME_TAKEN_IN_KERNEL\\)\\.$`));
  has(answer.blocks, /^Network web could not be repaired: .*; it is tried again within \d+ s\.$/);
  has(answer.unblocks, /^Something else on this machine made it/);
  // One that is to be configured now is refused for the same reason, and says so.
  await daemon.done({ type: 'create', id: 'b', networks: on('web') });
  assert.is((await daemon.event({ type: 'configure', id: 'b' })).status, 409);
  const other = await ask('b');
  assert.match(other.verdict, /^b has no network, because configure failed: .*\(NAME_TAKEN_IN_KERNEL\)\.$/);
  assert.equal(conditionOf(other, 'network'), ['wrong']);
  ip('link', 'del', bridge);
  await until('it is well again', async () => (await ask('a')).well);
});

why('a teardown that cannot be finished: what is left, when it is tried again, how to try at once', async () => {
  const up = await daemon.up('a', { networks: on('web'), port_mappings: [port(8080, 80)] });
  execFileSync('umount', [pathOf(up)]);
  writeFileSync(pathOf(up), 'precious');
  assert.is((await daemon.event({ type: 'teardown', id: 'a' })).body.error?.code, 'UNFINISHED');
  const answer = await ask('a');
  assert.ok(answer.verdict.startsWith('a cannot be torn down completely: '), answer.verdict);
  assert.ok(answer.verdict.includes(pathOf(up)), answer.verdict);
  assert.equal([answer.state, answer.legal, answer.well], ['teardownFailed', ['teardown'], false]);
  assert.ok(answer.retry !== null);
  has(answer.unblocks, /^`cleat teardown a` tries again at once\.$/);
  has(
    answer.led.map(({ text }) => text),
    /^Teardown was requested\.$/,
  );
  rmSync(pathOf(up));
  await daemon.gone('a');
});

why('a defect of ours has stopped its machine', async () => {
  await daemon.up('a', { networks: on('web') });
  // It goes on from what is on disk: that it is up is written a moment after the answer.
  await until('it is up on disk', () => fileOf('a').includes('"value":"up"'));
  plant(planted, 'beginReload');
  await daemon.event({ type: 'reload', id: 'a' });
  rmSync(planted);
  const answer = await ask('a');
  assert.match(answer.verdict, /^a is stopped: a defect in cleat .*planted in beginReload \(INTERNAL\)\.$/);
  assert.equal([answer.state, answer.well], ['error', false]);
  has(answer.unblocks, /^`cleat reload a` starts its machine again/);
  await daemon.done({ type: 'reload', id: 'a' });
  assert.ok((await ask('a')).well);
});

why('drift that policy leaves: each object, who did it where the kernel says so, and what puts it back', async () => {
  await restart({ drift: ['route=alert', 'table=alert', 'port=alert'] });
  const up = await daemon.up('a', { networks: on('web'), port_mappings: [port(8080, 80)] });
  inside(pathOf(up), 'ip', 'route', 'del', 'default');
  let answer = await ask('a');
  await until('it is noticed', async () => {
    answer = await ask('a');
    return answer.led.some(({ text }) => text.includes('removed or changed'));
  });
  assert.is(
    answer.verdict,
    'a is up, but on network web, route default via 10.95.0.1 on eth0 is missing, and is left so (--drift route=alert).',
  );
  has(
    answer.led.map(({ text }) => text),
    /^Route default via 10\.95\.0\.1 on eth0 was removed or changed by others\.$/,
  );
  has(answer.unblocks, /^`cleat reload --full a` /);
  await daemon.done({ type: 'reload', id: 'a', full: true });
  await until('it is well again', async () => (await ask('a')).well);

  execFileSync('nft', ['flush', 'ruleset']);
  await until('the table is missed', async () => conditionOf(await ask('a'), 'firewall').includes('wrong'));
  answer = await ask('a');
  assert.match(answer.verdict, /^a is up, but the firewall table inet cleat\S* is missing or changed, and is left so/);
  has(
    answer.led.map(({ text }) => text),
    /^Table inet cleat\S* was removed or changed by nft \(pid \d+\)\.$/,
  );
  has(answer.unblocks, /^`cleat reload a` puts back what is missing in the firewall\.$/);
  await daemon.done({ type: 'reload', id: 'a' });
  await until('it is well again', async () => (await ask('a')).well);

  // A single port is the container's own: its journal has who removed it.
  const map = execFileSync('nft', ['-j', 'list', 'ruleset'], { encoding: 'utf8' });
  const { nftables } = JSON.parse(map) as { nftables: { map?: { table: string; name: string; elem?: unknown[] } }[] };
  const ports = nftables.flatMap((one) =>
    one.map !== undefined && JSON.stringify(one).includes('8080') ? [one.map] : [],
  );
  const [first] = ports;
  assert.ok(first !== undefined, map);
  execFileSync('nft', ['flush', 'map', 'inet', first.table, first.name]);
  await until('the port is missed', async () => conditionOf(await ask('a'), 'ports').includes('wrong'));
  answer = await ask('a');
  assert.match(answer.verdict, /^a is up, but its port .*8080.* is missing, and is left so \(--drift port=alert\)\.$/);
  has(
    answer.led.map(({ text }) => text),
    /8080.* was removed or changed by nft \(pid \d+\)\.$/,
  );
});

why('slirp4netns is killed and cannot be started again: its end, the failure, the next attempt', async () => {
  const file = `${daemon.directory}/slirp4netns`;
  copyFileSync('/usr/bin/slirp4netns', file);
  chmodSync(file, 0o755);
  await restart({ uplinks: { slirp4netns: file } });
  await daemon.up('a', { uplink: { program: 'slirp4netns' }, port_mappings: [port(8081, 80)] });
  const { body } = await daemon.get<{ uplink: { process: { pid: number } } }>('/v1/containers/a');
  rmSync(file);
  process.kill(body.uplink.process.pid, 'SIGKILL');
  let answer = await ask('a');
  await until('a restart has failed', async () => {
    answer = await ask('a');
    return answer.state === 'degraded' && answer.led.some(({ text }) => text.startsWith('Starting its uplink again'));
  });
  assert.match(answer.verdict, /^a is degraded: .*slirp4netns.* \(UPLINK_FAILED\)\.$/);
  assert.equal([conditionOf(answer, 'uplink'), conditionOf(answer, 'ports')], [['wrong'], ['wrong']]);
  has(
    answer.led.map(({ text }) => text),
    /^Its uplink ended: slirp4netns killed by signal 9/,
  );
  assert.ok(answer.retry !== null && answer.retry.attempt > 1);
  has(answer.unblocks, /^`cleat reload a` tries again at once\.$/);
  copyFileSync('/usr/bin/slirp4netns', file);
  chmodSync(file, 0o755);
  await daemon.done({ type: 'reload', id: 'a' });
  assert.ok((await ask('a')).well);
});

why('it waits for a container that is being torn down, and for an outer publisher that does not answer', async () => {
  await gvproxy.start();
  await restart({ publisher: gvproxy.url });
  let release = () => {};
  gvproxy.misbehave = (path) =>
    path === 'unexpose' ? new Promise((resolve) => (release = () => resolve('well'))) : 'well';
  const networks = { web: { static_ips: ['10.95.0.77'] } };
  let seen: Why[] = [];
  // The publisher is given up after two seconds: on a busy machine it may take several attempts to look in time.
  for (let n = 0; n < 5 && seen.length === 0; n++) {
    await daemon.up('a', { networks, port_mappings: [port(8080, 80)] });
    await daemon.done({ type: 'create', id: 'b', networks });
    const torn = daemon.event({ type: 'teardown', id: 'a' });
    const configured = daemon.event({ type: 'configure', id: 'b' });
    const both = await Promise.all(['a', 'b'].map((id) => daemon.get<Why>(`/v1/containers/${id}/why`)));
    release();
    await Promise.all([torn, configured]);
    const states = both.map(({ body }) => body.state);
    if (states.join(' ') === 'tearingDown.unexposing configuring.leasing') seen = both.map(({ body }) => body);
    await clear(daemon);
  }
  const [leaves, waits] = seen;
  assert.is(waits?.verdict, 'b is being configured, and waits for a, which still has 10.95.0.77.');
  has(waits?.blocks ?? [], /^It waits for a, which is being torn down and still has 10\.95\.0\.77\.$/);
  assert.match(
    leaves?.verdict ?? '',
    /^a is being torn down: asking the outer publisher to stop listening for its ports/,
  );
  gvproxy.misbehave = null;
  await gvproxy.stop();
  await daemon.done({ type: 'create', id: 'c', networks: on('web'), port_mappings: [port(8080, 80)] });
  const answer = await ask('c');
  assert.equal(conditionOf(answer, 'publisher'), ['wrong']);
  has(answer.unblocks, /outer port publisher/);
});

why.run();
