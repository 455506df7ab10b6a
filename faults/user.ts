/** The people of the suite: they submit, stop and follow with the built `mcli`, and note what it answered. */
import { spawn } from 'node:child_process';
import { buffer, text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { distFile } from '../stack/package-root.ts';
import type { FollowedLog, ReadLog, RunOrder } from './evidence.ts';
import { bashOf } from './program.ts';
import type { RankName } from './program.ts';
import type { PlannedRun } from './plan.ts';

/** Whoever gets an error tries again. */
const AGAIN_MS = 1_000;

export class User {
  readonly orders: Noted[] = [];
  readonly follows: Promise<FollowedLog>[] = [];
  private readonly surroundings: Surroundings;
  private readonly giveUp: AbortSignal;

  constructor(surroundings: Surroundings, giveUp: AbortSignal) {
    this.surroundings = surroundings;
    this.giveUp = giveUp;
  }

  /** Submits until it is accepted, and orders what the plan wants of the run. */
  async carryOut(planned: PlannedRun): Promise<void> {
    const order: Noted = {
      name: planned.name,
      program: planned.program,
      ranks: planned.nodes,
      gpus: planned.gpus,
      priority: planned.priority,
      preemptible: planned.preemptible,
      maxRetries: planned.maxRetries,
      hasTimeLimit: planned.maxDurationMs !== undefined,
      accepted: [],
      unanswered: 0,
      stops: {},
    };
    this.orders.push(order);
    const run = await this.submit(planned, order);
    if (run === undefined) return;
    order.accepted.push(run);
    if (planned.followed) this.follows.push(this.follow(run));
    if (planned.stopAfterMs === undefined) return;
    await sleep(planned.stopAfterMs);
    await this.stop(run);
  }

  /** An order that arrived may have lost its answer, and then there is nothing left to stop. */
  async stop(run: string): Promise<void> {
    const order = this.orders.find(({ name }) => run.startsWith(`${name}-`));
    if (order) order.stops[run] = Date.now();
    while (!this.giveUp.aborted) {
      const { code } = await this.mcli(['stop', 'run', '-y', run]);
      if (code === 0 || (await this.surroundings.hasEnded(run).catch(() => false))) return;
      await sleep(AGAIN_MS);
    }
  }

  private async submit(planned: PlannedRun, order: Noted): Promise<string | undefined> {
    while (!this.giveUp.aborted) {
      const { code, errors } = await this.mcli(['run', '--no-follow', '-f', '-'], runFile(planned));
      const run = /Run (\S+) submitted/.exec(errors)?.[1];
      if (code === 0 && run !== undefined) return run;
      if (code === 2) throw new Error(`mcli does not understand run ${planned.name}: ${errors}`);
      order.unanswered += 1;
      await sleep(AGAIN_MS);
    }
    return undefined;
  }

  /** Who could not even begin tries again. */
  private async follow(run: string): Promise<FollowedLog> {
    for (;;) {
      const { code, output, errors } = await this.mcli(['logs', run, '--follow']);
      if (code === 0 || output !== '' || this.giveUp.aborted)
        return { run, text: output, exitCode: code, errors };
      await sleep(AGAIN_MS);
    }
  }

  async read({ run, resumption, rank }: RankName): Promise<ReadLog> {
    const flags = ['--resumption', String(resumption), '--node-rank', String(rank)];
    const { code, output, errors } = await this.mcli(['logs', run, ...flags]);
    return { run, resumption, rank, text: output, exitCode: code, errors };
  }

  private async mcli(
    args: readonly string[],
    input = '',
  ): Promise<{ readonly code: number | null; readonly output: string; readonly errors: string }> {
    const child = spawn(process.execPath, [distFile('mcli.js'), ...args], {
      env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...this.surroundings.environment() },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const end = (): void => void child.kill('SIGKILL');
    this.giveUp.addEventListener('abort', end, { once: true });
    child.stdin.end(input);
    const { promise, resolve } = Promise.withResolvers<number | null>();
    child.on('close', resolve);
    const [output, errors, code] = await Promise.all([buffer(child.stdout), text(child.stderr), promise]);
    this.giveUp.removeEventListener('abort', end);
    return { code, output: output.toString('latin1'), errors };
  }
}

interface Surroundings {
  readonly environment: () => Record<string, string>;
  readonly hasEnded: (run: string) => Promise<boolean>;
}

/** An order that is still being written. */
type Noted = Omit<RunOrder, 'accepted' | 'unanswered' | 'stops'> & {
  readonly accepted: string[];
  unanswered: number;
  readonly stops: Record<string, number>;
};

function runFile(run: PlannedRun): string {
  const scheduling = [
    `priority: ${run.priority}`,
    `preemptible: ${run.preemptible}`,
    `max_retries: ${run.maxRetries}`,
    ...(run.maxDurationMs === undefined
      ? []
      : [`max_duration: ${(run.maxDurationMs / 3_600_000).toFixed(6)}`]),
  ];
  return [
    `name: ${run.name}`,
    'image: bash',
    `compute: { gpus: ${run.gpus}, nodes: ${run.nodes} }`,
    `scheduling: { ${scheduling.join(', ')} }`,
    'command: |',
    bashOf(run.program).replaceAll(/^/gm, '  '),
    '',
  ].join('\n');
}
