/**
 * Adds the option `--dry-run` of the lifecycle commands, and the command `apply`.
 *
 * Guarantees: with --dry-run nothing is done. `apply` answers as the command whose plan it is, or says what has moved.
 */
import { Option, type Command } from 'commander';
import { CleatError } from '../../client/error.ts';
import type { EventAnswer } from '../../state/answers/event.ts';
import type { Plan } from '../../state/answers/container/plan.ts';
import type { LifecycleEvent } from '../../state/event.ts';
import type { Client } from '../client.ts';
import { collect, Session, subcommand } from '../command.ts';
import { EXIT, type Refusal, exitCodeOf } from '../failure.ts';
import { planText } from '../plan-text.ts';
import { withProgress } from '../progress.ts';
import { each, reportAll } from '../report.ts';
import { warn } from '../terminal.ts';
import { portText } from '../text.ts';

export interface DryRun {
  dryRun?: boolean;
}

export const dryRunOption = () => new Option('--dry-run', 'print what would be done, step by step, and do nothing');

/** Prints the plan of one event. */
export async function showPlan(session: Session, client: Client, event: LifecycleEvent): Promise<void> {
  const plan = await client.plan(event);
  session.say(plan, planText(plan));
}

/** Prints a plan for each event: each is planned as if it were the only one. `ignore`: says nothing of a missing container. */
export async function showPlans(
  session: Session,
  client: Client,
  events: LifecycleEvent[],
  ignore = false,
): Promise<void> {
  const lines = events.length === 0 ? [] : await client.plans(events);
  const plans = lines.map(({ body }) => ('error' in body ? new CleatError(body.error) : body));
  const absent = (plan: Plan | CleatError) => plan instanceof CleatError && plan.error.code === 'NO_SUCH_CONTAINER';
  reportAll(
    session,
    plans.filter((plan) => !(ignore && absent(plan))),
    planText,
  );
}

interface ApplyFlags {
  plan: string[];
}

export function addApplyCommand(program: Command): void {
  subcommand(program, 'apply', 'do what a plan says, exactly: refused if something that it rests on has moved', [
    'cleat configure web --dry-run        # ends with the hash of the plan',
    'cleat apply --plan HASH',
  ])
    .requiredOption(
      '--plan <hash>',
      'what --dry-run has printed; kept ten minutes, for who made it (again for more)',
      collect,
    )
    .action(async ({ plan: hashes }: ApplyFlags, command: Command) => {
      const session = new Session(command);
      const client = await session.client();
      const results = await each([...new Set(hashes)], (hash) => apply(client, hash));
      const [only] = results;
      if (results.length > 1)
        return reportAll(
          session,
          results,
          ({ words }) => words,
          ({ answer }) => answer,
        );
      if (only instanceof CleatError) throw only;
      if (only !== undefined) session.say(only.answer, only.words);
    });
}

interface Applied {
  answer: EventAnswer;
  words: string[];
}

async function apply(client: Client, hash: string): Promise<Applied> {
  const { event, id, grants } = await client.call('GET /v1/plans/{hash}', { hash });
  const done = client.call('POST /v1/plans/{hash}/apply', { hash });
  const work = event.type === 'teardown' ? done.catch(refusal).then((said) => client.tornDown(id, said)) : done;
  const answer = await withProgress(`applying ${event.type} of ${id}`, work);
  warn(answer);
  const added = event.type === 'publish' ? grants.ports.map(portText) : [];
  return { answer, words: added.length > 0 ? added : [answer.id] };
}

/** Returns what the daemon has refused with. Throws any other error. */
function refusal(error: unknown): { error: Refusal } {
  if (error instanceof CleatError && exitCodeOf(error) === EXIT.failed) return { error: error.error };
  throw error;
}
