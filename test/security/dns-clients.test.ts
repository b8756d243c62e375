/**
 * Clients of the resolver with bad intent: those that hold connections open, and those that query without reading
 * answers.
 */
import { createConnection, createServer } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openOutside } from '../../native/index.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import { addressOf, on, TestDaemon } from '../harness/daemon.ts';
import { dig } from '../harness/dns.ts';
import { send, macOf, udp } from '../harness/frames.ts';
import { withAgents } from '../harness/inside.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const GATEWAY = '10.70.0.1';
const outside = openOutside();
const daemon = new TestDaemon();
const dns = suite('dns clients');
let web: ContainerView;
let bridge: string;

dns.before(async () => {
  await daemon.start();
  const network = { name: 'web', subnets: [{ subnet: '10.70.0.0/24' }], dns_enabled: true };
  bridge = (await daemon.network(network)).network_interface;
  web = await daemon.up('web', { networks: on('web') });
});
dns.after(async () => {
  await daemon.down('web');
  await daemon.stop();
});

async function answered(): Promise<void> {
  assert.is(await dig(outside, web.netns.path ?? undefined, GATEWAY, 'web'), `NOERROR ${addressOf(web, 'web')}`);
}

dns('a client cannot block the server by a connection: none can be opened, and names are answered', async () => {
  // aardvark-dns 1.14 listens there itself; for 1.4 the test must listen, or there is nothing to connect to.
  const server = createServer();
  await new Promise((settled) => server.on('error', settled).listen(53, GATEWAY, () => settled(null)));
  try {
    await withAgents([web.netns.path], async (client) => {
      assert.is(await client.dial('tcp', GATEWAY, 53), 'ECONNREFUSED');
    });
    // A process of the host may query, but not over TCP.
    const socket = createConnection({ host: GATEWAY, port: 53 });
    const outcome = await new Promise((resolve) => {
      socket.on('connect', () => resolve('connected')).on('error', ({ message }) => resolve(message));
    });
    socket.destroy();
    assert.match(String(outcome), /ECONNREFUSED/);
  } finally {
    server.close();
  }
  assert.is(await dig(outside, undefined, GATEWAY, 'web'), `NOERROR ${addressOf(web, 'web')}`);
  await answered();
});

dns('a flood of packets that are no queries leaves the answers as they were', async () => {
  const source = addressOf(web, 'web');
  const nonsense = Array.from({ length: 300 }, () => udp({ from: source, to: GATEWAY, port: 53 }));
  for (let n = 0; n < 2; n++) {
    send(web.netns.path ?? '', 'eth0', macOf(undefined, bridge), ...nonsense);
    await answered();
  }
});

dns.run();
