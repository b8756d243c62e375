/**
 * The words that choose and shape answers: templates, columns, filters, moments, and what is suggested instead of a slip.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { timeOf } from '../../cli/commands/look.ts';
import { Failure } from '../../cli/failure.ts';
import { suggestion } from '../../cli/help/suggest.ts';
import { filterOf, labelsOf, type Keys } from '../../cli/listing/listing.ts';
import { columnsOf, parseTemplate, render } from '../../cli/template.ts';

const words = suite('words');

const answer = { id: 'web', host_port: 80, ports: [{ a: 1 }], netns: { path: '/run/x' }, fault: null };
const shown = { answer, columns: { ID: 'web', PORTS: '*:80', 'TX PKTS': '7' } };
const text = (template: string, one = shown): string => render(parseTemplate(template), one, (value) => value);
const message = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    if (error instanceof Failure) return `${error.exitCode} ${error.message}`;
    throw error;
  }
  return 'accepted';
};

words('a field is one of the answer by its exact name, else a column, else one of the answer by a like name', () => {
  assert.is(text('{{.id}} {{.ports}} {{.Ports}} {{.ID}}'), 'web [{"a":1}] *:80 web');
  assert.is(text('{{.HostPort}} {{ .netns.path }} {{.TXPkts}}'), '80 /run/x 7');
  assert.is(text('{{json .id}} {{json .}}'), `"web" ${JSON.stringify(answer)}`);
  assert.is(text('a\\tb\\n{{.fault}}.{{.fault.code}}'), 'a\tb\n.');
  assert.equal(parseTemplate('table {{.ID}}\\t{{.netns.path}}').headings, ['ID', 'PATH']);
  assert.is(parseTemplate('{{.ID}}').headings, null);
});

words('what is no template and no field is refused by name', () => {
  for (const wrong of ['{{range .x}}', '{{.a', '{{}}', '{{.a b}}', '{{.id}} }}', '{{json}}', '{{.a..b}}'])
    assert.match(
      message(() => text(wrong)),
      /^2 invalid --format/,
      wrong,
    );
  assert.match(
    message(() => text('{{.nope}}')),
    /^2 --format: there is no field "nope"/,
  );
  assert.match(
    message(() => text('{{.netns.nope}}')),
    /no field "nope"/,
  );
  assert.match(
    message(() => text('{{.constructor}}')),
    /no field/,
  );
});

words('columns are those of the table', () => {
  assert.equal(columnsOf('ports, id,tx_pkts', ['ID', 'PORTS', 'TX PKTS']), [1, 0, 2]);
  assert.match(
    message(() => columnsOf('id,nope', ['ID'])),
    /^2 .*no column "nope"/,
  );
  assert.match(
    message(() => columnsOf('', ['ID'])),
    /no column ""/,
  );
});

interface Item {
  id: string;
  name: string;
  labels: Record<string, string>;
}
const keys: Keys<Item> = { id: ({ id }) => [id], name: ({ name }) => [name], label: ({ labels }) => labelsOf(labels) };
const items = [
  { id: 'abc', name: 'web-1', labels: { stage: 'test', a: '' } },
  { id: 'abd', name: 'db', labels: {} },
];
const chosen = (...filters: string[]): string[] => items.filter(filterOf(filters, keys)).map(({ id }) => id);

words('values of one key are alternatives, keys all hold', () => {
  assert.equal(chosen(), ['abc', 'abd']);
  assert.equal(chosen('id=ab'), ['abc', 'abd']);
  assert.equal(chosen('name=eb'), ['abc']);
  assert.equal(chosen('name=eb', 'name=db'), ['abc', 'abd']);
  assert.equal(chosen('name=eb', 'id=abd'), []);
  assert.equal(chosen('label=stage'), ['abc']);
  assert.equal(chosen('label=stage=test'), ['abc']);
  assert.equal(chosen('label=stage=live'), []);
  assert.equal(chosen('label=a='), ['abc']);
  for (const wrong of ['nope=1', 'id', '=x', '', 'toString=x'])
    assert.match(
      message(() => chosen(wrong)),
      /^2 invalid --filter/,
      wrong,
    );
});

words('a moment is a date, seconds, a time ago, or now', () => {
  assert.is(timeOf('2026-01-10T17:45:44Z'), Date.UTC(2026, 0, 10, 17, 45, 44));
  assert.is(timeOf('1700000000.5'), 1_700_000_000_500);
  const ago = (moment: string): number => Math.round((Date.now() - timeOf(moment)) / 60_000);
  assert.equal([ago('now'), ago('10m'), ago('1h30m'), ago('2d')], [0, 10, 90, 2880]);
  for (const wrong of ['', 'x', '10', '-5m', '10y', 'January', '2026-13-45'].filter((one) => one !== '10'))
    assert.match(
      message(() => timeOf(wrong)),
      /^2 invalid time/,
      wrong,
    );
});

const NAMES = [
  'run',
  'rm',
  'reload',
  'ps',
  'stats',
  'stop',
  'create',
  'teardown',
  'connect',
  'disconnect',
  'port',
  'wait',
];

words('a slip leads to one name or to none, and never to what takes something away', () => {
  const suggest = (typed: string) => suggestion(typed, NAMES, true);
  assert.is(suggest('conect'), 'Did you mean connect?');
  assert.is(suggest('craete'), 'Did you mean create?');
  assert.is(suggest('teardwon'), 'Did you mean teardown?');
  assert.is(suggest('status'), 'Here that is `cleat ps`.');
  assert.is(suggest('start'), 'Here that is `cleat up ID`.');
  assert.is(suggestion('start', NAMES, false), null);
  for (const typed of ['rn', 'r', 'xyz', 'stp', 'stopp', 'teardow', 'rmm', 'p', '', 'con', 'constructor', 'weit-x'])
    assert.is(suggest(typed), null, typed);
  assert.is(suggestion('--formt', ['--format', '--force'], false), 'Did you mean --format?');
  assert.is(suggestion('--for', ['--format', '--force'], false), null);
});

words.run();
