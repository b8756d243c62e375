/** If several aardvark-dns are installed, the newest that runs is chosen. Scripts stand for other versions. */
import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { findAardvark } from '../../effects/names/aardvark.ts';
import { scratch } from '../harness/native.ts';

const aardvark = suite('the newest aardvark-dns');
const directory = scratch();
const installed = (await findAardvark())!;

function program(name: string, script: string, mode = 0o755): string {
  const path = join(directory, name);
  rmSync(path, { force: true });
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, mode);
  return path;
}
const saying = (name: string, version: string) => program(name, `[ "$*" = --version ] && echo aardvark-dns ${version}`);

aardvark('the newest is found by its version, in any order, and versions are compared as numbers', async () => {
  const [nine, fourteen] = [saying('nine', '1.9.9'), saying('fourteen', '1.14.0')];
  const places = [nine, installed, fourteen, join(directory, 'absent')];
  assert.is(await findAardvark(places), fourteen);
  assert.is(await findAardvark(places.toReversed()), fourteen);
  assert.is(await findAardvark([installed, nine]), nine);
  const two = saying('two', '2.0.0-rc1');
  assert.is(await findAardvark([...places, two]), two);
});

aardvark('the first is chosen among equal versions, and among executables without a version', async () => {
  const [a, b] = [saying('a', '1.5.0'), saying('b', '1.5.0')];
  assert.is(await findAardvark([a, b]), a);
  assert.is(await findAardvark([b, a]), b);
  const mute = program('mute', 'exit 1');
  assert.is(await findAardvark([mute, program('odd', 'echo something 9.9.9')]), mute);
});

aardvark('an executable that does not run or has no version is not chosen if another has one', async () => {
  const closed = program('closed', 'echo aardvark-dns 9.9.9', 0o644);
  const slow = program('slow', 'exec sleep 60');
  assert.is(await findAardvark([closed, slow, installed]), installed);
});

aardvark('the search is repeated when an executable has been replaced or removed', async () => {
  const changing = saying('changing', '1.3.0');
  assert.is(await findAardvark([installed, changing]), installed);
  saying('changing', '1.20.0');
  assert.is(await findAardvark([installed, changing]), changing);
  rmSync(changing);
  assert.is(await findAardvark([installed, changing]), installed);
  assert.is(await findAardvark([changing]), null);
});

aardvark.run();
