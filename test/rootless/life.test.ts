// slow: 60 s, two daemons live through kills of each process, once for each program that leads out
/**
 * The life of containers on a network of an ordinary user's daemon: a published port with the client's address, names, the way out,
 * and every process that carries them killed under it. At the end nothing is left.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openOutside } from '../../native/index.ts';
import { UPLINK_PROGRAMS, type UplinkProgram } from '../../state/uplink.ts';
import { dial } from '../harness/agent.ts';
import { addressOf, on, pathOf, port } from '../harness/daemon.ts';
import { dig } from '../harness/dns.ts';
import { agentIn } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { giveHostAddresses, HOST, killed, OTHER, RootlessDaemon, TestUser } from '../harness/rootless.ts';
import { Transfer } from '../harness/transfer.ts';
import type { Agent } from '../harness/agent.ts';

giveHostAddresses();
const outside = openOutside();
const host = await agentIn(null);
await host.serve('host', 'tcp', 7001);
await host.serve('host', 'udp', 7002);

const linksOf = () => execFileSync('ip', ['-j', 'link'], { encoding: 'utf8' });

interface Tap {
  ifname: string;
  linkinfo?: { info_kind?: string };
  stats64: { rx: { bytes: number }; tx: { bytes: number } };
}

/** The server of the world ends with the last of them. */
let suitesLeft = UPLINK_PROGRAMS.length;

function life(program: UplinkProgram, uid: number) {
  const lives = suite(`rootless life, ${program}`);
  const user = new TestUser(program, uid);
  const daemon = new RootlessDaemon(user);
  daemon.uplinks = { rootlessUplink: program };
  const before = { links: linksOf(), rules: execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' }) };
  const agents: Agent[] = [];
  let server = '';
  let client = '';
  const addresses = { a: '', b: '' };
  const hostPort = 18_000 + uid;

  /** From the container to a server on the host, over both protocols. */
  const leadsOut = async () => {
    for (const [protocol, number] of [
      ['tcp', 7001],
      ['udp', 7002],
    ] as const) {
      const said = await agents[1]!.dial(protocol, OTHER, number, 5000);
      assert.ok(said.startsWith('host '), `${protocol}: ${said}`);
    }
  };
  const isPublished = async () => {
    // The client's own address is kept, on each of the host's addresses.
    assert.is(await dial('tcp', HOST, hostPort, 5000), `a ${HOST}`);
    assert.is(await dial('tcp', OTHER, hostPort, 5000), `a ${OTHER}`);
  };
  const isUp = async (...ids: string[]) => {
    for (const id of ids) {
      await until(`${id} is up`, async () => (await daemon.get(`/v1/containers/${id}`)).body.state === 'up');
    }
  };
  /** The link of the way out. */
  const tap = () => {
    const inside = [`--net=${user.outsidePath('/run/netns/rootless')}`, 'ip', '-j', '-d', '-s', 'link'];
    const links = JSON.parse(execFileSync('nsenter', inside, { encoding: 'utf8' })) as Tap[];
    const found = links.find(({ linkinfo }) => linkinfo?.info_kind === 'tun');
    if (found === undefined) throw new Error('the way out has no link');
    return found;
  };
  const passed = () => tap().stats64.rx.bytes + tap().stats64.tx.bytes;
  /** What of the way out runs; it changes if the program is started again. */
  const wayOut = () =>
    user.processes().filter((line) => line.includes(`/${program} `) && !line.includes('cleat-keeper'));
  const steady = async () => {
    await isUp('a', 'b');
    await isPublished();
    await leadsOut();
    await daemon.clean();
  };

  lives('two containers of a network: a port, names, and the way out', async () => {
    await daemon.start();
    await daemon.network({ name: 'web', dns_enabled: true });
    const a = await daemon.up('a', { networks: on('web'), port_mappings: [port(hostPort, 80)] });
    const b = await daemon.up('b', { networks: on('web') });
    Object.assign(addresses, { a: addressOf(a, 'web'), b: addressOf(b, 'web') });
    [server, client] = [user.outsidePath(pathOf(a)), user.outsidePath(pathOf(b))];
    agents.push(await agentIn(server), await agentIn(client));
    await agents[0]!.serve('a', 'tcp', 80);
    assert.is(await agents[1]!.dial('tcp', addresses.a, 80), `a ${addresses.b}`);
    const gateway = addresses.a.replace(/\.\d+$/, '.1');
    assert.is(await dig(outside, client, gateway, 'a.dns.podman'), `NOERROR ${addresses.a}`);
    assert.is(await dig(outside, server, gateway, 'b.dns.podman'), `NOERROR ${addresses.b}`);
    await steady();
  });

  lives('nothing of it is in the network of the host', () => {
    assert.is(linksOf(), before.links);
    assert.is(execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' }), before.rules);
  });

  lives('the container is well, and why names the way out', async () => {
    // The MTU of the way out comes to its networks some time after it.
    const why = async () =>
      (await daemon.get<{ well: boolean; parts: { part: string; condition: string }[] }>('/v1/containers/b/why')).body;
    await until('it is well', async () => (await why()).well);
    assert.is((await why()).parts.find(({ part }) => part === 'rootless')?.condition, 'ok');
  });

  lives('the bytes of a published port do not pass what leads out', async () => {
    await daemon.done({ type: 'publish', id: 'a', port_mappings: [port(hostPort + 1, 8000)] });
    const before = passed();
    const transfer = await Transfer.start(server, 8000, OTHER, hostPort + 1);
    await until('a megabyte has come', () => transfer.bytes > 1 << 20);
    const bytes = await transfer.stop();
    assert.ok(passed() - before < bytes / 10, `${passed() - before} of ${bytes} bytes`);
    await daemon.done({ type: 'unpublish', id: 'a', port_mappings: [port(hostPort + 1, 8000)] });
  });

  lives('the daemon is killed: everything goes on, and the next one changes nothing', async () => {
    const running = wayOut();
    await daemon.kill();
    await isPublished();
    await leadsOut();
    await daemon.start();
    await steady();
    assert.equal(wayOut(), running);
  });

  lives('what leads out is killed: it is started again under the containers', async () => {
    const running = wayOut();
    killed(Number.parseInt(running[0] ?? '', 10));
    await until('another one leads out', () => wayOut().length > 0 && wayOut()[0] !== running[0]);
    await until('it leads out', async () => (await agents[1]!.dial('tcp', OTHER, 7001)).startsWith('host'));
    await steady();
  });

  lives('its link is removed: it is made again', async () => {
    execFileSync('nsenter', [`--net=${user.outsidePath('/run/netns/rootless')}`, 'ip', 'link', 'del', tap().ifname]);
    await until('it leads out', async () => (await agents[1]!.dial('tcp', OTHER, 7001)).startsWith('host'));
    await steady();
  });

  lives('its default route is removed: it is restored', async () => {
    const path = user.outsidePath('/run/netns/rootless');
    execFileSync('nsenter', [`--net=${path}`, 'ip', 'route', 'del', 'default']);
    await until('it leads out', async () => (await agents[1]!.dial('tcp', OTHER, 7001)).startsWith('host'));
    await steady();
  });

  lives('the process that keeps the namespaces is killed, and the daemon too: the next one finds them', async () => {
    const { holder } = user;
    killed(holder);
    await steady();
    await daemon.kill();
    await isPublished();
    await daemon.start();
    assert.is.not(user.holder, holder);
    await steady();
  });

  lives('everything of it is killed while no daemon runs: the next one makes it again', async () => {
    await daemon.kill();
    for (const words of [`/${program} `, 'cleat-forwarder --socket', 'aardvark-dns --config']) {
      for (const line of user.processes().filter((one) => one.includes(words) && !one.includes('cleat-keeper'))) {
        killed(Number.parseInt(line, 10));
      }
    }
    await daemon.start();
    await until('it leads out', async () => (await agents[1]!.dial('tcp', OTHER, 7001)).startsWith('host'));
    await until('it is published', async () => (await dial('tcp', HOST, hostPort)) === `a ${HOST}`);
    await steady();
  });

  lives('after the last container nothing leads out, and after the daemon nothing is left', async () => {
    for (const agent of agents.splice(0)) agent.stop();
    await daemon.down('a');
    assert.is(wayOut().length > 0, true, 'one container is left');
    await daemon.down('b');
    await until('nothing leads out', () => wayOut().length === 0);
    await daemon.clean();
    assert.is(await daemon.stop(), 0);
    await until('no process is left', () => user.processes().length === 0);
    assert.equal(before.links, linksOf());
    assert.not.ok(existsSync(user.record));
    // What stays are locks, directories, and the socket of a forwarder, which may not remove it.
    const files = () => readdirSync(`${user.runtime}/cleat`, { recursive: true, withFileTypes: true });
    const left = () => files().filter((file) => !file.isDirectory() && !/lock$|^socket$/.test(file.name));
    await until(
      `nothing is left: ${left()
        .map(({ name }) => name)
        .join()}`,
      () => left().length === 0,
    );
  });

  lives.after(async () => {
    for (const agent of agents) agent.stop();
    await daemon.kill();
    suitesLeft--;
    if (suitesLeft === 0) host.stop();
  });

  lives.run();
}

for (const [i, program] of UPLINK_PROGRAMS.entries()) life(program, 1501 + i);
