/**
 * The addon, the forwarder and the keeper, with their threads, under the sanitizers: the tests of native/ and lives of
 * the daemon, with all three built with ASan and UBSan, then with TSan.
 *
 * Method: in this file's own mount namespace the three and node are replaced by sanitized ones. So the tests run
 * unchanged, each with the sanitizer in these and in no other program (`ip` itself has something for ASan to report).
 * Node is a copy of the real one that loads the sanitizer's library first. V8 and libuv are not built for TSan, so only
 * reports about our code count; their mutexes are seen, as those of any program.
 * Limits: memory measurements differ under a sanitizer, so those tests may fail here, no others. Under TSan some tests
 * are left out (SIGNALLED).
 */
// proving only: 3600
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { proved } from '../harness/proof.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import {
  buildAddon,
  buildProgram,
  keepReports,
  type Patch,
  reporting,
  reports,
  reportsOf,
  ROOT,
  sanitizedNode,
} from '../harness/sanitized.ts';

requirePrivateNamespace();

const BUILT = join(ROOT, 'build/Release');
const PROGRAMS = ['cleat-forwarder', 'cleat-keeper'];
const LIVES = ['lifecycle', 'drift.test', 'ports', 'rebuild', 'outsides'].map((name) => `service/${name}`);
const NATIVE = readdirSync(join(ROOT, 'test/native')).map((name) => `native/${name}`);
/**
 * Left out under TSan, which keeps signals from node, SIGCHLD and SIGTERM, in tests that start many processes of their
 * own: these would wait for ever. The forwarder's threads are seen in its tests below native/; the keeper has but one.
 */
const SIGNALLED = ['native/keeper', 'effects/forwarder/forwarder', 'effects/uplinks/uplink', 'service/uplink'];
const UNDER_TSAN = [...NATIVE, ...LIVES].filter((name) => !SIGNALLED.some((one) => name.startsWith(one)));

interface Run {
  output: string;
  /** The reports about the addon. */
  reports: string[];
}

/** Runs tests by parts of their names, with our programs of a variant; `patch` applies to a source of `patched`. */
async function runTests(
  variant: 'address' | 'thread',
  parts: string[],
  patch?: Patch,
  patched = 'cleat.node',
): Promise<Run> {
  const directory = reportsOf(variant);
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  const patchOf = (name: string): Patch | undefined => (name === patched ? patch : undefined);
  const mounts = [
    [await buildAddon(variant, patchOf('cleat.node')), join(BUILT, 'cleat.node')],
    [await sanitizedNode(variant), process.execPath],
  ];
  for (const name of PROGRAMS) {
    mounts.push([await buildProgram(variant, name, patchOf(name)), join(BUILT, name)]);
  }
  for (const mount of mounts) execFileSync('mount', ['--bind', ...mount]);
  const keeping = keepReports(directory);
  try {
    // TSan expects memory at fixed places: without -R it ends at once on machines that randomise much of an address.
    const argv = ['-R', process.execPath, join(ROOT, 'dist/test/run.js'), '--patience', '5', ...parts];
    const child = spawn('setarch', argv, {
      env: { ...process.env, ...reporting(variant, directory) },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
    await new Promise((settle) => child.on('close', settle));
    return { output, reports: reports(directory) };
  } finally {
    keeping.stop();
    for (const [, at = ''] of mounts.toReversed()) execFileSync('umount', [at]);
  }
}

/**
 * Returns how many tests passed; throws when others failed than those that measure memory, or something was reported.
 */
function judge({ output, reports: said }: Run): number {
  assert.equal(said, []);
  const failed = [...output.matchAll(/^ +\| +FAIL +(?:[^"]* +)?"(.*)"$/gm)].map(([, name = '']) => name);
  assert.equal(
    failed.filter((name) => !name.includes('memory')), // of the process, which the sanitizer has grown
    [],
    output,
  );
  const silent = [...output.matchAll(/^ {2}(\S+ not finished after .*)$/gm)].map(([, what]) => what);
  assert.equal(silent, [], output);
  const [, passed = '0', others = '0'] = /^(\d+) passed, (\d+) failed$/m.exec(output) ?? [];
  assert.is(Number(others), failed.length, output);
  assert.ok(Number(passed) > 0, output);
  return Number(passed);
}

const sanitized = suite('sanitized');

sanitized('the addon does nothing that ASan and UBSan report', async () => {
  const passed = judge(await runTests('address', [...NATIVE, ...LIVES, ...SIGNALLED]));
  proved('tests under ASan and UBSan', passed);
});

sanitized("the addon's threads share nothing without a lock (TSan)", async () => {
  const passed = judge(await runTests('thread', UNDER_TSAN));
  proved('tests under TSan', passed);
});

sanitized('a missing lock is noticed', async () => {
  const lock = '  {\n    std::lock_guard<std::mutex> lock(mutex_);\n    queue_.push_back(job.release());\n  }';
  const patch = { source: 'native/node/worker.cc', from: lock, to: '  queue_.push_back(job.release());' };
  const { reports: said, output } = await runTests('thread', ['native/namespaces/udp-socket'], patch);
  assert.ok(said.length > 0, output);
  assert.match(said.join('\n'), /data race[^]*worker\.cc/);
});

sanitized('a missing lock in the forwarder is noticed', async () => {
  const lock = '    std::lock_guard lock(mutex_);\n    posted_.push_back(std::move(work));';
  const patch = { source: 'native/forwarder/ports/lane.cc', from: lock, to: 'posted_.push_back(std::move(work));' };
  const { reports: said, output } = await runTests('thread', ['native/forwarder.'], patch, 'cleat-forwarder');
  assert.ok(said.length > 0, output);
  assert.match(said.join('\n'), /data race[^]*lane\.cc/);
});

sanitized('a byte written beyond the end is noticed', async () => {
  const patch = {
    source: 'native/rtnetlink/rtnl-socket.cc',
    from: 'buffer_.resize(kReceiveSize);',
    to: 'buffer_.resize(kReceiveSize), buffer_.shrink_to_fit(), const_cast<volatile char*>(buffer_.data())[kReceiveSize] = 0;',
  };
  const { reports: said, output } = await runTests('address', ['native/rtnetlink/rtnl'], patch);
  assert.ok(said.length > 0, output);
  assert.match(said.join('\n'), /heap-buffer-overflow[^]*rtnl-socket\.cc/);
});

sanitized.run();
