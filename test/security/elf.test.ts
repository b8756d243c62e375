/**
 * Native files are built so that a memory error in them is hard to exploit: the test reads the files themselves.
 *
 * The files are every executable and the addon that binding.gyp names, as they are in build/Release; those of bench/
 * too, except for checked lengths. Stack protection and checked lengths are read from the object files: a static
 * executable has these functions from its C library in any case.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readGyp } from '../../scripts/gyp.ts';
import { readElf, undefinedSymbols } from '../harness/elf.ts';
import { ROOT } from '../harness/sanitized.ts';
import { scratch } from '../harness/native.ts';

const RELEASE = join(ROOT, 'build/Release');
const elf = suite('elf');

const right = { positionIndependent: true, relro: true, bindNow: true, executableStack: false, writableCode: 0 };

/** It makes no call with a length that the compiler does not know. Its flags are those of all targets. */
const WITHOUT = new Set(['cleat-cni']);

/** The objects of a target that come from our own sources. */
const objectsOf = (target: string): string[] =>
  readdirSync(join(RELEASE, 'obj.target', target), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.o'))
    .map((file) => join(RELEASE, 'obj.target', target, file));

for (const { target_name: target, type, sources } of readGyp().targets) {
  const program = type === 'executable';
  elf(`${target}: it is position-independent, has read-only relocations, and no writable code`, () => {
    assert.equal(readElf(join(RELEASE, program ? target : `${target}.node`)), { ...right, pie: program });
  });
  elf(`${target}: it has stack protection and checked lengths`, () => {
    const needed = objectsOf(target).flatMap(undefinedSymbols);
    assert.ok(needed.includes('__stack_chk_fail'), 'no stack protector');
    if (sources[0]?.startsWith('bench/')) return; // not shipped, and without a call with a length that could be checked
    if (WITHOUT.has(target)) return;
    assert.ok(
      needed.some((name) => /^__\w+_chk$/.test(name)),
      'not built with _FORTIFY_SOURCE',
    );
  });
}

elf('every shipped executable is one of these', () => {
  const built = readdirSync(RELEASE, { withFileTypes: true })
    .filter((entry) => entry.isFile() && readFileSync(join(RELEASE, entry.name)).readUInt32BE(0) === 0x7f454c46)
    .map(({ name }) => name.replace(/\.node$/, ''));
  assert.equal(
    built.sort(),
    readGyp()
      .targets.map(({ target_name }) => target_name)
      .sort(),
  );
});

elf('an executable without any of it is recognised', () => {
  const directory = scratch();
  const source = join(directory, 'plain.c');
  execFileSync('sh', ['-c', 'printf %s "$0" > "$1"', 'void _start(void) {}', source]);
  const build = (...flags: string[]) => {
    execFileSync('cc', [...flags, '-o', join(directory, 'plain'), source]);
    return readElf(join(directory, 'plain'));
  };
  const plain = build(
    '-nostdlib',
    '-static',
    '-no-pie',
    '-Wl,-z,norelro,-z,lazy,-z,execstack,-N',
    '-Wl,--no-warn-rwx-segments',
  );
  assert.equal(plain, {
    positionIndependent: false,
    pie: false,
    relro: false,
    bindNow: false,
    executableStack: true,
    writableCode: 1,
  });
});

elf.run();
