// slow: 30 s, the daemon is killed, and each attachment is a chain of programs
/**
 * What plugins are told: each in its turn, with the result before it; and when the container goes, exactly what they were told and
 * have answered, whatever has become of the daemon, the conflist, the namespace.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { on, pathOf, port, TestDaemon } from '../harness/daemon.ts';
import { cniGround, rules } from '../harness/conflist.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

interface Said {
  plugin: string;
  env: Record<string, string>;
  stdin: { name: string; cniVersion: string; prevResult?: object; runtimeConfig?: object; capabilities?: object };
}

const daemon = new TestDaemon();
const ground = cniGround(daemon.directory);
daemon.externals = { cniPlugins: [ground.directory, '/usr/lib/cni'] };
const said = `${daemon.directory}/said`;
const replay = suite('replayed requests');

/** What the spies were told since the last look. */
function told(): Said[] {
  const lines = existsSync(said) ? readFileSync(said, 'utf8').trim().split('\n') : [];
  rmSync(said, { force: true });
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Said);
}
const commands = (all: Said[]): string[] => all.map(({ plugin, env }) => `${env['CNI_COMMAND']} ${plugin}`);

/** Writes down what it is told, and passes the result before it on. */
const SPY = `
input=$(cat)
env | jq -cRn --arg plugin "$(basename "$0")" --argjson stdin "$input" \\
  '{plugin: $plugin, env: ([inputs | capture("(?<key>[^=]+)=(?<value>.*)")] | from_entries), stdin: $stdin}' >> ${said}
if [ "$CNI_COMMAND" = ADD ]; then printf %s "$input" | jq -c .prevResult; fi
`;

replay.before(async () => {
  for (const name of ['spy', 'second']) ground.standIn(name, SPY);
  await daemon.start();
});
replay.after(async () => void (await daemon.stop()));
/** A test whose containers have all gone at its end, with everything that was made for them. */
const check = (what: string, body: () => Promise<void>): void => {
  replay(what, async () => {
    await body();
    await daemon.clean();
    assert.equal(
      rules().filter((line) => line.includes('10.83.0.')),
      [],
    );
    assert.equal(ground.leases('spied'), []);
  });
};

const network = async (name: string, more: object = {}, conflist: object = {}): Promise<string> => {
  const path = ground.conflist(
    'spied',
    [
      ground.bridge('10.83.0.0/24', { bridge: 'cni1', capabilities: { ips: true } }),
      {
        type: 'spy',
        capabilities: { portMappings: true, aliases: true, mac: false, bandwidth: true },
        own: [1],
        ...more,
      },
      { type: 'second' },
    ],
    conflist,
  );
  await daemon.network({ name, driver: 'cni', options: { conflist: path } });
  return path;
};
const remove = (name: string) => daemon.request('DELETE', `/v1/networks/${name}`);

check('a plugin is told what the specification says, and nothing else', async () => {
  await network('s');
  const a = await daemon.up('a', {
    networks: {
      s: { static_ips: ['10.83.0.9'], static_mac: '02:00:00:00:00:09', aliases: ['db'], interface_name: 'net7' },
    },
    port_mappings: [port(8080, 80, { host_ip: '127.0.0.1' }), port(8090, 90, { protocol: 'udp', range: 2 })],
  });
  const [spy, second, ...more] = told();
  assert.is(more.length, 0);
  assert.equal(
    Object.keys(spy!.env)
      .filter((key) => !['PWD', '_', 'SHLVL', 'OLDPWD'].includes(key))
      .sort(),
    ['CLEAT_ATTACHMENT', 'CNI_ARGS', 'CNI_COMMAND', 'CNI_CONTAINERID', 'CNI_IFNAME', 'CNI_NETNS', 'CNI_PATH', 'PATH'],
  );
  assert.match(spy!.env['CNI_CONTAINERID']!, /^a-[0-9a-f]{8}$/);
  assert.is(spy!.env['CNI_NETNS'], pathOf(a));
  assert.is(spy!.env['CNI_IFNAME'], 'net7');
  assert.is(spy!.env['CNI_PATH'], `${ground.directory}:/usr/lib/cni`);
  // A plugin declares `ips`; none declares `mac`.
  assert.is(spy!.env['CNI_ARGS'], 'IgnoreUnknown=1;MAC=02:00:00:00:00:09');
  const { prevResult, ...stdin } = spy!.stdin;
  assert.equal(stdin, {
    type: 'spy',
    own: [1],
    cniVersion: '1.0.0',
    name: 'spied',
    runtimeConfig: {
      portMappings: [
        { hostPort: 8090, containerPort: 90, protocol: 'udp' },
        { hostPort: 8091, containerPort: 91, protocol: 'udp' },
        { hostPort: 8080, containerPort: 80, protocol: 'tcp', hostIP: '127.0.0.1' },
      ],
      aliases: ['db', 'a'],
    },
  });
  assert.is((prevResult as { ips: { address: string }[] }).ips[0]!.address, '10.83.0.9/24');
  assert.is(second!.stdin.runtimeConfig, undefined);
  assert.equal(second!.stdin.prevResult, prevResult);
  await daemon.down('a');
  assert.equal(commands(told()), ['DEL second', 'DEL spy']);
  await remove('s');
});

check('the teardown replays the request, whatever has become of daemon and conflist', async () => {
  const path = await network('s');
  await daemon.up('a', { networks: on('s'), port_mappings: [port(8080, 80)] });
  const added = told();
  writeFileSync(path, '{"cniVersion": "1.0.0", "name": "other", "plugins": [{"type": "absent"}]}');
  await daemon.kill();
  await daemon.start();
  assert.equal(told(), [], 'a container at rest is left alone');
  await daemon.done({ type: 'reload', id: 'a' });
  const checked = told();
  assert.equal(commands(checked), ['CHECK spy', 'CHECK second']);
  await daemon.down('a');
  const removed = told();
  assert.equal(commands(removed), ['DEL second', 'DEL spy']);
  const [spy] = added;
  const result = added[1]!.stdin.prevResult;
  for (const { env, stdin, plugin } of [...checked, ...removed]) {
    assert.equal(stdin.prevResult, result, 'the last result');
    const then = added.find((one) => one.plugin === plugin)!;
    assert.equal({ ...stdin, prevResult: null }, { ...then.stdin, prevResult: null });
    for (const key of ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_ARGS', 'CNI_PATH', 'PATH'])
      assert.is(env[key], spy!.env[key], key);
  }
  await remove('s');
});

check('versions differ in what is asked', async () => {
  await network('s', {}, { cniVersion: '0.3.1' });
  await daemon.up('a', { networks: on('s') });
  assert.ok(told().every(({ stdin }) => stdin.cniVersion === '0.3.1'));
  await daemon.done({ type: 'reload', id: 'a' });
  assert.equal(told(), [], '0.3.1 has no CHECK');
  await daemon.down('a');
  assert.ok(
    told().every(({ stdin }) => stdin.prevResult === undefined),
    '0.3.1 passes no result to DEL',
  );
  await remove('s');
  await network('s', {}, { disableCheck: true });
  await daemon.up('a', { networks: on('s') });
  told();
  await daemon.done({ type: 'reload', id: 'a' });
  assert.equal(told(), [], 'the conflist turns CHECK off');
  await daemon.down('a');
  await remove('s');
});

check('a namespace that is gone keeps nothing of the rest', async () => {
  await network('s');
  told();
  const a = await daemon.up('a', { networks: on('s') });
  assert.is(ground.leases('spied').length, 1);
  await daemon.kill();
  execFileSync('umount', ['-l', pathOf(a)]);
  rmSync(pathOf(a));
  await daemon.start();
  await daemon.down('a');
  await remove('s');
});

replay.run();
