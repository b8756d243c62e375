/** A socket that the daemon listens on for a program: its mode from the beginning, and what is refused. */
import { closeSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { listenUnix, spawn, type KernelError } from '../../native/index.ts';
import { endWithReport } from '../harness/native.ts';

const listening = suite('a socket for a program');
const directory = mkdtempSync(join(tmpdir(), 'listen-'));
const failure = (work: () => unknown): string => {
  try {
    work();
    return 'nothing';
  } catch (error) {
    const { code, syscall, object } = error as KernelError;
    return `${code} ${syscall} ${object}`;
  }
};

listening('a program that gets it answers there, and the file has the mode that was asked for', async () => {
  const path = join(directory, 'one');
  const fd = listenUnix(path, 0o640);
  assert.is(statSync(path).mode & 0o777, 0o640);
  const answer = 'import socket; s=socket.socket(fileno=3); c,_=s.accept(); c.sendall(b"here"); c.close()';
  spawn({ file: '/usr/bin/python3', args: ['-c', answer], env: {}, fds: [-1, -1, -1, fd] });
  closeSync(fd);
  const said = await new Promise<string>((resolve, reject) => {
    connect(path)
      .on('data', (bytes) => resolve(bytes.toString()))
      .on('error', reject);
  });
  assert.is(said, 'here');
  rmSync(path);
});

listening('what cannot be listened on is an error that names it', () => {
  const path = join(directory, 'two');
  const fd = listenUnix(path, 0o600);
  assert.is(
    failure(() => listenUnix(path, 0o600)),
    `EADDRINUSE bind ${path}`,
  );
  closeSync(fd);
  const long = join(directory, 'x'.repeat(120));
  assert.is(
    failure(() => listenUnix(long, 0o600)),
    `ENAMETOOLONG bind ${long}`,
  );
  const nowhere = join(directory, 'not', 'there');
  assert.is(
    failure(() => listenUnix(nowhere, 0o600)),
    `ENOENT bind ${nowhere}`,
  );
  for (const [name, mode] of [
    ['a', 0o1000],
    ['a', -1],
    ['a', '600'],
    [7, 0o600],
  ] as unknown as [string, number][])
    assert.throws(() => listenUnix(name, mode));
});

endWithReport();
listening.run();
