/**
 * The link of a container in a namespace of others: what is written there besides the pair, also when an earlier run was
 * killed in between.
 *
 * Limits: one effect on the kernel; every other point at which a run can be killed is walked by test/crash.
 */
import { execFileSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ensureLink, makePair } from '../../effects/link.ts';
import type { AttachmentInput } from '../../machines/attachment.ts';
import { linkAlias } from '../../machines/plan/attachment.ts';
import { leaseOf } from '../harness/fixtures.ts';
import { addNetns, removeNetns } from '../harness/inside.ts';
import { testKernel } from '../harness/kernel.ts';
import { endWithReport } from '../harness/native.ts';
import { requirePrivateNamespace } from '../harness/private.ts';

requirePrivateNamespace();

const kernel = testKernel();
const link = suite('a link in a namespace of others');
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
    `believes no redirects${killed ? ', when an earlier run was killed after it had made the pair' : ''}`,
    async () => {
      const netns = addNetns('others');
      try {
        execFileSync('ip', ['link', 'add', 'cl-web', 'type', 'bridge']);
        execFileSync('ip', ['netns', 'exec', 'others', 'sysctl', '-qw', 'net.ipv4.conf.all.accept_redirects=1']);
        const input = inputFor(netns);
        if (killed) assert.ok(await makePair(kernel, input));
        await ensureLink(kernel)(input);
        // IPv4 believes a redirect when either says so.
        for (const name of ['all', 'eth0']) assert.is(sysctl(`net.ipv4.conf.${name}.accept_redirects`), '0', name);
        assert.is(sysctl('net.ipv6.conf.eth0.accept_redirects'), '0');
        assert.is(sysctl('net.ipv6.conf.eth0.accept_ra'), '0');
      } finally {
        removeNetns('others');
        execFileSync('ip', ['link', 'del', 'cl-web']);
      }
    },
  );
}

endWithReport();
link.run();
