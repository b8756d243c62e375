/**
 * A conversation with a program of others: the calls one after another, each made from the answers before it.
 *
 * Guarantees: pure. A conversation is a generator: whoever runs it makes each call that it yields, and gives it the answer. It
 * returns what was made, or the fault, and never throws.
 * Limits: one protocol for each driver: cni.ts and netavark.ts. effects/external/ runs them (docs/decisions/0057).
 */
import type { Attachment } from '../../state/container.ts';
import type { External } from '../../state/external.ts';
import type { Fault } from '../../state/faults.ts';

/** One execution of a program. */
export interface Call {
  /** Absolute paths. The first that leads to an executable is the program. */
  programs: readonly string[];
  args: readonly string[];
  env: Readonly<Record<string, string>>;
  stdin: string;
  /** What it is given that no snapshot has, to be kept for a removal before it runs. */
  given?: Json;
  /** True if the call is about the spare namespace of its subject, which has to be there. */
  spare?: true;
  /** The program and what it is asked for, for messages: "plugin bridge (ADD)". */
  doing: string;
  /** The name of the program, for `object` of a fault. */
  object: string;
}

export interface Answer {
  /** Why it has no answer, if whoever made the call knows: it could not be started, or was stopped. Otherwise null. */
  problem: string | null;
  /** The exit status; null if a signal ended the program. */
  status: number | null;
  signal: number | null;
  /** What it printed on stdout, as JSON; undefined if that is no JSON. */
  json: unknown;
  stdout: string;
  stderr: string;
}

export type Failed = { fault: Fault };
export type Conversation<Made> = Generator<Call, Made | Failed, Answer>;

/** The attachment that a conversation is about. `External` has what the protocol needs. */
export interface Subject {
  attachment: Attachment & { external: External };
  /** Path of the container's namespace. */
  netns: string;
  /** What the last program of an `add` was given that nobody has the answer of; null if there was none, or it is not known. */
  given: Json | null;
  /** Path of a namespace without anything, which whoever runs the conversation makes when a call needs it. */
  spare: string;
}

export type Json = Readonly<Record<string, unknown>>;

/** What a driver of this kind can do. */
export interface Protocol {
  /** Returns the answer of the program, to be kept for the other two. */
  add(subject: Subject): Conversation<{ result: Json }>;
  /** Returns null if everything is as the result says, as far as the program can tell. */
  check(subject: Subject): Conversation<null>;
  /** True if the program removes nothing without the link in the container, which is stood in for then. */
  needsLink: boolean;
  /** Removes everything, also what an interrupted `add` has made. What is gone already is no fault. */
  remove(subject: Subject): Conversation<null>;
  /**
   * Removes what a `remove` without the link may have left, in the spare namespace, where a link stands in for it. Nobody hears of
   * faults: most of it is gone already.
   */
  sweep(subject: Subject): Conversation<null>;
}

/** The names of the variables that every program gets, besides those of its protocol. */
export const MARK = 'CLEAT_ATTACHMENT';
/** Programs of others find iptables and their like there. */
export const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** The most of what a program said that a message quotes. */
const QUOTED = 1000;

export const isRecord = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export const textIn = (record: Json, key: string): string => (typeof record[key] === 'string' ? record[key] : '');

/** Returns the fault of a call whose program failed, or said something that is no answer. */
export function failed({ doing, object }: Call, answer: Answer, why: string): Failed {
  const said = answer.stderr.trim();
  const stderr = said === '' ? '' : `; it said: ${tail(said)}`;
  return { fault: { code: 'EXTERNAL_FAILED', message: `${doing} failed: ${why}${stderr}`, object } };
}

/** Says how a program ended that gave no reason. */
export function endOf({ problem, status, signal, stdout }: Answer): string {
  if (problem !== null) return problem;
  if (signal !== null) return `signal ${signal} ended it`;
  const printed = stdout.trim() === '' ? 'without a word' : `with ${JSON.stringify(tail(stdout.trim()))}`;
  return `it ended with status ${status ?? 'unknown'}, ${printed}`;
}

const tail = (text: string): string => (text.length <= QUOTED ? text : `...${text.slice(-QUOTED)}`);
