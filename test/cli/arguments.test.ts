/**
 * Random command lines: words of `cleat` in any order with values that are right, wrong or odd.
 *
 * This must hold: the exit code is one of the table in docs/cli.md; a failure is explained on stderr, in words, never
 * with a stack; the audit is clean afterwards.
 * Limits: `daemon` is left out (it would be a second one), `run` has `true` to run. `lines=N` tries more.
 *
 * proving: 1800
 */
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { AuditReport } from '../../state/answers/audit.ts';
import { tryByChance } from '../harness/chance.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort, proved } from '../harness/proof.ts';
import { Shell } from './shell.ts';

requirePrivateNamespace();

const LINES = effort('lines', 12, 400);
const CODES = [0, 1, 2, 3, 125, 126, 127];

const shell = new Shell();
const commandLines = suite('command lines');
commandLines.before(() => shell.startDaemon());
commandLines.after(async () => void (await shell.endDaemon('SIGTERM')));

const words = (text: string): string[] => text.trim().split(/\s+/);

const COMMANDS = [
  ...words(`create configure reload connect disconnect publish unpublish teardown ps inspect stats history audit doctor
    version help network nonsense --help --version run`),
  '',
  'network ls',
  'network create',
  'network rm',
  'network inspect',
  'network update',
];
const OPTIONS =
  words(`--network -p --publish --pid --bound-to --exit-fd --name --hostname --files --outside --full -a -q --ip --ip6
  --mac --alias --gw-priority --from -i --no-wait -f --subnet --gateway --ip-range --ipv6 --internal --disable-dns --dns
  --opt --route --label --interface-name --format --format=json --socket --timeout --wait --nonsense -- - -x`);
const VALUES = [
  ...words(`a b web cleat constructor __proto__ ../x ä 0 -1 65536 1e9 NaN 8080:80 80 8080:80/udp [::1]:80:80
    1-65535:1-65535 ::: 80/icmp x:y 99999999999999999999 10.90.0.0/24 10.90.0.5 fd00::/64 10.90.0.1-10.90.0.9
    02:00:00:00:00:01 mtu=1400 mtu = a=b=c web:ip=10.90.0.5 web:ip= web:nonsense=1 none host container: container:a ns:
    ns:/etc/passwd 192.0.2.0/24,10.89.0.9 , json table /run/no.sock %s%n $(id)`),
  '',
  ' ',
  '\n',
  'x'.repeat(300),
];

const commandLine = fc
  .tuple(
    fc.constantFrom(...COMMANDS),
    fc.array(
      fc.oneof(
        { weight: 2, arbitrary: fc.constantFrom(...OPTIONS) },
        { weight: 3, arbitrary: fc.constantFrom(...VALUES) },
        { weight: 1, arbitrary: fc.string({ maxLength: 12 }).map((text) => text.replaceAll('\0', '')) },
      ),
      { maxLength: 6 },
    ),
  )
  .map(([command, rest]) => [
    ...command.split(' '),
    ...rest,
    ...(command === 'run' && !rest.includes('--') ? ['--', 'true'] : []),
  ]);

commandLines(
  'any command line ends with a documented exit code, and an error says in words what is wrong',
  async () => {
    let tried = 0;
    const attempt = async (lines: string[][]): Promise<void> => {
      for (const argv of lines) {
        const { code, stdout, stderr } = await shell.cleat(...argv);
        tried++;
        const told = JSON.stringify({ argv, code, stdout, stderr });
        assert.ok(CODES.includes(code ?? -1), told);
        assert.not.match(stderr, /\n\s+at |node:internal|undefined|\[object /, told);
        if (code !== 0) assert.ok(stderr.trim() !== '' || ['audit', 'doctor'].includes(argv[0] ?? ''), told);
      }
      const ids = (await shell.ok('ps', '-q')).split('\n').filter((id) => id !== '');
      if (ids.length > 0) await shell.ok('teardown', ...ids);
      assert.equal((await shell.json<AuditReport>('audit')).findings, []);
    };
    await tryByChance(
      fc.array(commandLine, { minLength: 1, maxLength: 16, size: 'max' }),
      Math.ceil(LINES / 8),
      attempt,
      (lines) => lines.map((argv) => JSON.stringify(argv)).join('\n'),
    );
    proved('command lines by chance', tried);
  },
);

commandLines.run();
