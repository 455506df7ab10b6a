/** Carries out a plan, and brings back what was seen. */
import { setTimeout as sleep } from 'node:timers/promises';
import { collect } from './collect.ts';
import type { Evidence } from './evidence.ts';
import type { FaultStack } from './fault-stack.ts';
import { openRuns } from './histories.ts';
import { Injector } from './inject.ts';
import { operate } from './operator.ts';
import type { Plan } from './plan.ts';
import { probe } from './probe.ts';
import { say } from './say.ts';
import { User } from './user.ts';
import type { World } from './world.ts';

/** From the last planned fault on: back-offs and leases take their time. */
const END_WITHIN_MS = { quick: 60_000, full: 300_000 };
const PROBE_ENDS_WITHIN_MS = 60_000;
const LOOK_MS = 500;
const FOLLOWS_WITHIN_MS = 10_000;

export async function carryOut(
  plan: Plan,
  world: World,
  { seed, quick }: { readonly seed: number; readonly quick: boolean },
): Promise<Evidence> {
  const deadline = Date.now() + plan.calmFromMs + END_WITHIN_MS[quick ? 'quick' : 'full'];
  const calm = new AbortController();
  const over = new AbortController();
  const giveUp = new AbortController();
  const { stack } = world;
  const hasEnded = async (run: string): Promise<boolean> =>
    !(await openRuns(await stack.client())).includes(run);
  const user = new User({ environment: () => stack.environment, hasEnded }, giveUp.signal);
  const injector = new Injector(world, say);
  void operate(stack, over.signal);
  const ordered = plan.runs.map(async (run) => {
    await sleep(run.atMs);
    await user.carryOut(run);
  });
  const faults = plan.faults.map(async (fault) => {
    await sleep(fault.atMs, undefined, { signal: calm.signal }).catch(() => undefined);
    if (!calm.signal.aborted) await injector.inject(fault, calm.signal);
  });
  await within(deadline, Promise.all([...ordered, sleep(plan.calmFromMs)]));
  await untilEnded(stack, user, deadline);
  calm.abort();
  say('no more faults');
  await within(deadline, Promise.all(faults));
  await probe(world, user, seed);
  await untilEnded(stack, user, Date.now() + PROBE_ENDS_WITHIN_MS);
  over.abort();
  // Who still follows has had its time.
  await within(Date.now() + FOLLOWS_WITHIN_MS, Promise.all(user.follows));
  giveUp.abort();
  return await collect(seed, { world, user, injector });
}

async function within(deadline: number, work: Promise<unknown>): Promise<void> {
  await Promise.race([work, sleep(Math.max(0, deadline - Date.now()))]);
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
