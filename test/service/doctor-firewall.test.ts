/**
 * Another firewall drops forwarded packets: doctor names the chain, and the rules that it suggests let containers
 * through. It says nothing about a firewall that lets them pass already.
 */
import { execFileSync } from 'node:child_process';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Check } from '../../state/answers/doctor.ts';
import { on, pathOf } from '../harness/daemon.ts';
import { withAgents } from '../harness/inside.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { LAN, wayOut } from '../harness/way-out.ts';

requirePrivateNamespace();

const firewalls = suite('other firewalls');
const { daemon } = await wayOut(firewalls);

const nft = (rules: string): void => void execFileSync('nft', ['-f', '-'], { input: rules });

async function checks(): Promise<Check[]> {
  const { body } = await daemon.get<{ checks: Check[] }>('/v1/doctor');
  return body.checks.filter(({ name }) => name === 'forward');
}
const findings = async () => (await checks()).filter(({ ok }) => !ok);

firewalls.after.each(() => {
  for (const table of ['inet theirs', 'ip filter', 'ip6 filter']) nft(`add table ${table}; delete table ${table}`);
});

firewalls(
  'doctor says nothing without another firewall, nor about chains that accept or see other packets',
  async () => {
    assert.equal(
      (await checks()).map(({ ok }) => ok),
      [true],
    );
    nft(`table inet theirs {
    chain forward { type filter hook forward priority 0; policy accept; }
    chain input { type filter hook input priority 0; policy drop; iifname lo accept; }
  }`);
    assert.equal(await findings(), []);
  },
);

for (const [family, table, chain] of [
  ['inet', 'theirs', 'guard'],
  ['ip', 'filter', 'FORWARD'],
] as const) {
  firewalls(`${family} ${table} ${chain} cuts containers off, until what doctor says is added`, async () => {
    const a = await daemon.up('a', { networks: on('web') });
    const reaches = () => withAgents([pathOf(a)], (inside) => inside.dial('tcp', LAN, 7000, 500));
    assert.match(await reaches(), /^lan /);
    nft(`table ${family} ${table} { chain ${chain} { type filter hook forward priority 10; policy drop; }; }`);
    assert.is(await reaches(), 'timeout');
    const [only, ...more] = await findings();
    assert.is(more.length, 0);
    assert.match(only?.text ?? '', new RegExp(`^chain ${chain} of table ${family} ${table} drops what is forwarded`));
    assert.match(only?.text ?? '', /network back\), .*network web\)/);
    const said = (only?.hint ?? '').split(': ').at(-1) ?? '';
    for (const rule of said.split('; ')) {
      if (family === 'inet') execFileSync(rule.split(' ')[0] ?? '', rule.split(' ').slice(1));
      else nft(asNft(rule));
    }
    assert.match(await reaches(), /^lan /);
    assert.equal(await findings(), []);
  });
}

/** The rules as iptables-nft writes them. */
function asNft(rule: string): string {
  const [, way, bridge] = /^iptables -I FORWARD -(i|o) (\S+) -j ACCEPT$/.exec(rule) ?? [];
  assert.ok(way && bridge, rule);
  return `insert rule ip filter FORWARD ${way}ifname ${bridge} counter accept`;
}

firewalls('a network without addresses of the family is not concerned', async () => {
  nft('table ip6 filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }');
  assert.equal(await findings(), []);
});

firewalls('doctor names only the networks that are not let through', async () => {
  const { body } = await daemon.get<{ name: string; network_interface: string }[]>('/v1/networks');
  const bridge = body.find(({ name }) => name === 'web')?.network_interface ?? '';
  nft(
    `table inet theirs { chain guard { type filter hook forward priority 0; policy drop; iifname ${bridge} accept; }; }`,
  );
  const [only] = await findings();
  assert.not.match(only?.text ?? '', /network web\)/);
  assert.match(only?.text ?? '', /network back\)/);
});

firewalls(
  "a rule for an interface with a name that only ends or begins like a bridge's lets nobody through",
  async () => {
    const { body } = await daemon.get<{ name: string; network_interface: string }[]>('/v1/networks');
    const bridge = body.find(({ name }) => name === 'web')?.network_interface ?? '';
    const rules = [`x${bridge}`, `${bridge}x`].map((other) => `iifname ${other} accept;`).join(' ');
    nft(`table inet theirs { chain guard { type filter hook forward priority 0; policy drop; ${rules} }; }`);
    const [only] = await findings();
    assert.match(only?.text ?? '', /network web\)/);
  },
);

firewalls.run();
