/**
 * The files of a container and the watch on the host's: they are kept in place, changed when the host's change, and
 * removed on request.
 */
import { execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { zoneFiles } from '../../effects/names/aardvark.ts';
import type { FaultError } from '../../state/faults.ts';
import { etcEffects } from '../../effects/names/etc.ts';
import type { Zone } from '../../plan/names/names.ts';
import { FileWatch } from '../../service/watch/resolv-watch.ts';
import { until } from '../harness/native.ts';

const scratch = () => mkdtempSync(join(tmpdir(), 'etc-'));

// --- Files of a container --------------------------------------------------------------------------------------------

const files = suite('files of a container');
let text = '';
const input = { id: 'c1', name: 'c1', pod: null, hostname: null, attachments: [] };
const made = (runDir: string) => etcEffects({ runDir, resolvConf: () => text, hostsFile: ({ name }) => `${name}\n` });

files('files are rewritten in place, also when they get shorter, and everybody can read them', async () => {
  const runDir = scratch();
  const path = join(runDir, 'etc/c1/resolv.conf');
  text = 'nameserver 10.89.0.1\n';
  await made(runDir).ensureFiles(input);
  const before = statSync(path);
  text = 'short\n';
  await made(runDir).ensureFiles(input);
  assert.is(readFileSync(path, 'utf8'), 'short\n');
  assert.is(statSync(path).ino, before.ino);
  assert.is(before.mode & 0o777, 0o644);
  assert.is(readFileSync(join(runDir, 'etc/c1/hosts'), 'utf8'), 'c1\n');
});

files('files are not written when nothing changed', async () => {
  const runDir = scratch();
  await made(runDir).ensureFiles(input);
  const before = statSync(join(runDir, 'etc/c1/hosts'), { bigint: true }).mtimeNs;
  await made(runDir).ensureFiles(input);
  assert.is(statSync(join(runDir, 'etc/c1/hosts'), { bigint: true }).mtimeNs, before);
});

files('files are not written through a symbolic link', async () => {
  const runDir = scratch();
  mkdirSync(join(runDir, 'etc/c1'), { recursive: true });
  writeFileSync(join(runDir, 'precious'), 'x');
  symlinkSync(join(runDir, 'precious'), join(runDir, 'etc/c1/hosts'));
  let refused = '';
  await made(runDir)
    .ensureFiles(input)
    .catch((error: FaultError) => (refused = error.fault.errno ?? ''));
  assert.is(refused, 'ELOOP');
  assert.is(readFileSync(join(runDir, 'precious'), 'utf8'), 'x');
});

files('files that are removed twice are gone, and a refresh does not bring them back', async () => {
  const runDir = scratch();
  const effects = made(runDir);
  await effects.ensureFiles(input);
  await effects.removeFiles({ id: 'c1' });
  await effects.removeFiles({ id: 'c1' });
  effects.refreshFiles(input);
  assert.equal(readdirSync(runDir), []);
});

files('a file of the host that cannot be read does not count as empty', async () => {
  const runDir = scratch();
  const effects = made(runDir);
  const fault = (error: FaultError) => `${error.fault.code} ${error.fault.errno} ${error.fault.object}`;
  const refused = async (what: string) => {
    try {
      await effects.ensureFiles(input);
    } catch (error) {
      return assert.is(fault(error as FaultError), what);
    }
    assert.unreachable('it is taken for nothing');
  };
  execFileSync('mount', ['--bind', '/proc/1/mem', '/etc/resolv.conf']); // reads EIO
  try {
    await refused('KERNEL EIO /etc/resolv.conf');
    effects.refreshFiles({ ...input, id: 'absent' });
  } finally {
    execFileSync('umount', ['/etc/resolv.conf']);
  }
  await effects.ensureFiles(input);
});

files.run();

// --- The watch -------------------------------------------------------------------------------------------------------

const watching = suite('the watch on a file of the host');

const unexpected = (error: unknown) => assert.unreachable(String(error));

/** Makes every open here fail for two seconds; resolves when that has begun. */
async function withoutDescriptors(): Promise<void> {
  const limits = 'prlimit --pid=$1 --nofile=3: && sleep 2 && prlimit --pid=$1 --nofile=$(ulimit -Hn):';
  spawn('sh', ['-c', limits, 'sh', String(process.pid)], { stdio: 'ignore' });
  await until('no descriptor is left', () => {
    try {
      closeSync(openSync('/dev/null', 'r'));
      return false;
    } catch {
      return true;
    }
  });
}

// The first one here: the kernel's watches are one descriptor, from the first on.
watching('a file that cannot be watched or read is reported once, and tried until it can be', async () => {
  const path = join(scratch(), 'resolv.conf');
  writeFileSync(path, '1');
  const told: string[] = [];
  let calls = 0;
  await withoutDescriptors();
  const watch = new FileWatch(
    path,
    () => calls++,
    (error) => told.push((error as NodeJS.ErrnoException).code ?? ''),
  );
  assert.equal([told, calls], [['EMFILE'], 0]);
  await until('it is read', () => calls === 1);
  writeFileSync(path, '2');
  await until('the change is heard of', () => calls === 2);
  watch.close();
  assert.equal(told, ['EMFILE']);
});

/** Changes after each of which the watch must have called, once. */
async function heard(path: string, ...changes: (() => void)[]): Promise<void> {
  let calls = 0;
  const watch = new FileWatch(path, () => calls++, unexpected);
  try {
    for (const [n, change] of changes.entries()) {
      change();
      await until(`change ${n + 1} is heard of`, () => calls === n + 1);
    }
  } finally {
    watch.close();
  }
}

watching('the watch sees the file written, replaced, removed and made again', async () => {
  const path = join(scratch(), 'resolv.conf');
  writeFileSync(path, '1');
  await heard(
    path,
    () => writeFileSync(path, '2'),
    () => {
      writeFileSync(`${path}.new`, '3');
      renameSync(`${path}.new`, path);
    },
    () => rmSync(path),
    () => writeFileSync(path, '4'),
  );
});

watching('the watch follows symbolic links, also when one changes or its directory comes later', async () => {
  const place = scratch();
  const path = join(place, 'etc/resolv.conf');
  mkdirSync(join(place, 'etc'));
  mkdirSync(join(place, 'a'));
  writeFileSync(join(place, 'a/conf'), '1');
  symlinkSync('../a/conf', path);
  await heard(
    path,
    () => writeFileSync(join(place, 'a/conf'), '2'),
    () => {
      symlinkSync('../run/b/conf', `${path}.new`);
      renameSync(`${path}.new`, path); // leads nowhere yet
    },
    () => {
      mkdirSync(join(place, 'run/b'), { recursive: true });
      writeFileSync(join(place, 'run/b/conf'), '3');
    },
    () => writeFileSync(join(place, 'run/b/conf'), '4'),
  );
});

watching('the watch calls nobody when the text is the same', async () => {
  const path = join(scratch(), 'resolv.conf');
  writeFileSync(path, '1');
  let calls = 0;
  const watch = new FileWatch(path, () => calls++, unexpected);
  writeFileSync(path, '1');
  writeFileSync(`${path}.other`, 'x');
  await new Promise((resolve) => setTimeout(resolve, 200)); // long enough for a notification, if there were one
  writeFileSync(path, '2');
  await until('the change is heard of', () => calls > 0);
  watch.close();
  assert.is(calls, 1);
});

watching.run();

// --- What aardvark reads ---------------------------------------------------------------------------------------------

const zones = suite('zone files');
const zone = (network: string, internal: boolean, owners: string[], more: Partial<Zone> = {}): Zone => ({
  network,
  internal,
  listen: ['10.89.0.1', 'fd00::1'],
  servers: [],
  entries: owners.map((owner) => ({ owner, addresses: ['10.89.0.2', 'fd00::2'], names: [owner.slice(0, 1), 'all'] })),
  ...more,
});

zones('a zone file has one line for the network and one for each container', () => {
  const { open, closed } = zoneFiles([zone('n', false, ['a:1', 'b:1'], { servers: ['9.9.9.9', '1.1.1.1'] })]);
  const line = (owner: string) => `${owner}:1 10.89.0.2 fd00::2 ${owner},all`;
  assert.is(open.get('n.zone'), `10.89.0.1,fd00::1 9.9.9.9,1.1.1.1\n${line('a')}\n${line('b')}\n`);
  assert.is(closed.size, 0);
});

zones('a missing family leaves its place empty', () => {
  const entries = [{ owner: 'a:1', addresses: ['fd00::2'], names: ['a'] }];
  assert.is(zoneFiles([zone('n', false, [], { entries })]).open.get('n.zone'), '10.89.0.1,fd00::1\na:1  fd00::2 a\n');
});

zones('an internal network is in the closed server, without upstream servers', () => {
  const { open, closed } = zoneFiles([zone('n', true, ['a:1'], { servers: ['9.9.9.9'] }), zone('m', false, ['b:1'])]);
  assert.equal([...open.keys()], ['m.zone']);
  assert.is(closed.get('n.zone')?.split('\n')[0], '10.89.0.1,fd00::1');
});

zones('an internal network is also in the open server, without a listener, if a container is in both', () => {
  const { open, closed } = zoneFiles([zone('n', true, ['a:1', 'c:1']), zone('m', false, ['a:1'])]);
  assert.match(open.get('n.zone') ?? '', /^127\.\d+\.\d+\.\d+\na:1 .*\nc:1 .*\n$/);
  assert.match(closed.get('n.zone') ?? '', /^10\.89\.0\.1,/);
});

zones('owners that differ only in case stay two', () => {
  const { open } = zoneFiles([zone('n', false, ['Web:1', 'web:1', '_web:1'])]);
  const ids = (open.get('n.zone') ?? '')
    .split('\n')
    .slice(1, -1)
    .map((line) => line.split(' ')[0]?.toLowerCase());
  assert.is(new Set(ids).size, 3);
});

zones.run();
