/**
 * Makes native/NAME/system-calls.h: the system calls that the forwarder or the keeper is allowed after its start.
 *
 *   node scripts/system-calls.mjs forwarder|keeper [--check]
 *
 * The program's tests run it under strace(1). All calls after its seccomp(2), refused or not, are added to the list, together
 * with calls that a C library may make although no test causes them (RUNTIME), and the names of the same calls on other
 * architectures (SAME). A call that the filter refuses may hide others, so run this until nothing is new. Nothing is removed;
 * `--check` only lists the calls that would be added, and those that no test makes.
 * Limits: it needs root, strace and a finished `npm run build`; the list is as good as the tests. Calls with a condition on
 * their arguments (native/NAME/rights.cc) are not in the list.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');

/** By program: its tests, the option of strace for threads, and its calls with a condition. */
const PROGRAMS = {
  forwarder: {
    tests: ['native/forwarder', 'effects/forwarder'],
    follow: ['-f'],
    conditional: ['setns', 'clone'],
  },
  keeper: { tests: ['native/keeper', 'effects/uplink'], follow: [], conditional: [] },
};

/** Calls that native/processes/confine.cc allows only with certain arguments. */
const CONDITIONAL = ['mmap', 'mprotect', 'clone3'];

/** Memory, exit (abort(3) included), signals and clocks: the C library or the kernel may need these at any time. */
const RUNTIME = (
  'brk clock_gettime exit exit_group futex getpid getrandom gettid gettimeofday madvise mremap munmap ' +
  'restart_syscall rt_sigaction rt_sigprocmask rt_sigreturn sched_yield tgkill'
).split(' ');
/** Calls of programs with threads (pthread_create(3)). */
const THREADS = ['rseq', 'set_robust_list'];

/** Calls that only some architectures (x86_64) have, with the call that the C library makes on the others. */
const SAME = {
  access: 'faccessat',
  chmod: 'fchmodat',
  dup2: 'dup3',
  epoll_create: 'epoll_create1',
  epoll_wait: 'epoll_pwait',
  eventfd: 'eventfd2',
  inotify_init: 'inotify_init1',
  link: 'linkat',
  mkdir: 'mkdirat',
  open: 'openat',
  pipe: 'pipe2',
  poll: 'ppoll',
  readlink: 'readlinkat',
  rename: 'renameat',
  rmdir: 'unlinkat',
  select: 'pselect6',
  signalfd: 'signalfd4',
  stat: 'newfstatat',
  unlink: 'unlinkat',
};

const [name = '', option] = process.argv.slice(2);
const program = PROGRAMS[name];
if (program === undefined || (option !== undefined && option !== '--check')) {
  fail(`usage: node scripts/system-calls.mjs ${Object.keys(PROGRAMS).join('|')} [--check]`);
}
const header = join(root, `native/${name}/system-calls.h`);
const before = [...readFileSync(header, 'utf8').matchAll(/SYS_(\w+)\}/g)].map(([, call]) => call);
const asked = trace().filter((call) => ![...CONDITIONAL, ...program.conditional].includes(call));
const known = [...RUNTIME, ...(program.follow.length > 0 ? THREADS : []), ...asked];
const wanted = new Set([...known, ...known.flatMap((call) => SAME[call] ?? [])]);
console.log(`new: ${[...wanted].filter((call) => !before.includes(call)).join(' ') || 'none'}`);
console.log(`not asked for: ${before.filter((call) => !wanted.has(call)).join(' ') || 'none'}`);
if (option === undefined) write([...new Set([...before, ...wanted])].sort((a, b) => (a < b ? -1 : 1)));

/** Returns the names of all calls after the filter. Runs the tests with a wrapper in the program's place. */
function trace() {
  const executable = join(root, `build/Release/cleat-${name}`);
  const traces = join(root, `build/traces-${name}`);
  rmSync(traces, { recursive: true, force: true });
  mkdirSync(traces, { recursive: true, mode: 0o777 });
  const wrapper = join(traces, 'wrapper');
  // The program keeps its pid, its path and its command line, because others find it by these.
  const strace = ['/usr/bin/strace', '-D', ...program.follow, '-qq', '-o', `${traces}/$$.txt`].join(' ');
  const inside = `/bin/umount -l "$0" && exec ${strace} "$0" "$@"`;
  writeFileSync(
    wrapper,
    `#!/bin/sh\nexec /usr/bin/unshare -m --propagation slave /bin/sh -c '${inside}' '${executable}' "$@"\n`,
    {
      mode: 0o755,
    },
  );
  const tests = program.tests.map((test) => `'${test}'`).join(' ');
  const script = `mount --bind '${wrapper}' '${executable}' && exec '${process.execPath}' dist/test/run.js ${tests}`;
  const { status } = spawnSync('unshare', ['-m', 'sh', '-c', script], { cwd: root, stdio: ['ignore', 2, 2] });
  if (status !== 0) console.error('some tests failed; strace makes it slow, and the filter may refuse what they need');
  const calls = readdirSync(traces)
    .filter((file) => file.endsWith('.txt'))
    .flatMap((file) => {
      const text = readFileSync(join(traces, file), 'utf8');
      const [, after = ''] = text.split(/^.*\bseccomp\(SECCOMP_SET_MODE_FILTER.*$/m);
      return [...after.matchAll(/^(?:\d+ +)?(\w+)\(/gm)].map(([, call]) => call);
    });
  if (calls.length === 0) fail('nothing was traced: is strace installed, and is this root?');
  return [...new Set(calls)];
}

function write(calls) {
  const lines = calls.map((call) => `#ifdef SYS_${call}\n    {SYS_${call}},\n#endif`);
  writeFileSync(
    header,
    `// system-calls.h: the system calls that the ${name} may make after its start. Made by scripts/system-calls.mjs from
// the calls that the tests cause. Calls that are allowed only with certain arguments are in rights.cc.
#pragma once

#include <sys/syscall.h>

#include "../processes/confine.h"

namespace cleat_${name} {

constexpr cleat::SystemCall kSystemCalls[] = {
${lines.join('\n')}
};

}  // namespace cleat_${name}
`,
  );
}

function fail(text) {
  console.error(text);
  process.exit(1);
}
