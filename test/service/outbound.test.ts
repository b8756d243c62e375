/**
 * The source address that the LAN sees for a network's containers: the host's own, a chosen one, or their own; in both
 * families, before and after an update, and after a restart.
 */
import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openOutside } from '../../native/index.ts';
import type { NetworkUpdate } from '../../state/network.ts';
import { addressOf, on, pathOf, port, TestDaemon } from '../harness/daemon.ts';
import { addNetns, withAgents } from '../harness/inside.ts';
import { calm, assertComesBackTo, inspectKernel, type Picture } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const HOST = { 4: '192.0.2.1', 6: '2001:db8:2::1' };
/** An address that is routed to the host. */
const CHOSEN = { 4: '198.51.100.9', 6: '2001:db8:51::9' };
const LAN = { 4: '192.0.2.2', 6: '2001:db8:2::2' };
const PORTS = [port(8080, 80), port(8080, 80, { protocol: 'udp' })];
const MASQUERADE = 'com.docker.network.bridge.enable_ip_masquerade';

const daemon = new TestDaemon();
const outside = openOutside();
const outbound = suite('outbound addresses');
let lan: string;
let before: Picture;

outbound.before(async () => {
  lan = addNetns('lan');
  execFileSync('sysctl', ['-qw', 'net.ipv6.conf.default.accept_dad=0']);
  execFileSync('ip', ['-batch', '-'], {
    input: `link add lan0 type veth peer name eth0 netns ${lan}
      link set lan0 up
      addr add ${HOST[4]}/24 dev lan0
      addr add ${HOST[6]}/64 dev lan0 nodad
      link set lo up
      addr add ${CHOSEN[4]}/32 dev lo
      addr add ${CHOSEN[6]}/128 dev lo\n`,
  });
  execFileSync('ip', ['-n', 'lan', '-batch', '-'], {
    input: `link set lo up
      link set eth0 up
      addr add ${LAN[4]}/24 dev eth0
      addr add ${LAN[6]}/64 dev eth0 nodad
      route add ${CHOSEN[4]} via ${HOST[4]}
      route add ${CHOSEN[6]} via ${HOST[6]}
      route add 10.70.0.0/24 via ${HOST[4]}
      route add fd00:70::/64 via ${HOST[6]}\n`,
  });
  await daemon.start();
  await calm();
  before = inspectKernel();
});
outbound.after(async () => {
  await daemon.stop();
});

const change = async (options: NetworkUpdate['options']) => {
  const { status, body } = await daemon.request('PATCH', '/v1/networks/web', { options });
  assert.is(status, 200, JSON.stringify(body));
};

outbound(
  'the source is the host’s, the chosen one, or the container’s own, and ports are published all the same',
  async () => {
    await daemon.network({
      name: 'web',
      subnets: [{ subnet: '10.70.0.0/24' }, { subnet: 'fd00:70::/64' }],
      options: { outbound_addr4: CHOSEN[4], outbound_addr6: CHOSEN[6] },
    });
    const up = await daemon.up('web', { networks: on('web'), port_mappings: PORTS });
    const own = { 4: addressOf(up, 'web'), 6: addressOf(up, 'web', 6) };
    await withAgents([pathOf(up), lan], async (web, far) => {
      for (const protocol of ['tcp', 'udp'] as const) {
        await web.serve('web', protocol, 80);
        await far.serve('lan', protocol, 7);
      }
      const seen = async (from: { 4: string; 6: string }, why: string) => {
        for (const protocol of ['tcp', 'udp'] as const) {
          for (const family of [4, 6] as const) {
            assert.is(await web.dial(protocol, LAN[family], 7, 2000), `lan ${from[family]}`, `${why}: ${protocol}`);
            assert.is(await far.dial(protocol, HOST[family], 8080, 2000), `web ${LAN[family]}`, `${why}: a port`);
            assert.is(await far.dial(protocol, own[family], 80, 400), 'timeout', `${why}: what is not published`);
          }
        }
      };
      await seen(CHOSEN, 'chosen');
      await daemon.kill();
      await daemon.start();
      await seen(CHOSEN, 'after a restart');
      await change({ outbound_addr4: null, outbound_addr6: null });
      await seen(HOST, 'not chosen any more');
      await change({ [MASQUERADE]: 'false' });
      await seen(own, 'not masqueraded');
      await daemon.kill();
      await daemon.start();
      await seen(own, 'not masqueraded, after a restart');
      await change({ [MASQUERADE]: null, outbound_addr4: CHOSEN[4] });
      await seen({ 4: CHOSEN[4], 6: HOST[6] }, 'chosen in one family');
    });
  },
);

outbound('datagrams of one socket have the new source as soon as the update is answered', async () => {
  await change({ outbound_addr4: null, outbound_addr6: null });
  const { body: web } = await daemon.get<Parameters<typeof pathOf>[0]>('/v1/containers/web');
  await withAgents([lan], async (far) => {
    await far.serve('lan', 'udp', 7);
    for (const family of [4, 6] as const) {
      const socket = createSocket(family === 4 ? 'udp4' : 'udp6');
      socket.bind({ fd: await outside.udpSocket(family, pathOf(web)) });
      const ask = async () => {
        const answered = once(socket, 'message', { signal: AbortSignal.timeout(2000) });
        socket.send('?', 7, LAN[family]);
        return String(((await answered) as [Buffer])[0]);
      };
      const first = await ask();
      await change({ [`outbound_addr${family}`]: CHOSEN[family] });
      const second = await ask();
      socket.close();
      assert.equal([first, second], [`lan ${HOST[family]}`, `lan ${CHOSEN[family]}`]);
    }
  });
});

outbound('a source that nobody could answer is refused, and nothing changes', async () => {
  const shown = async () => (await daemon.get('/v1/networks/web')).body;
  const now = await shown();
  for (const options of [
    { outbound_addr4: '127.0.0.1' },
    { outbound_addr4: '::1' },
    { outbound_addr6: '192.0.2.9' },
    { outbound_addr6: '::ffff:192.0.2.9' },
    { outbound_addr6: 'fe80::1' },
    { outbound_addr4: CHOSEN[4], [MASQUERADE]: 'false' },
    { [MASQUERADE]: 'no' },
  ]) {
    const { status, body } = await daemon.request('PATCH', '/v1/networks/web', { options });
    const code = (body as { error?: { code?: string } }).error?.code;
    assert.is(`${status} ${code}`, '400 BAD_REQUEST', JSON.stringify(options));
  }
  assert.equal(await shown(), now);
});

outbound('everything goes with the container', async () => {
  await daemon.down('web');
  await assertComesBackTo(before, () => inspectKernel());
});

outbound.run();
