import { jetstream } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { SecretBuckets } from '../../client/secret-buckets.ts';
import { newIdentityText } from '../../core/secret-seal.ts';
import { clusterWorkflowId } from '../../core/naming.ts';
import { TestHome } from '../support/mcli.ts';

let home: TestHome;
beforeAll(async () => {
  home = await TestHome.up('--nodes', '2', '--gpus', '4', '--gpu-type', 'a100_80gb', '--cpu-slots', '4');
  // The stories below are about one node; the second is for what has to move.
  const { code, stderr } = await home.mcli('cordon', 'node', 'node-1');
  expect(code, stderr).toBe(0);
});
afterEach(async () => {
  // One story that fails leaves the GPUs to the next.
  const { stdout } = await home.mcli('get', 'runs', '-s', 'queued,starting,running', '-o', 'name');
  if (stdout) await home.mcli('stop', 'run', '-y', ...stdout.trim().split('\n'));
});
afterAll(() => home?.down());

interface Fields {
  readonly name?: string;
  readonly scheduling?: string;
  readonly compute?: string;
}
const runFile = (command: string, { name = 'story', scheduling = '', compute = '' }: Fields = {}): string =>
  [
    `name: ${name}`,
    'image: mcli/starter',
    `compute: { gpus: 4${compute} }`,
    `scheduling: { ${scheduling} }`,
    `command: |\n${command.replaceAll(/^/gm, '  ')}\n`,
  ].join('\n');
/** Stops at once when told to; says which resumption it is. */
const UNTIL_STOPPED = `trap 'exit 0' TERM\necho "resumption $RESUMPTION_INDEX"\nsleep 600 & wait`;

interface Util {
  readonly cluster: string;
  readonly instances: readonly Record<string, unknown>[];
  readonly activeRuns: readonly Record<string, unknown>[];
  readonly queuedRuns: readonly (Record<string, unknown> & { readonly reason: string | null })[];
}
async function util(): Promise<Util> {
  const { stdout } = await home.mcli('util', '-o', 'json');
  const [only] = JSON.parse(stdout) as Util[];
  return only as Util;
}
async function untilQueued(...runs: readonly string[]): Promise<void> {
  await home.until(async () => {
    const waiting = (await util()).queuedRuns.filter(({ position }) => position !== null);
    return waiting.map(({ name }) => name).join() === runs.join();
  });
}
async function stop(...runs: readonly string[]): Promise<void> {
  await home.mcli('stop', 'run', '-y', ...runs);
  for (const run of runs) await home.untilStatus(run, 'STOPPED');
}

describe('looking at clusters', () => {
  it('lists what there is to run on', async () => {
    const table = await home.mcli('get', 'clusters');
    expect(table.stdout).toBe(
      [
        'NAME  GPU_TYPE   GPUS  INSTANCE     NODES',
        'r1z1  a100_80gb  ≤4,8  4xa100_80gb  2',
        '      none       0     cpu          2\n',
      ].join('\n'),
    );
    const json = await home.mcli('get', 'clusters', '-o', 'json');
    expect(JSON.parse(json.stdout)).toEqual([
      {
        name: 'r1z1',
        activeRuns: 0,
        queuedRuns: 0,
        nodes: [
          expect.objectContaining({ name: 'node-0', gpus: 4, gpusUsed: 0, cordoned: false, runs: [] }),
          expect.objectContaining({ name: 'node-1', gpus: 4, gpusUsed: 0, cordoned: true, runs: [] }),
        ],
      },
    ]);
    expect((await home.mcli('get', 'clusters', '-o', 'name')).stdout).toBe('r1z1\n');
  });

  it('describes the nodes, and what runs on each', async () => {
    const run = await home.submit(runFile(UNTIL_STOPPED));
    await home.untilStatus(run, 'RUNNING');
    const { stdout } = await home.mcli('describe', 'cluster');
    expect(stdout).toContain('Total Nodes  2\nTotal GPUs   8\nGPUs Used    4\nActive Runs  1\n');
    expect(stdout).toMatch(/\nnode-0 +a100_80gb +4 +4 +0\/4 +Alive +yes\n/);
    expect(stdout).toMatch(/\nnode-1 +a100_80gb +4 +0 +0\/4 +Alive +no \(cordoned\)\n/);
    expect(stdout).toMatch(/\nnode-0 +\d+s ago +[\d.]+ on \d+ CPUs +.* free +\d+% used, .* free +\S/);
    expect(stdout).toMatch(new RegExp(`\nnode-0 +${run} +\\S+ +0,1,2,3 +medium +no\n$`));
    await stop(run);
  });

  it('answers unknown names with what there is', async () => {
    const cluster = await home.mcli('describe', 'cluster', 'r1z2');
    expect(cluster).toMatchObject({ code: 1 });
    expect(cluster.stderr).toContain('No cluster found with name: r1z2 (did you mean r1z1?)');
    const node = await home.mcli('drain', 'node', 'node-7', '-y');
    expect(node).toMatchObject({ code: 1 });
    expect(node.stderr).toContain('No node found with name: node-7');
    expect(node.stderr).toContain('why: the nodes are node-0, node-1');
  });
});

describe('the queue', () => {
  it('takes high before low, says why each waits, and obeys a change of priority', async () => {
    const holder = await home.submit(runFile(UNTIL_STOPPED, { scheduling: 'max_duration: 2' }));
    await home.untilStatus(holder, 'RUNNING');
    const low = await home.submit(runFile('sleep 2', { name: 'low', scheduling: 'priority: low' }));
    const high = await home.submit(runFile('sleep 2', { name: 'high', scheduling: 'priority: high' }));
    await untilQueued(high, low);

    const { activeRuns, queuedRuns, instances } = await util();
    expect(instances).toEqual([
      {
        instance: '4xa100_80gb',
        nodes: 2,
        nodesOutOfService: 1,
        gpusAvailable: 0,
        gpusUsed: 4,
        gpusTotal: 8,
      },
    ]);
    expect(activeRuns).toMatchObject([{ name: holder, gpus: 4, priority: 'medium', nodes: ['node-0'] }]);
    expect(Date.parse(String(activeRuns[0]?.['expectedEnd']))).toBeGreaterThan(Date.now());
    expect(queuedRuns).toMatchObject([
      { position: 1, name: high, priority: 'high' },
      { position: 2, name: low, priority: 'low' },
    ]);
    for (const { reason } of queuedRuns) expect(reason).toMatch(/^Waiting for 4 GPUs: 0 free on r1z1/);

    const table = (await home.mcli('util')).stdout;
    expect(table).toMatch(
      /^Training Instances:\nNAME +NODE_INFO +NODES +GPUS_AVAILABLE +GPUS_USED +GPUS_TOTAL\n/,
    );
    expect(table).toMatch(new RegExp(`\nActive Non-Preemptible Runs:\n.*ETA\n${holder} .* \\d+(s|min|hr)\n`));
    expect(table).toMatch(new RegExp(`\nQueued Runs:\nPOS .*REASON\n1 +${high} .*\n2 +${low} `));

    const shown = (await home.mcli('describe', 'run', low)).stdout;
    expect(shown).toMatch(/\nWaiting +Position 2\. Waiting for 4 GPUs: /);

    const listed = (await home.mcli('get', 'runs', low, holder, '-o', 'wide')).stdout;
    expect(listed).toMatch(/ WAITING\n.* Position 2\. Waiting for 4 GPUs: .*\n.* -\n$/);

    const updated = await home.mcli('update', 'run', low, '--priority', 'highest');
    expect(updated.stderr).toMatch(
      /^✔ Updated low-\w+\.\nSet priority to highest\.\ni Queued at position 1\. /,
    );
    await untilQueued(low, high);
    await stop(holder);
    await home.untilStatus(high, 'COMPLETED');
    const started = async (run: string) => Date.parse(String((await home.describe(run))['startedAt']));
    expect(await started(low)).toBeLessThan(await started(high));
    expect(await home.describe(low)).toMatchObject({ priority: 'highest', waiting: null });
  });

  it('describes a queued run although nobody can tell its place', async () => {
    const holder = await home.submit(runFile(UNTIL_STOPPED));
    const queued = await home.submit(runFile('true'));
    await untilQueued(queued);
    const worker = (await home.parts()).find(({ name }) => name === 'cluster-worker');
    process.kill(worker?.pid ?? 0, 'SIGSTOP');
    try {
      expect(await home.describe(queued)).toMatchObject({ status: 'QUEUED', waiting: null });
    } finally {
      process.kill(worker?.pid ?? 0, 'SIGCONT');
    }
    await stop(queued, holder);
  });

  it('explains what blocks a run, who is ahead, and what would start it at once', async () => {
    const holder = await home.submit(runFile(UNTIL_STOPPED), '--gpus', '2');
    await home.untilStatus(holder, 'RUNNING');
    const notQueued = await home.mcli('explain', holder);
    expect(notQueued).toMatchObject({ code: 1 });
    expect(notQueued.stderr).toContain(`Run ${holder} is not queued`);

    const head = await home.submit(runFile('true', { name: 'head', scheduling: 'priority: high' }));
    const behind = await home.submit(runFile('true', { name: 'behind' }));
    await untilQueued(head, behind);
    const text = (await home.mcli('explain', behind)).stdout;
    expect(text).toMatch(/ waits on r1z1, position 2 of 2\.\n/);
    expect(text).toMatch(/\nWhy +Waiting for 4 GPUs: 2 free on r1z1/);
    expect(text).toMatch(new RegExp(`\nAhead of it:\n.*\n1 +${head} .* high +higher priority\n`));
    expect(text).toMatch(new RegExp(`\nThis kind of capacity is held by:\n.*\n${holder} .* medium +\\d+`));
    const { stdout } = await home.mcli('explain', head, '-o', 'json');
    expect(JSON.parse(stdout)).toMatchObject({
      name: head,
      cluster: 'r1z1',
      position: 1,
      queuedRuns: 2,
      obstacle: 'too-little-free',
      ahead: [],
      holders: [{ name: holder, gpus: 2, priority: 'medium' }],
      startsNowWith: [{ type: 'gpus', gpus: 2, command: expect.stringContaining(`--clone ${head}`) }],
    });
    // What it advises is done by the letter.
    const [advice] = (JSON.parse(stdout) as { startsNowWith: { command: string }[] }).startsNowWith;
    const [clone = '', stopOriginal] = (advice?.command ?? '').split(' && ');
    expect(stopOriginal).toBe(`mcli stop run ${head}`);
    const cloned = await home.mcli(...clone.split(' ').slice(1));
    expect(cloned.code, cloned.stderr).toBe(0);
    const newest = (await home.mcli('get', 'runs', '--latest', '-o', 'name')).stdout.trim();
    await stop(head);
    await home.untilStatus(newest, 'COMPLETED');
  });

  it('lets a preemptible run give way to a higher one, and brings it back', async () => {
    const preemptible = { name: 'gives-way', scheduling: 'priority: low, preemptible: true' };
    const low = await home.submit(runFile(UNTIL_STOPPED, preemptible));
    await home.untilStatus(low, 'RUNNING');
    const high = await home.submit(runFile('sleep 1', { name: 'urgent', scheduling: 'priority: high' }));
    await home.untilStatus(high, 'COMPLETED');
    await home.until(async () => (await home.mcli('logs', low)).stdout === 'resumption 1\n');
    const { lifecycle } = (await home.describe(low)) as { lifecycle: { status: string; reason: string }[] };
    expect(lifecycle.find(({ status }) => status === 'TERMINATING')).toMatchObject({ reason: 'Preempted' });
    await stop(low);
  });
});

describe('orders to a run', () => {
  it('ends a running run at its new max duration, but not at once', async () => {
    const run = await home.submit(runFile(UNTIL_STOPPED));
    await home.untilStatus(run, 'RUNNING');
    const refused = await home.mcli('update', 'run', run, '--max-duration', '0.000001');
    expect(refused).toMatchObject({ code: 1 });
    expect(refused.stderr).toContain('would cause');
    expect(refused.stderr).toContain(`mcli stop run ${run}`);

    const { startedAt } = await home.describe(run);
    const hours = (Date.now() + 4_000 - Date.parse(String(startedAt))) / 3_600_000;
    const updated = await home.mcli('update', 'run', run, '--max-duration', String(hours));
    expect(updated.stderr).toMatch(new RegExp(`${run} will now expire on \\d{4}-.* [AP]M\\.`));
    await home.untilStatus(run, 'STOPPED');
    expect(await home.describe(run)).toMatchObject({ failure: 'MaxDuration', maxDurationHours: hours });

    const late = await home.mcli('update', 'run', run, '--priority', 'high');
    expect(late).toMatchObject({ code: 1 });
    expect(late.stderr).toContain('has already ended');
  });

  it('sets and takes off the watchdog', async () => {
    const run = await home.submit(runFile(UNTIL_STOPPED, { scheduling: 'retry_on_system_failure: false' }));
    expect((await home.mcli('watchdog', run)).stderr).toContain(`✔ Watchdog is on for ${run}.`);
    expect(await home.describe(run)).toMatchObject({ retryOnSystemFailure: true, maxRetries: 10 });
    await home.mcli('watchdog', run, '--disable', '--max-retries', '0');
    expect(await home.describe(run)).toMatchObject({ retryOnSystemFailure: false, maxRetries: 0 });
    await stop(run);
  });

  it('names what it does not understand', async () => {
    const nothing = await home.mcli('update', 'run', 'any');
    expect(nothing).toMatchObject({ code: 2 });
    const priority = await home.mcli('update', 'run', 'any', '--priority', 'hihg');
    expect(priority).toMatchObject({ code: 2 });
    expect(priority.stderr).toContain('did you mean high?');
    const run = await home.mcli('update', 'run', 'any', '--priority', 'high');
    expect(run).toMatchObject({ code: 1 });
    expect(run.stderr).toContain('Could not find run: any');
  });
});

describe('a cluster', () => {
  it('is there again soon when its workflow was terminated, with its cordons, also while nothing runs', async () => {
    await home.terminate(clusterWorkflowId('r1z1'));
    await home.until(async () => {
      const { stdout } = await home.mcli('describe', 'cluster');
      return stdout.includes('node-0') && /^node-1 .*cordoned/m.test(stdout);
    });
  });
});

describe('orders to a node', () => {
  it('keeps runs off a cordoned node, says so, and lets them in again', async () => {
    const run = await home.submit(runFile('echo in', { compute: ', node_names: [node-1]' }));
    await untilQueued(run);
    expect((await util()).queuedRuns[0]?.reason).toContain('node-1 is cordoned');
    const { stderr } = await home.mcli('uncordon', 'node', 'node-1');
    expect(stderr).toContain('✔ Uncordoned node node-1 of r1z1');
    await home.untilStatus(run, 'COMPLETED');
    expect(await home.describe(run)).toMatchObject({ nodes: ['node-1'] });
  });

  it('moves the runs of a drained node to another one', async () => {
    const run = await home.submit(runFile(UNTIL_STOPPED));
    await home.untilStatus(run, 'RUNNING');
    const [node] = (await home.describe(run))['nodes'] as string[];
    const other = node === 'node-0' ? 'node-1' : 'node-0';

    const refused = await home.mcli('drain', 'node', String(node));
    expect(refused.stderr).toContain('Canceling drain node');
    const drained = await home.mcli('drain', 'node', String(node), '-y');
    expect(drained.stderr).toContain(`✔ Drained node ${node}`);
    expect(drained.code).toBe(0);
    await home.until(async () => (await home.mcli('logs', run)).stdout === 'resumption 1\n');
    expect(await home.describe(run)).toMatchObject({ status: 'RUNNING', resumption: 1, nodes: [other] });

    const inService = await home.mcli('delete', 'node', other, '-y');
    expect(inService).toMatchObject({ code: 1 });
    expect(inService.stderr).toContain(`fix: Empty it first: mcli drain node ${other}`);
    expect((await home.mcli('delete', 'node', String(node), '-y')).stderr).toContain(
      `✔ Deleted node ${node}`,
    );
    expect((await home.mcli('describe', 'cluster')).stdout).not.toMatch(new RegExp(`\n${node} `));
    await stop(run);
    await expectNoKeyOf(String(node));
  });

  /** Its agent runs on. A key that an interrupted command has left is removed by the next one. */
  async function expectNoKeyOf(node: string): Promise<void> {
    const nats = (await home.parts()).find(({ name }) => name === 'nats');
    const connection = await connect({ servers: nats?.address ?? '' });
    const buckets = new SecretBuckets(jetstream(connection));
    expect((await buckets.published('r1z1', node)).recipient).toBeUndefined();
    const unknown = await home.mcli('delete', 'node', node, '-y');
    expect(unknown.stderr).toContain(`No node found with name: ${node}`);
    const { recipient } = await newIdentityText(new Date());
    await buckets.publish('r1z1', node, recipient, (await buckets.published('r1z1', node)).revision);
    expect(await buckets.recipients()).toContain(recipient);
    const again = await home.mcli('delete', 'node', node, '-y');
    expect(again).toMatchObject({ code: 0 });
    expect(again.stderr).toContain(`✔ Removed the key of node ${node}, which r1z1 has no more.`);
    expect(await buckets.recipients()).not.toContain(recipient);
    await connection.close();
  }
});
