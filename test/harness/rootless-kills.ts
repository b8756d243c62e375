/**
 * Kills an ordinary user's daemon at a failpoint of a life of container `c`, and lets the next one go on.
 *
 * Guarantees: a point that the life does not pass is a failure. Whatever became of the container, it has been torn down when `at`
 * resolves.
 */
import { chownSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { until } from './native.ts';
import type { RootlessDaemon, TestUser } from './rootless.ts';

const FAILPOINTS = '/run/failpoints';

/** Makes and tears down the container. It rejects when the daemon is killed. */
type Life = () => Promise<void>;

export class RootlessKills {
  readonly #user: TestUser;
  readonly #daemon: RootlessDaemon;

  /** For a daemon that is not started yet. */
  constructor(user: TestUser, daemon: RootlessDaemon) {
    this.#user = user;
    this.#daemon = daemon;
    mkdirSync(FAILPOINTS);
    chownSync(FAILPOINTS, user.uid, user.uid);
    daemon.environment = { ...daemon.environment, CLEAT_FAILPOINTS: FAILPOINTS };
  }

  /** Returns the points that a life passes. Each of these effects has to be among them. */
  async passed(live: Life, effects: readonly string[]): Promise<string[]> {
    const log = `${FAILPOINTS}/log`;
    writeFileSync(log, '');
    chownSync(log, this.#user.uid, this.#user.uid);
    await live();
    const points = [...new Set(readFileSync(log, 'utf8').trim().split('\n'))];
    rmSync(log);
    for (const effect of effects) {
      for (const moment of ['before', 'durable', 'after'])
        assert.ok(points.includes(`${effect}:${moment}`), points.join(' '));
    }
    return points;
  }

  async at(point: string, live: Life): Promise<void> {
    const daemon = this.#daemon;
    writeFileSync(`${FAILPOINTS}/order`, `SIGKILL ${point}#1`);
    const ended = live().then(
      () => false,
      () => true,
    );
    assert.ok(await ended, `${point} was not reached`);
    await daemon.kill();
    rmSync(`${FAILPOINTS}/order`);
    await daemon.start();
    if ((await daemon.get('/v1/containers/c')).status !== 200) return;
    await until(`${point}: torn down`, async () => {
      const { status } = await daemon.event({ type: 'teardown', id: 'c' });
      return status === 200 || status === 404;
    });
    await daemon.gone('c');
  }
}
