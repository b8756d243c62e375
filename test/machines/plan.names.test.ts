/**
 * Names as they are planned: who goes by which, what is in a container's resolv.conf and hosts file.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { hostsFile } from '../../machines/plan/hosts.ts';
import {
  agreed,
  dnsNames,
  nameEntries,
  termsOf,
  withEntries,
  withoutNetworks,
  zonesOf,
  type NameEntry,
} from '../../machines/plan/names.ts';
import { resolvConf } from '../../machines/plan/resolv-conf.ts';
import type { Attachment } from '../../state/container.ts';
import { leaseOf } from '../harness/fixtures.ts';

function attachment(network: string, more: Partial<Attachment> = {}): Attachment {
  return {
    ...leaseOf(network),
    mac: '02:00:00:00:00:01',
    ordinal: 0,
    hostLink: 've0',
    link: 'eth0',
    alias: '',
    aliases: [],
    gatewayPriority: 0,
    dns: { listen: ['10.89.0.1'], servers: [] },
    ...more,
  };
}

const dual = {
  addresses: [
    { address: '10.89.0.2', prefix: 24, gateway: '10.89.0.1' },
    { address: 'fd00::2', prefix: 64, gateway: 'fd00::1' },
  ],
  dns: { listen: ['10.89.0.1', 'fd00::1'], servers: [] },
};

// --- Names ---------------------------------------------------------------------------------------------------------

const names = suite('planned names');

names('are lower case, each once, and such as DNS can carry', () => {
  const long = 'x'.repeat(64);
  assert.equal(
    dnsNames([
      'Web',
      'web',
      'my_app',
      'a.b',
      '-x',
      'x-',
      'a..b',
      '.a',
      'a.',
      '',
      'ä',
      'a b',
      'a,b',
      long,
      long.slice(1),
    ]),
    ['web', 'my_app', 'a.b', 'x-', long.slice(1)],
  );
});

const container = { name: 'Web', pod: null, netns: { path: '/run/netns/x', owned: true, from: null, of: null } };

names('own name first, then the aliases; the pod stands for its container', () => {
  const [entry] = nameEntries(container, [attachment('web', { aliases: ['0123456789ab', 'WWW', 'web'] })]);
  assert.equal(entry?.names, ['web', '0123456789ab', 'www']);
  assert.equal(nameEntries({ ...container, pod: 'p' }, [attachment('web')])[0]?.names, ['p']);
});

names('only on networks with DNS, and only for a namespace of its own', () => {
  assert.equal(nameEntries(container, [attachment('web', { dns: null })]), []);
  assert.equal(nameEntries({ ...container, netns: null }, [attachment('web')]), []);
});

const entry = (network: string, more: Partial<NameEntry> = {}): NameEntry => ({
  network,
  internal: false,
  listen: ['10.89.0.1'],
  servers: [],
  addresses: ['10.89.0.2'],
  names: ['x'],
  netns: '/x',
  ...more,
});

names('registering again replaces, and speaks for the whole network', () => {
  const one = withEntries({}, 'a', [entry('n'), entry('m')]);
  const two = withEntries(one, 'b', [entry('n', { servers: ['9.9.9.9'] })]);
  assert.equal(
    two['a']?.map(({ servers }) => servers),
    [['9.9.9.9'], []],
  );
  const three = withEntries(two, 'a', [entry('n', { names: ['y'], servers: ['9.9.9.9'] })]);
  assert.equal(
    three['a']?.map(({ network, names: own }) => `${network} ${own.join()}`),
    ['m x', 'n y'],
  );
  assert.equal(termsOf(three, 'n')?.servers, ['9.9.9.9']);
  assert.is(termsOf(three, 'q'), null);
  assert.is(agreed(three, 'n', { servers: ['9.9.9.9'] }), three);
});

names('taken out network by network; with the last the owner goes', () => {
  const both = withEntries({}, 'a', [entry('n'), entry('m')]);
  assert.equal(
    withoutNetworks(both, 'a', ['n'])['a']?.map(({ network }) => network),
    ['m'],
  );
  assert.equal(withoutNetworks(both, 'a', ['n', 'm']), {});
  assert.equal(withoutNetworks(both, 'b', ['n']), both);
});

names('zones do not depend on the order of registering', () => {
  const ab = withEntries(withEntries({}, 'a', [entry('n'), entry('m')]), 'b', [entry('n')]);
  const ba = withEntries(withEntries({}, 'b', [entry('n')]), 'a', [entry('m'), entry('n')]);
  assert.equal(zonesOf(ab), zonesOf(ba));
  assert.equal(
    zonesOf(ab).map(({ network, entries }) => [network, entries.map(({ owner }) => owner)]),
    [
      ['m', ['a']],
      ['n', ['a', 'b']],
    ],
  );
});

names.run();

// --- resolv.conf ---------------------------------------------------------------------------------------------------

const files = suite('resolv.conf and hosts');
const host = (text: string, behindStub: string | null = null) => ({ resolvConf: text, behindStub });
const lines = (attachments: Attachment[], ...rest: Parameters<typeof host>) =>
  resolvConf({ attachments, host: host(...rest) })
    .trimEnd()
    .split('\n');

files('the gateways of networks with DNS are asked, and nobody else', () => {
  assert.equal(
    lines([attachment('web', dual)], 'search corp.example\nnameserver 9.9.9.9\noptions ndots:2 use-vc edns0\n'),
    ['search dns.podman corp.example', 'nameserver 10.89.0.1', 'nameserver fd00::1', 'options ndots:2 edns0'],
  );
});

files('the gateway that leads out is first; three are named', () => {
  const at = (n: number, more: Partial<Attachment> = {}) =>
    attachment(`n${n}`, { ordinal: n, dns: { listen: [`10.89.${n}.1`], servers: [] }, ...more });
  assert.equal(lines([at(1), at(2, { defaultMetric: 90 }), at(3), at(4)], '').slice(1), [
    'nameserver 10.89.2.1',
    'nameserver 10.89.1.1',
    'nameserver 10.89.3.1',
  ]);
  assert.equal(lines([at(1, { internal: true, defaultMetric: null }), at(2)], '').slice(1), ['nameserver 10.89.2.1']);
  assert.equal(lines([at(1, { internal: true })], '').slice(1), ['nameserver 10.89.1.1']);
});

files('an IPv6 gateway is for those who have IPv6', () => {
  assert.equal(lines([attachment('web', { dns: dual.dns })], '').slice(1), ['nameserver 10.89.0.1']);
});

files('without DNS networks: the servers of the host that can be reached', () => {
  const plain = attachment('web', { dns: null });
  const all = '# c\nnameserver 127.0.0.1\nnameserver 9.9.9.9 ; x\nnameserver fe80::1%eth0\nnameserver 2620:fe::fe\n';
  assert.equal(lines([plain], `domain corp\n${all}`), ['search corp', 'nameserver 9.9.9.9']);
  assert.equal(lines([attachment('web', { ...dual, dns: null })], all), [
    'nameserver 9.9.9.9',
    'nameserver 2620:fe::fe',
  ]);
});

files('the stub of systemd-resolved stands for those behind it', () => {
  const plain = attachment('web', { dns: null });
  assert.equal(lines([plain], 'nameserver 127.0.0.53\n', 'nameserver 1.1.1.1\n'), ['nameserver 1.1.1.1']);
  assert.equal(lines([plain], 'nameserver 127.0.0.53\n', null), ['']);
  assert.equal(lines([plain], 'nameserver 127.0.0.1\n', 'nameserver 1.1.1.1\n'), ['']);
  assert.equal(lines([plain], 'nameserver 9.9.9.9\n', 'nameserver 1.1.1.1\n'), ['nameserver 9.9.9.9']);
});

files('the hosts file: itself on every network, and the host', () => {
  const text = hostsFile({
    id: '0123456789abcdef',
    name: 'web',
    pod: null,
    hostname: 'www.corp',
    attachments: [attachment('web', { ...dual, aliases: ['www.corp', '0123456789ab'] })],
  });
  assert.equal(text.trimEnd().split('\n'), [
    '127.0.0.1 localhost',
    '::1 localhost ip6-localhost ip6-loopback',
    '10.89.0.2 www.corp web 0123456789ab',
    'fd00::2 www.corp web 0123456789ab',
    '10.89.0.1 host.containers.internal',
  ]);
});

files('an internal network leads to no host', () => {
  const inner = attachment('inner', { addresses: [{ address: '10.89.2.2', prefix: 24, gateway: null }] });
  const text = hostsFile({ id: 'x', name: 'web', pod: 'p', hostname: null, attachments: [inner] });
  assert.not.match(text, 'host.containers.internal');
  assert.match(text, '10.89.2.2 p\n');
});

files.run();
