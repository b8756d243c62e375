/**
 * Who is asked when something was removed in a namespace: the containers with links on parents or with external attachments, which
 * have no end in the outside that would say it.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Containers } from '../../service/containers/containers.ts';
import { findOwners } from '../../service/drift/drift-owners.ts';
import { addNetns, removeNetns } from '../harness/inside.ts';
import { testKernel } from '../harness/kernel.ts';
import { endWithReport } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const kernel = testKernel();
const CHILD = { child: { kind: 'macvlan', mode: 'bridge', bclim: null } };
const container = (owner: string, path: string, attachments: object[], outside: string | null = null) => ({
  context: { owner, outside, netns: { path }, attachments },
});

test('the owner of a namespace is found by its number, if it has a link on a parent here', async () => {
  const [a, b, gone] = [addNetns('a'), addNetns('b'), addNetns('gone')];
  removeNetns('gone');
  const native = kernel.outside(null).kernel;
  const [numberA, numberB] = [await native.netnsId(a), await native.netnsId(b)];
  const all = [
    container('gone:1', gone, [CHILD]),
    container('a:1', a, [{}, CHILD]),
    container('b:1', b, [{}]),
    container('b:2', b, [CHILD], '/run/netns/elsewhere'),
  ];
  const containers = { all: () => all } as unknown as Pick<Containers, 'all'>;
  const found = new Map<number, string>();
  await findOwners({ kernel, containers }, null, [], found);
  assert.is(found.size, 0);
  await findOwners({ kernel, containers }, null, [numberA, numberB, 4711], found);
  assert.equal([...found], [[numberA, 'a:1']]);
});

test('the owner is found if its attachments are external, and a known one is not looked up again', async () => {
  const path = addNetns('c');
  const number = await kernel.outside(null).kernel.netnsId(path);
  let looks = 0;
  const one = container('c:1', path, [{ external: {} }]);
  const watched = {
    context: {
      ...one.context,
      netns: {
        get path() {
          looks++;
          return path;
        },
      },
    },
  };
  const containers = { all: () => [watched] } as unknown as Pick<Containers, 'all'>;
  const found = new Map<number, string>();
  await findOwners({ kernel, containers }, null, [number], found);
  assert.equal([...found], [[number, 'c:1']]);
  await findOwners({ kernel, containers }, null, [4711], found);
  assert.is(looks, 1);
});

endWithReport();
test.run();
