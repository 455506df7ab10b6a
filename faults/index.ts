/**
 * `npm run faults -- --runs N --seed S`: runs of all kinds on a stack of its own whose parts are killed, cut off and
 * stalled all the while; then proves from outside that nothing was lost and nothing doubled. Needs root, dockerd and
 * the image `bash` on the machine's Docker.
 */
import { cp, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Clusters, Connections } from '../client/index.ts';
import { NAMESPACE } from '../core/naming.ts';
import { natsUrl, temporalAddress } from '../stack/addresses.ts';
import { check } from './check.ts';
import type { Findings } from './check.ts';
import { collect } from './collect.ts';
import { copyImage } from './docker-daemon.ts';
import { DockerWatch } from './docker-watch.ts';
import type { Evidence } from './evidence.ts';
import type { FaultKind } from './fault-kinds.ts';
import { FAULT_KINDS } from './fault-kinds.ts';
import { CLUSTER, FaultNode } from './fault-node.ts';
import { FaultStack } from './fault-stack.ts';
import { HeartbeatWatch } from './heartbeat-watch.ts';
import { openRuns } from './histories.ts';
import { Injector } from './inject.ts';
import type { World } from './inject.ts';
import type { Plan } from './plan.ts';
import { makePlan, quickKinds } from './plan.ts';
import { makeReport, printReport } from './report.ts';
import { User } from './user.ts';

const USAGE = `usage: npm run faults -- --runs N --seed S [--quick] [--faults KIND,…] [--json FILE] [--keep]
kinds: ${Object.keys(FAULT_KINDS).join(', ')}`;
/** Docker takes twice the size of the image while it reads it. */
const DISK_MEGABYTES = 640;
const NODES = ['n0', 'n1'];
const NODES_WITHIN_MS = 30_000;
/** From the last fault on: back-offs and leases take their time. */
const END_WITHIN_MS = { quick: 60_000, full: 300_000 };
const LOOK_MS = 500;
const OPERATOR_MS = 3_000;

const options = readOptions();
process.exitCode = await main(options);
// Whatever still listens somewhere has nothing more to say.
process.exit();

interface Options {
  readonly runs: number;
  readonly seed: number;
  readonly quick: boolean;
  readonly kinds: readonly FaultKind[];
  readonly json: string | undefined;
  readonly keep: boolean;
}

function readOptions(): Options {
  try {
    const { values } = parseArgs({
      options: {
        runs: { type: 'string', default: '40' },
        seed: { type: 'string', default: '1' },
        quick: { type: 'boolean', default: false },
        faults: { type: 'string' },
        json: { type: 'string' },
        keep: { type: 'boolean', default: false },
      },
    });
    const all = values.quick ? quickKinds() : Object.keys(FAULT_KINDS);
    const kinds = values.faults?.split(',').filter(Boolean) ?? all;
    const runs = Number(values.runs);
    const seed = Number(values.seed);
    const isRight = runs > 0 && Number.isInteger(runs) && Number.isInteger(seed);
    if (!isRight || kinds.some((kind) => !Object.hasOwn(FAULT_KINDS, kind)))
      throw new Error('not understood');
    const { quick, json, keep } = values;
    return { runs, seed, quick, json, keep, kinds: kinds as FaultKind[] };
  } catch (error) {
    console.error(`✗ ${(error as Error).message}\n${USAGE}`);
    process.exit(2);
  }
}

async function main({ runs, seed, quick, kinds, json, keep }: Options): Promise<number> {
  const startedAt = Date.now();
  const home = await mkdtemp(path.join(tmpdir(), 'mcli-faults-'));
  const plan = makePlan({ seed, runs, quick, kinds });
  say(`seed ${seed}: ${plan.runs.length} runs, ${plan.faults.length} faults, in ${home}`);
  const closers: (() => Promise<void>)[] = [];
  const closeAll = async (): Promise<void> => {
    for (let close = closers.pop(); close; close = closers.pop()) {
      await close().catch((error: unknown) => console.error(error));
    }
    if (!keep) await rm(home, { recursive: true, force: true });
  };
  const leave = async (code: number): Promise<void> => {
    await closeAll();
    process.exit(code);
  };
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => void leave(130));
  // Whatever goes wrong here must not leave daemons and mounts behind.
  process.once('uncaughtException', (problem) => {
    console.error(problem);
    void leave(1);
  });
  try {
    const world = await build(home, closers);
    const evidence = await carryOut(plan, world, {
      seed,
      endWithinMs: END_WITHIN_MS[quick ? 'quick' : 'full'],
    });
    const findings = check(evidence);
    const report = makeReport(evidence, findings, (Date.now() - startedAt) / 1000);
    printReport(report, evidence);
    if (findings.violations.length > 0)
      console.log(`What the processes said: ${await keepLogs(home, evidence, findings)}`);
    if (json !== undefined) await writeFile(json, `${JSON.stringify(report, null, 2)}\n`);
    return findings.violations.length === 0 ? 0 : 1;
  } finally {
    await closeAll();
  }
}

/** What is needed to find the cause, before all is removed. */
async function keepLogs(home: string, evidence: Evidence, { violations }: Findings): Promise<string> {
  const kept = await mkdtemp(path.join(tmpdir(), `mcli-faults-of-seed-${evidence.seed}-`));
  const runs = new Set(violations.map(({ run }) => run));
  // Of the runs concerned only: all that all have printed is much.
  const concerned = {
    ...evidence,
    containers: evidence.containers.filter(({ run }) => runs.has(run)),
    logs: evidence.logs.filter(({ run }) => runs.has(run)),
    follows: evidence.follows.filter(({ run }) => runs.has(run)),
    reads: evidence.reads.filter(({ run }) => runs.has(run)),
  };
  await writeFile(path.join(kept, 'evidence.json'), JSON.stringify({ violations, ...concerned }, null, 1));
  const folders = ['stack/logs', 'stack/data', ...NODES.flatMap((node) => [node, `${node}/disk/mcli`])];
  for (const folder of folders) {
    for (const file of await readdir(path.join(home, folder))) {
      if (!/\.(log|json|db|db-wal)$/.test(file)) continue;
      await cp(path.join(home, folder, file), path.join(kept, folder, file));
    }
  }
  return kept;
}

async function build(home: string, closers: (() => Promise<void>)[]): Promise<World> {
  let stack: FaultStack | undefined;
  const ports = () => (stack as FaultStack).config.ports;
  const nodes = await Promise.all(
    NODES.map((name) => FaultNode.make(name, home, { ports, diskMegabytes: DISK_MEGABYTES })),
  );
  const starting = FaultStack.start(path.join(home, 'stack'));
  closers.push(
    async () => (await starting).close(),
    async () => void (await Promise.all(nodes.map((node) => node.close()))),
  );
  await Promise.all(nodes.map(({ docker }) => docker.start()));
  [stack] = await Promise.all([
    starting,
    copyImage(
      'bash:latest',
      nodes.map(({ docker }) => docker),
    ),
  ]);
  for (const node of nodes) node.startAgent();
  const watched = nodes.map((node) => ({ node, watch: new DockerWatch(node.name, node.docker.client) }));
  const running = stack;
  const heartbeats = new HeartbeatWatch(() => running.client(), CLUSTER, NODES);
  closers.push(async () => {
    for (const { watch } of watched) watch.close();
    heartbeats.close();
  });
  await untilInService(stack, nodes.length);
  say('all is up');
  return { stack, nodes: watched, heartbeats };
}

async function untilInService(stack: FaultStack, count: number): Promise<void> {
  const deadline = Date.now() + NODES_WITHIN_MS;
  for (;;) {
    const nodes = await withClusters(
      stack,
      async (clusters) => (await clusters.view(CLUSTER)).snapshot.nodes,
    );
    if (nodes?.filter(({ alive }) => alive).length === count) return;
    if (Date.now() > deadline)
      throw new Error(`the nodes were not in service within ${NODES_WITHIN_MS / 1000} s`);
    await sleep(LOOK_MS);
  }
}

async function carryOut(
  plan: Plan,
  world: World,
  { seed, endWithinMs }: { readonly seed: number; readonly endWithinMs: number },
): Promise<Evidence> {
  const over = new AbortController();
  const giveUp = new AbortController();
  const { stack } = world;
  const hasEnded = async (run: string): Promise<boolean> =>
    !(await openRuns(await stack.client())).includes(run);
  const user = new User({ environment: () => stack.environment, hasEnded }, giveUp.signal);
  const injector = new Injector(world);
  void operate(world.stack, over.signal);
  const submissions = plan.runs.map(async (run) => {
    await sleep(run.atMs);
    await user.carryOut(run);
  });
  const faults = plan.faults.map(async (fault) => {
    await sleep(fault.atMs);
    say(`${fault.kind}${fault.lastsMs ? ` for ${(fault.lastsMs / 1000).toFixed(0)} s` : ''}`);
    await injector.inject(fault);
  });
  const ordered = Promise.all([...submissions, ...faults]);
  await Promise.race([ordered, sleep((plan.faults.at(-1)?.atMs ?? 0) + endWithinMs)]);
  say('no more faults; waiting for the runs to end');
  await untilEnded(world.stack, user, Date.now() + endWithinMs);
  over.abort();
  // Who still tries, or follows, has had its time.
  await Promise.race([Promise.all([ordered, ...user.follows]), sleep(10_000)]);
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

/** The operator trusts nodes again that were cordoned because of the faults. */
async function operate(stack: FaultStack, over: AbortSignal): Promise<void> {
  while (!over.aborted) {
    await withClusters(stack, async (clusters) => {
      for (const { node, cordoned } of (await clusters.view(CLUSTER)).snapshot.nodes) {
        if (!cordoned) continue;
        say(`uncordoning ${node}`);
        await clusters.order(CLUSTER, { type: 'uncordoned', node });
      }
    });
    await sleep(OPERATOR_MS, undefined, { signal: over }).catch(() => undefined);
  }
}

/** @returns undefined where the servers do not answer */
async function withClusters<T>(
  stack: FaultStack,
  ask: (clusters: Clusters) => Promise<T>,
): Promise<T | undefined> {
  const { ports } = stack.config;
  const connections = new Connections({
    temporal: { address: temporalAddress(ports) },
    namespace: NAMESPACE,
    natsUrl: natsUrl(ports),
  });
  try {
    return await ask(new Clusters(connections));
  } catch {
    return undefined;
  } finally {
    await connections.close();
  }
}

function say(line: string): void {
  console.error(`${new Date().toISOString().slice(11, 23)} ${line}`);
}
