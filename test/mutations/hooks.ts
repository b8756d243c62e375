/**
 * Module hooks (node:module, register) of a process that tries mutants: `import('a.test.js?mutant=...')` loads that
 * test with the mutant's program, every module of ours loaded again. `uvu` is suites.ts then.
 *
 * Guarantees: nothing is written to disk; the address of a module says which mutant it belongs to.
 */
import { readFile } from 'node:fs/promises';
import type { LoadHook, ResolveHook } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { Mutation } from './operators.ts';

/** A change of one compiled module. */
export interface Mutant extends Mutation {
  /** Its address, file:///... */
  url: string;
}

export const addressed = (url: string, mutant: Mutant | null): string =>
  `${url}?mutant=${encodeURIComponent(JSON.stringify(mutant))}`;

const SUITES = new URL('./suites.js', import.meta.url).href;

export const resolve: ResolveHook = async (specifier, context, next) => {
  if (specifier === 'uvu') return { url: SUITES, shortCircuit: true };
  const found = await next(specifier, context);
  const query = new URL(context.parentURL ?? 'file:///').search;
  return query.startsWith('?mutant=') && specifier.startsWith('.') ? { ...found, url: found.url + query } : found;
};

export const load: LoadHook = async (url, context, next) => {
  const { search, searchParams } = new URL(url);
  const plain = url.slice(0, url.length - search.length);
  const mutant = JSON.parse(searchParams.get('mutant') ?? 'null') as Mutant | null;
  if (mutant?.url !== plain) return next(url, context);
  const source = await readFile(fileURLToPath(plain), 'utf8');
  const { start, end, text } = mutant;
  return { format: 'module', shortCircuit: true, source: source.slice(0, start) + text + source.slice(end) };
};
