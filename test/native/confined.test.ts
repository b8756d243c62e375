/** Programs started with the rights of another user: their rights, what they cannot do, and how it fails. */
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openOutside, spawn, type Confinement, type SpawnOptions } from '../../native/index.ts';
import { kernelFailure, openDescriptors, processState, scratch, until } from '../harness/native.ts';
import { unlessGone } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const confined = suite('confined');
const directory = scratch();
let outputs = 0;

const NOBODY = 65_534;
const few: Confinement = { uid: 65_530, gid: 65_531, capabilities: ['NET_BIND_SERVICE'], descriptors: 100 };

/** The output of a shell command, errors too. */
async function shell(script: string, confinement: Confinement, more: Partial<SpawnOptions> = {}): Promise<string> {
  const path = join(directory, `output${outputs++}`);
  const fd = openSync(path, 'w+');
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };
  const child = spawn({ file: '/bin/sh', args: ['-c', script], env, fds: [-1, fd, fd], confinement, ...more });
  closeSync(fd);
  await until(`${child.pid} reaped`, () => processState(child.pid) === null);
  return readFileSync(path, 'utf8').trim();
}

const STATUS =
  'sed -n "s/^\\(Uid\\|Gid\\|Groups\\|Cap...\\|NoNewPrivs\\):[\\t ]*//p" /proc/self/status | tr "\\t\\n" " |"';

confined('a confined program has exactly the requested user, group, capabilities and limits', async () => {
  const mask = (1 << 10).toString(16).padStart(16, '0'); // CAP_NET_BIND_SERVICE (linux/capability.h)
  const ids = (id: number) => Array(4).fill(id).join(' ');
  const said = await shell(STATUS, few);
  // Inherited, permitted, effective, bounding, ambient.
  const all = [ids(65_530), ids(65_531), '', mask, mask, mask, mask, mask, '1'];
  assert.equal(
    said
      .split('|')
      .map((text) => text.trim())
      .slice(0, -1),
    all,
  );
  assert.is(await shell('ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Hc', few), '100\n100\n0\n0');
});

confined('a program without capabilities has none, also as root', async () => {
  const none = '0'.repeat(16);
  for (const uid of [NOBODY, 0]) {
    const said = await shell(STATUS, { ...few, uid, capabilities: [] });
    assert.equal(said.split('|').slice(3, 8), [none, none, none, none, none]);
  }
});

confined('it listens on a low port if it may, and gains nothing by a set-user-ID program', async () => {
  const listen = 'python3 -c \'import socket; socket.socket().bind(("", 53)); print("listens")\' 2>&1 | tail -n 1';
  assert.is(await shell(listen, few), 'listens');
  assert.match(await shell(listen, { ...few, capabilities: [] }), /PermissionError/);
  assert.match(await shell('umount /proc', few), /must be superuser|permitted|denied/i);
  assert.match(await shell('cat /etc/shadow', few), /Permission denied/);
});

confined("namespaces are entered before the confinement, with the starter's rights", async () => {
  const netns = join(directory, 'netns');
  const outside = openOutside();
  const { ino } = await outside.netnsCreate(netns, {});
  const said = await shell('readlink /proc/self/ns/net; id -u', few, { netns, ownMounts: true, ownSession: true });
  assert.is(said, `net:[${ino}]\n65530`);
  await outside.netnsRemove(netns);
});

confined('the starter keeps its own rights, in every thread', async () => {
  // The C library's setresuid(3) would change the threads of its own process, which before the exec are ours. Some of
  // Node's own threads come and go: their rights are compared, not their number.
  const facts = /^(Uid|Gid|Groups|Cap...|NoNewPrivs):.*$/gm;
  const threads = () => [
    ...new Set(
      readdirSync('/proc/self/task').flatMap((id) =>
        unlessGone(() => [readFileSync(`/proc/self/task/${id}/status`, 'utf8').match(facts)?.join(', ') ?? '']),
      ),
    ),
  ];
  const limits = () => readFileSync('/proc/self/limits', 'utf8');
  const before = [threads(), limits()];
  await shell('true', few);
  await kernelFailure(() => spawn({ file: '/absent', args: [], env: {}, fds: [], confinement: few }));
  assert.equal([threads(), limits()], before);
});

confined('rights that cannot be granted are refused with the reason, and nothing is left', async () => {
  const descriptors = openDescriptors();
  const attempt = (confinement: unknown, file = '/bin/true') =>
    spawn({ file, args: [], env: {}, fds: [-1, -1, -1], confinement: confinement as Confinement });
  const unknown = await kernelFailure(() => attempt({ ...few, capabilities: ['EVERYTHING'] }));
  assert.equal([unknown.code, unknown.syscall, unknown.object], ['EINVAL', 'capset', 'EVERYTHING']);
  const absent = await kernelFailure(() => attempt(few, '/absent'));
  assert.equal([absent.code, absent.syscall], ['ENOENT', 'execve']);
  // For root alone.
  const closed = await kernelFailure(() => attempt(few, '/etc/shadow'));
  assert.equal([closed.code, closed.syscall], ['EACCES', 'execve']);
  for (const wrong of [null, 7, {}, { ...few, uid: -1 }, { ...few, uid: 4_294_967_295 }, { ...few, gid: '0' }]) {
    assert.throws(() => attempt(wrong), TypeError);
  }
  assert.ok(openDescriptors() <= descriptors);
});

confined.run();
