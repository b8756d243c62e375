/**
 * Makes native/NAME/system-calls.h: which system calls the forwarder or the keeper is allowed once it has begun.
 *
 *   node scripts/system-calls.mjs forwarder|keeper [--check]
 *
 * The program's tests run with it under strace(1), from its seccomp(2) on; what it asked for, refused or not, is added to
 * the list, with what a C library may do that no test makes it do (RUNTIME) and the same calls by the names of other
 * architectures (SAME). A call that the filter refuses may hide others: run it until nothing is new. Nothing is removed;
 * `--check` only says what would be added, and what no test asked for.
 * Limits: as root, after `npm run build`, with strace; the list is as good as the tests. Calls with a condition on their
 * arguments (native/NAME/rights.cc) are not in the list.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');

/** Which tests use it, whether it has threads, and what has a condition. */
const PROGRAMS = {
  forwarder: {
    tests: ['native/forwarder', 'effects/forwarder'],
    follow: ['-f'],
    conditional: ['setns', 'clone'],
  },
  keeper: { tests: ['native/keeper', 'effects/uplink'], follow: [], conditional: [] },
};

/** Calls that native/confine.cc allows with certain arguments only. */
const CONDITIONAL = ['mmap', 'mprotect', 'clone3'];

/** Memory, the end (abort(3) included), signals and clocks: whenever the C library or the kernel finds it necessary. */
const RUNTIME = (
  'brk clock_gettime exit exit_group futex getpid getrandom gettid gettimeofday madvise mremap munmap ' +
  'restart_syscall rt_sigaction rt_sigprocmask rt_sigreturn sched_yield tgkill'
).split(' ');
/** With threads (pthread_create(3)). */
const THREADS = ['rseq', 'set_robust_list'];

/** Names that x86_64 alone has, and what the C library calls elsewhere. */
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

/** The names of all calls after the filter, by running the tests with a wrapper in the program's place. */
function trace() {
  const executable = join(root, `build/Release/cleat-${name}`);
  const traces = join(root, `build/traces-${name}`);
  rmSync(traces, { recursive: true, force: true });
  mkdirSync(traces, { recursive: true, mode: 0o777 });
  const wrapper = join(traces, 'wrapper');
  // The program keeps its pid, its place and its words: whoever knows it by these finds it.
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
    `// system-calls.h: what the ${name} is allowed to ask of the kernel once it has begun. Made by
// scripts/system-calls.mjs from what its tests make it do; a call with a condition is in rights.cc.
#pragma once

#include <sys/syscall.h>

#include "../confine.h"

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
