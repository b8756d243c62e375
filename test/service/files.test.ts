/**
 * The resolv.conf and hosts of a container that requested them, on the real daemon: they are written with its network,
 * changed in place when networks come and go, and removed with it.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { addressOf, on, TestDaemon } from '../harness/daemon.ts';
import { until } from '../harness/native.ts';
import { calm } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { rounds } from '../harness/rounds.ts';

requirePrivateNamespace();

const daemon = new TestDaemon();
const files = suite('files of a container');
const twice = rounds(files, daemon);

files.before(async () => {
  // The test has its own /etc, in which the daemon sees each change of resolv.conf; a mount over the file alone would
  // hide them.
  const etc = '/run/host-etc'; // a tmpfs of the test
  execFileSync('cp', ['-a', '/etc', etc]);
  execFileSync('mount', ['--bind', etc, '/etc']);
  await daemon.start();
  await daemon.network({
    name: 'front',
    subnets: [{ subnet: '10.71.0.0/24' }, { subnet: 'fd00:71::/64' }],
    dns_enabled: true,
  });
  await daemon.network({ name: 'back', subnets: [{ subnet: '10.72.0.0/24' }], dns_enabled: true });
  await calm();
});
files.after(async () => {
  await daemon.stop();
});

const path = (id: string, name: string): string => `${daemon.runDir}/etc/${id}/${name}`;
const linesOf = (file: string): string[] => readFileSync(file, 'utf8').trim().split('\n');

twice('files are written at configure, changed in place, there after kill -9, and gone at the end', async () => {
  const create = { files: true, name: 'db', hostname: 'db.internal', networks: on('front') };
  await daemon.done({ type: 'create', id: 'a', ...create });
  assert.not.ok(existsSync(path('a', 'hosts')));
  const up = await daemon.done({ type: 'configure', id: 'a' });
  assert.equal(up.files, { resolv_conf: path('a', 'resolv.conf'), hosts: path('a', 'hosts') });
  assert.equal(
    linesOf(path('a', 'resolv.conf')).filter((line) => line.startsWith('nameserver')),
    ['nameserver 10.71.0.1', 'nameserver fd00:71::1'],
  );
  const own = linesOf(path('a', 'hosts')).filter((line) => line.includes('db.internal'));
  assert.equal(
    own.map((line) => line.split(' ')[0]),
    [addressOf(up, 'front'), addressOf(up, 'front', 6)],
  );
  // Read as the container sees them: through bind mounts, which show what the same file holds.
  const seen = `${daemon.directory}/seen`;
  writeFileSync(seen, '');
  execFileSync('mount', ['--bind', path('a', 'hosts'), seen]);
  const { ino } = statSync(seen);
  const both = await daemon.done({ type: 'connect', id: 'a', network: 'back' });
  assert.ok(
    linesOf(seen).some((line) => line.startsWith(`${addressOf(both, 'back')} db.internal`)),
    String(linesOf(seen)),
  );
  assert.ok(linesOf(path('a', 'resolv.conf')).includes('nameserver 10.72.0.1'));
  await daemon.done({ type: 'disconnect', id: 'a', network: 'front' });
  assert.equal(
    linesOf(path('a', 'resolv.conf')).filter((line) => line.startsWith('nameserver')),
    ['nameserver 10.72.0.1'],
  );
  assert.not.ok(linesOf(seen).some((line) => line.startsWith('10.71.0.')));
  assert.is(statSync(path('a', 'hosts')).ino, ino);
  await daemon.kill();
  await daemon.start();
  assert.ok(linesOf(seen).some((line) => line.startsWith(addressOf(both, 'back'))));
  execFileSync('umount', [seen]);
  execFileSync('rm', [seen]);
  await daemon.down('a');
  assert.not.ok(existsSync(`${daemon.runDir}/etc`));
});

twice('files exist only for containers that request them', async () => {
  await daemon.up('a', { networks: on('front') });
  assert.not.ok(existsSync(`${daemon.runDir}/etc`));
  await daemon.down('a');
});

twice(
  'files follow the resolv.conf of the host, and one that cannot be written is reported and tried again',
  async () => {
    const search = (id: string) => linesOf(path(id, 'resolv.conf')).filter((line) => line.startsWith('search '));
    const host = (domain: string) => writeFileSync('/etc/resolv.conf', `nameserver 10.9.9.9\nsearch ${domain}\n`);
    const doctor = async () => JSON.stringify((await daemon.get<object>('/v1/doctor')).body);
    for (const id of ['a', 'b']) await daemon.up(id, { files: true, networks: on('front') });
    const hosts = readFileSync(path('a', 'hosts'));
    rmSync(path('a', 'hosts'));
    symlinkSync('/nowhere', path('a', 'hosts')); // never followed
    host('one.example');
    await until('the other has it', () => search('b').includes('search dns.podman one.example'));
    await until('doctor tells', async () => (await doctor()).includes('files of container a: cannot write'));
    rmSync(path('a', 'hosts'));
    await until('mended', () => existsSync(path('a', 'hosts')) && readFileSync(path('a', 'hosts')).length > 0);
    assert.equal(readFileSync(path('a', 'hosts')), hosts);
    assert.equal(search('a'), ['search dns.podman one.example']);
    assert.not.ok((await doctor()).includes('files of container'));
    await daemon.kill();
    host('two.example');
    await daemon.start();
    for (const id of ['a', 'b']) {
      await until(`${id} has caught up`, () => search(id).includes('search dns.podman two.example'));
    }
    for (const id of ['a', 'b']) await daemon.down(id);
  },
);

files.run();
