/**
 * Makes a release: `npm run release -- VERSION [--tag]`.
 *
 *   dist/release/VERSION/    the packages (package.ts, cross.mjs), cleat-VERSION.cdx.json (what is in them, CycloneDX), SHA256SUMS
 *
 * Guarantees: it is refused, and nothing is changed, unless the tree is clean, VERSION is newer than the present one, and CHANGELOG.md says
 * under `## [VERSION] - DATE` what is new. The version is set everywhere it stands. Without --tag, the sources are as they were when it
 * ends. With it, the version is committed and tagged `vVERSION`, once everything is made. Nothing is pushed or published.
 * Limits: made on amd64, for amd64 and arm64. What is linked into the static executables (glibc, libstdc++) is not listed.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { bundled } from './licences.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const NUMBER = '(?:0|[1-9]\\d*)';
const VERSION = new RegExp(`^${NUMBER}\\.${NUMBER}\\.${NUMBER}$`);

const FILES = (version: string): string[] => [`cleat_${version}_amd64.deb`, `cleat-${version}.tgz`];
const FILES_OF_ARM64 = (version: string): string[] => [`cleat_${version}_arm64.deb`, `cleat-${version}-arm64.tgz`];
/** Where the version stands, each as it is written there. */
const PLACES: Readonly<Record<string, (version: string) => string[]>> = {
  'package.json': (version) => [`"version": "${version}"`],
  // Of itself and of its root package; others may have the same version.
  'package-lock.json': (version) =>
    ['  ', '      '].map((indent) => `"name": "cleat",\n${indent}"version": "${version}"`),
  'native/client/version.h': (version) => [`kVersion = "${version}"`],
  'README.md': FILES,
  'docs/installation.md': (version) => [...FILES(version), ...FILES_OF_ARM64(version)],
};

const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');
const run = (file: string, args: string[]): string =>
  execFileSync(file, args, { cwd: ROOT, encoding: 'utf8', maxBuffer: 1 << 26, stdio: ['ignore', 'pipe', 'inherit'] });

class Refusal extends Error {}

function check(version: string, present: string): void {
  if (!VERSION.test(version)) throw new Refusal(`"${version}" is no version: it is three numbers, as 1.2.3`);
  if (!isNewer(version, present)) throw new Refusal(`${version} is not newer than ${present}`);
  const changes = run('git', ['status', '--porcelain']);
  if (changes !== '') throw new Refusal(`the tree is not clean: commit first\n${changes.trimEnd()}`);
  if (run('git', ['tag', '--list', `v${version}`]) !== '') throw new Refusal(`there is a tag v${version}`);
  const [, entries = ''] = read('CHANGELOG.md').split(
    new RegExp(`^## \\[${version.replaceAll('.', '\\.')}\\] - \\d{4}-\\d{2}-\\d{2}$`, 'm'),
  );
  if (!/^- \S/m.test(entries.split(/^## /m)[0] ?? ''))
    throw new Refusal(`CHANGELOG.md has no "## [${version}] - YYYY-MM-DD" with what is new in it`);
}

function isNewer(version: string, present: string): boolean {
  const [a, b] = [version, present].map((text) => text.split('.').map(Number)) as [number[], number[]];
  const at = a.findIndex((number, i) => number !== b[i]);
  return at !== -1 && (a[at] ?? 0) > (b[at] ?? 0);
}

/** Returns the files with the version in them. */
function withVersion(version: string, present: string): Map<string, string> {
  return new Map(
    Object.entries(PLACES).map(([file, words]) => {
      const made = words(present).reduce((text, before, i) => {
        if (!text.includes(before)) throw new Refusal(`${file} does not say ${before}`);
        return text.replaceAll(before, words(version)[i] ?? '');
      }, read(file));
      return [file, made];
    }),
  );
}

interface Bom {
  metadata: { component: { name: string } };
  components: { name: string; version: string; 'bom-ref': string }[];
  dependencies: { ref: string; dependsOn?: string[] }[];
}

/** Returns what is in the packages: of what npm lists, that which is in the bundles; and Node, which is in the .deb. */
function billOfMaterials(): string {
  const bom = JSON.parse(run('npm', ['sbom', '--sbom-format', 'cyclonedx', '--package-lock-only'])) as Bom;
  const { name } = JSON.parse(read('package.json')) as { name: string };
  const inside = bundled().map((folder) => {
    const of = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { name: string; version: string };
    const found = bom.components.find((one) => one.name === of.name && one.version === of.version);
    if (found === undefined) throw new Error(`npm sbom does not list ${of.name} ${of.version}, which is in a bundle`);
    return found;
  });
  const node = process.versions.node;
  const engine = {
    'bom-ref': `node@${node}`,
    type: 'platform',
    name: 'node',
    version: node,
    purl: `pkg:generic/node@${node}`,
  };
  const refs = new Set(inside.map((one) => one['bom-ref']));
  bom.metadata.component.name = name; // npm takes that of the folder
  bom.dependencies = bom.dependencies
    .filter(({ ref }) => refs.has(ref))
    .map(({ ref, dependsOn = [] }) => ({ ref, dependsOn: dependsOn.filter((one) => refs.has(one)) }));
  bom.components = [...inside, engine];
  return `${JSON.stringify(bom, undefined, 2)}\n`;
}

function make(version: string, directory: string): void {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  for (const script of ['package', 'package:arm64']) run('npm', ['run', '--silent', script, '--', directory]);
  writeFileSync(join(directory, `cleat-${version}.cdx.json`), billOfMaterials());
  const sums = readdirSync(directory)
    .sort()
    .map(
      (name) =>
        `${createHash('sha256')
          .update(readFileSync(join(directory, name)))
          .digest('hex')}  ${name}\n`,
    );
  writeFileSync(join(directory, 'SHA256SUMS'), sums.join(''));
}

function release(version: string, tag: boolean): void {
  const { version: present } = JSON.parse(read('package.json')) as { version: string };
  check(version, present);
  const changed = withVersion(version, present);
  const before = new Map([...changed.keys()].map((file) => [file, read(file)]));
  const write = (files: Map<string, string>): void => {
    for (const [file, text] of files) writeFileSync(join(ROOT, file), text);
  };
  const directory = join(ROOT, 'dist/release', version);
  let done = false;
  try {
    write(changed);
    make(version, directory);
    if (tag) {
      run('git', ['commit', '--quiet', '--message', `release: set the version to ${version}`, ...changed.keys()]);
      run('git', ['tag', '--annotate', '--message', `cleat ${version}`, `v${version}`]);
    }
    done = tag;
  } finally {
    if (!done) write(before);
  }
  for (const name of readdirSync(directory)) process.stdout.write(`${join(directory, name)}\n`);
  console.error(
    tag
      ? `committed and tagged v${version}; push both when you are sure`
      : 'the sources are as before; --tag commits and tags',
  );
}

try {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { tag: { type: 'boolean', default: false } },
  });
  const [version, ...more] = positionals;
  if (version === undefined || more.length > 0) throw new Refusal('usage: npm run release -- VERSION [--tag]');
  release(version, values.tag);
} catch (error) {
  if (!(error instanceof Refusal || (error as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS') === true))
    throw error;
  console.error(`Error: ${(error as Error).message}`);
  process.exitCode = 1;
}
