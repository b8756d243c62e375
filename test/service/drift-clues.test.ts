/** The announcements that our own teardowns cause are no clues; all others are. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { RtnlNotification } from '../../native/index.ts';
import { Departures } from '../../service/drift/drift-clues.ts';

const clues = suite('clues of teardowns');

const PREFIX = 'cleat:main:';
const link = (type: string, name: string, alias: string): RtnlNotification =>
  ({ type, name, alias, nsid: null }) as unknown as RtnlNotification;
const down = (name: string, owner: string) => link('link.new', name, `${PREFIX}${owner}:web`);
const gone = (name: string, owner: string) => link('link.del', name, `${PREFIX}${owner}:web`);
const port = (name: string) => link('port.del', name, '');

clues('what happens to the link of a container that leaves', () => {
  const departures = new Departures(PREFIX, (owner) => owner === 'a:1');
  for (const event of [down('ve1', 'a:1'), port('ve1'), gone('ve1', 'a:1')]) assert.ok(departures.cause(event));
  // The name is nobody's again.
  assert.not(departures.cause(port('ve1')));
});

clues('what happens to any other link is a clue', () => {
  const departures = new Departures(PREFIX, (owner) => owner === 'a:1');
  for (const event of [
    down('ve2', 'b:1'),
    port('ve2'),
    gone('ve2', 'b:1'),
    link('link.del', 'br0', `${PREFIX}network:web`),
    link('link.del', 'eth9', ''),
    link('link.del', 'eth9', 'cleat:other:a:1:web'),
    port('eth9'),
    { type: 'address.del', address: '10.0.0.1', nsid: null } as unknown as RtnlNotification,
    { ...down('eth0', 'a:1'), nsid: 7 } as RtnlNotification,
  ])
    assert.not(departures.cause(event));
});

clues('a link that was down counts for its bridge when it is up and belongs to somebody else', () => {
  let leaving = 'a:1';
  const departures = new Departures(PREFIX, (owner) => owner === leaving);
  assert.ok(departures.cause(down('ve1', 'a:1')));
  leaving = '';
  assert.not(departures.cause(down('ve1', 'b:1')));
  assert.not(departures.cause(port('ve1')));
});

clues('after lost announcements nothing is known', () => {
  const departures = new Departures(PREFIX, () => true);
  assert.ok(departures.cause(down('ve1', 'a:1')));
  assert.not(departures.cause({ type: 'overrun' }));
  assert.not(departures.cause(port('ve1')));
});

clues.run();
