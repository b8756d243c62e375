/**
 * The requests to the kernel that the forwarder and the keeper may still make, tried by a program that has their
 * rights.
 *
 * Limits: their own tests, which run them as shipped, show that they can do everything they need.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { scratch } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { ROOT } from '../harness/sanitized.ts';

requirePrivateNamespace();

const confine = suite('confine');
const probe = join(scratch(), 'confine-probe');
const SOURCES = ['native/processes/confine.cc', 'native/forwarder/rights.cc', 'native/keeper/rights.cc'];

confine.before(() => {
  const flags = ['-std=c++17', '-O1', '-D_GNU_SOURCE', '-static-pie', '-fPIE', '-o', probe];
  execFileSync('g++', [...flags, 'test/native/confine-probe.cc', ...SOURCES], { cwd: ROOT });
});

const run = (who: string) => spawnSync(probe, [who], { encoding: 'utf8' });
const said = (who: string): Record<string, string> => {
  const { status, stdout, stderr } = run(who);
  assert.is(status, 0, stderr);
  return Object.fromEntries(
    stdout
      .trim()
      .split('\n')
      .map((line) => line.split(' ') as [string, string]),
  );
};

/** Every call that is not on the list. */
const forbidden = [
  'execve',
  'fork',
  'setns-mount',
  'setns-any',
  'unshare',
  'mount',
  'ptrace',
  'read-other',
  'take-descriptor',
  'bpf',
  'module',
  'key',
  'uring',
  'become-root',
  'more-capabilities',
  'code',
  'stack-code',
  ...(process.arch === 'x64' ? ['x32'] : []),
];
const refused = Object.fromEntries(forbidden.map((name) => [name, 'EPERM']));

confine('the forwarder may use threads, memory and networks of others, and nothing else of the machine', () => {
  const allowed = { getpid: 'ok', thread: 'ok', 'setns-net': 'ok', memory: 'ok' };
  assert.equal(said('forwarder'), { ...refused, ...allowed, clone3: 'ENOSYS' });
});

confine('the keeper may use no threads and no networks either', () => {
  const allowed = { getpid: 'ok', memory: 'ok' };
  assert.equal(said('keeper'), { ...refused, ...allowed, clone3: 'ENOSYS', thread: 'EPERM', 'setns-net': 'EPERM' });
});

if (process.arch === 'x64') {
  confine('a call of another architecture ends the process: its numbers mean other things', () => {
    const { signal, stdout } = run('foreign');
    // SIGSEGV where the kernel has no such table (CONFIG_IA32_EMULATION).
    assert.ok(signal === 'SIGSYS' || signal === 'SIGSEGV', signal ?? 'it went on');
    assert.is(stdout, 'before ok\n');
  });
}

confine('a call that is allowed by a name of x86_64 alone is allowed by the name of other architectures', () => {
  // The table that aarch64 uses.
  const table = readFileSync('/usr/include/asm-generic/unistd.h', 'utf8');
  const known = new Set([...table.matchAll(/__NR_(\w+)/g)].map(([, name]) => name));
  const others: Record<string, string> = { epoll_wait: 'epoll_pwait', poll: 'ppoll' };
  for (const program of ['forwarder', 'keeper']) {
    const text = readFileSync(join(ROOT, `native/${program}/system-calls.h`), 'utf8');
    const names = [...text.matchAll(/SYS_(\w+)\}/g)].map(([, name = '']) => name);
    assert.ok(names.length > 20);
    for (const name of names) {
      const there = known.has(name) ? name : (others[name] ?? 'nothing');
      assert.ok(known.has(there) && names.includes(there), `${program}: ${name}, but not ${there}`);
    }
  }
});

confine.run();
