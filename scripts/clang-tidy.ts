/**
 * Judges the C++ sources of binding.gyp with clang-tidy, by the checks of .clang-tidy, whose warnings are errors here.
 *
 * Without arguments as much as `npm run check` has time for; with --analyzer also what the static analyzer of clang finds, which
 * follows values along each path and takes as long again (`npm run prove`).
 *
 * Guarantees: a source that was found clean is not judged again until it, a header of ours that it includes, the checks or
 * clang-tidy change, by content. A check that is turned off, and a NOLINT, say why, or that is an error too.
 * Limits: clang-tidy is Debian's; other major versions have other checks. A change of a library's headers is not noticed:
 * `rm build/.clang-tidy*` judges all of it afresh, which takes a minute and a quarter on two cores.
 *
 * Usage: node dist/scripts/clang-tidy.js [--analyzer]
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, normalize, resolve } from 'node:path';
import { includeFolders, readGyp } from './gyp.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const CONFIG = readFileSync(join(ROOT, '.clang-tidy'), 'utf8');
const analyzer = process.argv.includes('--analyzer');
/** Keys of the sources that were clean. */
const CLEAN = join(ROOT, analyzer ? 'build/.clang-tidy-analyzer' : 'build/.clang-tidy');
/** Added to those of the configuration. */
const CHECKS = analyzer ? ['--checks=clang-analyzer-*'] : [];

const version = spawnSync('clang-tidy', ['--version'], { encoding: 'utf8' });
if (version.error) {
  fail([`clang-tidy: ${version.error.message}; get it: apt-get install --no-install-recommends clang-tidy`]);
}

const commands = commandLines();
const clean = new Set(existsSync(CLEAN) ? readFileSync(CLEAN, 'utf8').split('\n') : []);
const keys = new Map([...commands].map(([source, argv]) => [source, keyOf(source, argv)]));
const queue = [...commands.keys()].filter((source) => !clean.has(keys.get(source) ?? ''));
const findings = new Set([...reasonless(), ...[...commands.keys()].flatMap(silenced)]);
const started = Date.now();
const judged = queue.length;
await Promise.all(Array.from({ length: availableParallelism() }, work));

mkdirSync(dirname(CLEAN), { recursive: true });
writeFileSync(CLEAN, [...keys.values()].filter((key) => clean.has(key)).join('\n'));
if (findings.size > 0) fail([...findings]);
if (judged > 0) console.log(`clang-tidy: ${judged} sources judged in ${((Date.now() - started) / 1000).toFixed(1)} s`);

/** How each source is compiled; one of several targets as in the first. */
function commandLines(): Map<string, string[]> {
  const { target_defaults: defaults, targets } = readGyp();
  const headers = includeFolders().flatMap((folder) => ['-isystem', folder]);
  const lines = new Map<string, string[]>();
  for (const { sources, defines } of [...targets].reverse()) {
    const flags = [...defaults.cflags_cc, ...headers, ...defines.map((define) => `-D${define}`)];
    for (const source of sources) lines.set(source, flags);
  }
  return lines;
}

async function work(): Promise<void> {
  for (let source = queue.shift(); source !== undefined; source = queue.shift()) {
    const found = await judge(source);
    if (found.length === 0) clean.add(keys.get(source) ?? '');
    for (const one of found) findings.add(one); // one in a header comes once for each source
  }
}

async function judge(source: string): Promise<string[]> {
  const argv = ['--quiet', ...CHECKS, '--warnings-as-errors=*', source, '--', ...(commands.get(source) ?? [])];
  const child = spawn('clang-tidy', argv, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] });
  let [output, errors] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
  const code = await new Promise<number | null>((settle, reject) => child.on('error', reject).on('close', settle));
  if (code === 0) return [];
  const found = output.split(/^(?=\S+:\d+:\d+: (?:error|warning): )/m).map((text) => text.trimEnd());
  return output === '' ? [`${source}: ${errors}`] : found;
}

function keyOf(source: string, argv: string[]): string {
  const texts = inputsOf(source).map((path) => [path, readFileSync(join(ROOT, path), 'utf8')]);
  return createHash('sha256')
    .update(JSON.stringify([version.stdout, CONFIG, process.version, argv, texts]))
    .digest('hex');
}

/** A source, and what it includes of ours. */
function inputsOf(source: string, seen = new Set<string>()): string[] {
  if (seen.has(source) || !existsSync(join(ROOT, source))) return [];
  seen.add(source);
  const text = readFileSync(join(ROOT, source), 'utf8');
  for (const [, path = ''] of text.matchAll(/^#include "(.*)"/gm))
    inputsOf(normalize(join(dirname(source), path)), seen);
  return [...seen];
}

/** Checks that are turned off without a line `# NAME: REASON`. */
function reasonless(): string[] {
  const off = [...CONFIG.matchAll(/^ +-([\w.*-]*\w[\w.*-]*)/gm)].map(([, name = '']) => name);
  return off
    .filter((name) => !CONFIG.includes(`# ${name}: `))
    .map((name) => `.clang-tidy: ${name} is turned off without a line "# ${name}: REASON"`);
}

/** Places in a source, or in what it includes, where a check is silenced for no reason that is said. */
function silenced(source: string): string[] {
  return inputsOf(source).flatMap((path) =>
    readFileSync(join(ROOT, path), 'utf8')
      .split('\n')
      .flatMap((line, i) => {
        if (!line.includes('NOLINT') || /NOLINT(?:NEXTLINE)?\([\w.-]+\): \w/.test(line)) return [];
        return `${path}:${i + 1}: a NOLINT is NOLINT(CHECK): REASON`;
      }),
  );
}

function fail(lines: string[]): never {
  console.error(lines.join('\n'));
  process.exit(1);
}
