/**
 * Makes the packages: `npm run package` writes dist/packages/cleat-VERSION.tgz for npm, and cleat_VERSION_ARCHITECTURE.deb.
 *
 *   node dist/scripts/package.js [DIRECTORY] [--architecture ARCHITECTURE --node FILE --libraries DIRECTORY ...]
 *
 * The options are for another processor, for which this tree was compiled (cross.mjs): its Node, and unpacked packages of the libraries.
 *
 * Guarantees: both have the files that `files` in package.json names: what runs, without sources and dependencies, which are in the
 * bundles. The client for programs in Node is in npm's alone. Everything in the .deb belongs to root, wherever it is made, and nothing of this machine is changed.
 * Limits: a C library at least as new as that of the machine. The .deb has the Node that runs this, for which the code caches are made; one that needs libraries of its own version (Debian's, with libnode) is refused. Needs dpkg-dev.
 * docs/decisions/0069.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import { licences } from './licences.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const PACKAGING = join(ROOT, 'packaging');
/** Where the tree is installed, with the folders that it has here. */
const HOME = 'usr/lib/cleat';
const CLEAT = join(ROOT, 'dist/bundle/cleat.cjs');
const DOCUMENTS = ['README.md', 'SECURITY.md'];

const run = (file: string, args: string[], cwd = ROOT, env = {}): string =>
  execFileSync(file, args, {
    cwd,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });

const OWN = run('dpkg', ['--print-architecture']).trim();
const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    architecture: { type: 'string', default: OWN },
    node: { type: 'string', default: process.execPath },
    libraries: { type: 'string', multiple: true, default: [] },
  },
});

/** Packs what package.json names, and returns the path of the archive. */
function packNpm(directory: string): string {
  const wanted = (JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { files: string[] }).files;
  const said = run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', directory]);
  const [packed] = JSON.parse(said) as { filename: string; files: { path: string }[] }[];
  if (packed === undefined) throw new Error('npm pack has packed nothing');
  const any: Record<string, string> = { '.': '\\.', '*': '[^/]*', '**/': '(.*/)?' };
  const matches = (pattern: string) => new RegExp(`^${pattern.replace(/\*\*\/|[.*]/g, (one) => any[one] ?? one)}$`);
  const missing = wanted.filter((pattern) => !packed.files.some(({ path }) => matches(pattern).test(path)));
  if (missing.length > 0) throw new Error(`build first (npm run build): there is no ${missing.join(', ')}`);
  const made = join(directory, packed.filename);
  if (options.architecture === OWN) return made;
  const named = made.replace(/\.tgz$/, `-${options.architecture}.tgz`);
  renameSync(made, named);
  return named;
}

/** Puts everything where it is to be installed, below `stage`. */
function stageFiles(stage: string, archive: string): void {
  const place = (path: string, content: string | Buffer, mode = 0o644): void => {
    mkdirSync(dirname(join(stage, path)), { recursive: true });
    writeFileSync(join(stage, path), content, { mode });
  };
  const link = (path: string, target: string): void => {
    mkdirSync(dirname(join(stage, path)), { recursive: true });
    symlinkSync(target, join(stage, path));
  };
  mkdirSync(join(stage, HOME), { recursive: true });
  run('tar', ['--extract', '--file', archive, '--strip-components=1', '--directory', join(stage, HOME)]);
  // The client is for programs that install it with npm.
  for (const name of ['README.md', 'LICENSE', 'dist/client', 'dist/types'])
    rmSync(join(stage, HOME, name), { recursive: true });

  mkdirSync(join(stage, HOME, 'bin'));
  copyFileSync(options.node, join(stage, HOME, 'bin/node'));
  const program = join(stage, HOME, 'dist/bundle/cleat.cjs');
  writeFileSync(program, readFileSync(program, 'utf8').replace(/^#!.*/, `#!/${HOME}/bin/node`));
  link('usr/bin/cleat', '../lib/cleat/dist/bundle/cleat.cjs');
  // The fronts and helpers, by the path that the documents name.
  link('usr/libexec/cleat', '../lib/cleat/build/Release');

  for (const kind of ['system', 'user']) {
    const from = join(PACKAGING, 'systemd', kind);
    for (const name of readdirSync(from)) place(`usr/lib/systemd/${kind}/${name}`, readFileSync(join(from, name)));
  }
  for (const kind of ['sysusers.d', 'tmpfiles.d'])
    place(`usr/lib/${kind}/cleat.conf`, readFileSync(join(PACKAGING, 'systemd', kind, 'cleat.conf')));

  const pages = join(stage, 'usr/share/man/man1');
  run(process.execPath, [CLEAT, 'man', pages]);
  for (const name of readdirSync(pages)) {
    place(`usr/share/man/man1/${name}.gz`, gzipSync(readFileSync(join(pages, name)), { level: 9 }));
    rmSync(join(pages, name));
  }
  const completions = { bash: 'bash-completion/completions/cleat', zsh: 'zsh/vendor-completions/_cleat' };
  for (const [shell, path] of Object.entries({ ...completions, fish: 'fish/vendor_completions.d/cleat.fish' }))
    place(`usr/share/${path}`, run(process.execPath, [CLEAT, 'completion', shell]));

  const documents = [
    ...DOCUMENTS,
    ...readdirSync(join(ROOT, 'docs'))
      .filter((name) => /\.(md|json)$/.test(name))
      .map((name) => `docs/${name}`),
  ];
  for (const path of documents)
    place(`usr/share/doc/cleat/${path.replace('docs/', '')}`, readFileSync(join(ROOT, path)));
  place('usr/share/doc/cleat/changelog.gz', gzipSync(readFileSync(join(ROOT, 'CHANGELOG.md')), { level: 9 }));
  place('usr/share/doc/cleat/copyright', licences());
}

/** Every file and folder below a directory, with its mode as it is to be installed. */
function tidy(directory: string): { files: string[]; bytes: number } {
  const files: string[] = [];
  let bytes = 0;
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isSymbolicLink()) continue;
    const isProgram = entry.isDirectory() || /\/(bin\/node|cleat\.cjs|Release\/cleat-[^/]+)$/.test(path);
    chmodSync(path, isProgram ? 0o755 : 0o644);
    if (!entry.isFile()) continue;
    files.push(path);
    bytes += readFileSync(path).length;
  }
  chmodSync(directory, 0o755);
  return { files: files.sort(), bytes };
}

/** Returns the packages of the libraries that the addon and Node need, with the versions that have what they use. */
function dependencies(stage: string, scratch: string): string {
  const binaries = ['bin/node', 'build/Release/cleat.node'].map((path) => join(stage, HOME, path));
  const bound = /NEEDED\)?\s.*(libnode[^\s\]]*)/.exec(run('readelf', ['--dynamic', binaries[0] ?? '']))?.[1];
  if (bound !== undefined)
    throw new Error(`this Node needs ${bound} of its own version: package with the Node of nodejs.org`);
  mkdirSync(join(scratch, 'debian'));
  writeFileSync(join(scratch, 'debian/control'), 'Source: cleat\n\nPackage: cleat\nArchitecture: any\n');
  const words = [...options.libraries.map((path) => `-S${path}`), ...binaries.map((path) => `-e${path}`)];
  const said = run('dpkg-shlibdeps', ['-O', '--warnings=0', ...words], scratch, {
    DEB_HOST_ARCH: options.architecture,
  });
  return /^shlibs:Depends=(.*)$/m.exec(said)?.[1] ?? '';
}

/** Returns the path of the package. */
function packDebian(directory: string, scratch: string, archive: string): string {
  const stage = join(scratch, 'stage');
  stageFiles(stage, archive);
  const { files, bytes } = tidy(stage);
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  const { architecture } = options;
  const fields: Record<string, string> = {
    VERSION: version,
    ARCHITECTURE: architecture,
    SIZE: String(Math.ceil(bytes / 1024)),
    DEPENDS: dependencies(stage, scratch),
  };
  const debian = join(stage, 'DEBIAN');
  mkdirSync(debian);
  const control = readFileSync(join(PACKAGING, 'debian/control'), 'utf8');
  writeFileSync(
    join(debian, 'control'),
    control.replaceAll(/@(\w+)@/g, (_word, name: string) => fields[name] ?? ''),
  );
  const sums = files.map((path) => {
    const sum = createHash('md5').update(readFileSync(path)).digest('hex');
    return `${sum}  ${relative(stage, path)}\n`;
  });
  writeFileSync(join(debian, 'md5sums'), sums.join(''));
  for (const name of ['postinst', 'prerm', 'postrm']) {
    copyFileSync(join(PACKAGING, 'debian', name), join(debian, name));
    chmodSync(join(debian, name), 0o755);
  }
  const made = join(directory, `cleat_${version}_${architecture}.deb`);
  run('dpkg-deb', ['--root-owner-group', '-Zzstd', '--build', stage, `${made}.new`]);
  renameSync(`${made}.new`, made);
  return made;
}

const directory = resolve(positionals[0] ?? join(ROOT, 'dist/packages'));
mkdirSync(directory, { recursive: true });
const scratch = mkdtempSync(join(tmpdir(), 'cleat-package-'));
process.umask(0o022);
try {
  const archive = packNpm(directory);
  for (const made of [archive, packDebian(directory, scratch, archive)]) process.stdout.write(`${made}\n`);
} finally {
  rmSync(scratch, { recursive: true });
}
