// as user: proving
/**
 * reload --full replaces every link of a container by a new one with the same name, MAC, addresses and routes, and its
 * connections do not notice.
 */
import { execFileSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { addressOf, loopbackClient, on, pathOf, port, TestDaemon } from '../harness/daemon.ts';
import { addNetns, removeNetns, withAgents } from '../harness/inside.ts';
import { calm, assertComesBackTo, inspectKernel, ipJson, type Picture } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { rounds } from '../harness/rounds.ts';
import { Transfer } from '../harness/transfer.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const rebuild = suite('rebuild');
const twice = rounds(rebuild, daemon);
let empty: Picture;

rebuild.before(async () => {
  addNetns('first'); // ip-netns(8) makes its directory a mount
  removeNetns('first');
  empty = inspectKernel();
  await daemon.start();
  await daemon.network({ name: 'front', subnets: [{ subnet: '10.71.0.0/24' }], dns_enabled: false });
  await daemon.network({
    name: 'back',
    subnets: [{ subnet: '10.72.0.0/24' }, { subnet: 'fd00:72::/64' }],
    routes: [{ destination: '10.99.0.0/16', gateway: '10.72.0.9' }],
    dns_enabled: false,
  });
  await calm();
});

rebuild.after(async () => {
  execFileSync('sh', ['-c', 'ip netns del theirs 2>/dev/null || true']);
  await daemon.stop();
  await assertComesBackTo(empty, () => inspectKernel());
});

interface IpLink {
  ifname: string;
  ifindex: number;
  address: string;
}
const linksOf = (path: string) => ipJson<IpLink[]>(path, 'link').filter(({ ifname }) => ifname !== 'lo');

/** Everything inside except what distinguishes a link from its successor. */
function inside(path: string) {
  const { links: _links, mounts: _mounts, ...rest } = inspectKernel(path);
  const known = (lines: string[]) =>
    lines.filter((line) => !/"(ifindex|link_index|link_netnsid|valid_life_time|preferred_life_time)"/.test(line));
  const parts = Object.entries(rest).map(([name, lines]) => [name, known(lines)]);
  return {
    links: linksOf(path)
      .map(({ ifname, address }) => `${ifname} ${address}`)
      .sort(),
    ...Object.fromEntries(parts),
  };
}

twice('a full reload replaces every link and nothing else, and transfers and published ports go on', async () => {
  const up = await daemon.up('web', { networks: on('front', 'back'), port_mappings: [port(8080, 80)] });
  const path = pathOf(up);
  await calm(path);
  const before = { picture: inside(path), links: linksOf(path) };
  const transfer = await Transfer.start(path, 9000, addressOf(up, 'back'), 9000);
  for (let round = 0; round < 5; round++) await daemon.done({ type: 'reload', id: 'web', full: true });
  const bytes = transfer.bytes;
  while (transfer.bytes < bytes + 200_000) await new Promise((next) => setTimeout(next, 10));
  await transfer.stop();
  await calm(path);
  assert.equal(inside(path), before.picture);
  const old = new Set(before.links.map(({ ifindex }) => ifindex));
  for (const { ifindex } of linksOf(path)) assert.not.ok(old.has(ifindex));
  await withAgents([path, null], async (agent, host) => {
    await agent.serve('web', 'tcp', 80);
    assert.is(await host.dial('tcp', '127.0.0.1', 8080), `web ${loopbackClient(up, 'front')}`);
    assert.is(await host.dial('tcp', addressOf(up, 'back', 6), 80), 'web fd00:72::1');
  });
  await daemon.clean();
  await daemon.down('web');
});

twice('a full reload works in a namespace of others, too', async () => {
  const path = addNetns('theirs');
  const up = await daemon.up('guest', { netns: { mode: 'path', path }, networks: on('back') });
  await calm(path);
  const before = inside(path);
  const [{ ifindex } = { ifindex: 0 }] = linksOf(path);
  await daemon.done({ type: 'reload', id: 'guest', full: true });
  await calm(path);
  assert.equal(inside(path), before);
  assert.not.equal(linksOf(path)[0]?.ifindex, ifindex);
  assert.is(pathOf(up) === '', false);
  await daemon.clean();
  await daemon.down('guest');
  removeNetns('theirs');
});

rebuild.run();
