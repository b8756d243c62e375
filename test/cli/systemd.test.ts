/**
 * docs/systemd.md: the unit files as they stand there are valid, and their commands, run in the order in which systemd runs them,
 * give a service its network and take it away again.
 *
 * Limits: systemd itself does not run here; what it does between the commands (joining the namespace, mounting the files) is done
 * by nsenter.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { requirePrivateNamespace } from '../harness/private.ts';
import { Shell } from './shell.ts';

requirePrivateNamespace();

const ROOT = resolve(import.meta.dirname, '../../..');
const UNITS = '/etc/systemd/system/';
const units = suite('units of systemd');
const shell = new Shell();

/** The unit files of the document, by path. */
const files = new Map(
  [
    ...readFileSync(join(ROOT, 'docs/systemd.md'), 'utf8').matchAll(
      /`(\/etc\/systemd\/system\/[^`]+)`[^]*?```ini\n([^`]+)```/g,
    ),
  ].map(([, path = '', text = '']) => [path, text]),
);
const fileOf = (name: string): string => {
  const text = files.get(`${UNITS}${name}`);
  assert.ok(text !== undefined, `docs/systemd.md has no ${name}`);
  return text;
};

units.before(async () => {
  await shell.startDaemon();
  assert.is((await shell.cleat('network', 'create', 'web', '--subnet', '10.77.0.0/24')).code, 0);
});
units.after(async () => void (await shell.endDaemon('SIGTERM')));

units('systemd finds nothing to complain about in them', () => {
  const directory = join(shell.directory, 'units');
  for (const [path, text] of files) {
    const copy = join(directory, path.slice(UNITS.length).replace('cleat-network@.', 'cleat-network@shop.'));
    mkdirSync(dirname(copy), { recursive: true });
    // Programs are looked for, and cleat is not installed here.
    writeFileSync(copy, text.replaceAll('/usr/bin/cleat ', '/bin/true '));
  }
  writeFileSync(join(directory, 'cleat.service'), '[Service]\nExecStart=/bin/true\n');
  const checked = spawnSync('systemd-analyze', ['verify', '--man=no', join(directory, 'shop.service')], {
    encoding: 'utf8',
    env: { ...process.env, SYSTEMD_UNIT_PATH: `${directory}:` },
  });
  assert.is(checked.error, undefined);
  const about = checked.stderr.split('\n').filter((line) => /shop|cleat/.test(line));
  assert.equal(about, []);
  assert.is(checked.status, 0, checked.stderr);
});

const run = (program: string, args: string[]) => {
  const { status: code, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  return { code, stderr };
};

/** Runs the commands of one setting, with the options of the drop-in. */
async function runs(setting: string): Promise<void> {
  const [, options = ''] = /CLEAT_OPTIONS=(.*)"/.exec(fileOf('cleat-network@shop.service.d/network.conf')) ?? [];
  const pattern = new RegExp(`^${setting}=(-?)(\\S+) (.*)$`, 'gm');
  for (const [, may = '', program = '', rest = ''] of fileOf('cleat-network@.service').matchAll(pattern)) {
    const args = rest.replaceAll('%i', 'shop').replace('$CLEAT_OPTIONS', options).split(' ');
    const { code, stderr } = program === '/usr/bin/cleat' ? await shell.cleat(...args) : run(program, args);
    if (may === '') assert.is(code, 0, `${program} ${rest}: ${stderr}`);
  }
}

units('their commands make a network, and what a service had is gone after them', async () => {
  for (let time = 0; time < 2; time++) {
    await runs('ExecStartPre');
    await runs('ExecStart');
    const inside = ['--net=/run/netns/shop', 'ip', '-json', 'address', 'show', 'dev', 'eth0'];
    const [link] = JSON.parse(execFileSync('nsenter', inside, { encoding: 'utf8' })) as {
      addr_info: { local: string }[];
    }[];
    assert.match(link?.addr_info[0]?.local ?? '', /^10\.77\.0\./);
    const [view] = JSON.parse((await shell.cleat('inspect', 'shop')).stdout) as {
      NetworkSettings: {
        Ports: Record<string, { HostPort: string }[]>;
        Networks: Record<string, { Aliases: string[] }>;
      };
    }[];
    assert.is(view?.NetworkSettings.Ports['80/tcp']?.[0]?.HostPort, '8080');
    assert.equal(view?.NetworkSettings.Networks.web?.Aliases, ['shop']);
    for (const file of ['resolv.conf', 'hosts'])
      assert.ok(existsSync(`${shell.directory}/run/etc/shop/${file}`), `there is no ${file}`);
    // The second time, they find what a kill has left behind.
    if (time === 1) await runs('ExecStop');
  }
  await runs('ExecStopPost');
  assert.not(existsSync('/run/netns/shop'));
  assert.is((await shell.cleat('inspect', 'shop')).code, 1);
});

units.run();
