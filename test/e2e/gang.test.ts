import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestHome } from '../support/mcli.ts';

let home: TestHome;
beforeAll(async () => {
  home = await TestHome.up('--nodes', '2', '--gpus', '4', '--gpu-type', 'a100_80gb');
});
afterAll(() => home?.down());

const gangRun = (command: string): string =>
  `name: gang\nimage: mcli/starter\ncompute: { gpus: 8, nodes: 2 }\ncommand: |\n${command.replaceAll(/^/gm, '  ')}\n`;
const UNTIL_STOPPED = "trap 'echo saved; exit 0' TERM\necho up\nsleep 600 & wait";
/** Rank 1 is killed half a second after it met rank 0, which notices and fails with an exit code of its own. */
const LOSES_A_PEER = `python3 - <<'PYTHON'
import os, signal, socket, sys, time
where = (os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT']))
if os.environ['NODE_RANK'] == '0':
    peer, _ = socket.create_server(where).accept()
    peer.recv(1)
    sys.exit('my peer is gone')
while True:
    try:
        connection = socket.create_connection(where)
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
time.sleep(0.5)
os.kill(os.getpid(), signal.SIGKILL)
PYTHON`;
const containers = (run: string): string[] =>
  execFileSync('docker', ['ps', '-aq', '--filter', `label=mcli.run=${run}`], { encoding: 'utf8' })
    .split('\n')
    .filter(Boolean);

describe('a gang', () => {
  it('exchanges data between its ranks, each with its own place in the environment', async () => {
    const { code, stdout, stderr } = await home.mcli('run', '-f', 'examples/gang.yaml');
    expect(code, stderr).toBe(0);
    const port = /MASTER_PORT=(1\d{4})\n/.exec(stdout)?.[1];
    const linesOf = (rank: number): string[] => [
      `NODE_RANK=${rank}`,
      'NUM_NODES=2',
      'WORLD_SIZE=8',
      'LOCAL_WORLD_SIZE=4',
      'MASTER_ADDR=127.0.0.1',
      `MASTER_PORT=${port}`,
      'sum of ranks 1, sum of GPUs 8',
    ];
    const run = /Run (\S+) submitted/.exec(stderr)?.[1] ?? '';
    for (const rank of [0, 1]) {
      const prefixed = linesOf(rank).map((line) => `[rank ${rank}] ${line}`);
      expect(stdout.split('\n').filter((line) => line.startsWith(`[rank ${rank}]`))).toEqual(prefixed);
      const { stdout: alone } = await home.mcli('logs', run, '--node-rank', String(rank));
      expect(alone.trim().split('\n')).toEqual(linesOf(rank));
    }
    expect((await home.mcli('logs', run)).stdout.split('\n').toSorted()).toEqual(
      stdout.split('\n').toSorted(),
    );
  });

  it('shares its nodes with another, and both find their own peers', async () => {
    const half = ['run', '-f', 'examples/gang.yaml', '--gpus', '4'];
    const both = await Promise.all([home.mcli(...half), home.mcli(...half)]);
    for (const { code, stdout, stderr } of both) {
      expect(code, stderr).toBe(0);
      expect(stdout).toContain('[rank 0] sum of ranks 1, sum of GPUs 4\n');
    }
  });

  it('ends with the reason of the rank that failed first, whatever that does to the others', async () => {
    const file = await home.file('fails.yaml', gangRun(LOSES_A_PEER));
    const { code, stdout, stderr } = await home.mcli('run', '-f', file);
    expect(code).toBe(1);
    expect(stderr).toContain('why: Rank 1 on node-1: The command was killed by SIGKILL.');
    expect(stdout).toContain('[rank 0] my peer is gone\n');
    const run = /Run (\S+) submitted/.exec(stderr)?.[1] ?? '';
    const failed = await home.mcli('logs', run, '--failed');
    expect(failed.stderr).toContain('Rank 1 on node-1 failed first: The command was killed by SIGKILL.');
    expect(containers(run)).toEqual([]);
  });

  it('ends the ranks that would wait for the failed one for ever', async () => {
    const file = await home.file(
      'fails.yaml',
      gangRun(`[ $NODE_RANK = 0 ] || { sleep 1; exit 3; }\n${UNTIL_STOPPED}`),
    );
    const { code, stdout, stderr } = await home.mcli('run', '-f', file);
    expect(code).toBe(1);
    expect(stderr).toContain('why: Rank 1 on node-1: The command ended with exit code 3.');
    expect(stdout).toBe('[rank 0] up\n[rank 0] saved\n');
    const run = /Run (\S+) submitted/.exec(stderr)?.[1] ?? '';
    const failed = await home.mcli('logs', run, '--failed');
    expect(failed).toMatchObject({ code: 0, stdout: '' });
    expect(failed.stderr).toContain('Rank 1 on node-1 failed first: The command ended with exit code 3.');
  });

  it('stops as one', async () => {
    const run = await home.submit(gangRun(UNTIL_STOPPED));
    await home.until(async () => (await home.mcli('logs', run)).stdout.split('up').length === 3);
    expect(containers(run)).toHaveLength(2);
    await home.mcli('stop', 'run', run, '-y');
    await home.untilStatus(run, 'STOPPED');
    expect(containers(run)).toEqual([]);
    const { stdout } = await home.mcli('logs', run);
    expect(stdout.match(/saved/g)).toHaveLength(2);
  });

  it('leaves no container behind when it is terminated in Temporal', async () => {
    const run = await home.submit(gangRun(UNTIL_STOPPED));
    await home.until(async () => (await home.mcli('logs', run)).stdout.split('up').length === 3);
    const following = home.mcli('logs', run, '--follow');
    await home.terminate(run);
    await home.until(() => Promise.resolve(containers(run).length === 0));
    for (const { stdout } of [await following, await home.mcli('logs', run)]) {
      expect(stdout.match(/saved/g)).toHaveLength(2);
    }
  });
});
