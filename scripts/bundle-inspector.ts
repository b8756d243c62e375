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
import { mkdirSync, readFileSync, readdirSync } from 'node:fs';
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
  const drawing = ['scripts/charts.js', 'scripts/machine-graph.js', 'inspector/page/charts/event-name.js'].map((file) =>
    join(DIST, file),
  );
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
    entryPoints: ['style/main.css', 'main.ts'].map((file) => ({ in: join(PAGE, file), out: 'main' })),
    outdir: OUT,
    bundle: true,
    minify: true,
    format: 'iife',
    target: 'es2022',
    write: false,
    legalComments: 'none',
    // Not for the browser: it tells which packages are in the page (licences.ts).
    sourcemap: 'external',
    sourcesContent: false,
  });
  replace(join(OUT, 'index.html'), readFileSync(join(PAGE, 'index.html')));
  // In the order of the entry points; the script comes last, because its age is that of the whole.
  for (const { path, contents } of outputFiles) replace(path, contents);
}

const filesIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((file) => join(folder, file));

if (process.argv[1] === import.meta.filename) await bundleInspector();
