/**
 * Defects planted on purpose: each is one change of one line, and a test that must see it.
 *
 * Limits: what is written here is the source as it is; a mutant whose line has changed fails, and is to be written anew.
 */
export interface Mutant {
  name: string;
  file: string;
  find: string;
  replace: string;
  /** The test files that are run, by a part of their path. */
  test: string;
  /** What they must say: that they failed for this reason. */
  seen: RegExp;
}

export const mutants: Mutant[] = [
  {
    name: 'what a write that was cut short left is not swept',
    file: 'state/whole-file.ts',
    find: 'if (file.endsWith(ENDING)) unlinkSync(join(this.directory, file));',
    replace: '',
    test: 'state/',
    seen: /b\.json\.tmp/,
  },
  {
    name: 'a file is written in place',
    file: 'state/whole-file.ts',
    find: "const descriptor = openSync(`${path}${ENDING}`, 'w', 0o600);",
    replace: "const descriptor = openSync(path, 'w', 0o600); writeFileSync(`${path}${ENDING}`, text);",
    test: 'state/store',
    seen: /FAIL +snapshot store +"a full disk/,
  },
  {
    name: 'a published port is lost',
    file: 'effects/ports.ts',
    find: 'const add = elements(kernel, targets).add;',
    replace: 'const add = elements(kernel, targets.slice(1)).add;',
    test: 'crash/kill-alone',
    seen: /"kind":"port".*"problem":"missing"/,
  },
  {
    name: 'an unpublished port stays',
    file: 'effects/ports.ts',
    find: 'return await done(native, elements(kernel, targets).remove);',
    replace: 'return await done(native, elements(kernel, targets.slice(1)).remove);',
    test: 'crash/kill-beside',
    seen: /"kind":"port".*"problem":"leaked"/,
  },
  {
    name: 'an effect begins before its intent is on disk',
    file: 'effects/effect.ts',
    find: 'await runner.commit(root, verb);',
    replace: 'await Promise.resolve(verb);',
    test: 'crash/kill-alone',
    seen: /killed at /,
  },
  {
    name: 'what is on disk is taken to name everything',
    file: 'service/containers.ts',
    find: [
      'durable.attachments === context.attachments &&',
      'durable.uplink === context.uplink &&',
      'durable.change?.ports === context.change?.ports',
    ].join('\n      '),
    replace: 'true',
    test: 'machines/container.moments',
    seen: /no.file.names.(link|port)/,
  },
  {
    name: 'what turns back after a failure is not on disk',
    file: 'service/containers.ts',
    find: 'durable.fault === context.fault &&',
    replace: '',
    test: 'machines/container.moments',
    seen: /cut.after.\d+:.a:.up:.missing:.port/,
  },
  {
    name: 'a link stays when its network is disconnected',
    file: 'effects/link.ts',
    find: 'await removeIfOurs(kernel, on, attachment);',
    replace: 'await Promise.resolve();',
    test: 'crash/kill-beside',
    seen: /"kind":"link".*"problem":"leaked"/,
  },
  {
    name: 'a bridge still knows who has gone',
    file: 'effects/neighbour.ts',
    find: 'if (known.length === 0) return;',
    replace: 'return;',
    test: 'crash/kill-beside',
    seen: /"kind":"neighbour".*"problem":"leaked"/,
  },
  {
    name: 'a bridge stays when its last container has gone',
    file: 'effects/bridge.ts',
    find: 'if (link !== null && isOurs(kernel, link, alias)) await removeLinks(on, kernel, [name]);',
    replace: '',
    test: 'crash/kill-alone',
    seen: /"kind":"link".*"problem":"leaked"/,
  },
  {
    name: 'rules of a network stay',
    file: 'effects/bridge.ts',
    find: 'await on.kernel.nft(removeNetworkRules(kernel.instance.table, rulesOf(definition)));',
    replace: '',
    test: 'crash/kill-beside',
    seen: /\+.ruleset:/,
  },
  {
    name: 'the forwarding switches are not put back',
    file: 'effects/firewall.ts',
    find: 'for (const [key, value] of Object.entries(found ?? {})) await writeIfThere(native, { [key]: value });',
    replace: 'void found;',
    test: 'crash/kill-alone',
    seen: /ip_forward|forwarding/,
  },
  {
    name: 'leases are not read back at start',
    file: 'service/daemon.ts',
    find: '...shared.recover(contexts)',
    replace: '',
    test: 'crash/kill-',
    seen: /killed at /,
  },
  {
    name: 'nobody watches what others take away',
    file: 'service/daemon.ts',
    find: "watch.start().catch((error: unknown) => failed('watch on drift', error));",
    replace: '',
    test: 'crash/kill-damage',
    seen: /not whole within|not clean within/,
  },
  {
    name: 'files of a container stay',
    file: 'effects/etc.ts',
    find: 'rmSync(home(id), { recursive: true, force: true });',
    replace: '',
    test: 'crash/kill-names',
    seen: /\+.files:.run\/etc/,
  },
  {
    name: 'the outer publisher is not told that ports go',
    file: 'effects/publisher.ts',
    find: "ledger.owe(publisher, forwardsOf(ports, ''));",
    replace: 'if (ports.length > 0) return null;',
    test: 'crash/kill-names',
    seen: /\+.forwards:/,
  },
  {
    name: 'the DNS server is left running',
    file: 'effects/resolver.ts',
    find: 'await stop(directory);\n    }',
    replace: '}',
    test: 'crash/kill-names',
    seen: /"kind":"dns".*"problem":"leaked"/,
  },
  {
    name: 'an update of a network forgets that it had begun',
    file: 'state/definitions.ts',
    find: 'this.#write(before, `${before.name}.previous`);',
    replace: '',
    test: 'crash/kill-update',
    seen: /neither before nor after|not \w+ within/,
  },
  {
    name: 'a program is left running when its container is torn down',
    file: 'effects/uplink.ts',
    find: 'await removeUplink(at(input).directory);',
    replace: 'at(input);',
    test: 'crash/kill-programs',
    seen: /killed at |"kind":"uplink".*"problem":"leaked"|run\/uplinks/,
  },
  {
    name: 'that a program has ended is not told',
    file: 'service/uplink-watch.ts',
    find: "if (policy === 'repair') actor.send({ type: 'lost', drift, fault, soon });",
    replace: '',
    test: 'crash/kill-programs',
    seen: /not whole within/,
  },
  {
    name: 'the forwarder still carries a port that was unpublished',
    file: 'effects/forwarder.ts',
    find: 'remove: replacing.filter(carried).map(keyOf), add: [] };',
    replace: 'remove: replacing.slice(1).filter(carried).map(keyOf), add: [] };',
    test: 'crash/kill-programs',
    seen: /"kind":"port".*"problem":"leaked"/,
  },
  {
    name: 'a forwarder is supposed to carry what the one before it carried',
    file: 'service/forwarder-watch.ts',
    find: 'if (listed === null || !all ||',
    replace: 'if (listed === null || typeof all !== "boolean" ||',
    test: 'faults/found',
    seen: /whole: not within/,
  },
];
