/** Carries out a plan, and brings back what was seen. */
import { setTimeout as sleep } from 'node:timers/promises';
import { collect } from './collect.ts';
import type { Evidence } from './evidence.ts';
import type { FaultStack } from './fault-stack.ts';
import { openRuns } from './histories.ts';
import { Injector } from './inject.ts';
import { operate } from './operator.ts';
import type { Plan } from './plan.ts';
import { say } from './say.ts';
import { User } from './user.ts';
import type { World } from './world.ts';

/** From the last fault on: back-offs and leases take their time. */
const END_WITHIN_MS = { quick: 60_000, full: 300_000 };
const LOOK_MS = 500;
const FOLLOWS_WITHIN_MS = 10_000;

export async function carryOut(
  plan: Plan,
  world: World,
  { seed, quick }: { readonly seed: number; readonly quick: boolean },
): Promise<Evidence> {
  const endWithinMs = END_WITHIN_MS[quick ? 'quick' : 'full'];
  const over = new AbortController();
  const giveUp = new AbortController();
  const { stack } = world;
  const hasEnded = async (run: string): Promise<boolean> =>
    !(await openRuns(await stack.client())).includes(run);
  const user = new User({ environment: () => stack.environment, hasEnded }, giveUp.signal);
  const injector = new Injector(world, say);
  void operate(stack, over.signal);
  const submissions = plan.runs.map(async (run) => {
    await sleep(run.atMs);
    await user.carryOut(run);
  });
  const faults = plan.faults.map(async (fault) => {
    await sleep(fault.atMs);
    await injector.inject(fault);
  });
  const ordered = Promise.all([...submissions, ...faults]);
  await Promise.race([ordered, sleep((plan.faults.at(-1)?.atMs ?? 0) + endWithinMs)]);
  say('no more faults; waiting for the runs to end');
  await untilEnded(stack, user, Date.now() + endWithinMs);
  over.abort();
  // Who still tries, or follows, has had its time.
  await Promise.race([Promise.all([ordered, ...user.follows]), sleep(FOLLOWS_WITHIN_MS)]);
  giveUp.abort();
  return await collect(seed, { world, user, injector });
}

async function untilEnded(stack: FaultStack, user: User, deadline: number): Promise<void> {
  const stopped = new Set<string>();
  while (Date.now() < deadline) {
    const open = await openRuns(await stack.client()).catch(() => undefined);
    if (open?.length === 0) return;
    for (const run of open ?? []) {
      const order = user.orders.find(({ name }) => run.startsWith(`${name}-`));
      // Its acceptance was lost on the way, and so nobody has stopped it.
      const isForgotten =
        order?.program.lines === null && !order.hasTimeLimit && !order.accepted.includes(run);
      if (!isForgotten || stopped.has(run)) continue;
      stopped.add(run);
      void user.stop(run);
    }
    await sleep(LOOK_MS);
  }
}
