/**
 * The map of the host: who stands in which group, that nothing covers anything, and what is left out when there is no room.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Box } from '../../inspector/page/charts/chart.ts';
import { groupsOf, selected } from '../../inspector/page/map/groups.ts';
import { layoutMap, type HostMap } from '../../inspector/page/map/layout.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import { NETWORKS, container, fleet, network, sharedBy } from '../harness/page-fleet.ts';

const map = suite('map of the host');
const networks = NETWORKS.map((name, n) => network(name, n + 1));

function mapOf(containers: readonly ContainerView[], more: Partial<Parameters<typeof layoutMap>[1]> = {}): HostMap {
  const shared = new Map(sharedBy(containers).map((machine) => [machine.key, machine]));
  return layoutMap(groupsOf(containers, networks, shared), { chosen: null, opened: new Set(), room: 1400, ...more });
}

const uplink = {
  program: 'slirp4netns',
  interface: 'tap0',
  mac: '02:00:00:00:00:09',
  addresses: [],
  dns: [],
  missing: [],
} as unknown as ContainerView['uplink'];
const kinds = [
  container(0),
  container(1, { id: 'up', uplink, networks: {}, requested_networks: {} }),
  container(2, { id: 'host', netns: { mode: 'host', path: null } }),
  container(3, { id: 'guest', netns: { mode: 'container', id: 'c0', path: null } }),
  container(4, { id: 'alone', networks: {}, requested_networks: {}, ports: [] }),
  container(5, { id: 'far', outside: '/run/netns/far' }),
];

map('each container stands in one group, and a network without containers is there', () => {
  const groups = groupsOf(kinds, networks, new Map());
  assert.equal(
    groups.flatMap(({ members }) => members.map(({ view }) => view.id)).sort(),
    kinds.map(({ id }) => id).sort(),
  );
  assert.ok(groups.some(({ name, members }) => name === 'back' && members.length === 0));
  assert.equal(
    groups.filter(({ kind }) => kind !== 'network').map(({ kind }) => kind),
    ['uplink', 'shares', 'host', 'none'],
  );
  // A network of another outside is another bridge.
  assert.is(groups.filter(({ name }) => name === 'lan').length, 2);
});

map('a network on the map has its machine, with the fault', () => {
  const machine = sharedBy(kinds).find(({ kind, name }) => kind === 'network' && name === 'web');
  assert.ok(machine);
  const faulty = { ...machine, fault: { code: 'KERNEL', message: 'no bridge' } as const };
  const groups = groupsOf(kinds, networks, new Map([[machine.key, faulty]]));
  assert.is(groups.find(({ name }) => name === 'web')?.machine, faulty);
});

map('the network with the default route has the container; a line leads to the others', () => {
  const both = container(0, { networks: {}, requested_networks: { web: {}, back: { gateway_priority: 5 } } });
  const group = groupsOf([both], networks, new Map()).find(({ members }) => members.length > 0);
  assert.is(group?.name, 'back');
  assert.equal(
    mapOf([both])
      .lines.filter(({ kind }) => kind === 'also')
      .map(({ owner }) => owner),
    ['c0'],
  );
});

const overlap = (a: Box, b: Box): boolean => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;

map('nothing covers anything, wide or narrow', () => {
  const many = Array.from({ length: 6 }, (_, n) => ({
    host_ip: '',
    host_port: 9000 + n,
    container_port: 80,
    protocol: 'tcp' as const,
    range: 1,
  }));
  for (const room of [1400, 390]) {
    const { groups, cards, ports, outsides, width, height } = mapOf([...kinds, container(9, { ports: many })], {
      room,
    });
    const boxes: Box[] = [...groups, ...cards, ...ports];
    for (const [i, a] of boxes.entries()) {
      assert.ok(a.x >= 0 && a.x + a.w <= width && a.y >= 0 && a.y + a.h <= height);
      for (const b of boxes.slice(i + 1)) assert.not.ok(overlap(a, b), JSON.stringify([a, b]));
    }
    assert.equal(
      outsides.map(({ name }) => name),
      ['this host', '/run/netns/far'],
    );
    // Four ports, and the word for the others.
    assert.equal(
      ports
        .filter(({ owner }) => owner === 'c9')
        .map(({ text }) => text)
        .slice(3),
      ['*:9003->80/tcp', 'and 2 more'],
    );
  }
});

map('a line leads from a port through the bridge to the container, at the same height', () => {
  const { lines, cards, ports, groups } = mapOf([container(0)]);
  const [card] = cards;
  const [port] = ports;
  const web = groups.find(({ group }) => group.name === 'web');
  assert.ok(card && port && web);
  const y = card.y + card.h / 2;
  assert.equal(
    lines.map(({ path }) => path).sort(),
    [`M${port.x + port.w} ${y}H${web.x}`, `M${web.x + web.w} ${y}H${card.x}`].sort(),
  );
});

map('a large group shows a few, those in need and the chosen one among them, until it is opened', () => {
  const views = fleet(300).filter((_, n) => n % 3 === 0);
  views[50] = container(150, { state: 'degraded' });
  const { groups, cards } = mapOf(views, { chosen: 'c297' });
  const web = groups.find(({ group }) => group.name === 'web');
  assert.equal([web?.hidden, cards.length], [92, 8]);
  assert.ok(cards.some(({ view }) => view.id === 'c150') && cards.some(({ view }) => view.id === 'c297'));
  const key = web?.group.key ?? '';
  assert.is(mapOf(views, { opened: new Set([key]) }).cards.length, 100);
  const members = views.map((view) => ({ view, also: [] }));
  assert.equal(selected(members, null, 1000), members);
});

map.run();
