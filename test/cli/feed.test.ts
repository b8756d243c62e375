/**
 * What `cleat watch` asks the daemon for, against a client that answers as the test says: no more than has changed, and all of
 * it, whatever the daemon does meanwhile.
 */
import { PassThrough } from 'node:stream';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Client } from '../../cli/client.ts';
import { EXIT, Failure } from '../../cli/failure.ts';
import { Feed } from '../../cli/watch/feed.ts';
import { until } from '../harness/native.ts';

const feed = suite('feed');

const refusal = (): Failure => new Failure({ code: 'UNREACHABLE', message: 'no', hint: '' }, EXIT.unreachable);

/** A daemon with these containers, and what the listener of a feed about it was told. */
function follow(...ids: string[]) {
  const there = new Set(ids);
  const asked: string[] = [];
  const told: string[] = [];
  const daemon = { refuses: false, absent: false, tries: 0 };
  let stream: { line: (text: string) => void; end: () => void } | null = null;
  const client = {
    lines: () => {
      daemon.tries++;
      if (daemon.absent) return Promise.reject(refusal());
      const told = new PassThrough({ objectMode: true });
      stream = { line: (text) => told.write(JSON.parse(text)), end: () => told.end() };
      return Promise.resolve(told);
    },
    call: (_route: string, { id: wanted = [] }: { id?: string[] }) => {
      asked.push(wanted.length === 0 ? ALL : `${ALL}?${wanted.map((id) => `id=${id}`).join('&')}`);
      if (daemon.refuses || daemon.absent) return Promise.reject(refusal());
      const found = [...there].filter((id) => wanted.length === 0 || wanted.includes(id));
      return Promise.resolve(found.map((id) => ({ id })));
    },
  };
  const listener = {
    changed: (id: string, container: unknown) => void told.push(container === null ? `${id} gone` : id),
    told: () => void told.push('.'),
    lost: () => void told.push('lost'),
    found: () => void told.push('found'),
  };
  void new Feed(client as unknown as Client, listener).follow();
  return {
    there,
    asked,
    daemon,
    change: (...some: (string | null)[]) => some.forEach((id) => stream?.line(JSON.stringify({ id }))),
    end: () => stream?.end(),
    /** Returns what was asked for and told since the last time, once the listener was told of this. */
    after: async (last: string): Promise<[asked: string[], told: string[]]> => {
      await until(`told ${last}`, () => told.includes(last) && told.at(-1) === '.');
      return [asked.splice(0), told.splice(0)];
    },
  };
}

const ALL = '/v1/containers';

feed("all containers at first, then those that have changed, together; what is nobody's asks for nothing", async () => {
  const { there, change, after, asked } = follow('a', 'b');
  assert.equal(await after('a'), [[ALL], ['a', 'b', '.']]);
  there.delete('b');
  change('a', 'b', null, 'a');
  assert.equal(await after('a'), [[`${ALL}?id=a&id=b`], ['b gone', 'a', '.']]);
  change(null, null);
  there.add('c/d');
  change('c/d');
  assert.equal(await after('c/d'), [[`${ALL}?id=c/d`], ['c/d', '.']]);
  assert.equal(asked, []);
});

feed('one that has come and gone meanwhile is not told', async () => {
  const { there, change, after } = follow();
  await after('.');
  there.add('b');
  change('a', 'b');
  assert.equal((await after('b'))[1], ['b', '.']);
});

feed('more than fit into a request are asked for as all', async () => {
  const ids = Array.from({ length: 51 }, (_, n) => `c${n}`);
  const { there, change, after } = follow(...ids);
  await after('c0');
  change(...ids.slice(1));
  assert.is((await after('c1'))[0][0]?.split('&').length, 50);
  there.delete('c50');
  change(...ids);
  const [asked, told] = await after('c0');
  assert.equal([asked, told[0], told.length], [[ALL], 'c50 gone', 52]);
});

feed('a stream that ends is opened again, and then all is asked for: what is gone is told', async () => {
  const { there, end, after } = follow('a', 'b');
  await after('a');
  there.delete('b');
  end();
  assert.equal(await after('a'), [[ALL], ['lost', 'found', 'b gone', 'a', '.']]);
});

feed('a daemon that refuses the list is lost, which is told once, and asked again for all', async () => {
  const { daemon, change, after, asked } = follow('a', 'b');
  await after('a');
  daemon.refuses = true;
  change('a');
  await until('it was tried again', () => asked.length > 1);
  daemon.refuses = false;
  const [tried, told] = await after('found');
  assert.equal([...new Set(tried.slice(1))], [ALL]);
  assert.equal(told, ['lost', 'found', 'a', 'b', '.']);
});

feed('without a daemon at first it fails, and later it does not', async () => {
  const { daemon, end, after } = follow('a');
  await after('a');
  daemon.absent = true;
  end();
  await until('it was tried again', () => daemon.tries > 2);
  daemon.absent = false;
  assert.equal((await after('found'))[1], ['lost', 'found', 'a', '.']);
  const absent = new Feed({ lines: () => Promise.reject(refusal()) } as unknown as Client, {
    changed: () => {},
    told: () => {},
    lost: () => {},
    found: () => {},
  });
  try {
    await absent.follow();
    assert.unreachable();
  } catch (error) {
    assert.instance(error, Failure);
  }
});

feed.run();
