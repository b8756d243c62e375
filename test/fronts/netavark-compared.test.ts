/**
 * cleat-netavark beside the netavark of Debian, with the same requests: the same answers, and the same addresses, routes, MTU and
 * MAC in the container.
 *
 * Limits: netavark 1.4 chooses MACs at random, so one that is not requested is compared by its form. Its order of map members is
 * random too.
 */
import { mkdirSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { NetavarkAnswer } from '../../state/answers/netavark.ts';
import type { NetavarkSetup, NetworkInfo } from '../../state/fronts/netavark.ts';
import { TestDaemon } from '../harness/daemon.ts';
import { addNetns } from '../harness/inside.ts';
import { dual, mapping, Netavark, NETAVARK, network, request } from '../harness/netavark.ts';
import { inside, ipJson } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { run } from '../hook/run.ts';

requirePrivateNamespace();

const PEER = '/usr/lib/podman/netavark';
const AARDVARK = '/usr/lib/podman/aardvark-dns';
const MAC = /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/;

const daemon = new TestDaemon();
const netavark = new Netavark(daemon.socket);
const tests = suite('netavark and cleat-netavark');
let netns: string;

tests.before(async () => {
  netns = addNetns('both');
  mkdirSync(`${daemon.directory}/peer`);
  await daemon.start();
});
tests.after(async () => {
  await daemon.stop();
});

interface Link {
  ifname: string;
  mtu: number;
  address: string;
  flags: string[];
  addr_info: { family: string; local: string; prefixlen: number; scope: string }[];
}

/** What a program in the container sees. */
function seen(setup: NetavarkSetup) {
  const asked = Object.values(setup.networks).map(({ static_mac: mac }) => mac);
  const inOrder = ipJson<Link[]>(netns, 'address').sort((a, b) => (a.ifname < b.ifname ? -1 : 1));
  const links = inOrder.map(({ ifname, mtu, address, flags, addr_info }) => ({
    ifname,
    mtu,
    up: flags.includes('UP'),
    mac: asked.includes(address) ? address : MAC.test(address),
    addresses: addr_info
      .filter(({ scope }) => scope === 'global')
      .map(({ local, prefixlen }) => `${local}/${prefixlen}`)
      .sort(),
  }));
  const routes = ['-4', '-6'].flatMap((family) =>
    inside(netns, 'ip', family, 'route')
      .split('\n')
      .filter((line) => line.trim() !== '' && !line.startsWith('fe80::'))
      .map((line) => line.replace(/ pref medium/, '').trim())
      .sort(),
  );
  return { links, routes };
}

/** The answer, with a word for each MAC that was not requested. */
function masked(answer: NetavarkAnswer, { networks }: NetavarkSetup): NetavarkAnswer {
  const asked = Object.values(networks).map(({ static_mac: mac }) => mac);
  return JSON.parse(JSON.stringify(answer), (key, value: unknown) =>
    key === 'mac_address' && !asked.includes(value as string) ? MAC.test(String(value)) : value,
  ) as NetavarkAnswer;
}

async function peer(verb: string, setup: NetavarkSetup): Promise<string> {
  const argv = ['--config', `${daemon.directory}/peer`, `--aardvark-binary=${AARDVARK}`, verb, netns];
  const { code, stdout } = await run(PEER, argv, JSON.stringify(setup), { PATH: process.env.PATH });
  assert.is(code, 0, `netavark ${verb}: ${stdout}`);
  return stdout;
}

const one = (info: NetworkInfo, more: object = {}, change: Partial<NetavarkSetup> = {}): NetavarkSetup => {
  const setup = request('c', 5, [info], change);
  const { [info.name]: wish } = setup.networks as Record<string, object>;
  return { ...setup, networks: { [info.name]: { ...wish, ...more } } as NetavarkSetup['networks'] };
};

const CASES: Record<string, NetavarkSetup> = {
  'one network': one(network('web', 1)),
  'both families, with names and ports': one(
    dual('web', 1, { dns_enabled: true }),
    {},
    { port_mappings: [mapping(8080, 80)] },
  ),
  'a MAC and an interface that were requested': one(network('web', 1), {
    static_mac: '02:00:00:00:00:05',
    interface_name: 'net7',
  }),
  internal: one(dual('in', 1, { internal: true, dns_enabled: true })),
  'internal without a gateway': one(network('in', 1, { internal: true, subnets: [{ subnet: '10.89.1.0/24' }] })),
  options: one(network('web', 1, { options: { mtu: '1400', metric: '77', isolate: 'true' } })),
  'IPv6 alone': one(
    network('six', 1, { subnets: [{ subnet: 'fd00:6::/64', gateway: 'fd00:6::1' }], ipv6_enabled: true }),
  ),
  'two networks, of which one leads out': request('c', 5, [dual('web', 1), network('in', 2, { internal: true })]),
};

for (const [what, setup] of Object.entries(CASES)) {
  tests(what, async () => {
    const theirs = JSON.parse(await peer('setup', setup)) as NetavarkAnswer;
    const seenTheirs = seen(setup);
    await peer('teardown', setup);
    const ours = await netavark.setup(netns, setup);
    const seenOurs = seen(setup);
    await netavark.teardown(netns, setup);
    assert.equal(masked(ours, setup), masked(theirs, setup));
    assert.equal(seenOurs, seenTheirs);
  });
}

tests('a call that is wrong ends with the same code, and says so in the same place', async () => {
  const calls: [args: string[], input: string][] = [
    [[], ''],
    [['setup'], ''],
    [['setup', ''], ''],
    [['setup', netns, 'more'], ''],
    [['bogus'], ''],
    [['--bogus', 'version'], ''],
    [['-r', 'maybe', 'version'], ''],
    [['update', 'web'], ''],
    [['setup', netns], ''],
    [['setup', netns], '{'],
    [['setup', netns], '{}'],
    [['setup', netns], '{"container_id":1}'],
    [['setup', '/run/netns/none'], JSON.stringify(CASES['one network'])],
    [['-f', '/nowhere', 'setup', netns], ''],
    [['--help'], ''],
    [['-V'], ''],
    [['version'], ''],
  ];
  const kind = ({ code, stdout, stderr }: Awaited<ReturnType<typeof run>>) => [
    code,
    stdout === '' ? 'nothing' : /^\{"error":".*"\}\n$/.test(stdout) ? 'an error' : 'an answer',
    stderr === '' ? 'quiet' : 'words',
  ];
  for (const [args, input] of calls) {
    const theirs = await run(PEER, args, input);
    assert.equal(kind(await run(NETAVARK, args, input, { CLEAT_SOCKET: daemon.socket })), kind(theirs), args.join(' '));
  }
});

tests.run();
