// proving only: 3600
/**
 * The survey with a kernel says what is so (kernel-survey.ts): of a small module with a quick test of its own. And a module
 * that tells what it runs through (reach.ts) does what it did.
 */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { requirePrivateNamespace } from '../harness/private.ts';
import { learn, surveyOnKernel } from './kernel-survey.ts';
import { partAt, telling } from './reach.ts';
import { mutantsOf } from './survey.ts';

requirePrivateNamespace();

const kernelSurvey = suite('survey with a kernel');

const SOURCE = `
export function word(n) {
    if (n < 0)
        return 'less';
    switch (n) {
        case 0:
            return 'none';
        default:
            for (const m of [n])
                if (m > 9 && m < 100) return 'dozens';
    }
    return n > 99 ? 'many' : 'some';
}
export const twice = (n) => ({ n: 2 * n });
export const text = async (n) => n ?? (await 'nothing');
`;

kernelSurvey('a module tells which parts it runs through, and does what it did', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'telling-'));
  writeFileSync(join(directory, 'word.mjs'), telling(SOURCE, 'word.js'));
  // oxlint-disable-next-line import/no-dynamic-require -- it was written a moment ago
  const { word, twice, text } = (await import(pathToFileURL(join(directory, 'word.mjs')).href)) as {
    word: (n: number) => string;
    twice: (n: number) => object;
    text: (n: number | null) => Promise<unknown>;
  };
  let calls = 0;
  const reachedBy = async (call: () => unknown, wanted: unknown): Promise<string[]> => {
    const file = join(directory, `${++calls}`);
    writeFileSync(file, '');
    process.env['CLEAT_REACHED'] = file;
    assert.equal(await call(), wanted);
    delete process.env['CLEAT_REACHED'];
    return readFileSync(file, 'utf8').split('\n');
  };
  const of = (place: string): string => partAt(SOURCE, 'word.js', SOURCE.indexOf(place));
  const first = await reachedBy(() => word(-1), 'less');
  assert.equal(first, [of('if (n < 0)'), of("'less'"), '']);
  assert.equal(await reachedBy(() => word(0), 'none'), [of("'none'"), '']);
  assert.equal(await reachedBy(() => word(12), 'dozens'), [
    of('for (const m'),
    of('if (m > 9'),
    of('m < 100'),
    of("'dozens'"),
    '',
  ]);
  assert.equal(await reachedBy(() => word(100), 'many'), [of("'many'"), '']);
  assert.equal(await reachedBy(() => word(1), 'some'), [of("'some'"), '']);
  assert.equal(await reachedBy(() => twice(2), { n: 4 }), [of('2 * n'), '']);
  assert.equal(await reachedBy(() => text(null), 'nothing'), [of('n ??'), of("await 'nothing'"), '']);
  assert.is(of('export function'), 'word.js 0');
});

kernelSurvey('of the users that programs run as: which of two mutants its test notices', async () => {
  const module = resolve(import.meta.dirname, '../../effects/processes/users.js');
  const known = await learn(['effects/users.test.ts'], [module], (test, said) =>
    assert.unreachable(`${test}: ${said}`),
  );
  const mutants = mutantsOf(module).filter(({ title }) =>
    /('cleat-dns': 65_521|'cleat-forwarder': 65_522),.*-> $/.test(title),
  );
  const judged = await surveyOnKernel(mutants, known);
  // A job that there is not has no user.
  assert.equal(
    new Set(judged.map(({ at, seenBy, files }) => `${at} ${seenBy} ${files}`)),
    new Set(['effects/processes/users.ts:20 effects/users.test.ts 1', 'effects/processes/users.ts:22 null 1']),
  );
});

kernelSurvey.run();
