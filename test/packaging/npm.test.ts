// slow: 25 s, npm packs and installs, and each start is one by npx
/**
 * The package for npm: what is in it, and that it runs where it is installed, without a network, a registry, dependencies or scripts. An
 * addon that does not fit the machine is said so.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { requirePrivateNamespace } from '../harness/private.ts';
import { ROOT } from '../harness/sanitized.ts';

requirePrivateNamespace();

const npm = suite('package for npm');
const directory = mkdtempSync('/run/npm-');
const env = { ...process.env, npm_config_cache: `${directory}/cache`, npm_config_offline: 'true' };
const home = join(directory, 'node_modules/cleat');

npm.before(() => {
  const said = execFileSync('npm', ['pack', '--json', '--pack-destination', directory], {
    cwd: ROOT,
    env,
    encoding: 'utf8',
  });
  const [packed] = JSON.parse(said) as { filename: string }[];
  writeFileSync(join(directory, 'package.json'), '{}');
  const tarball = join(directory, packed?.filename ?? '');
  execFileSync('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts=false', tarball], {
    cwd: directory,
    env,
  });
});

npm('it has what runs and nothing else, and needs no other package', () => {
  assert.equal(
    readdirSync(join(directory, 'node_modules')).filter((name) => !name.startsWith('.')),
    ['cleat'],
  );
  const files = readdirSync(home, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = files.map((entry) => join(entry.parentPath, entry.name).slice(home.length + 1)).sort();
  assert.equal(
    paths.filter(
      (path) =>
        !/^(LICENSE|README\.md|package\.json|build\/Release\/cleat[^/]*|dist\/(bundle|client|inspector)\/[^/]+|dist\/types\/.+\.d\.ts)$/.test(
          path,
        ),
    ),
    [],
  );
  for (const path of [
    'build/Release/cleat.node',
    'build/Release/cleat-run',
    'dist/bundle/cleat.cjs',
    'dist/inspector/index.html',
  ])
    assert.ok(paths.includes(path), path);
  const { scripts, dependencies } = JSON.parse(readFileSync(join(home, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>;
    dependencies?: object;
  };
  assert.is(dependencies, undefined);
  for (const name of ['preinstall', 'install', 'postinstall', 'prepare']) assert.is(scripts[name], undefined, name);
});

npm('npx runs the command, and the daemon gives a process a network', () => {
  const places = { CLEAT_RUN_DIR: '/run/c', CLEAT_STATE_DIR: '/run/c-state', CLEAT_NETNS_DIR: '/run/c-netns' };
  const npx = (...args: string[]): string =>
    execFileSync('npx', ['cleat', ...args], { cwd: directory, env: { ...env, ...places }, encoding: 'utf8' }).trim();
  const pid = Number(npx('daemon', '--detach', '--log-level', 'info'));
  const { client, daemon } = JSON.parse(npx('version', '--format', 'json')) as Record<string, { version: string }>;
  assert.is(client?.version, daemon?.version);
  npx('network', 'create', 'web', '--subnet', '10.77.0.0/24', '--disable-dns');
  assert.match(
    npx('run', '--network', 'web', '--', 'ip', '-brief', 'address', 'show', 'dev', 'eth0'),
    /10\.77\.0\.\d+\/24/,
  );
  assert.not.match(readFileSync('/run/c/daemon.log', 'utf8'), 'compiled anew');
  process.kill(pid, 'SIGTERM');
});

npm('an addon that cannot be loaded is said so, with what helps', () => {
  const refused = () =>
    spawnSync('npx', ['cleat', 'daemon', '--run-dir', '/run/d'], { cwd: directory, env, encoding: 'utf8' });
  writeFileSync(join(home, 'build/Release/cleat.node'), 'of another machine');
  const other = refused();
  assert.is(other.status, 1);
  assert.match(
    other.stderr,
    /^Error: the daemon cannot be loaded: .*cleat\.node: .*\nHint: The addon needs libmnl0 and libnftnl11/,
  );
  rmSync(join(home, 'build/Release/cleat.node'));
  assert.match(refused().stderr, /^Error: the daemon cannot be loaded: Cannot find module .*\nHint: The addon needs/);
});

npm.run();
