// slow: 35 s, Podman takes a third of a second for each of its hundred commands
/**
 * The real Podman on cleat: run with ports, names, several networks, connect, disconnect and reload, static addresses, internal
 * and isolated networks, both families, pods; cleaning up by conmon, failures, and a daemon that is killed meanwhile. Afterwards
 * the host is as before.
 *
 * With `npm run prove`, also random sequences of such commands, of two containers and three networks.
 */
// proving: 3600
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { TestDaemon } from '../harness/daemon.ts';
import { tryByChance } from '../harness/chance.ts';
import { addNetns } from '../harness/inside.ts';
import { until } from '../harness/native.ts';
import { IMAGE, Podman, USUAL } from '../harness/podman.ts';
import { assertComesBackTo, inspectKernel, type Picture } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort, proved } from '../harness/proof.ts';

requirePrivateNamespace();

const HOST = '192.0.2.1';
const HOST6 = '2001:db8::1';
const ROUNDS = effort('rounds', 1, 200);
const IDLE = [IMAGE, 'sleep', '10000'];
/** Answers with its name to whoever connects. */
const server = (name: string) => [IMAGE, 'sh', '-c', `echo ${name} > /tmp/index.html; exec httpd -f -h /tmp`];

mkdirSync(USUAL);
const daemon = new TestDaemon(undefined, `${USUAL}/cleat.sock`);
const podman = new Podman();
const tests = suite('podman');
let before: Picture;

tests.before(async () => {
  addNetns('far');
  execFileSync('ip', ['-batch', '-'], {
    input: `link add lan0 type veth peer name eth0 netns far
      addr add ${HOST}/24 dev lan0
      addr add ${HOST6}/64 dev lan0 nodad
      link set lan0 addrgenmode none
      link set lan0 up\n`,
  });
  execFileSync('ip', ['-n', 'far', '-batch', '-'], {
    input: `addr add 192.0.2.2/24 dev eth0
      addr add 2001:db8::2/64 dev eth0 nodad
      link set eth0 up
      route add default via ${HOST}
      route add default via ${HOST6}\n`,
  });
  await daemon.start();
  await podman.importImage();
  before = inspectKernel();
});
/** Whatever a test does, Podman can remove it, and nothing of it is left. */
tests.after.each(async () => {
  await podman.do('rm', '--all', '--force', '--time', '0');
  await podman.do('pod', 'rm', '--all', '--force', '--time', '0');
  await podman.do('network', 'prune', '--force');
  assert.equal((await daemon.get<object[]>('/v1/containers')).body, []);
  await daemon.clean();
  await assertComesBackTo(before, () => inspectKernel());
});
tests.after(async () => {
  await daemon.stop();
});

const ask = (address: string, port: number): string => {
  const url = `http://${address.includes(':') ? `[${address}]` : address}:${port}/`;
  const { stdout } = spawnSync('ip', ['netns', 'exec', 'far', 'curl', '-s', '-g', '-m', '2', url], {
    encoding: 'utf8',
  });
  return stdout.trim();
};
const answers = (address: string, port: number, name: string) =>
  until(`${name} answers at ${address} ${port}`, () => ask(address, port) === name);
const within = (name: string, ...words: string[]) => podman.do('exec', name, ...words);
const nameOf = async (asker: string, name: string): Promise<string> => {
  const { stdout } = await podman.run('exec', asker, 'nslookup', name);
  return [...new Set([...stdout.matchAll(/^Address: (\S+)$/gm)].map(([, address]) => address))].join(' ');
};
const addressesOf = async (name: string): Promise<string[]> =>
  [
    ...(await within(name, 'ip', 'address')).matchAll(/inet6? (\S+)(?: brd \S+)? scope global (?:flags \d+ )?(\S*)/g),
  ].map(([, address]) => address ?? '');

tests('a container with ports: reachable from outside, restarted, killed, started again, removed', async () => {
  await podman.start('web', '-p', '8080:80', '-p', `127.0.0.1:8081:80`, '-p', '9000-9003:7000-7003', ...server('web'));
  await answers(HOST, 8080, 'web');
  const { Networks } = await podman.inspect<{ Networks: Record<string, { IPAddress: string }> }>(
    '.NetworkSettings',
    'web',
  );
  assert.match(Networks.podman?.IPAddress ?? '', /^10\.88\.0\.\d+$/);
  await podman.do('restart', '--time', '0', 'web');
  await answers(HOST, 8080, 'web');
  // conmon cleans up when the container ends by itself, in an environment of its own.
  await podman.do('kill', 'web');
  await until('conmon has cleaned up', async () => (await daemon.get<object[]>('/v1/containers')).body.length === 0);
  await podman.do('start', 'web');
  await answers(HOST, 8080, 'web');
  const { code, stderr } = await podman.run('run', '--rm', '-p', '8080:80', ...server('other'));
  assert.is.not(code, 0);
  assert.match(stderr, /8080.*(PORT_TAKEN|address already in use)/);
  await answers(HOST, 8080, 'web');
});

tests('several networks, while the container runs: names, connect, reload, disconnect', async () => {
  await podman.do('network', 'create', '--subnet', '10.90.1.0/24', 'one');
  await podman.do('network', 'create', '--subnet', '10.90.2.0/24', '--ipv6', '--subnet', 'fd00:90:2::/64', 'two');
  await podman.start(
    'web',
    '--network',
    'one',
    '--ip',
    '10.90.1.9',
    '--network-alias',
    'www',
    '-p',
    '8080:80',
    ...server('web'),
  );
  // Podman writes the name servers of several networks in any order, and each answers for its own network.
  await podman.start('client', '--network', 'one', ...IDLE);
  await podman.start('both', '--network', 'one', '--network', 'two', ...IDLE);
  const nets = (await addressesOf('both')).map((address) => address.replace(/\d+\/|[0-9a-f]+\//, '/'));
  assert.equal(nets.sort(), ['10.90.1./24', '10.90.2./24', 'fd00:90:2::/64']);
  for (const name of ['web', 'www', 'web.dns.podman']) assert.is(await nameOf('client', name), '10.90.1.9', name);
  assert.is(await nameOf('web', 'nobody'), '');
  await podman.do('network', 'connect', '--ip', '10.90.2.9', 'two', 'web');
  assert.equal((await addressesOf('web')).slice(0, 2), ['10.90.1.9/24', '10.90.2.9/24']);
  assert.match(await nameOf('client', 'web'), /10\.90\.1\.9/);
  const mac = await podman.inspect<string>('(index .NetworkSettings.Networks "one").MacAddress', 'web');
  await podman.do('network', 'reload', 'web');
  assert.is(await podman.inspect<string>('(index .NetworkSettings.Networks "one").MacAddress', 'web'), mac);
  await answers(HOST, 8080, 'web');
  await podman.do('network', 'disconnect', 'one', 'web');
  assert.is((await addressesOf('web'))[0], '10.90.2.9/24');
  await answers(HOST, 8080, 'web');
  await podman.do('network', 'disconnect', 'two', 'web');
  await podman.do('network', 'connect', 'one', 'web');
  await answers(HOST, 8080, 'web');
});

tests('networks of each kind', async () => {
  await podman.do('network', 'create', '--internal', '--subnet', '10.90.3.0/24', 'inner');
  await podman.do('network', 'create', '--internal', '--disable-dns', '--subnet', '10.90.4.0/24', 'bare');
  await podman.do(
    'network',
    'create',
    '--ipv6',
    '--subnet',
    'fd00:90:5::/64',
    '--subnet',
    '10.90.5.0/24',
    '-o',
    'mtu=1400',
    'both',
  );
  await podman.do('network', 'create', '-o', 'isolate=true', '--subnet', '10.90.6.0/24', 'apart');
  const routes = (name: string) => podman.do('run', '--rm', '--network', name, '-p', '7000:70', IMAGE, 'ip', 'route');
  assert.is(await routes('inner'), '10.90.3.0/24 dev eth0 scope link  src 10.90.3.2');
  assert.is(await routes('bare'), '10.90.4.0/24 dev eth0 scope link  src 10.90.4.1');
  assert.match(await routes('both'), /^default via 10\.90\.5\.1 dev eth0 {2}metric 100/);
  await podman.start('both', '--network', 'both:mac=02:00:00:00:00:77', '-p', '8080:80', ...server('both'));
  await answers(HOST, 8080, 'both');
  await answers(HOST6, 8080, 'both');
  assert.match(await within('both', 'ip', 'link', 'show', 'eth0'), /mtu 1400.*02:00:00:00:00:77/s);
  const [address = ''] = await addressesOf('both');
  const reach = async (from: string): Promise<string> =>
    (
      await podman.run(
        'run',
        '--rm',
        '--network',
        from,
        IMAGE,
        'timeout',
        '2',
        'wget',
        '-qO-',
        `http://${address.split('/')[0]}/`,
      )
    ).stdout.trim();
  assert.is(await reach('podman'), 'both');
  assert.is(await reach('apart'), 'both', 'isolated networks are closed to each other alone');
  await podman.do('run', '--rm', '--network', 'none', IMAGE, 'true');
  await podman.do('run', '--rm', '--network', 'host', IMAGE, 'true');
});

tests('a pod', async () => {
  await podman.do('network', 'create', '--subnet', '10.90.1.0/24', 'one');
  const infra = ['--infra-image', IMAGE, '--infra-command', 'sleep 10000'];
  await podman.do('pod', 'create', '--name', 'pod', '--network', 'one', '-p', '8077:80', ...infra);
  await podman.start('member', '--pod', 'pod', ...server('member'));
  await podman.start('client', '--network', 'one', ...IDLE);
  await answers(HOST, 8077, 'member');
  assert.is(await nameOf('client', 'pod'), (await addressesOf('member'))[0]?.split('/')[0]);
});

tests('a daemon that is killed, and one that is not there', async () => {
  await podman.do('network', 'create', '--subnet', '10.90.1.0/24', 'one');
  await podman.start('web', '--network', 'one', '-p', '8080:80', ...server('web'));
  await daemon.kill();
  await answers(HOST, 8080, 'web');
  await daemon.start();
  await podman.start('client', '--network', 'one', ...IDLE);
  assert.match(await nameOf('client', 'web'), /^10\.90\.1\.\d+$/);
  await podman.do('rm', '--force', '--time', '0', 'web');
});

/** Commands of people who do not wait for what they have done before; many of them fail. */
const command = fc.oneof(
  fc
    .tuple(fc.constantFrom('c1', 'c2'), fc.subarray(['n1', 'n2', 'n3']))
    .map(([name, networks]) => [
      'run',
      '--detach',
      '--log-driver',
      'none',
      '--replace',
      '--name',
      name,
      '-p',
      name === 'c1' ? '8081:80' : '8082:80/udp',
      ...networks.flatMap((network) => ['--network', network]),
      ...IDLE,
    ]),
  fc
    .tuple(fc.constantFrom('connect', 'disconnect'), fc.constantFrom('n1', 'n2', 'n3'), fc.constantFrom('c1', 'c2'))
    .map(([verb, network, name]) => ['network', verb, network, name]),
  fc
    .tuple(
      fc.constantFrom('start', 'kill', 'rm -f -t 0', 'stop -t 0', 'restart -t 0', 'network reload'),
      fc.constantFrom('c1', 'c2'),
    )
    .map(([verb, name]) => [...verb.split(' '), name]),
  fc.constant(['daemon']),
);
const hurried = fc.array(fc.tuple(command, fc.boolean()), { minLength: 4, maxLength: 8 });

tests('any commands in any order, at once or in turn', async () => {
  let done = 0;
  await tryByChance(
    hurried,
    ROUNDS,
    async (commands) => {
      await podman.do('network', 'create', '--subnet', '10.90.1.0/24', 'n1');
      await podman.do('network', 'create', '--subnet', '10.90.2.0/24', '--subnet', 'fd00:90:2::/64', '--ipv6', 'n2');
      await podman.do('network', 'create', '--subnet', '10.90.3.0/24', '--internal', 'n3');
      let running: Promise<unknown>[] = [];
      for (const [words, waits] of commands) {
        running.push(words[0] === 'daemon' ? daemon.kill().then(() => daemon.start()) : podman.run(...words));
        if (waits) {
          await Promise.all(running);
          running = [];
        }
        done++;
      }
      await Promise.all(running);
      await podman.do('rm', '--all', '--force', '--time', '0');
      await podman.do('network', 'rm', 'n1', 'n2', 'n3');
      await until('nothing is left', async () => (await daemon.get<object[]>('/v1/containers')).body.length === 0);
      await daemon.clean();
      await assertComesBackTo(before, () => inspectKernel());
    },
    (commands) => commands.map(([words, waits]) => `${words.join(' ')}${waits ? '' : ' &'}`).join('\n'),
  );
  proved('commands of Podman, in any order', done);
});

tests.run();
