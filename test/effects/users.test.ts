/** The users of cleat's programs: by /etc/passwd, by fixed numbers, and refused by name. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FaultError } from '../../state/faults.ts';
import { findUser, USER_NAMES, type User, type UserName } from '../../effects/processes/users.ts';

const users = suite('users');

/** Runs with these lines in /etc/passwd and /etc/group. */
function find(name: UserName, passwd: string | null, group = ''): User | string {
  const etc = mkdtempSync(join(tmpdir(), 'cleat-etc-'));
  try {
    if (passwd !== null) writeFileSync(join(etc, 'passwd'), passwd);
    if (passwd !== null) writeFileSync(join(etc, 'group'), group);
    return findUser(name, etc);
  } catch (error) {
    if (!(error instanceof FaultError)) throw error;
    return `${error.fault.code} ${error.fault.message}`;
  } finally {
    rmSync(etc, { recursive: true });
  }
}

users('without an entry each job has a number of its own, between 65520 and 65533', () => {
  const found = USER_NAMES.map((name) => find(name, null) as User);
  assert.is(new Set(found.map(({ uid }) => uid)).size, USER_NAMES.length);
  for (const { uid, gid } of found) {
    assert.ok(uid > 65_519 && uid < 65_534, String(uid));
    assert.is(gid, uid);
  }
});

users('an entry with the name has priority, with its own group', () => {
  const passwd = 'root:x:0:0::/root:/bin/sh\ncleat-dns:x:990:985::/:/usr/sbin/nologin\n';
  assert.equal(find('cleat-dns', passwd, 'cleat-dns:x:985:\n'), { uid: 990, gid: 985 });
  assert.equal(find('cleat-uplink', passwd), { uid: 65_523, gid: 65_523 });
});

users('root, a uid or a gid of another user, and one that two jobs share are refused', () => {
  const own = (line: string) => `${line}::/:/bin/false\n`;
  for (const [passwd, group, said] of [
    [own('cleat-dns:x:0:985'), '', 'cleat-dns cannot run as root'],
    [own('cleat-dns:x:990:0'), '', 'cleat-dns cannot run as root'],
    [own('bob:x:65521:1000'), '', 'cleat-dns cannot run as uid 65521: that is bob'],
    [own('cleat-dns:x:1000:985') + own('bob:x:1000:1000'), '', 'cleat-dns cannot run as uid 1000: that is bob'],
    ['', 'staff:x:65521:\n', 'cleat-dns cannot run as gid 65521: that is the group staff'],
    [own('cleat-dns:x:65523:985'), '', 'cleat-dns cannot run as uid 65523: that is what cleat-uplink would have'],
  ] as const) {
    assert.is(find('cleat-dns', passwd, group), `USER_TAKEN ${said}`);
  }
});

users('lines that are no entries are ignored', () => {
  assert.equal(find('cleat-dns', '\n# none\n+::::::\ncleat-dns:x::\n'), { uid: 65_521, gid: 65_521 });
});

users('no user of this machine has these numbers', () => {
  assert.not.match(readFileSync('/etc/passwd', 'utf8'), /:655(2\d|3[0-3]):/);
  for (const name of USER_NAMES) findUser(name);
});

users.run();
