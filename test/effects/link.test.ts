/**
 * The link of a container: the settings that are written in a namespace of others besides the pair, also when an earlier run was
 * killed in between; and the host links that a removal may take away.
 *
 * Limits: one effect on the kernel; test/crash covers every other point at which a run can be killed.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ensureLink, makePair, removeIfOurs } from '../../effects/links/link.ts';
import type { AttachmentInput } from '../../machines/container/attachment.ts';
import { linkAlias } from '../../plan/containers/attachment.ts';
import { leaseOf } from '../harness/fixtures.ts';
import { addNetns, removeNetns } from '../harness/inside.ts';
import { GROUP, testKernel } from '../harness/kernel.ts';
import { endWithReport } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const kernel = testKernel();
const link = suite('a link');
const OWNER = 'a:1';

function inputFor(netns: string): AttachmentInput {
  const names = { hostLink: 've0', link: 'eth0', alias: linkAlias('main', OWNER, 'web'), aliases: [] };
  const attachment = { ...leaseOf('web'), ...names, ordinal: 0, gatewayPriority: 0 };
  return { verb: 'attach', attachment, predecessor: null, netns, owned: false, outside: null, owner: OWNER };
}

const sysctl = (name: string, ...more: string[]): string =>
  execFileSync('ip', ['netns', 'exec', 'others', 'sysctl', '-n', ...more, name], { encoding: 'utf8' }).trim();

for (const killed of [false, true]) {
  link(
    `a link accepts no redirects${killed ? ', when an earlier run was killed after it had made the pair' : ''}`,
    async () => {
      const netns = addNetns('others');
      try {
        execFileSync('ip', ['link', 'add', 'cl-web', 'type', 'bridge']);
        execFileSync('ip', ['netns', 'exec', 'others', 'sysctl', '-qw', 'net.ipv4.conf.all.accept_redirects=1']);
        const input = inputFor(netns);
        if (killed) assert.ok(await makePair(kernel, input));
        await ensureLink(kernel)(input);
        // IPv4 accepts a redirect if either switch allows it.
        for (const name of ['all', 'eth0']) assert.is(sysctl(`net.ipv4.conf.${name}.accept_redirects`), '0', name);
        assert.is(sysctl('net.ipv6.conf.eth0.accept_redirects'), '0');
        assert.is(sysctl('net.ipv6.conf.eth0.accept_ra'), '0');
      } finally {
        // The kernel removes the links of a namespace some time after its name: the next test makes one of the same name.
        spawnSync('ip', ['link', 'del', 've0']);
        removeNetns('others');
        execFileSync('ip', ['link', 'del', 'cl-web']);
      }
    },
  );
}

const OURS = linkAlias('main', OWNER, 'web');
for (const [what, alias, group, goes] of [
  ['its own goes', OURS, GROUP, true],
  ['one that was not named yet goes', '', GROUP, true],
  ['one that was on its way out goes', OURS, GROUP + 1, true],
  ['that of another container stays', linkAlias('main', 'b:1', 'web'), GROUP, false],
  ["one that says that it is ours, and is in nobody's group, stays", OURS, 0, false],
  ["somebody's stays", '', 0, false],
] as const) {
  link(`of a name that it has on the host: ${what}`, async () => {
    execFileSync('ip', ['link', 'add', 've0', 'group', String(group), 'type', 'veth', 'peer', 've1']);
    try {
      if (alias !== '') execFileSync('ip', ['link', 'set', 've0', 'alias', alias]);
      const { attachment } = inputFor('');
      const there = (): boolean => execFileSync('ip', ['-br', 'link'], { encoding: 'utf8' }).includes('ve0@');
      assert.ok(await removeIfOurs(kernel, kernel.outside(null), attachment));
      assert.is(there(), !goes);
    } finally {
      spawnSync('ip', ['link', 'del', 've0']);
    }
  });
}

endWithReport();
link.run();
