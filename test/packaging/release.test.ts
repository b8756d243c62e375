// slow: 30 s, npm and git are asked for each of two dozen releases
/**
 * scripts/release.ts, on a copy of what it reads and changes, in a repository of its own: what it refuses changes nothing; what it makes; and
 * what is left of it in the sources.
 *
 * Limits: the packages are a stand-in's, which says which version it packed; deb.test.ts and npm.test.ts have the real ones.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { requirePrivateNamespace } from '../harness/private.ts';
import { ROOT } from '../harness/sanitized.ts';

requirePrivateNamespace();

const release = suite('release');
const copy = mkdtempSync('/run/release-');
const NEXT = '99.0.1';
const made = join(copy, 'dist/release', NEXT);
const { version: present } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
const CHANGED = ['package.json', 'package-lock.json', 'native/client/version.h', 'README.md', 'docs/installation.md'];
const PACK = `
import { readFileSync, writeFileSync } from 'node:fs';
const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
if (process.env.PACK_FAILS) process.exit(1);
const suffix = process.env.npm_lifecycle_event === 'package:arm64' ? '-arm64' : '';
writeFileSync(process.argv[2] + '/cleat-' + version + suffix + '.tgz', readFileSync('native/client/version.h'));
`;
const WHO = Object.fromEntries(
  ['AUTHOR', 'COMMITTER'].flatMap((who) => [
    [`GIT_${who}_NAME`, 'Ann'],
    [`GIT_${who}_EMAIL`, 'ann@example.org'],
  ]),
);

const git = (...args: string[]): string =>
  execFileSync('git', args, { cwd: copy, encoding: 'utf8', env: { ...process.env, ...WHO } }).trim();
const run = (args: string[], env: Record<string, string> = {}) =>
  spawnSync(process.execPath, [join(copy, 'dist/scripts/release.js'), ...args], {
    cwd: copy,
    encoding: 'utf8',
    env: { ...process.env, ...WHO, npm_config_cache: `${copy}/dist/cache`, npm_config_offline: 'true', ...env },
  });
/** The last commit, what is not committed, and the tags. */
const state = (): string[] => [git('log', '--format=%H %s'), git('status', '--porcelain'), git('tag')];

release.before(() => {
  const built = ['dist/scripts', 'dist/bundle', 'dist/inspector'];
  for (const file of [...CHANGED, 'CHANGELOG.md', ...built])
    cpSync(join(ROOT, file), join(copy, file), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
  const change = (file: string, from: RegExp, to: string): void =>
    writeFileSync(
      join(copy, file),
      readFileSync(join(copy, file), 'utf8').replace(from, () => to),
    );
  for (const script of ['package', 'package:arm64'])
    change('package.json', new RegExp(`"${script}": ".*"`), `"${script}": "node pack.mjs"`);
  change(
    'CHANGELOG.md',
    /^## \[Unreleased\]$/m,
    `## [Unreleased]\n\n## [99.0.0] - 2026-01-01\n\n## [${NEXT}] - 2026-01-02\n\n- New.\n`,
  );
  writeFileSync(join(copy, 'pack.mjs'), PACK);
  writeFileSync(join(copy, '.gitignore'), 'dist/\nnode_modules\n');
  git('init', '--quiet');
  git('add', '.');
  git('commit', '--quiet', '--message', 'first');
});

release('what is wrong is refused, and changes nothing', () => {
  const before = state();
  const wrong: [string[], RegExp][] = [
    [[], /usage/],
    [[NEXT, 'more'], /usage/],
    [[NEXT, '--what'], /--what/],
    [['v1.0.0'], /"v1\.0\.0" is no version/],
    [['1.0'], /"1\.0" is no version/],
    [['01.0.0'], /"01\.0\.0" is no version/],
    [[present], /is not newer than/],
    [['0.0.1'], /is not newer than/],
    [['98.0.0'], /CHANGELOG\.md has no "## \[98\.0\.0\]/],
    [['99.0.0'], /CHANGELOG\.md has no .* with what is new in it/],
  ];
  for (const [args, said] of wrong) {
    const { status, stderr, stdout } = run(args);
    assert.equal([status, stdout], [1, ''], args.join(' '));
    assert.match(stderr, said);
    assert.match(stderr, /^Error: /);
  }
  writeFileSync(join(copy, 'new.txt'), '');
  const { status, stderr } = run([NEXT]);
  assert.is(status, 1);
  assert.match(stderr, /^Error: the tree is not clean: commit first\n\?\? new\.txt$/m);
  rmSync(join(copy, 'new.txt'));
  assert.equal(state(), before);
  assert.not(existsSync(dirname(made)));
});

release('without --tag, everything is made, and the sources are as before; also if it cannot be made', () => {
  const before = state();
  assert.is.not(run([NEXT, '--tag'], { PACK_FAILS: '1' }).status, 0);
  assert.equal(state(), before);
  const { status, stdout, stderr } = run([NEXT]);
  assert.is(status, 0, stderr);
  const files = ['SHA256SUMS', `cleat-${NEXT}-arm64.tgz`, `cleat-${NEXT}.cdx.json`, `cleat-${NEXT}.tgz`];
  assert.equal(
    stdout.trim().split('\n'),
    files.map((name) => join(made, name)),
  );
  assert.equal(readdirSync(made).sort(), files);
  assert.is(execFileSync('sha256sum', ['--check', '--quiet', 'SHA256SUMS'], { cwd: made, encoding: 'utf8' }), '');
  assert.is(readFileSync(join(made, 'SHA256SUMS'), 'utf8').trim().split('\n').length, 3);
  assert.match(readFileSync(join(made, `cleat-${NEXT}.tgz`), 'utf8'), new RegExp(`kVersion = "${NEXT}"`));
  assert.equal(state(), before);
});

release('the bill of materials has what is in the packages, and no tool', () => {
  const bom = JSON.parse(readFileSync(join(made, `cleat-${NEXT}.cdx.json`), 'utf8')) as {
    bomFormat: string;
    metadata: { component: { name: string; version: string } };
    components: { name: string; version: string }[];
  };
  const { name, version } = bom.metadata.component;
  assert.equal([bom.bomFormat, name, version], ['CycloneDX', 'cleat', NEXT]);
  const names = bom.components.map((one) => one.name);
  // Of the daemon, its traces, the command, the inspector's page; and what they need themselves.
  for (const one of ['fastify', 'xstate', 'zod', '@opentelemetry/core', 'commander', 'preact', 'htm', 'avvio', 'node'])
    assert.ok(names.includes(one), `${one} is missing: ${names.join(' ')}`);
  for (const one of ['typescript', 'prettier', 'esbuild', 'uvu', 'playwright-core'])
    assert.not(names.includes(one), one);
  assert.is(bom.components.find((one) => one.name === 'node')?.version, process.versions.node);
});

release('with --tag, the version is committed wherever it stands, and tagged; it is not released twice', () => {
  mkdirSync(made, { recursive: true });
  writeFileSync(join(made, 'old.tgz'), 'of an earlier try');
  const { status, stderr } = run([NEXT, '--tag']);
  assert.is(status, 0, stderr);
  assert.not(existsSync(join(made, 'old.tgz')));
  assert.is(git('log', '--format=%s', '-1'), `release: set the version to ${NEXT}`);
  assert.equal(git('show', '--format=', '--name-only').split('\n').sort(), CHANGED.toSorted());
  assert.is(git('status', '--porcelain'), '');
  assert.is(git('rev-parse', `v${NEXT}^{commit}`), git('rev-parse', 'HEAD'));
  assert.match(git('show', '--no-patch', `v${NEXT}`), new RegExp(`cleat ${NEXT}`));
  const old = `(^|[^0-9.])${present.replaceAll('.', '\\.')}($|[^0-9.]|\\.[a-z])`;
  const left = spawnSync('git', ['grep', '-nE', old, '--', ...CHANGED.filter((file) => !file.includes('lock'))], {
    cwd: copy,
    encoding: 'utf8',
  });
  assert.is(left.stdout, '');
  const lock = JSON.parse(readFileSync(join(copy, 'package-lock.json'), 'utf8')) as {
    version: string;
    packages: Record<string, { version: string }>;
  };
  assert.equal([lock.version, lock.packages['']?.version], [NEXT, NEXT]);
  assert.match(run([NEXT, '--tag']).stderr, /is not newer than/);
});

release.after(() => rmSync(copy, { recursive: true }));

release.run();
