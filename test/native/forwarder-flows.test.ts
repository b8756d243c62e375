/**
 * UDP through the forwarder, client by client: the number and lifetime of flows, a server that answers from another
 * port, and which senders cannot answer in its place.
 */
import { execFileSync } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { container, endChildren, Forwarder, outside, rule } from '../harness/forward-world.ts';
import { arrived, macOf, send, udp } from '../harness/frames.ts';
import { until } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { addNetns } from '../harness/inside.ts';

requirePrivateNamespace();

const [a, b] = await Promise.all([container('a', 1), container('b', 2)]);
const UDP = { protocol: 'udp' };
const RULES = [rule(a, 5354, 54, UDP), rule(a, 5353, 53, UDP), rule(b, 5355, 54, UDP)];

/** A client of a published port that accepts datagrams of that port alone. */
class Client {
  readonly socket: Socket;
  readonly heard: string[] = [];

  constructor(family: 'udp4' | 'udp6') {
    this.socket = createSocket(family);
    this.socket.on('message', (text) => this.heard.push(text.toString()));
    this.socket.on('error', () => {});
  }

  static async of(port: number, host = '127.0.0.1'): Promise<Client> {
    const client = new Client(host.includes(':') ? 'udp6' : 'udp4');
    client.socket.connect(port, host);
    await once(client.socket, 'connect');
    return client;
  }

  async ask(text: string): Promise<string> {
    const before = this.heard.length;
    this.socket.send(text);
    await until(`an answer to ${text}`, () => this.heard.length > before, 3000);
    return this.heard.at(-1) ?? '';
  }
}

async function together(count: number, port: number, text: string, atOnce = 50): Promise<Client[]> {
  const all: Client[] = [];
  while (all.length < count) {
    const some = await Promise.all(Array.from({ length: atOnce }, () => Client.of(port)));
    await Promise.all(some.map((client) => client.ask(text)));
    all.push(...some);
  }
  return all;
}

const close = (all: Client[]): void => all.forEach(({ socket }) => socket.close());

let running: Forwarder | undefined;

/** A forwarder that carries these ports, until the test is over. */
async function begin(args: string[], rules: object[]): Promise<Forwarder> {
  running = await new Forwarder(args).started();
  const { ok, error } = await running.change(rules);
  assert.ok(ok, JSON.stringify(error));
  return running;
}

const flows = suite('flows of cleat-forwarder');
flows.before.each(() => running?.stop());
flows.after(endChildren);

flows('thousands of clients are answered as the first one was', async () => {
  const forwarder = await begin([], RULES);
  const all = await together(3000, 5354, 'who');
  assert.is((await forwarder.has('a:1')).flows, 3000);
  assert.equal(new Set(all.map(({ heard }) => heard[0])).size, 3000, 'each has a flow of its own');
  const first = all[0] as Client;
  assert.is(await first.ask('again'), first.heard[0], 'and keeps it');
  close(all);
});

flows('without room for one more, the oldest idle flow of the port goes, and no other', async () => {
  const forwarder = await begin(['--limit', 'flows=40'], RULES);
  const [busy, other, elsewhere] = await Promise.all([Client.of(5354), Client.of(5353), Client.of(5355)]);
  const kept = await busy.ask('who');
  await other.ask('who');
  const there = await elsewhere.ask('who');
  const old = await Client.of(5354);
  await old.ask('who');
  for (let i = 0; i < 8; i++) {
    close(await together(10, 5354, 'who', 10));
    assert.is(await busy.ask('who'), kept, 'it was silent for the shortest time');
  }
  assert.is((await forwarder.has('a:1')).flows <= 40, true);
  await other.ask('who');
  assert.is((await forwarder.rules()).find(({ host_port }) => host_port === 5353).connections, 1);
  assert.is(await elsewhere.ask('who'), there);
  await old.ask('who'); // it has another flow now, and is answered
  close([busy, other, elsewhere, old]);
});

flows('with almost no descriptors new clients are still answered', async () => {
  const forwarder = await begin([], RULES);
  forwarder.limitDescriptors(120);
  close(await together(200, 5354, 'who', 5));
  assert.ok((await forwarder.has('a:1')).flows <= 20);
  forwarder.limitDescriptors(Math.max(...forwarder.numbers()) + 1);
  close(await together(50, 5354, 'who', 1));
});

flows('a silent flow is forgotten after its time, and not before', async () => {
  const forwarder = await begin(['--limit', 'flow_idle=2'], RULES);
  const [silent, busy] = await Promise.all([Client.of(5354), Client.of(5354)]);
  const kept = await busy.ask('who');
  await silent.ask('who');
  const begun = performance.now();
  await until('one is left', async () => {
    assert.is(await busy.ask('who'), kept);
    return (await forwarder.has('a:1')).flows === 1;
  });
  assert.ok(performance.now() - begun >= 1900);
  // From now on the limit is two minutes (RFC 4787).
  await forwarder.ask({ op: 'limits' });
  await new Promise((later) => setTimeout(later, 3500));
  assert.is((await forwarder.has('a:1')).flows, 1);
  close([silent, busy]);
});

flows('a server that answers from another port is accepted, and gets the next datagrams there', async () => {
  await begin(
    [],
    [
      rule(a, 6969, 69, UDP),
      rule(a, 6969, 69, { ...UDP, host_ip: '::', address: a.v6 }),
      rule(a, 6970, 69, { ...UDP, host_ip: '::' }),
    ],
  );
  for (const [host, port] of [
    ['127.0.0.1', 6969],
    ['::1', 6969],
    ['::1', 6970],
  ] as const) {
    const client = await Client.of(port, host);
    // Again from the same port: nobody listens any more where the first transfer went.
    for (let transfer = 0; transfer < 3; transfer++) {
      assert.is(await client.ask('request'), 'data 1');
      assert.is(await client.ask('ack 1'), 'data 2');
      const before = a.said();
      client.socket.send('ack 2');
      await until('the server has closed that port', () => a.said() === `${before}a transferred\n`);
    }
    assert.is(client.heard.length, 6);
    close([client]);
  }
  const clients = await Promise.all(Array.from({ length: 50 }, () => Client.of(6969)));
  await Promise.all(
    clients.map(async (client) => {
      assert.is(await client.ask('request'), 'data 1');
      assert.is(await client.ask('ack 1'), 'data 2');
    }),
  );
  close(clients);
});

/** Sent from inside the container, to the ports of its flows. */
const SPRAY = `
import socket, sys
sources, target, ports = sys.argv[1].split(), sys.argv[2], sys.argv[3:]
for source in sources:
    s = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((source, 0))
    for port in ports: s.sendto(b"forged", (target, int(port)))`;
const spray = (sources: string[], target: string, ports: string[]): void => {
  execFileSync('nsenter', [`--net=${a.netns.path}`, 'python3', '-c', SPRAY, sources.join(' '), target, ...ports]);
};

flows('only the server can send to its clients', async () => {
  const forwarder = await begin(
    [],
    [rule(a, 5354, 54, UDP), rule(a, 5354, 54, { ...UDP, host_ip: '::', address: a.v6 })],
  );
  // A neighbour in a network of the container, which can send anything.
  const evil = addNetns('evil');
  await outside.rtnl(
    [{ op: 'link.add', kind: 'veth', name: 'net1', up: true, peer: { name: 'net1', up: true, netns: evil } }],
    a.netns.path,
  );
  const more = [
    ['addr', 'add', '10.0.9.2/24', 'dev', 'net1'],
    ['-6', 'addr', 'add', 'fd00:9::2/64', 'dev', 'net1', 'nodad'],
    ['-6', 'addr', 'add', 'fd00:9::3/64', 'dev', 'lo', 'nodad'],
    ['link', 'set', 'lo', 'up'],
  ];
  for (const words of more) execFileSync('nsenter', [`--net=${a.netns.path}`, 'ip', ...words]);
  const mac = macOf(a.netns.path, 'net1');
  for (const [host, own, others, foreign] of [
    ['127.0.0.1', a.v4, ['10.0.9.2', '127.0.0.1'], '10.0.9.7'],
    ['::1', a.v6, ['fd00:9::2', 'fd00:9::3', '::1'], 'fd00:9::7'],
  ] as [string, string, string[], string][]) {
    const [answered, waiting] = await Promise.all([Client.of(5354, host), Client.of(5354, host)]);
    const ports = [await answered.ask('who'), await waiting.ask('who')];
    waiting.socket.send('quiet'); // it will not be answered
    await until('the server has it', async () => (await forwarder.rules()).some(({ bytes_in }) => bytes_in >= 11));
    spray(others, own, ports);
    const before = arrived(a.netns.path);
    const forged = [own, foreign].flatMap((from) => ports.map((port) => udp({ from, to: own, port: Number(port) })));
    send(evil, 'net1', mac, ...forged);
    // The kernel drops IPv4 packets that claim to be from the host itself, but not IPv6 ones.
    if (host === '127.0.0.1') assert.is(arrived(a.netns.path) - before, 0);
    spray([own], own, [ports[0] as string]); // another program in the container, but nothing is outstanding
    assert.is(await answered.ask('who'), ports[0]);
    assert.is(await waiting.ask('who'), ports[1]);
    assert.equal(
      [...answered.heard, ...waiting.heard].filter((text) => text === 'forged'),
      [],
    );
    close([answered, waiting]);
  }
});

flows.run();
