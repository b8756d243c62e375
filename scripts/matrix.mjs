/**
 * Tries cleat where it was not built: `npm run test:matrix`, which takes an hour.
 *
 *   node scripts/matrix.mjs [PLACE...] [-- SUBSTRING...]
 *   PLACE      node20, node22, node24: the tests (those with SUBSTRING, as of test/run.ts) with the newest Node of that version, for
 *              which everything is built anew in a copy; bookworm, trixie: the life of the package in a clean Debian; arm64: the packages
 *              for that processor, in emulation; etcd: the tests of overlay networks with the etcd of Debian 13. Default: all
 *
 * Guarantees: nothing is installed on this machine. What was fetched stays in build/matrix, and is fetched once. The last line of each place
 * is its verdict; the exit code is 1 if one failed.
 * Limits: needs root, debootstrap and the network: Node is taken from packages of npm, Debian from its archive.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fetchPackages } from './debian.mjs';
import { tryArm64 } from './matrix-arm64.mjs';
import { liveInDebian } from './matrix-debian.mjs';

const ROOT = join(import.meta.dirname, '..');
const HOME = join(ROOT, 'build/matrix');
const NODES = ['node20', 'node22', 'node24'];
const DEBIANS = ['bookworm', 'trixie'];
const OTHERS = ['arm64', 'etcd'];
const PLACES = [...DEBIANS, ...OTHERS, ...NODES];
/** The release whose etcd is tried. */
const ETCD_RELEASE = 'trixie';
/** What of a working copy is made, or is of no use to a copy. */
const NOT_COPIED = ['build', 'dist', 'node_modules', '.git'];

const words = process.argv.slice(2);
const end = words.includes('--') ? words.indexOf('--') : words.length;
const [places, substrings] = [words.slice(0, end), words.slice(end + 1)];
const unknown = places.find((place) => !PLACES.includes(place));
if (unknown !== undefined) throw new Error(`unknown place ${unknown}; known: ${PLACES.join(' ')}`);

/** Runs a program to its end; its output is ours. */
function run(file, args, options = {}) {
  const { status, error } = spawnSync(file, args, { stdio: 'inherit', ...options });
  if (status !== 0) throw new Error(`${file} ${args.join(' ')}: ${error?.message ?? `exit code ${status}`}`);
}

/** Returns the directory of a Node of this version, with its headers. */
function fetchNode(major) {
  const directory = join(HOME, `node${major}`);
  const name = `node-linux-${process.arch}`;
  const found = join(directory, 'node_modules', name);
  if (!existsSync(join(found, 'bin/node'))) {
    mkdirSync(directory, { recursive: true });
    run('npm', ['install', '--no-save', '--no-audit', '--no-fund', '--prefix', directory, `${name}@${major}`]);
  }
  return found;
}

/** Builds and tests a copy with this Node. */
function tryNode(place) {
  const node = fetchNode(place.slice('node'.length));
  const copy = join(HOME, `${place}-copy`);
  mkdirSync(copy, { recursive: true });
  for (const name of readdirSync(copy)) {
    if (!NOT_COPIED.includes(name)) rmSync(join(copy, name), { recursive: true });
  }
  for (const name of readdirSync(ROOT)) {
    if (!NOT_COPIED.includes(name)) cpSync(join(ROOT, name), join(copy, name), { recursive: true });
  }
  if (existsSync(join(copy, 'node_modules'))) unlinkSync(join(copy, 'node_modules'));
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
  const env = { ...process.env, PATH: `${join(node, 'bin')}:${process.env.PATH}` };
  for (const command of [
    ['node', '--version'],
    ['npm', 'run', 'build'],
    ['node', 'dist/test/run.js', '--retry', '3', ...substrings],
  ])
    run(command[0], command.slice(1), { cwd: copy, env });
}

/** Installs the package in a clean Debian, and sees that it works and leaves nothing. */
function tryDebian(suite) {
  const clean = join(HOME, suite);
  if (!existsSync(clean)) {
    const made = `${clean}.new`;
    rmSync(made, { recursive: true, force: true });
    // What the package depends on, and recommends: its installation fetches nothing.
    const include = '--include=libmnl0,libnftnl11,iproute2,slirp4netns,aardvark-dns';
    run('unshare', ['--mount', 'debootstrap', '--variant=minbase', include, suite, made]);
    renameSync(made, clean);
  }
  run(process.execPath, [join(ROOT, 'dist/scripts/package.js'), HOME]);
  const file = readdirSync(HOME).find((name) => name.endsWith('.deb'));
  liveInDebian(clean, join(HOME, file));
}

function packAndTryArm64() {
  const packages = join(HOME, 'arm64');
  rmSync(packages, { recursive: true, force: true });
  run(process.execPath, [join(ROOT, 'scripts/cross.mjs'), packages]);
  const file = readdirSync(packages).find((name) => name.endsWith('_arm64.deb'));
  tryArm64(join(packages, file), join(ROOT, 'build/arm64/system'), join(HOME, 'arm64-files'));
}

/** Returns the directory of the programs of another release's etcd. */
function fetchEtcd() {
  const directory = join(HOME, `etcd-${ETCD_RELEASE}`);
  if (!existsSync(directory)) {
    const made = `${directory}.new`;
    rmSync(made, { recursive: true, force: true });
    mkdirSync(made, { recursive: true });
    fetchPackages(made, ['etcd-server', 'etcd-client'], { release: ETCD_RELEASE });
    for (const name of readdirSync(made)) run('dpkg-deb', ['--extract', join(made, name), made]);
    renameSync(made, directory);
  }
  return join(directory, 'usr/bin');
}

function tryEtcd() {
  const env = { ...process.env, TEST_ETCD: fetchEtcd() };
  run(join(env.TEST_ETCD, 'etcd'), ['--version']);
  const files = ['client', 'shares', 'hosts', 'users'].map((name) => `overlay/${name}`);
  run(process.execPath, [join(ROOT, 'dist/test/run.js'), '--retry', '3', ...files], { env });
}

mkdirSync(HOME, { recursive: true });
let failed = 0;
for (const place of places.length > 0 ? places : PLACES) {
  try {
    if (DEBIANS.includes(place)) tryDebian(place);
    else if (place === 'arm64') packAndTryArm64();
    else if (place === 'etcd') tryEtcd();
    else tryNode(place);
    console.log(`${place}: passed`);
  } catch (error) {
    failed++;
    console.log(`${place}: failed: ${error.message}`);
  }
}
process.exit(failed > 0 ? 1 : 0);
