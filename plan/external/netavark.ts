/**
 * The protocol of netavark: one program, which gets the request of a container on a network on stdin, in libnetwork's form.
 *
 * Guarantees: pure. setup and teardown get the same request, word for word. The addresses and the MAC are those that the
 * network of cleat has leased: netavark chooses none. Its default route gets the metric that the attachment has in its container,
 * where no other network has it: netavark gives 100 to each.
 * Limits: without names: netavark's aardvark-dns would have the files of another program. netavark has no check: whoever runs
 * it looks at the link.
 */
import type { ExternalTerms } from '../../state/external.ts';
import {
  endOf,
  failed,
  isRecord,
  MARK,
  PATH,
  textIn,
  type Answer,
  type Call,
  type Conversation,
  type Json,
  type Protocol,
  type Subject,
} from './conversation.ts';

type Terms = Extract<ExternalTerms, { driver: 'netavark' }>;

export const netavark: Protocol = { add, check, remove, sweep: check, needsLink: true };

function* add(subject: Subject): Conversation<{ result: Json }> {
  const call = callOf(subject, 'setup');
  const answer: Answer = yield call;
  if (answer.status !== 0) return failed(call, answer, reasonIn(answer));
  const result = isRecord(answer.json) ? answer.json[subject.attachment.network] : undefined;
  if (!isRecord(result)) return failed(call, answer, `it answered nothing about network ${subject.attachment.network}`);
  return { result };
}

// oxlint-disable-next-line require-yield -- there is nothing to ask for
function* check(): Conversation<null> {
  return null;
}

/**
 * netavark 1.4 stops at the first thing that is missing, and an interrupted setup has made only some of them. Then everything is
 * made once more, in a spare namespace, and removed as a whole.
 */
function* remove(subject: Subject): Conversation<null> {
  const call = callOf(subject, 'teardown');
  const answer: Answer = yield call;
  if (answer.status === 0) return null;
  const again: Subject = { ...subject, netns: subject.spare };
  const made: Answer = yield { ...callOf(again, 'setup'), spare: true };
  if (made.status !== 0) return failed(call, answer, reasonIn(answer));
  const removed: Answer = yield { ...callOf(again, 'teardown'), spare: true };
  return removed.status === 0 ? null : failed(call, removed, reasonIn(removed));
}

function callOf({ attachment, netns }: Subject, command: 'setup' | 'teardown'): Call {
  const { network, link, mac, addresses, aliases, external, alias, defaultMetric } = attachment;
  const terms = external.terms as Terms;
  const request = {
    container_id: external.container.id,
    container_name: external.container.name,
    port_mappings: external.ports.map(({ protocol, hostIp, hostPort, containerPort, range }) => ({
      host_ip: hostIp,
      host_port: hostPort,
      container_port: containerPort,
      protocol,
      range,
    })),
    networks: {
      [network]: {
        static_ips: addresses.map(({ address }) => address),
        static_mac: mac,
        interface_name: link,
        aliases,
      },
    },
    network_info: { [network]: withMetric(terms.network, defaultMetric) },
  };
  return {
    programs: terms.programs,
    args: ['--config', terms.config, command, netns],
    env: { PATH, [MARK]: alias },
    stdin: JSON.stringify(request),
    doing: `netavark (${command})`,
    object: 'netavark',
  };
}

/** `metric` is null if there is no default route. */
function withMetric(network: Terms['network'], metric: number | null): Json {
  if (metric === null) return network;
  const options = isRecord(network['options']) ? network['options'] : {};
  return { ...network, options: { ...options, metric: String(metric) } };
}

/** Returns what netavark gives as its reason: {"error": "..."} on stdout. */
function reasonIn(answer: Answer): string {
  const said = isRecord(answer.json) ? textIn(answer.json, 'error') : '';
  return said === '' ? endOf(answer) : said;
}
