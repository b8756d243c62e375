// slow: 30 s, each attachment is a chain of programs
/**
 * Networks that CNI plugins and netavark make, under an ordinary user's daemon: containers reach each other and the world, their
 * ports are reached on the host's address, and they change while containers run. What the programs write is kept for the user
 * alone, and nothing is left of a container.
 */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Inspection } from '../../state/answers/container/inspection.ts';
import type { Why } from '../../state/answers/container/why.ts';
import { DRIFT_KINDS } from '../../state/drift.ts';
import { dial } from '../harness/agent.ts';
import { cniGround, usualConflist } from '../harness/conflist.ts';
import { addressOf, on, pathOf, port } from '../harness/daemon.ts';
import { agentIn, withAgents } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { giveHostAddresses, HOST, leasesOf, OTHER, RootlessDaemon, TestUser } from '../harness/rootless.ts';

giveHostAddresses();
const host = await agentIn(null);
await host.serve('host', 'tcp', 7001);

const external = suite('rootless external networks');
const user = new TestUser('ann', 1801);
const daemon = new RootlessDaemon(user);
const ground = cniGround(daemon.directory);
const before = { links: linksOf(), rules: rulesOf() };

function linksOf(): string {
  return execFileSync('ip', ['-j', 'link'], { encoding: 'utf8' });
}
function rulesOf(): string {
  return execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' });
}
/** Runs a command where the user's networks are. */
const inside = (...command: string[]): string =>
  execFileSync('nsenter', [`--net=${user.outsidePath('/run/netns/rootless')}`, ...command], { encoding: 'utf8' });
const linksInside = (): string[] =>
  (JSON.parse(inside('ip', '-j', 'link')) as { ifname: string }[]).map(({ ifname }) => ifname).sort();
/** Rules about a container or a network, without the chains that the programs keep for all. */
const rulesInside = (): string[] =>
  inside('iptables-save')
    .split('\n')
    .filter((line) => /10\.8[15]\.|dport|CNI-DN-/.test(line));
const leases = () => leasesOf(user, 'pods');
const isUp = (id: string) =>
  until(`${id} is up`, async () => (await daemon.get<Inspection>(`/v1/containers/${id}`)).body.state === 'up');

external('the networks are made, as the user', async () => {
  await daemon.start();
  const conflist = usualConflist(ground, 'pods', '10.81.0.0/24');
  // For the user, who is root in there, and for nobody else: the root of the host is nobody there.
  user.cleat('network', 'create', 'pods', '--driver', 'cni', '--opt', `conflist=${conflist}`);
  user.cleat('network', 'create', 'old', '--driver', 'netavark', '--subnet', '10.85.0.0/24', '--opt', 'metric=200');
  const { body } = await daemon.request('POST', '/v1/networks', { name: 'x', driver: 'cni', options: { conflist } });
  assert.is(body.error?.code, 'NOT_ALLOWED');
  await daemon.network({ name: 'web' });
});

for (const [network, third] of [
  ['pods', 81],
  ['old', 85],
] as const) {
  external(`${network}: containers reach each other and the world, and a port is published on the host`, async () => {
    const a = await daemon.up('a', { networks: on(network), port_mappings: [port(19_800, 80)] });
    const b = await daemon.up('b', { networks: on(network) });
    await withAgents(
      [a, b].map((one) => user.outsidePath(pathOf(one))),
      async (inA, inB) => {
        await inA.serve('a', 'tcp', 80);
        assert.is(await inB.dial('tcp', addressOf(a, network), 80), `a ${addressOf(b, network)}`);
        assert.match(await inB.dial('tcp', OTHER, 7001, 5000), /^host /);
        // By the forwarder, which listens on the host and keeps the client's address.
        assert.is(await dial('tcp', HOST, 19_800, 5000), `a ${HOST}`);
        const { body: shown } = await daemon.get<Inspection>('/v1/containers/a');
        assert.equal(shown.drift, []);
        const { body: why } = await daemon.get<Why>('/v1/containers/a/why');
        assert.is(why.well, true, JSON.stringify(why.parts));
        // Ports change while it runs.
        await daemon.done({ type: 'publish', id: 'a', port_mappings: [port(19_801, 80)] });
        assert.is(await dial('tcp', HOST, 19_801, 5000), `a ${HOST}`);
        await daemon.done({ type: 'unpublish', id: 'a', port_mappings: [port(19_801, 80)] });
        // The daemon is killed: everything goes on, and the next one adopts it. It repairs nothing else than ports.
        await daemon.kill();
        assert.is(await dial('tcp', HOST, 19_800, 5000), `a ${HOST}`);
        daemon.drift = DRIFT_KINDS.filter((kind) => kind !== 'port').map((kind) => `${kind}=ignore`);
        await daemon.start();
        await isUp('a');
        assert.is(await dial('tcp', HOST, 19_800, 5000), `a ${HOST}`);
        await daemon.clean();
        // Made anew, it has another address, or the same: the port leads there.
        await daemon.done({ type: 'reload', id: 'a', full: true });
        await until('the port leads there', async () => (await dial('tcp', HOST, 19_800)) === `a ${HOST}`);
        await isUp('a');
        await daemon.clean();
      },
    );
    daemon.drift = [];
    await daemon.kill();
    await daemon.start();
    assert.is(linksOf(), before.links);
    assert.is(rulesOf(), before.rules);
    assert.is(leases().length, network === 'pods' ? 2 : 0);
    await daemon.down('a', 'b');
  });

  external(`${network}: connect, disconnect, reload, and what others take away`, async () => {
    const a = await daemon.up('a', { networks: on('web') });
    const path = user.outsidePath(pathOf(a));
    const links = () =>
      (
        JSON.parse(execFileSync('nsenter', [`--net=${path}`, 'ip', '-j', 'link'], { encoding: 'utf8' })) as {
          ifname: string;
        }[]
      ).map(({ ifname }) => ifname);
    const both = await daemon.done({ type: 'connect', id: 'a', network });
    assert.equal(links().sort(), ['eth0', 'eth1', 'lo']);
    assert.match(addressOf(both, network), `10.${third}.0.`);
    await daemon.done({ type: 'reload', id: 'a' });
    await daemon.done({ type: 'reload', id: 'a', full: true });
    assert.equal(links().sort(), ['eth0', 'eth1', 'lo']);
    execFileSync('nsenter', [`--net=${path}`, 'ip', 'link', 'del', 'eth1']);
    await until('the link is back', async () => {
      const { body } = await daemon.get<Inspection>('/v1/containers/a');
      return links().includes('eth1') && body.state === 'up' && body.drift.length === 0;
    });
    await daemon.done({ type: 'disconnect', id: 'a', network });
    assert.equal(links().sort(), ['eth0', 'lo']);
    assert.equal(leases(), []);
    await daemon.clean();
    await daemon.down('a');
  });

  external(`${network}: nothing is left of its containers`, async () => {
    assert.equal(leases(), []);
    assert.equal(rulesInside(), []);
    await until('only links of all are left', () => linksInside().every((name) => ['lo', 'cni0'].includes(name)));
    assert.not.ok(existsSync('/var/lib/cni/networks/pods'));
  });
}

external('a port without an address to lead to is refused', async () => {
  user.cleat('network', 'create', 'closed', '--driver', 'netavark', '--subnet', '10.86.0.0/24', '--internal');
  await daemon.done({ type: 'create', id: 'a', networks: on('closed'), port_mappings: [port(19_803, 80)] });
  const { body } = await daemon.event({ type: 'configure', id: 'a' });
  assert.is(body.error?.code, 'PORTS_NEED_NETWORK');
  assert.match(body.error?.message ?? '', /network closed is internal, or has given it no address/);
  await daemon.down('a');
});

external('after the daemon nothing is left', async () => {
  assert.is(await daemon.stop(), 0);
  await until('no process is left', () => user.processes().length === 0);
  assert.is(linksOf(), before.links);
  assert.is(rulesOf(), before.rules);
});

external.after(async () => {
  host.stop();
  await daemon.kill();
});

external.run();
