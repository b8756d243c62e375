/**
 * The words of the judgement: lists, spans of time, ports, objects of drift, and how a sentence begins and ends.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  differencesText,
  faultText,
  listOf,
  objectText,
  portsText,
  sentence,
  spanText,
  wishesText,
} from '../../plan/why/words.ts';
import type { Difference } from '../../state/container.ts';
import { DRIFT_KINDS } from '../../state/drift.ts';
import { PORT } from '../harness/why-facts.ts';

const words = suite('why, the words');

words('a list has a comma between all but the last two, and counts what is more than four', () => {
  assert.is(listOf([]), '');
  assert.is(listOf(['a']), 'a');
  assert.is(listOf(['a', 'b', 'c']), 'a, b and c');
  assert.is(listOf(['a', 'b', 'c', 'd', 'e']), 'a, b, c, d and e');
  assert.is(listOf(['a', 'b', 'c', 'd', 'e', 'f']), 'a, b, c, d and 2 more');
});

words('a span of time is never said to be shorter than it is in seconds, and has the unit that fits', () => {
  const spans = [-5, 0, 900, 1001, 119_000, 120_000, 180_000, 3_660_000, 7_140_000, 7_200_000, 9_000_000];
  assert.equal(spans.map(spanText), [
    '0 s',
    '0 s',
    '1 s',
    '2 s',
    '119 s',
    '2 min',
    '3 min',
    '61 min',
    '119 min',
    '2 h',
    '3 h',
  ]);
});

words('a sentence begins with a capital letter or a command, and ends once', () => {
  assert.is(sentence('`cleat ps` shows it'), '`cleat ps` shows it.');
  assert.is(sentence('it is shown by `cleat ps`'), 'It is shown by `cleat ps`.');
  assert.equal(['why not?', 'stop!', 'it ends.', 'it is v1.2'].map(sentence), [
    'Why not?',
    'Stop!',
    'It ends.',
    'It is v1.2.',
  ]);
});

words('a fault is its message without the full stop, and its code', () => {
  assert.is(faultText({ code: 'KERNEL', message: 'no. Not now.' }), 'no. Not now (KERNEL)');
  assert.is(faultText({ code: 'KERNEL', message: 'eth0.5 is in use' }), 'eth0.5 is in use (KERNEL)');
});

words('a port is named by where it is asked for: outside of all, if there is such an address', () => {
  const inner = { ...PORT, hostIp: '127.0.0.1' };
  assert.is(
    portsText([PORT, inner, { ...inner, outerIp: '192.0.2.1', range: 2 }]),
    '8080/tcp, 127.0.0.1:8080/tcp and 192.0.2.1:8080-8081/tcp',
  );
  assert.is(
    wishesText([
      { container_port: 80, host_port: 8080 },
      { container_port: 80, host_port: 1, host_ip: '127.0.0.1', protocol: 'udp', range: 2 },
      { container_port: 80, host_port: 8080, host_ip: '127.0.0.1', outer_ip: '192.0.2.1' },
    ]),
    '8080/tcp, 127.0.0.1:1-2/udp and 192.0.2.1:8080/tcp',
  );
  assert.is(
    wishesText([{ container_port: 80 }, { container_port: 53, host_port: 0, protocol: 'udp', range: 3 }]),
    'one for 80/tcp and one for 53-55/udp',
    'which port of the host it will be is not known',
  );
});

words('an object of drift is called what it is, once', () => {
  const called = DRIFT_KINDS.map((kind) => objectText({ kind, object: 'x', network: null }));
  assert.equal(called, [
    'link x',
    'address x',
    'route x',
    'neighbour x',
    'switch x',
    'table x',
    'rule x',
    'port x',
    'name server x',
    'uplink x',
  ]);
  assert.is(objectText({ kind: 'table', object: 'table inet cleat', network: null }), 'table inet cleat');
  assert.is(objectText({ kind: 'rule', object: 'ip rule 7', network: null }), 'rule ip rule 7');
});

words('what is wrong with a link is said of the link', () => {
  const link = (object: string) => objectText({ kind: 'link', object, network: 'web' });
  const said = {
    'master br0 on ve0': 'link ve0 on bridge br0',
    'mac 02:00:00:00:00:01 on eth0': 'MAC address 02:00:00:00:00:01 of link eth0',
    'mtu 1400 on eth0': 'MTU 1400 of link eth0',
    'alias cleat:main:c1 on ve0': 'alias cleat:main:c1 of link ve0',
    'up on eth0': 'link eth0, which is to be up,',
  };
  for (const [object, text] of Object.entries(said)) {
    assert.is(link(object), text);
    for (const other of [`no ${object}`, `${object} now`]) assert.is(link(other), `link ${other}`, 'another form');
  }
  assert.is(link('eth0'), 'link eth0');
  assert.is(objectText({ kind: 'route', object: 'mtu 1400 on eth0', network: 'web' }), 'route mtu 1400 on eth0');
});

words('differences: what has the same problem is listed together', () => {
  const of = (problem: Difference['problem'], ...objects: string[]): Difference[] =>
    objects.map((object) => ({ kind: 'route', object, network: 'web', problem }));
  assert.is(
    differencesText([...of('missing', 'a'), ...of('changed', 'b', 'c'), ...of('missing', 'd')]),
    'route a and route d are missing and route b and route c are not as they were made',
  );
  assert.is(
    differencesText([...of('changed', 'a'), ...of('unreadable', 'b')]),
    'route a is not as it was made and route b cannot be read',
  );
  assert.is(
    differencesText([...of('unreadable', 'a', 'b'), ...of('missing', 'c')]),
    'route a and route b cannot be read and route c is missing',
  );
});

words.run();
