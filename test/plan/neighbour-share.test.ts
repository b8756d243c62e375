/**
 * The plan of neighbour shares: which neighbours take room from others, which containers have too many of them, and
 * when an inspection is worthwhile.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { aboveShare, mayBeAboveShare, permanentOnes } from '../../plan/kernel/neighbour-share.ts';
import type { Attachment } from '../../state/container.ts';

const plan = suite('plan of shares of neighbours');

const [INCOMPLETE, REACHABLE, STALE, DELAY, FAILED, NOARP, PERMANENT] = [1, 2, 4, 8, 0x20, 0x40, 0x80];
const seen = (address: string, state: number | undefined) => ({ link: 2, address, mac: '', state: state ?? 0 });

plan('permanent neighbours, failed ones and those that need no resolution take no room', () => {
  const all = [FAILED, NOARP, PERMANENT, STALE].map((state, i) => seen(`10.0.0.${i}`, state));
  assert.equal(aboveShare(all, 4, 0), { entries: 1, surplus: [seen('10.0.0.3', STALE)] });
});

plan('the families count apart, and nobody has too many within a share', () => {
  const all = [seen('10.0.0.1', STALE), seen('10.0.0.2', STALE), seen('fd00::1', STALE)];
  assert.equal(aboveShare(all, 4, 1), { entries: 2, surplus: [seen('10.0.0.1', STALE)] });
  assert.equal(aboveShare(all, 4, 2), { entries: 2, surplus: [] });
  assert.equal(aboveShare(all, 6, 1), { entries: 1, surplus: [] });
});

plan('neighbours without an answer go first, then those not used lately', () => {
  const all = [REACHABLE, STALE, INCOMPLETE, DELAY, INCOMPLETE].map((state, i) => seen(`10.0.0.${i}`, state));
  const goes = (limit: number) => aboveShare(all, 4, limit).surplus.map(({ address }) => address);
  assert.equal(goes(3), ['10.0.0.2', '10.0.0.4']);
  assert.equal(goes(2), ['10.0.0.2', '10.0.0.4', '10.0.0.1']);
});

plan('no container is inspected before somebody can have too many', () => {
  assert.not(mayBeAboveShare(100, 100, undefined, 5000), 'all together have no more than one may have');
  assert.ok(mayBeAboveShare(101, 100, undefined, 5000));
  const last = { most: 80, allocated: 5000 };
  assert.not(mayBeAboveShare(900, 100, last, 5020), 'who had most has 100 at most');
  assert.ok(mayBeAboveShare(900, 100, last, 5021));
});

plan("the host has a container's addresses as neighbours, and the container the gateways", () => {
  const attachment = {
    mac: '02:00:00:00:00:01',
    networkId: 'a'.repeat(64),
    addresses: [
      { address: '10.0.0.2', prefix: 24, gateway: '10.0.0.1' },
      { address: 'fd00::2', prefix: 64, gateway: null },
    ],
  } as unknown as Attachment;
  assert.equal([permanentOnes([attachment], 4), permanentOnes([attachment], 6)], [2, 1]);
  assert.is(permanentOnes([{ ...attachment, unmanaged: true }], 4), 0);
});

plan.run();
