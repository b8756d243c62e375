/**
 * Native code that is built so that it reports its mistakes: with the sanitizers of the compilers, and as fuzz targets.
 *
 * Guarantees: the build uses the sources of the tree with the flags of binding.gyp's target, plus those of the variant;
 * only changed parts are compiled again, judged by the content of every file that went into them, so that the first
 * build takes a minute for each variant and the next ones nothing. A `patch` builds the same with one source changed,
 * aside, to prove that a mistake is noticed. The first mistake ends the program with EXIT_CODE.
 * Limits: libraries (libmnl, libnftnl, libstdc++, node) are as they are installed: only what the sanitizers intercept
 * is seen of them. Below build/sanitized.
 */
import { spawn } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { type GypTarget, includeFolders, readGyp } from '../../scripts/gyp.ts';
import { built } from './native.ts';
import { effort } from './proof.ts';

export const ROOT = resolve(import.meta.dirname, '../../..');
export const SANITIZED = join(ROOT, 'build/sanitized');
/** The exit code of a sanitized program after a mistake; no program of ours uses it. */
export const EXIT_CODE = 99;

const UNDEFINED = ['-fsanitize=address,undefined', '-fno-sanitize-recover=undefined'];
const VARIANTS = {
  /** libFuzzer (clang alone has it) with ASan and UBSan. */
  fuzz: {
    compiler: 'clang++',
    compile: ['-fsanitize=fuzzer-no-link', ...UNDEFINED],
    link: ['-fsanitize=fuzzer', ...UNDEFINED],
  },
  /** ASan and UBSan. */
  address: { compiler: 'g++', compile: UNDEFINED, link: UNDEFINED },
  /** TSan. */
  thread: { compiler: 'g++', compile: ['-fsanitize=thread'], link: ['-fsanitize=thread'] },
};
export type Variant = keyof typeof VARIANTS;

const WARNINGS = ['-Wall', '-Wextra', '-Wno-missing-field-initializers', '-Werror'];
const OPTIONS = ['-std=c++17', '-O1', '-g1', '-fno-omit-frame-pointer', '-fno-exceptions', '-fPIC', '-D_GNU_SOURCE'];
const COMMON = [...OPTIONS, ...WARNINGS];

/** A change to one source: the first `from` in it becomes `to`. */
export interface Patch {
  source: string;
  from: string;
  to: string;
}

export interface Recipe {
  /** Below build/sanitized/VARIANT, or its PATCHED folder. */
  output: string;
  /** Paths from the root of the tree. */
  sources: string[];
  flags?: string[];
  libraries?: string[];
  patch?: Patch;
}

function gypTarget(name: string): GypTarget {
  const target = readGyp().targets.find(({ target_name }) => target_name === name);
  if (target === undefined) throw new Error(`binding.gyp has no target ${name}`);
  return target;
}

/** The directory of the running node's headers, as the build finds it. */
export function buildAddon(variant: Variant, patch?: Patch): Promise<string> {
  const { sources, defines } = gypTarget('cleat');
  const include = includeFolders().flatMap((folder) => ['-isystem', folder]);
  const flags = [...include, ...defines.map((define) => `-D${define}`)];
  const recipe = { output: 'cleat.node', sources, flags, libraries: ['-shared', '-lmnl', '-lnftnl'] };
  return build(variant, patch === undefined ? recipe : { ...recipe, patch });
}

/**
 * In npm test the executable as it is shipped, because the other takes a minute to compile; in npm run prove, or with `sanitized=2`, what
 * `build` makes.
 */
export function shippedOr(name: string, made: () => Promise<string>): Promise<string> {
  return effort('sanitized', 1, 2) === 1 ? Promise.resolve(built(name)) : made();
}

/** Builds an executable that engines or runtimes call; returns its path. */
export function buildFront(variant: Variant, name: 'cleat-oci-hook' | 'cleat-netavark'): Promise<string> {
  return build(variant, { output: name, sources: gypTarget(name).sources });
}

/** LSan runs at exit(3); a program that ends by _exit(2) has to call it. Forked children do not. */
const LOOK_AT_EXIT = `
#include <sanitizer/lsan_interface.h>
#include <unistd.h>
static const pid_t begun = getpid();
extern "C" void __real__exit(int) __attribute__((noreturn));
extern "C" void __wrap__exit(int code) {
  __real__exit(getpid() == begun && __lsan_do_recoverable_leak_check() != 0 ? ${EXIT_CODE} : code);
}
`;

/** The directory for reports of programs that the daemon starts without any environment. */
export const reportsOf = (variant: 'address' | 'thread'): string => join(SANITIZED, variant, 'reports');

/**
 * An executable that the daemon starts: how and where it reports is built into it (sanitizer/common_interface_defs.h).
 * Returns its path.
 */
export async function buildProgram(variant: 'address' | 'thread', name: string, patch?: Patch): Promise<string> {
  const options = join(SANITIZED, variant, 'options.cc');
  mkdirSync(dirname(options), { recursive: true });
  const functions = Object.entries(reporting(variant, reportsOf(variant), true)).map(([key, value]) => {
    const of = key.replace('_OPTIONS', '').toLowerCase();
    return `extern "C" const char* __${of}_default_options() { return ${JSON.stringify(value)}; }\n`;
  });
  if (variant === 'address') functions.push(LOOK_AT_EXIT);
  await into([options], ([file = '']) => writeFileSync(file, functions.join('')));
  const sources = [...gypTarget(name).sources, relative(ROOT, options)];
  const libraries = ['-pthread', ...(variant === 'address' ? ['-Wl,--wrap=_exit'] : [])];
  const recipe = { output: name, sources, libraries };
  return build(variant, patch === undefined ? recipe : { ...recipe, patch });
}

/** Builds the recipe; returns the path. */
export async function build(variant: Variant, recipe: Recipe): Promise<string> {
  const { compiler, link } = VARIANTS[variant];
  const { patch } = recipe;
  const folder = join(
    SANITIZED,
    variant,
    patch === undefined ? '' : `patched-${digest(JSON.stringify(patch)).slice(0, 8)}`,
  );
  const objects: { path: string; key: string }[] = [];
  const queue = [...recipe.sources];
  const work = async (): Promise<void> => {
    for (let source = queue.shift(); source !== undefined; source = queue.shift()) {
      const own = source === patch?.source ? patched(patch, folder) : undefined;
      objects.push(await compile(variant, source, recipe.flags ?? [], own));
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  objects.sort((a, b) => (a.path < b.path ? -1 : 1));
  const output = join(folder, recipe.output);
  const argv = [...link, ...objects.map(({ path }) => path), ...(recipe.libraries ?? [])];
  const key = digest(JSON.stringify([argv, objects.map((object) => object.key)]));
  if (existsSync(output) && read(`${output}.key`) === key) return output;
  mkdirSync(dirname(output), { recursive: true });
  await into([output, `${output}.key`], async ([program = '', note = '']) => {
    await run(compiler, [...argv, '-o', program]);
    writeFileSync(note, key);
  });
  return output;
}

/** The changed copy of a source. */
function patched({ source, from, to }: Patch, folder: string): string {
  const text = readFileSync(join(ROOT, source), 'utf8');
  if (!text.includes(from)) throw new Error(`${source} has no ${JSON.stringify(from)} any more`);
  const path = join(folder, basename(source));
  mkdirSync(folder, { recursive: true });
  writeFileSync(
    path,
    text.replace(from, () => to),
  );
  return path;
}

/** `instead`: the file that has the source's text. */
async function compile(
  variant: Variant,
  source: string,
  flags: string[],
  instead?: string,
): Promise<{ path: string; key: string }> {
  const path = instead === undefined ? join(SANITIZED, variant, `${source}.o`) : `${instead}.o`;
  const beside = ['-iquote', join(ROOT, dirname(source)), '-iquote', join(ROOT, 'native')];
  const argv = [...COMMON, ...VARIANTS[variant].compile, ...flags, ...beside, '-c', instead ?? join(ROOT, source)];
  // The files that went into it, as the compiler listed them the last time.
  const key = (): string => {
    const inputs = (read(`${path}.d`) ?? '').replace(/^.*?:/, '').split(/[\s\\]+/);
    return digest(JSON.stringify([argv, inputs.filter((input) => input !== '').map((input) => [input, read(input)])]));
  };
  const before = key();
  if (existsSync(path) && read(`${path}.key`) === before) return { path, key: before };
  mkdirSync(dirname(path), { recursive: true });
  await into([path, `${path}.d`], ([object = '', inputs = '']) =>
    run(VARIANTS[variant].compiler, [...argv, '-MMD', '-MF', inputs, '-o', object]),
  );
  const after = key();
  await into([`${path}.key`], ([note = '']) => writeFileSync(note, after));
  return { path, key: after };
}

/** Writes files under other names, then puts them in place: concurrent builds of the same do no harm. */
async function into(paths: string[], write: (instead: string[]) => Promise<void> | void): Promise<void> {
  const instead = paths.map((path) => `${path}.${randomUUID()}`);
  await write(instead);
  for (const [i, path] of paths.entries()) renameSync(instead[i] ?? '', path);
}

function run(command: string, argv: string[]): Promise<void> {
  return new Promise((settle, fail) => {
    const child = spawn(command, argv, { stdio: ['ignore', 'ignore', 'pipe'] });
    let output = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (output += text));
    child.on('error', fail);
    child.on('close', (code) => (code === 0 ? settle() : fail(new Error(`${command} ${argv.join(' ')}\n${output}`))));
  });
}

function read(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

// --- Running ------------------------------------------------------------------------------------------------------

/**
 * The environment in which a program of a variant reports to files in `directory`, or to stderr; `leaks`: also memory
 * that it has lost when it ends.
 */
export function reporting(variant: 'address' | 'thread', directory: string | null, leaks = false) {
  const log = `log_path=${directory === null ? 'stderr' : join(directory, 'report')}`;
  // TSan goes on, and ends as the program does: most of its reports are about V8.
  if (variant === 'thread') return { TSAN_OPTIONS: `${log}:exitcode=0` };
  // Memory that node still has at its end is left to the kernel, which is no leak.
  const asan = `${log}:exitcode=${EXIT_CODE}:detect_leaks=${leaks ? 1 : 0}`;
  return { ASAN_OPTIONS: asan, UBSAN_OPTIONS: `${log}:exitcode=${EXIT_CODE}:print_stacktrace=1` };
}

/**
 * Programs of different pid namespaces have the same pids, and each would overwrite the reports of another: until this
 * is stopped, a new file in the directory is renamed.
 */
export function keepReports(directory: string): { stop: () => void } {
  let kept = 0;
  const sweep = (): void => {
    for (const name of readdirSync(directory).filter((one) => one.startsWith('report.'))) {
      renameSync(join(directory, name), join(directory, `kept.${++kept}`)); // its writer goes on writing
    }
  };
  const timer = setInterval(sweep, 20);
  return { stop: () => clearInterval(timer) };
}

/**
 * V8 and libuv are not built for TSan, which does not see the synchronisation of their memory and descriptors: a race
 * counts only when each access has a frame of ours.
 */
function isOfOurs(report: string): boolean {
  const accesses = report.match(/^  \S.* of size \d+ at .*\n(?:    .*\n)+/gm) ?? [report];
  // TSan of GCC 12 does not follow F_DUPFD_CLOEXEC: it takes a descriptor for one that had the number before.
  const ours = report.includes('Location is file descriptor')
    ? /\bcleat[.-]/
    : /\bcleat[.-]|failed to restore the stack/;
  return accesses.every((access) => ours.test(access));
}

/** The reports about our code, one text each. */
export function reports(directory: string): string[] {
  return readdirSync(directory)
    .map((name) => readFileSync(join(directory, name), 'utf8'))
    .flatMap((text) => text.split(/^=+$/m))
    .filter((text) => /ERROR: (Address|Leak)Sanitizer|runtime error:|WARNING: ThreadSanitizer/.test(text))
    .filter((text) => !text.includes('ThreadSanitizer') || isOfOurs(text));
}

/**
 * A copy of the running node that loads a sanitizer's library before all others, as an addon needs that was built with
 * it. Not by LD_PRELOAD, which every program that node starts would inherit.
 */
export async function sanitizedNode(variant: 'address' | 'thread'): Promise<string> {
  const output = join(SANITIZED, variant, 'node');
  const key = digest(`${process.version} ${statSync(process.execPath).mtimeMs}`);
  if (existsSync(output) && read(`${output}.key`) === key) return output;
  const library = variant === 'address' ? 'libasan.so.8' : 'libtsan.so.2';
  await run('patchelf', ['--add-needed', library, '--output', output, process.execPath]);
  writeFileSync(`${output}.key`, key);
  return output;
}
