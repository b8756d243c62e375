/**
 * The licences of everything in a package: cleat's own, those of the npm packages that are in the bundles, and Node's.
 *
 * Guarantees: which packages are in the bundles is read from their source maps, so none is forgotten. A package without a licence file is
 * named with the licence that its package.json states.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '../..');
/** What is bundled, with source maps: the programs, and the inspector's page. */
const BUNDLES = ['dist/bundle', 'dist/inspector'].map((folder) => join(ROOT, folder));
/** The folder of a package, at the end of the last node_modules in a path. */
const PACKAGE = /^(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//;
/** Where Debian's packages of Node have it, and the archives of nodejs.org. */
const NODES = ['/usr/share/doc/nodejs/LICENSE', join(process.execPath, '../../LICENSE')];

/** The folders of the packages that are in the bundles. */
export function bundled(): string[] {
  const found = new Set<string>();
  const maps = BUNDLES.flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)));
  for (const map of maps.filter((name) => /\.js\.map$|\.cjs\.map$/.test(name))) {
    const { sources } = JSON.parse(readFileSync(map, 'utf8')) as { sources: string[] };
    for (const source of sources) {
      const folder = PACKAGE.exec(resolve(dirname(map), source))?.[1];
      if (folder !== undefined) found.add(folder);
    }
  }
  return [...found].sort();
}

export function licences(): string {
  const own = `cleat\n\n${readFileSync(join(ROOT, 'LICENSE'), 'utf8')}`;
  const others = bundled().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Record<
      string,
      string
    >;
    const file = readdirSync(folder).find((one) => /^licen[cs]e/i.test(one));
    const text = file === undefined ? `Licence: ${license}\n` : readFileSync(join(folder, file), 'utf8');
    return `${name} ${version}\n\n${text}`;
  });
  const nodes = NODES.find((path) => existsSync(path));
  const where = 'https://github.com/nodejs/node/blob/main/LICENSE\n';
  const node = `Node.js ${process.version}\n\n${nodes === undefined ? where : readFileSync(nodes, 'utf8')}`;
  return [own, ...others, node].join(`\n${'-'.repeat(80)}\n\n`);
}
