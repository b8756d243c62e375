/**
 * Makes attachments by programs of others: runs the conversations of plan/external/ for one attachment.
 *
 * Guarantees: a program is never asked to add what it may have added already: unless this daemon knows that nothing of the
 * attachment exists, it is removed first, and programs that an earlier daemon, or a failure, left running are ended before that.
 * What did not answer as it was asked counts as failed. Few conversations run at the same time; those of netavark in one outside,
 * which do not bear each other, in turn.
 * Limits: `known` is the memory of this process alone: after a restart nothing is known, and everything is made sure of.
 */
import { join } from 'node:path';
import type { AttachmentInput } from '../../machines/container/attachment.ts';
import { otherThanAsked } from '../../plan/external/cni.ts';
import type { Conversation, Json, Subject } from '../../plan/external/conversation.ts';
import { isSubject, ofCni, PROTOCOLS } from '../../plan/external/external.ts';
import { missingInside } from '../../plan/kernel/expected-external.ts';
import { attachmentKey } from '../../plan/networks/attachment-key.ts';
import { FaultError } from '../../state/faults.ts';
import type { Outside } from '../../native/index.ts';
import type { Kernel } from '../kernel.ts';
import { removeIfEmpty } from '../shared-directory.ts';
import { inTurn } from '../turns.ts';
import { Gate } from './gate.ts';
import { Given } from './given.ts';
import { endInterrupted } from './interrupted.ts';
import { run } from './program.ts';
import type { PluginSandbox } from './sandbox.ts';
import { hasLink, isThere, makeSpare, standIn } from './stand-in.ts';

/** Enough that the plugins, which wait for locks and for the kernel, keep a small machine busy. */
const AT_ONCE = 8;

export class ExternalPrograms {
  readonly #kernel: Kernel;
  readonly #patienceMs: number;
  /** The directory of spare namespaces. */
  readonly #spares: string;
  readonly #given: Given;
  readonly #sandbox: PluginSandbox | null;
  /** Has `clear` if nothing of the attachment exists, `quiet` if no program runs for it. */
  readonly #known = new Map<string, 'clear' | 'quiet'>();
  readonly #gate = new Gate(AT_ONCE);
  readonly #turns = new Map<string | null, Promise<unknown>>();

  /**
   * One execution of a program may take `patienceMs`. `spares` is the directory of spare namespaces, `given` that of what programs were
   * given. `sandbox`: that of an ordinary
   * user's programs; null for root's, which find the machine as it is.
   */
  constructor(kernel: Kernel, patienceMs: number, spares: string, given: string, sandbox: PluginSandbox | null) {
    this.#kernel = kernel;
    this.#spares = spares;
    this.#given = new Given(given);
    this.#sandbox = sandbox;
    this.#patienceMs = patienceMs;
  }

  /** Called when a network has just granted an owner its lease: nothing of it exists. */
  granted(owner: string, network: string): void {
    this.#known.set(attachmentKey(owner, network), 'clear');
  }

  /** Resolves with the answer of the program. */
  readonly add = async (input: AttachmentInput): Promise<Json> => {
    const subject = this.#subjectOf(input);
    const key = attachmentKey(input.owner, subject.attachment.network);
    if (this.#known.get(key) !== 'clear') await this.#clear(input, subject, key);
    this.#known.delete(key);
    const { result } = await this.#converse(input, subject, key, (protocol) => protocol.add(subject));
    // With a number in the outside, the namespace is one whose changes the kernel announces to the watch on drift.
    await this.#kernel.outside(input.outside).kernel.netnsId(input.netns);
    if (subject.attachment.external.terms.driver === 'cni') {
      const { addresses, mac } = ofCni(subject.attachment, result);
      const other = otherThanAsked(subject, { ips: addresses.map(({ address }) => address), mac });
      if (other !== null) throw FaultError.of(other);
    }
    return result;
  };

  /** Rejects if the attachment is not as the program has made it. */
  readonly check = async (input: AttachmentInput): Promise<void> => {
    const subject = this.#subjectOf(input);
    const { attachment, netns } = subject;
    if (attachment.external.result === null) throw missing(`nothing is known of ${attachment.network}`);
    const { kernel: native } = this.#kernel.outside(input.outside);
    const [links, addresses] = await Promise.all([native.links(netns), native.addresses(netns)]);
    const [first] = missingInside([attachment], { links, addresses });
    if (first !== undefined) throw missing(`${first.object} is ${first.problem}`);
    await this.#converse(input, subject, attachmentKey(input.owner, attachment.network), (protocol) =>
      protocol.check(subject),
    );
  };

  /** Removes everything of the attachment, in whole or in part. */
  readonly remove = async (input: AttachmentInput): Promise<void> => {
    const subject = this.#subjectOf(input);
    const key = attachmentKey(input.owner, subject.attachment.network);
    await this.#clear(input, subject, key);
    // Another `add` follows unless it was to be detached, or could not be attached.
    if (input.verb === 'attach' || input.verb === 'detach') this.#known.delete(key);
  };

  async #clear(input: AttachmentInput, subject: Subject, key: string): Promise<void> {
    if (!this.#known.has(key)) await endInterrupted(subject.attachment.alias);
    const { attachment, netns, spare } = subject;
    const native = this.#native(input.outside);
    const protocol = PROTOCOLS[attachment.external.terms.driver];
    const there = await isThere(native, netns);
    const linked = there && (await hasLink(native, netns, attachment));
    try {
      const at = there || !protocol.needsLink ? subject : { ...subject, netns: spare };
      if (protocol.needsLink && !there) await makeSpare(native, spare);
      if (protocol.needsLink && !linked) await standIn(native, at.netns, attachment);
      await this.#converse(input, at, key, () => protocol.remove(at));
      if (!protocol.needsLink && !linked && attachment.external.result !== null) {
        await makeSpare(native, spare);
        await standIn(native, spare, attachment);
        const swept = { ...subject, netns: spare };
        await this.#converse(input, swept, key, () => protocol.sweep(swept));
      }
    } finally {
      await native.netnsRemove(spare);
      removeIfEmpty(this.#spares);
    }
    this.#given.forget(nameOf(attachment));
    this.#known.set(key, 'clear');
  }

  /** The outside if it is there, otherwise the daemon's own: a namespace of a container is the same from every one. */
  #native(outside: string | null): Outside {
    return (this.#kernel.outsideIfThere(outside) ?? this.#kernel.outside(null)).kernel;
  }

  async #converse<Made>(
    { outside }: AttachmentInput,
    { attachment, netns: inside, spare }: Subject,
    key: string,
    begin: (protocol: (typeof PROTOCOLS)['cni']) => Conversation<Made>,
  ): Promise<Made> {
    const { driver } = attachment.external.terms;
    // The leases of an outside that is gone are files of the host, and are given back all the same.
    const netns = this.#kernel.entered(this.#kernel.outsideIfThere(outside) === null ? null : outside);
    const conversation = begin(PROTOCOLS[driver]);
    const talk = async (): Promise<Made> => {
      let spared = false;
      let step = conversation.next();
      while (step.done !== true) {
        if (step.value.spare === true && !spared) await makeSpare(this.#native(outside), spare);
        spared ||= step.value.spare === true;
        if (step.value.given !== undefined) this.#given.keep(nameOf(attachment), step.value.given);
        const launcher = this.#sandbox?.entering([...step.value.programs, inside, spare]) ?? [];
        step = conversation.next(await run(step.value, { netns, launcher, patienceMs: this.#patienceMs }));
      }
      const made = step.value;
      if (typeof made === 'object' && made !== null && 'fault' in made) throw FaultError.of(made.fault);
      return made;
    };
    try {
      const made = await (driver === 'netavark' ? inTurn(this.#turns, outside, talk) : this.#gate.pass(talk));
      if (!this.#known.has(key)) this.#known.set(key, 'quiet');
      return made;
    } catch (error) {
      // What a program has started may outlive its failure: it is ended before the removal.
      this.#known.delete(key);
      throw error;
    }
  }

  #subjectOf({ attachment, netns }: AttachmentInput): Subject {
    if (!isSubject(attachment)) throw new Error(`${attachment.network} is a network of cleat`);
    const name = nameOf(attachment);
    return { attachment, netns, spare: join(this.#spares, name), given: this.#given.of(name) };
  }
}

/** No other attachment has it, in no generation. */
const nameOf = ({ external, link }: Subject['attachment']): string => `${external.container.id}-${link}`;

const missing = (what: string): FaultError => new FaultError('EXTERNAL_FAILED', `it is not as it was made: ${what}`);
