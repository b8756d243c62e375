// slow: 25 s, each question is a process of its own, and Node takes a moment to start
/**
 * The daemon's settings: which place wins, as `cleat config` shows it and as a daemon acts on it, and what is refused.
 *
 * Limits: what each setting does is tested where it belongs. `--config` stands for the usual files, but for one test of each.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readSettings, refuses } from '../../service/main.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { Shell } from './shell.ts';

requirePrivateNamespace();

const shell = new Shell();
const directory = mkdtempSync('/run/configuration-');
const file = join(directory, 'cleat.toml');
const DOCUMENT = readFileSync(join(import.meta.dirname, '../../../docs/configuration.md'), 'utf8');

interface Explained {
  key: string;
  value: unknown;
  from: string;
}

const run = ([program = '', ...words]: string[]): string => execFileSync(program, words, { encoding: 'utf8' });

function write(text: string, path = file): void {
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, text);
}

async function explained(...args: string[]): Promise<Map<string, [value: unknown, from: string]>> {
  const found = JSON.parse(await shell.ok('config', '--format', 'json', ...args)) as Explained[];
  return new Map(found.map(({ key, value, from }) => [key, [value, from]]));
}

const configuration = suite('configuration');
configuration.before.each(() => {
  run(['rm', '-rf', directory]);
  mkdirSync(directory);
  for (const name of ['CLEAT_CONFIG', 'CLEAT_LOG_LEVEL', 'CLEAT_LIMIT', 'CLEAT_FORWARD_OTHERS'])
    delete shell.environment[name];
});

configuration('a flag wins over the environment, that over a drop-in, and that over the file', async () => {
  write('log_level = "debug"\ncni_plugins = ["/a", "/b"]\nplugin_timeout = 5\nnetavark = "/n"\n');
  write('log_level = "trace"\ncni_plugins = ["/c"]\nplugin_timeout = 6\n', `${file}.d/20-b.toml`);
  write('plugin_timeout = 7\n', `${file}.d/10-a.toml`);
  write('netavark = "/never"\n', `${file}.d/30-c.toml.bak`);
  shell.environment['CLEAT_LOG_LEVEL'] = 'warn';
  const found = await explained('--config', file, '--netavark', '/m');
  assert.equal(found.get('log_level'), ['warn', 'CLEAT_LOG_LEVEL']);
  assert.equal(found.get('cni_plugins'), [['/c'], `${file}.d/20-b.toml`]);
  assert.equal(found.get('plugin_timeout'), ['6', `${file}.d/20-b.toml`]);
  assert.equal(found.get('netavark'), ['/m', '--netavark']);
  assert.equal(found.get('netns_dir'), [shell.environment['CLEAT_NETNS_DIR'], 'CLEAT_NETNS_DIR']);
  assert.equal(found.get('exit_when_idle'), ['never', 'default']);
});

configuration('of a table, each name is a setting of its own', async () => {
  write('[limits]\nconnections = 64\ncontainers-per-uid = 5\n[drift]\nroute = "alert"\n');
  write('[limits]\ncontainers-per-uid = 6\nports-per-container = 7\n', `${file}.d/1.toml`);
  shell.environment['CLEAT_LIMIT'] = 'ports-per-container=8';
  const found = await explained('--config', file, '--drift', 'port=ignore');
  assert.equal(found.get('limits.connections'), ['64', file]);
  assert.equal(found.get('limits.containers-per-uid'), ['6', `${file}.d/1.toml`]);
  assert.equal(found.get('limits.ports-per-container'), ['8', 'CLEAT_LIMIT']);
  assert.equal(found.get('drift.route'), ['alert', file]);
  assert.equal(found.get('drift.port'), ['ignore', '--drift']);
});

configuration('false in a drop-in, and 0 in the environment, win over true', async () => {
  write('forward_others = true\n');
  assert.equal((await explained('--config', file)).get('forward_others'), [true, file]);
  write('forward_others = false\n', `${file}.d/1.toml`);
  assert.equal((await explained('--config', file)).get('forward_others'), [false, `${file}.d/1.toml`]);
  shell.environment['CLEAT_FORWARD_OTHERS'] = '1';
  assert.equal((await explained('--config', file)).get('forward_others'), [true, 'CLEAT_FORWARD_OTHERS']);
  shell.environment['CLEAT_FORWARD_OTHERS'] = 'yes';
  assert.match((await shell.cleat('config')).stderr, /CLEAT_FORWARD_OTHERS is 0 or 1, not yes/);
});

configuration('a daemon does what the file says, unless a flag says otherwise', async () => {
  write('default_subnet_pools = ["10.77.0.0/16,24"]\n[limits]\nports-per-container = 2\n[drift]\nroute = "ignore"\n');
  shell.environment['CLEAT_CONFIG'] = file;
  await shell.startDaemon('--limit', 'connections=32');
  assert.is(await shell.ok('network', 'create', 'web'), 'web');
  const [web] = JSON.parse(await shell.ok('network', 'inspect', 'web')) as [NetworkDefinition];
  assert.match(web.subnets[0]?.subnet ?? '', /^10\.77\./);
  const refused = await shell.cleat('create', 'c', '--network', 'web', '-p', '8080-8082:80-82');
  assert.match(refused.stderr, /3 ports of at most 2/, refused.stderr);
  assert.is(await shell.endDaemon('SIGTERM'), 0);
  await shell.startDaemon('--limit', 'ports-per-container=3');
  await shell.ok('create', 'c', '--network', 'web', '-p', '8080-8082:80-82');
  await shell.ok('teardown', 'c');
  await shell.ok('network', 'rm', 'web');
  assert.is(await shell.endDaemon('SIGTERM'), 0);
});

configuration("root's file is in /etc, an ordinary user's in the home directory", async () => {
  run(['sh', '-c', `mkdir ${directory}/etc ${directory}/work`]);
  run([
    'mount',
    '-t',
    'overlay',
    'overlay',
    '-o',
    `lowerdir=/etc,upperdir=${directory}/etc,workdir=${directory}/work`,
    '/etc',
  ]);
  try {
    write('log_level = "debug"\n', '/etc/cleat/cleat.toml');
    assert.equal((await explained()).get('log_level'), ['debug', '/etc/cleat/cleat.toml']);
    const [home, own] = [join(directory, 'home'), join(directory, 'own')];
    write('log_level = "warn"\n', join(home, '.config/cleat/cleat.toml'));
    write('log_level = "error"\n', join(own, 'cleat/cleat.toml'));
    Object.assign(shell.environment, { CLEAT_ROOTLESS: '/run/cleat-1000-1', HOME: home });
    assert.equal((await explained()).get('log_level'), ['warn', join(home, '.config/cleat/cleat.toml')]);
    shell.environment['XDG_CONFIG_HOME'] = own;
    assert.equal((await explained()).get('log_level'), ['error', join(own, 'cleat/cleat.toml')]);
  } finally {
    for (const name of ['CLEAT_ROOTLESS', 'HOME', 'XDG_CONFIG_HOME']) delete shell.environment[name];
    run(['umount', '/etc']);
  }
});

const REFUSED: [text: string, why: RegExp][] = [
  ['log_level =', /line 1, column \d+: /],
  ['a = 1\nb = "', /line 2, column \d+: /],
  ['log_levels = "info"', /there is no setting log_levels$/m],
  ['[pasta]\nwords = []', /there is no setting pasta\.words$/m],
  ['run_dir = "/run/c"', /there is no setting run_dir$/m],
  ['log_level = "loud"', /log_level: it is one of trace, /],
  ['log_level = 3', /log_level: it is one of trace, /],
  ['state_dir = ""', /state_dir: it is empty/],
  ['netns_dir = 2026-12-01', /netns_dir: it is a text in quotes/],
  ['forward_others = "yes"', /forward_others: it is true or false/],
  ['plugin_timeout = 0', /plugin_timeout: it is above 0/],
  ['plugin_timeout = "9"', /plugin_timeout: it is a number of seconds/],
  ['plugin_timeout = 0.5', /plugin timeout 0\.5: it is 1 to 9999 seconds/],
  ['exit_when_idle = 100000', /--exit-when-idle takes seconds, up to 86400/],
  ['cni_plugins = "/a"', /cni_plugins: it is a list/],
  ['cni_plugins = ["a"]', /a is not an absolute path/],
  ['pasta = "/usr/bin/pasta"', /pasta: it is a table with path and options/],
  ['drift = "alert"', /drift: it is a table of NAME = VALUE/],
  ['[drift]\nroutes = "alert"', /drift policy routes=alert/],
  ['[drift]\nroute = ["alert"]', /drift\.route: it is a text in quotes, or a number/],
  ['[limits]\nconnections = -1', /limit connections=-1/],
  ['[forwarder_limits]\nflows = 1.5', /forwarder limit flows=1\.5/],
  ['state_dir = ""', /state_dir: it is empty/],
  ['[pasta]\npath = "pasta"', /pasta is not an absolute path of a program/],
  ['rootless_uplink = "past"', /--rootless-uplink is slirp4netns or pasta, not past/],
  ['publisher = "gvproxy"', /publisher gvproxy: /],
  ['default_subnet_pools = ["10.0.0.0/8"]', /default subnet pool 10\.0\.0\.0\/8/],
];

configuration(
  'what is wrong in a file is named, by `cleat config` and by the daemon, which makes nothing',
  async () => {
    for (const [text, why] of REFUSED) {
      write(text);
      const read = readSettings(file, {});
      const refusal = 'files' in read ? refuses(read.files[0]?.options ?? {}) : read;
      assert.match(refusal?.message ?? '', why, text);
    }
    const shown = await shell.cleat('config', '--config', file);
    assert.is(shown.code, 1);
    assert.match(shown.stderr, /default subnet pool 10\.0\.0\.0\/8.*\nHint: docs\/configuration\.md/);
    const { code, stderr } = await shell.cleat('daemon', '--config', file, '--run-dir', join(directory, 'none'));
    assert.is(code, 1);
    assert.match(stderr, /default subnet pool/);
    assert.is(run(['ls', directory]).trim(), 'cleat.toml');
  },
);

configuration('a log level of the environment that does not exist is refused with what exists', async () => {
  shell.environment['CLEAT_LOG_LEVEL'] = 'loud';
  const { code, stderr } = await shell.cleat('daemon');
  assert.is(code, 1);
  assert.match(stderr, /^Error: the log level is one of trace, .*, not loud\n/);
});

configuration('files that cannot be trusted or read are refused, and a named one has to exist', async () => {
  const refused = async (why: RegExp, path = file) => {
    const { code, stderr } = await shell.cleat('config', '--config', path);
    assert.is(code, 1);
    assert.match(stderr, why);
  };
  await refused(/does not exist/);
  await refused(/is not a regular file/, directory);
  run(['mkfifo', file]);
  await refused(/is not a regular file/);
  run(['rm', file]);
  write('');
  chmodSync(file, 0o666);
  await refused(/can be written by every user/);
  chmodSync(file, 0o644);
  write('log_level = "x"\n', `${file}.d/1.toml`);
  await refused(/1\.toml: log_level/);
  write('#'.repeat(1024 * 1024 + 1));
  await refused(/has more than 1048576 bytes/);
});

configuration('the file in the documentation is taken, and has every setting that the table lists', async () => {
  const [, text = ''] = /```toml\n([^`]*)```/.exec(DOCUMENT) ?? [];
  write(text);
  const found = await explained('--config', file);
  const documented = [
    ...DOCUMENT.matchAll(/^\| (?:`\[?([a-z_.0-9]+)\]?`)? +\| `(--[a-z0-9-]+)` +\| (?:`([A-Z_0-9]+)`)? +\|/gm),
  ];
  const settings = documented.map(([, key = '', flag = '', variable = '']) => ({ key, flag, variable }));
  const keys = [...found.keys()].map((key) => key.replace(/^(drift|limits|forwarder_limits)\..*/, '$1'));
  const listed = settings.map(({ key, flag }) => (key === '' ? flag : key));
  assert.equal(listed.sort(), [...new Set(keys)].sort());
  for (const [key, [, from]] of found)
    if (!key.startsWith('--'))
      assert.is(from, key === 'netns_dir' || key === 'state_dir' ? `CLEAT_${key.toUpperCase()}` : file, key);
  const { stdout: help } = await shell.cleat('daemon', '--help');
  for (const { flag, variable } of settings) {
    assert.ok(help.includes(flag), flag);
    assert.ok(help.includes(variable), variable);
  }
});

configuration.run();
