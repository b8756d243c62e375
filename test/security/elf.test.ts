/**
 * What is built natively is built so that a memory error in it is hard to use: read from the files themselves.
 *
 * Every executable and the addon that binding.gyp names, those of bench/ but for lengths too, as they are in build/Release. Whether the
 * compiler guarded the stack and checked lengths is read from the object files: a static executable has these functions
 * from its C library in any case.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readElf, undefinedSymbols } from '../harness/elf.ts';
import { ROOT, gypTargets } from '../harness/sanitized.ts';
import { scratch } from '../harness/native.ts';

const RELEASE = join(ROOT, 'build/Release');
const elf = suite('elf');

const right = { positionIndependent: true, relro: true, bindNow: true, executableStack: false, writableCode: 0 };

/** The objects of a target that are of our own sources. */
const objectsOf = (target: string): string[] =>
  readdirSync(join(RELEASE, 'obj.target', target), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.o'))
    .map((file) => join(RELEASE, 'obj.target', target, file));

for (const { target_name: target, type, sources } of gypTargets()) {
  const program = type === 'executable';
  elf(
    `${target}: anywhere in memory, relocations read-only and resolved at the start, no code that is written to`,
    () => {
      assert.equal(readElf(join(RELEASE, program ? target : `${target}.node`)), { ...right, pie: program });
    },
  );
  elf(`${target}: the stack is guarded, and lengths are checked`, () => {
    const needed = objectsOf(target).flatMap(undefinedSymbols);
    assert.ok(needed.includes('__stack_chk_fail'), 'no stack protector');
    if (sources[0]?.startsWith('bench/')) return; // not shipped, and without a call whose length could be checked
    assert.ok(
      needed.some((name) => /^__\w+_chk$/.test(name)),
      'not built with _FORTIFY_SOURCE',
    );
  });
}

elf('every executable that is shipped is one of these', () => {
  const built = readdirSync(RELEASE, { withFileTypes: true })
    .filter((entry) => entry.isFile() && readFileSync(join(RELEASE, entry.name)).readUInt32BE(0) === 0x7f454c46)
    .map(({ name }) => name.replace(/\.node$/, ''));
  assert.equal(
    built.sort(),
    gypTargets()
      .map(({ target_name }) => target_name)
      .sort(),
  );
});

elf('one that is built without any of it is told apart', () => {
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
