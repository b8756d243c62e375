// slow: 20 s, V8 waits for eight before it gives memory back
/**
 * The memory of a daemon that rests (launch/heap.ts): garbage that V8 would keep is given back, but not while there is work.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { until } from '../harness/native.ts';

const HEAP = resolve(import.meta.dirname, '../../launch/heap.js');
/** Holds 100 MB in the old generation, lets them go, and works for the first SECONDS afterwards, a third of the time. */
const PROGRAM = `
  import { compactAtRest } from ${JSON.stringify(HEAP)};
  compactAtRest();
  let held = [];
  for (let n = 0; n < 800_000; n++) held.push({ n, text: ['x', n] });
  held = null;
  const end = performance.now() + 1000 * Number(process.argv[1]);
  const work = setInterval(() => {
    if (performance.now() > end) return clearInterval(work);
    for (const begun = process.cpuUsage().user; process.cpuUsage().user - begun < 30_000; );
  }, 100);
  console.log('let go');
  setTimeout(() => {}, 60_000);
`;
/** V8 does so too, by itself, after some 40 s without work. */
const LIMIT_MS = 30_000;

const heap = suite('heap at rest');

/** Runs `look` beside a process that has let go of the memory and works for so long. */
async function letGo(seconds: number, look: (megabytes: () => number) => Promise<void>): Promise<void> {
  const args = ['--input-type=module', '--eval', PROGRAM, String(seconds)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  const megabytes = (): number =>
    Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]) / 1024;
  try {
    await look(megabytes);
  } finally {
    child.kill('SIGKILL');
  }
}

heap('a process that rests gives back what it no longer uses', () =>
  letGo(0, async (megabytes) => {
    const before = megabytes();
    assert.ok(before > 110, `${before} MB`);
    await until('half of it is given back', () => megabytes() < before / 2, LIMIT_MS);
  }),
);

heap('a process that works is not held up by a collection', () =>
  letGo(30, async (megabytes) => {
    const before = megabytes();
    await sleep(7000); // three looks
    assert.ok(megabytes() > 0.8 * before, `${before} MB before, ${megabytes()} MB after`);
  }),
);

heap.run();
