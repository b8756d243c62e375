// slow: 20 s, a daemon is started by its command, and each example is a program
/**
 * docs/api.md: its examples, run as they stand there, work and leave nothing; the errors and the statuses that it names exist.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FAULTS } from '../../state/faults.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { TestDaemon } from '../harness/daemon.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const ROOT = join(import.meta.dirname, '../../..');
const text = readFileSync(join(ROOT, 'docs/api.md'), 'utf8');
const daemon = new TestDaemon(mkdtempSync('/run/examples-'), '/run/cleat/cleat.sock');
const examples = suite('examples of docs/api.md');

const blocks = (language: string): string[] =>
  [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\`$`, 'gm'))].map(([, code = '']) => code);

examples.before(async () => {
  mkdirSync('/run/cleat');
  await daemon.start();
});
examples.after.each(() => daemon.clean());
examples.after(async () => void (await daemon.stop()));

const PROGRAMS: [language: string, program: string, args: string[], outputs: RegExp[]][] = [
  ['sh', 'bash', ['-e', '-o', 'pipefail', '-c'], [/"state":"created"[^]*"state":"up"[^]*"state":"gone"/]],
  [
    'js',
    process.execPath,
    ['--input-type=module', '--eval'],
    [
      /^\/\S+ 10\.90\.0\.5\/24\ntrue\nNETWORK_IN_USE Disconnect .*\n$/,
      /^1 200 created\n2 200 up\n3 200 \w+\ncreate done\nconfigure done\nteardown done\n$/,
    ],
  ],
  ['python', 'python3', ['-c'], [/^(?:worker-\d up\n){10}$/]],
];
for (const [language, program, args, outputs] of PROGRAMS) {
  examples(`those in ${language} do what they say, and leave nothing`, async () => {
    assert.is(blocks(language).length, outputs.length);
    for (const [i, code] of blocks(language).entries()) {
      // In the package, `cleat/client` is the package's own.
      const said = execFileSync(program, [...args, code], { encoding: 'utf8', timeout: 60_000, cwd: ROOT });
      assert.match(said, outputs[i] ?? '', said);
    }
    for (let n = 0; n < 10; n++) await daemon.gone(`worker-${n}`);
    assert.equal((await daemon.get('/v1/containers')).body, []);
    const { body: networks } = await daemon.get<NetworkDefinition[]>('/v1/networks');
    assert.equal(
      networks.map(({ name }) => name),
      ['cleat'],
    );
  });
}

examples('the table of statuses has those that errors have', () => {
  const listed = [...text.matchAll(/^\| (\d{3}) /gm)].map(([, status]) => Number(status));
  assert.equal(
    listed,
    [...new Set(Object.values(FAULTS).map(([status]) => status))].sort((a, b) => a - b),
  );
});

examples('a definition that was answered can be sent again', async () => {
  const made = await daemon.network({ name: 'back', subnets: [{ subnet: '10.90.0.0/24' }], labels: { a: 'b' } });
  const { body: answered } = await daemon.get<NetworkDefinition>('/v1/networks/back');
  await daemon.request('DELETE', '/v1/networks/back');
  const again = await daemon.request('POST', '/v1/networks', answered);
  assert.is(again.status, 201, again.text);
  const { id, created, ...rest } = again.body as unknown as NetworkDefinition;
  const { id: before, created: then, ...same } = answered;
  assert.equal(rest, same);
  assert.not.equal(id, before);
  assert.ok(created > then, made.name);
  await daemon.request('DELETE', '/v1/networks/back');
});

examples.run();
