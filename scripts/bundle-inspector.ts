/**
 * Makes what the inspector serves, in dist/inspector: the page in one HTML, one script and one style sheet, and the charts of all
 * machines, laid out (machines.json).
 *
 *   node dist/scripts/bundle-inspector.js
 *
 * Guarantees: each is made anew whenever what it is made of has changed, and replaced whole. The page needs nothing else at run
 * time, and none of the packages that it is made with.
 * Limits: the page is made of its sources, which tsc has checked before (inspector/page/tsconfig.json).
 */
import { copyFileSync, mkdirSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { build } from 'esbuild';
import { isStale, replace } from './bundle.ts';

const DIST = resolve(import.meta.dirname, '..');
const ROOT = resolve(DIST, '..');
const PAGE = join(ROOT, 'inspector/page');
const OUT = join(DIST, 'inspector');
const LOCK = join(ROOT, 'package-lock.json');

export async function bundleInspector(): Promise<void> {
  mkdirSync(OUT, { recursive: true });
  const charts = join(OUT, 'machines.json');
  const drawing = ['charts.js', 'machine-graph.js'].map((file) => join(DIST, 'scripts', file));
  if (isStale(charts, [LOCK, ...drawing, ...filesIn(join(DIST, 'machines'))])) {
    // Only now, because the machines and the layout take longer to read than everything else.
    const { allCharts } = await import('./charts.ts');
    replace(charts, JSON.stringify(await allCharts()));
  }
  const page = join(OUT, 'main.js');
  if (isStale(page, [LOCK, join(DIST, '.tsbuildinfo'), ...filesIn(PAGE)])) await bundlePage();
}

async function bundlePage(): Promise<void> {
  const { outputFiles } = await build({
    entryPoints: { main: join(PAGE, 'main.ts'), style: join(PAGE, 'style/main.css') },
    outdir: OUT,
    bundle: true,
    minify: true,
    format: 'iife',
    target: 'es2022',
    write: false,
    legalComments: 'none',
  });
  copyFileSync(join(PAGE, 'index.html'), join(OUT, 'index.html'));
  // The script comes last: its age is that of the whole.
  for (const { path, contents } of outputFiles.toSorted((a) => (a.path.endsWith('.js') ? 1 : -1)))
    replace(path.replace(/style\.css$/, 'main.css'), contents);
}

const filesIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((file) => join(folder, file));

if (process.argv[1] === import.meta.filename) await bundleInspector();
