/**
 * What effects make and remove in the kernel, as the journal has it: objects come and go with the effects, and with the objects
 * that they end with.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { attachmentMachine } from '../../machines/container/attachment.ts';
import { containerMachine } from '../../machines/container/container.ts';
import { uplinkMachine } from '../../machines/uplink.ts';
import { after, EFFECTS, outcomeOf, single } from '../../plan/journal/objects.ts';
import type { KernelObject } from '../../state/answers/container/history.ts';

const objects = suite('journal, objects');

const NETNS = '/run/netns/n';
const attachment = (more: object = {}) => ({
  hostLink: 'veth0',
  link: 'eth0',
  bridge: 'br0',
  mac: '02:00:00:00:00:01',
  addresses: [{ address: '10.0.0.2', prefix: 24, gateway: null }],
  ...more,
});
const target = (hostPort: number, containerPort: number, address = '10.0.0.2') => ({
  owner: 'a:1',
  protocol: 'tcp',
  hostIp: '',
  hostPort,
  address,
  containerPort,
});
const names = (objects: readonly KernelObject[]) => objects.map(({ kind, name }) => `${kind} ${name}`);
const play = (steps: [string, object, object?][], from: readonly KernelObject[] = []) =>
  names(steps.reduce((now, [name, input, output]) => after(now, outcomeOf(name, input, output)), from)).sort();

objects('a link on a parent is one object, inside, and comes and goes with its effects', () => {
  const child = { kind: 'macvlan', mode: 'bridge', bclim: null };
  const on = { attachment: attachment({ child, bridge: 'up0' }), predecessor: null, netns: NETNS };
  const made: [string, object][] = [
    ['ensureLink', on],
    ['ensureAddresses', on],
  ];
  assert.equal(play(made), ['address 10.0.0.2/24', 'link eth0']);
  assert.equal(play([...made, ['removeLink', on]]), []);
  assert.equal(outcomeOf('ensureLink', on, undefined).made, [
    { kind: 'link', name: 'eth0', detail: 'macvlan on up0, 02:00:00:00:00:01', of: NETNS },
  ]);
});

objects('objects come and go with the effects that make and remove them', () => {
  const on = { attachment: attachment(), predecessor: null, netns: NETNS };
  const made: [string, object, object?][] = [
    ['ensureNamespace', { path: NETNS }, { dev: 4, ino: 5 }],
    ['ensureLink', on],
    ['ensureAddresses', on],
    ['publish', { targets: [8000, 8001, 8002].map((port) => target(port, port - 8000 + 80)), replacing: [] }],
  ];
  const all = [
    'address 10.0.0.2/24',
    'link eth0',
    'link veth0',
    `namespace ${NETNS}`,
    'port 8000/tcp -> 10.0.0.2 80',
    'port 8001/tcp -> 10.0.0.2 81',
    'port 8002/tcp -> 10.0.0.2 82',
  ];
  assert.equal(play(made), all);
  assert.equal(play([...made, ...made]), all, 'effects repeat');
  const without = (...gone: string[]) => all.filter((name) => !gone.includes(name));
  assert.equal(play([...made, ['removeLink', on]]), without('link eth0', 'link veth0', 'address 10.0.0.2/24'));
  assert.equal(
    play([...made, ['unpublish', { targets: [], replacing: [target(8001, 81)] }]]),
    without('port 8001/tcp -> 10.0.0.2 81'),
  );
  // The kernel still reaps the other end of a link in a namespace that ends.
  const ended = play([...made, ['removeNamespace', { path: NETNS }]]);
  assert.equal(ended, without(`namespace ${NETNS}`, 'link eth0', 'address 10.0.0.2/24'));
  const replaced = { ...on, attachment: attachment({ hostLink: 'veth1' }), predecessor: attachment() };
  assert.equal(
    play([...made, ['replaceLink', replaced]]),
    all.map((name) => name.replace('veth0', 'veth1')),
  );
  const revised = { ...on, attachment: attachment({ addresses: [] }), predecessor: attachment() };
  assert.equal(play([...made, ['reviseLink', revised]]), without('address 10.0.0.2/24'));
  assert.equal(play([...made, ['awaitLinksGone', { links: ['veth0'] }]]), without('link veth0'));
  assert.equal(play([...made, ['verifyFirewall', { outside: null }]]), all);
});

objects('what an uplink has made ends with its program', () => {
  const directory = 'd0';
  const link = { name: 'tap0', mac: '', addresses: [{ address: '10.0.2.100', prefix: 24, gateway: null }] };
  const through_ = { handler: 'slirp4netns', directory };
  const made: [string, object, object?][] = [
    ['startUplink', { directory, program: 'slirp4netns' }],
    ['verifyUplink', { directory, program: 'slirp4netns', ports: [] }, link],
    ['publish', { targets: [target(80, 80, '10.0.2.100')], replacing: [], through: through_ }],
  ];
  assert.equal(play(made), ['address 10.0.2.100/24', 'link tap0', 'port 80/tcp -> 10.0.2.100 80', 'uplink uplinks/d0']);
  assert.equal(play([...made, ['stopUplink', { directory }]]), []);
  const own = [{ protocol: 'udp', hostIp: '', hostPort: 53, containerPort: 54, range: 2, outerIp: null }];
  const pasta = { directory, program: 'pasta', ports: own };
  assert.equal(play([['verifyUplink', pasta, { ...link, addresses: [] }]]), [
    'link tap0',
    'port 53/udp -> tap0 54',
    'port 54/udp -> tap0 55',
  ]);
});

objects('a range on disk is as long as the ports that continue each other, on both sides', () => {
  const targets = [target(1, 11), target(2, 12), target(3, 99), target(4, 100, 'fd00::1'), target(5, 101, 'fd00::1')];
  const { made = [] } = outcomeOf('publish', { targets, replacing: [] }, undefined);
  const found = made.map(({ name, range = 1 }) => `${name} x${range}`);
  assert.equal(found, ['1/tcp -> 10.0.0.2 11 x2', '3/tcp -> 10.0.0.2 99 x1', '4/tcp -> fd00::1 100 x2']);
});

objects('what each effect has made, and what it has removed', () => {
  const mac = '02:00:00:00:00:01';
  const links = [
    { kind: 'link', name: 'veth0', detail: 'on br0' },
    { kind: 'link', name: 'eth0', detail: mac, of: NETNS },
  ];
  const address = (text: string, device: string, of: string) => ({
    kind: 'address',
    name: text,
    detail: `on ${device}`,
    of,
  });
  const inside = address('10.0.0.2/24', 'eth0', NETNS);
  const on = { attachment: attachment(), predecessor: null, netns: NETNS };
  const of = (effect: string, input: object, output?: unknown) => outcomeOf(effect, input, output);
  assert.equal(of('ensureNamespace', { path: NETNS }, { dev: 4, ino: 5 }), {
    made: [{ kind: 'namespace', name: NETNS, detail: '4:5' }],
  });
  assert.equal(of('ensureNamespace', { path: NETNS }), { made: [{ kind: 'namespace', name: NETNS, detail: '0:0' }] });
  assert.equal(of('removeNamespace', { path: NETNS }, { dev: 4, ino: 5 }), {
    gone: [{ kind: 'namespace', name: NETNS, detail: '0:0' }],
  });
  assert.equal(of('ensureLink', on), { made: links });
  assert.equal(of('ensureAddresses', on), { made: [inside] });
  assert.equal(of('replaceLink', on), { made: [...links, inside] }, 'in the place of none');
  assert.equal(of('reviseLink', on), { made: [inside] });
  const predecessor = attachment({
    hostLink: 'veth9',
    addresses: [{ address: '10.0.0.9', prefix: 24, gateway: null }],
  });
  const before = address('10.0.0.9/24', 'eth0', NETNS);
  assert.equal(of('replaceLink', { ...on, predecessor }), {
    made: [...links, inside],
    gone: [{ kind: 'link', name: 'veth9', detail: 'on br0' }, before],
  });
  assert.equal(of('reviseLink', { ...on, predecessor }), { made: [inside], gone: [before] });
  assert.equal(of('removeLink', on), { gone: [...links, inside] });
  assert.equal(of('awaitLinksGone', { links: ['veth0'] }), { gone: [{ kind: 'link', name: 'veth0', detail: '' }] });
  const files = { kind: 'files', name: 'etc/c1', detail: 'resolv.conf, hosts' };
  assert.equal(
    [of('ensureFiles', { id: 'c1' }), of('removeFiles', { id: 'c1' })],
    [{ made: [files] }, { gone: [files] }],
  );
  const uplink = { kind: 'uplink', name: 'uplinks/d0' };
  const program = { directory: 'd0', program: 'pasta' };
  assert.equal(of('startUplink', program), { made: [{ ...uplink, detail: 'pasta' }] });
  assert.equal(of('stopUplink', program), { gone: [{ ...uplink, detail: '' }] });
  const port = { protocol: 'udp', hostIp: '', hostPort: 53, containerPort: 54, range: 1, outerIp: null };
  const ports = [port, { ...port, hostIp: '127.0.0.1', hostPort: 60, range: 2 }];
  const tap = { name: 'tap0', mac, addresses: [{ address: '10.0.2.100', prefix: 24, gateway: null }] };
  assert.equal(of('verifyUplink', { ...program, ports }, tap), {
    made: [
      { kind: 'link', name: 'tap0', detail: mac, of: 'uplinks/d0' },
      address('10.0.2.100/24', 'tap0', 'uplinks/d0'),
      { kind: 'port', name: '53/udp -> tap0 54', detail: 'pasta', of: 'uplinks/d0' },
      { kind: 'port', name: '127.0.0.1:60/udp -> tap0 54', detail: 'pasta', of: 'uplinks/d0', range: 2 },
    ],
  });
  assert.equal(of('publish', { targets: [], replacing: [] }), {});
  assert.equal(of('verifyFirewall', {}), {}, 'it does nothing to the kernel');
  assert.equal(outcomeOf('publish', undefined, undefined), {}, 'what it was told is not known');
});

objects('ports: by whom they are published, and with what they end', () => {
  const change = { targets: [target(80, 8080), target(90, 1), target(91, 2)], replacing: [target(7, 7)] };
  const ports = (detail: string, more: object = {}) => ({
    made: [
      { kind: 'port', name: '80/tcp -> 10.0.0.2 8080', detail, ...more },
      { kind: 'port', name: '90/tcp -> 10.0.0.2 1', detail, ...more, range: 2 },
    ],
    gone: [{ kind: 'port', name: '7/tcp -> 10.0.0.2 7', detail, ...more }],
  });
  for (const effect of ['publish', 'unpublish']) {
    const through = (handler: string) =>
      outcomeOf(effect, { ...change, through: { handler, directory: 'd0' } }, undefined);
    assert.equal(outcomeOf(effect, change, undefined), ports('firewall'), effect);
    assert.equal(through('forwarder'), ports('forwarder'), effect);
    assert.equal(through('slirp4netns'), ports('slirp4netns', { of: 'uplinks/d0' }), effect);
  }
});

objects('ports continue each other if they are alike but for their number, which is the next on both sides', () => {
  const count = (more: object) => {
    const targets = [target(80, 8080), { ...target(81, 8081), ...more }];
    return outcomeOf('publish', { targets, replacing: [] }, undefined).made?.length;
  };
  assert.is(count({}), 1);
  const others = [
    { protocol: 'udp' },
    { hostIp: '127.0.0.1' },
    { address: '10.0.0.3' },
    { owner: 'b:1' },
    { hostPort: 82 },
    { containerPort: 8082 },
  ];
  for (const other of others) assert.is(count(other), 2, JSON.stringify(other));
});

objects('an object of a range is as many ports, any other is one', () => {
  const port = (name: string, range?: number): KernelObject => ({
    kind: 'port',
    name,
    detail: 'x',
    ...(range && { range }),
  });
  assert.equal(single(port('[::1]:19999/tcp -> fd00::1 8', 2)), [
    port('[::1]:19999/tcp -> fd00::1 8'),
    port('[::1]:20000/tcp -> fd00::1 9'),
  ]);
  assert.equal(names(single(port('127.0.0.1:9/udp -> 10.0.0.2 19999', 2))), [
    'port 127.0.0.1:9/udp -> 10.0.0.2 19999',
    'port 127.0.0.1:10/udp -> 10.0.0.2 20000',
  ]);
  assert.equal(single(port('80/tcp -> a 80')), [port('80/tcp -> a 80')]);
  for (const name of ['80/tcp -> a 80 b', 'eth0']) assert.equal(single(port(name, 2)), [port(name)], 'no port of ours');
});

objects('what nothing has changed stays the same object', () => {
  const all: KernelObject[] = [{ kind: 'link', name: 'veth0', detail: '' }];
  assert.is(after(all, {}), all);
  assert.equal(after(all, { gone: [{ kind: 'address', name: 'veth0', detail: '' }] }), all, 'another kind');
});

/** Asks others, answers, or makes something that is no object of a container in the kernel (names, ports further out). */
const OTHERS = (
  'lease release expose unexpose name unname verifyFirewall awaitVerdict backOff probeUplink ' +
  'checkExternal recordAnswer'
).split(' ');

objects('each effect of the machines of a container is among those that make something, or among the others', () => {
  const machines = [containerMachine, attachmentMachine, uplinkMachine];
  const invoked = machines.flatMap(({ implementations }) => Object.keys(implementations.actors));
  const effects = invoked.filter((name) => name !== 'attachment' && name !== 'uplink');
  assert.equal([...Object.keys(EFFECTS), ...OTHERS].sort(), effects.sort());
});

objects.run();
