import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestHome } from '../support/mcli.ts';

let home: TestHome;
beforeAll(async () => {
  home = await TestHome.up(
    '--gpus=8',
    '--gpu-type=a100_80gb',
    '--cpu-slots=4',
    // So that containers reach servers of the tests, which listen on loopback.
    '--container-network=host',
  );
});
afterAll(() => home?.down());

const cpuRun = (command: string): string =>
  `name: story\nimage: bash\ncompute: { gpus: 0 }\ncommand: |\n${command.replaceAll(/^/gm, '  ')}\n`;
const gpuRun = (command: string): string => cpuRun(command).replace('gpus: 0', 'gpus: 8');
const containers = (run: string): string =>
  execFileSync('docker', ['ps', '-aq', '--filter', `label=mcli.run=${run}`], { encoding: 'utf8' }).trim();

describe('the first run', () => {
  it('prints the example and returns 0', async () => {
    const answer = await home.mcli('run', '-f', 'examples/hello-world.yaml');
    expect(answer.stdout).toBe('Start\nHello World!!\n');
    expect(answer.stderr).toMatch(/✔ Run hello-world-[a-z0-9]{6} completed\./);
    expect(answer.code).toBe(0);
  });

  it('shows itself in the table of the page', async () => {
    const { stdout } = await home.mcli('get', 'run', 'hello-world-*');
    expect(stdout).toMatch(/^NAME +GPU_NUM {2}CREATED_TIME +START_TIME +END_TIME +STATUS\n/);
    expect(stdout).toMatch(
      /\nhello-world-\w{6} +0 +\d{4}-\d\d-\d\d \d\d:\d\d [AP]M  \d{4}-.* [AP]M  \d{4}-.* [AP]M  Completed\n$/,
    );
  });

  it('describes itself as the page does', async () => {
    const { stdout } = await home.mcli('describe', 'run');
    expect(stdout).toMatch(/^Run Metadata\nRun Name {5}hello-world-\w{6}\nCluster {6}r1z1\nImage {8}bash\n/);
    expect(stdout).toMatch(/\nGPU Type {5}None\nGPU Num {6}0\n/);
    expect(stdout).toMatch(/\nRun Lifecycle\nSTATUS +START_TIME +END_TIME +DURATION\nPENDING /);
    expect(stdout).toMatch(/\nCOMPLETED +\d{4}-\d\d-\d\d \d\d:\d\d [AP]M +--\n/);
    expect(stdout).toContain(
      '\nSubmitted YAML\n# The first run: mcli run -f examples/hello-world.yaml\nname: hello-world\n',
    );
  });
});

describe('a run that fails', () => {
  it('returns 1 and says why, with all of its log', async () => {
    const file = await home.file('fails.yaml', cpuRun('seq 1 500\nexit 3'));
    const answer = await home.mcli('run', '-f', file);
    expect(answer.code).toBe(1);
    expect(answer.stderr).toContain('Failed (NonZeroExit)');
    expect(answer.stderr).toContain('why: The command ended with exit code 3.');
    expect(answer.stdout.split('\n')).toHaveLength(501);
  });

  it('ends at the first failing line, and names an unknown command', async () => {
    const file = await home.file('unknown.yaml', cpuRun('no-such-command\necho never'));
    const answer = await home.mcli('run', '-f', file);
    expect(answer.code).toBe(1);
    expect(answer.stderr).toContain('Failed (CommandNotFound)');
    expect(answer.stdout).not.toContain('never\n');
  });

  it('blames a registry that does not answer, and says what to check', async () => {
    const yaml = cpuRun('true').replace('bash', 'localhost:1/none:1');
    const file = await home.file('image.yaml', `${yaml}scheduling: {retry_on_system_failure: false}\n`);
    const answer = await home.mcli('run', '-f', file);
    expect(answer.code).toBe(1);
    expect(answer.stderr).toContain('Failed (FailedPull)');
    expect(answer.stderr).toContain('Check that the registry is up');
  });

  it('is refused at once when it can never fit, and takes no place in the list', async () => {
    const file = await home.file('huge.yaml', gpuRun('true').replace('gpus: 8', 'gpus: 64'));
    const before = (await home.mcli('get', 'runs', '-o', 'name')).stdout;
    const answer = await home.mcli('run', '-f', file);
    expect(answer.code).toBe(1);
    expect(answer.stderr).toMatch(/✗ Run story can never fit.*\n {2}why: .*64 GPUs.*\n {2}fix: /);
    expect((await home.mcli('get', 'runs', '-o', 'name')).stdout).toBe(before);
  });
});

describe('a run that reports its progress', () => {
  it('is shown with it in the list and in its description, and keeps it when it has ended', async () => {
    const reports = [
      '{"total": 4, "links": {"docs": "https://docs.example"}}',
      '{"step": 1, "metrics": {"loss": 0.5}}',
    ];
    const run = await home.submit(
      cpuRun(`${reports.map((line) => `echo '${line}' >> $MCLI_PROGRESS_FILE`).join('\n')}\nsleep 600`),
    );
    const progress = {
      step: 1,
      total: 4,
      fraction: 0.25,
      metrics: { loss: 0.5 },
      links: { docs: 'https://docs.example' },
    };
    await home.until(async () =>
      (await home.mcli('get', 'runs', run)).stdout.includes('Running ■■□□□□□□□□(25%)'),
    );
    const [listed] = JSON.parse((await home.mcli('get', 'runs', run, '-o', 'json')).stdout) as unknown[];
    expect(listed).toMatchObject({ progress });
    await home.until(async () => (await home.describe(run))['usage']?.toString() !== '');
    await home.mcli('stop', 'run', run, '-y');
    await home.untilStatus(run, 'STOPPED');
    expect(await home.describe(run)).toMatchObject({
      progress: { ...progress, expectedEnd: null },
      usage: [{ rank: 0, node: 'node-0' }],
    });
    expect((await home.mcli('describe', 'run', run)).stdout).toContain('Step 1 of 4 (25%)');
  });
});

describe('stopping', () => {
  it('takes a queued run out of the queue, and lets a running one end by itself', async () => {
    const holder = await home.submit(gpuRun("trap 'echo saved; exit 0' TERM\necho up\nsleep 600 & wait"));
    await home.untilStatus(holder, 'RUNNING');
    const queued = await home.submit(gpuRun('true'));
    await home.untilStatus(queued, 'QUEUED');

    await home.mcli('stop', 'run', queued, '-y', '--reason', 'a typo');
    await home.untilStatus(queued, 'STOPPED');
    expect((await home.describe(queued))['message']).toMatch(/^Stopped by .*: a typo\.$/);

    const next = await home.submit(gpuRun('echo mine'));
    await home.mcli('stop', 'run', holder, '-y');
    await home.untilStatus(next, 'COMPLETED');
    expect((await home.mcli('logs', holder)).stdout).toBe('up\nsaved\n');
    expect(containers(holder)).toBe('');
    const [stopped, started] = await Promise.all([home.describe(holder), home.describe(next)]);
    expect(Date.parse(String(started['startedAt']))).toBeGreaterThan(Date.parse(terminatingAt(stopped)));
  });

  it('reaches a run in the middle of an integration', async () => {
    // A git server that takes the call and never answers.
    const silent = createServer().listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    const run = await home.submit(
      `${cpuRun('true')}integrations:\n- integration_type: git_repo\n  git_repo: http://127.0.0.1:${port}/never.git\n`,
    );
    await once(silent, 'connection');
    silent.close();
    await home.mcli('stop', 'run', run, '-y');
    await home.untilStatus(run, 'STOPPED');
    expect(containers(run)).toBe('');
  });

  it('asks first, and takes silence for a no', async () => {
    const run = await home.submit(cpuRun('sleep 600'));
    await home.untilStatus(run, 'RUNNING');
    const refused = await home.mcli('stop', 'run', run);
    expect(refused).toMatchObject({ code: 1 });
    expect(refused.stderr).toContain('Canceling stop runs');
    await home.mcli('stop', 'run', run, '--yes');
    await home.untilStatus(run, 'STOPPED');
    const again = await home.mcli('stop', 'run', run, '--yes');
    expect(again.stderr).toContain('has already stopped or completed');
    expect(again.code).toBe(1);
  });

  it('deletes a live run with its history', async () => {
    const run = await home.submit(cpuRun('sleep 600'));
    await home.untilStatus(run, 'RUNNING');
    expect((await home.mcli('delete', 'run', run, '-y')).code).toBe(0);
    await home.until(async () => (await home.mcli('describe', 'run', run)).code === 1);
    expect((await home.mcli('get', 'runs', '-o', 'name')).stdout).not.toContain(run);
    expect(containers(run)).toBe('');
  });
});

describe('following', () => {
  it('detaches at Ctrl-C and leaves the run alone', async () => {
    const file = await home.file('long.yaml', cpuRun('echo up\nsleep 600'));
    const child = home.spawn('run', '-f', file);
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (data: Buffer) => (stdout += data.toString()));
    child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
    await home.until(async () => stdout === 'up\n');
    child.kill('SIGINT');
    const code = await new Promise((resolve) => child.on('close', resolve));
    expect(code).toBe(130);
    const run = /Detached from (\S+),/.exec(stderr)?.[1] ?? '';
    expect((await home.describe(run))['status']).toBe('RUNNING');
    await home.mcli('stop', 'run', run, '-y');
  });

  it('shows the last lines, and the times', async () => {
    const run = await home.submit(cpuRun('seq 1 100'));
    await home.untilStatus(run, 'COMPLETED');
    expect((await home.mcli('logs', run, '--tail', '2')).stdout).toBe('99\n100\n');
    const { stdout } = await home.mcli('logs', run, '--timestamps', '--tail', '1');
    expect(stdout).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z 100\n$/);
    expect((await home.mcli('logs', run, '--follow')).stdout.split('\n')).toHaveLength(101);
  });

  it('loses and doubles no line when the agent is killed, and starts no second container', async () => {
    const run = await home.submit(cpuRun('for i in $(seq 1 40); do echo "line $i"; sleep 0.2; done'));
    await home.until(async () => (await home.mcli('logs', run)).stdout.includes('line 3'));
    const first = containers(run);
    const agent = (await home.parts()).find(({ name }) => name.startsWith('agent'));
    process.kill(agent?.pid ?? 0, 'SIGKILL');
    await home.until(async () =>
      (await home.parts()).some(({ name, pid }) => name === agent?.name && pid !== agent.pid),
    );
    expect(containers(run)).toBe(first);
    await home.untilStatus(run, 'COMPLETED');
    const lines = Array.from({ length: 40 }, (_, index) => `line ${index + 1}\n`).join('');
    expect((await home.mcli('logs', run)).stdout).toBe(lines);
  });
});

describe('submitting', () => {
  it('clones a run with overrides', async () => {
    const first = await home.submit(cpuRun('echo once'));
    const answer = await home.mcli('run', '--clone', first, '--name', 'again', '--gpus', '1');
    expect(answer).toMatchObject({ code: 0, stdout: 'once\n' });
    const run = /Run (again-\w+) submitted/.exec(answer.stderr)?.[1] ?? '';
    expect(await home.describe(run)).toMatchObject({ gpus: 1, gpuType: 'a100_80gb' });
  });

  it('shows what construction makes of a file, and submits nothing', async () => {
    const before = (await home.mcli('get', 'runs', '-o', 'name')).stdout;
    const { code, stdout } = await home.mcli(
      'run',
      '-f',
      'examples/hello-world.yaml',
      '--gpus',
      '8',
      '--dry-run',
      '-o',
      'json',
    );
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      name: 'hello-world',
      compute: { cluster: 'r1z1', gpuType: 'a100_80gb', gpus: 8, nodes: 1 },
    });
    expect((await home.mcli('get', 'runs', '-o', 'name')).stdout).toBe(before);
  });

  it('makes what is submitted inside of a run its child, unless the file says otherwise', async () => {
    const inside = { MOSAICML_PLATFORM: 'true', RUN_NAME: 'sweep-abc123' };
    const parentOf = async (env: NodeJS.ProcessEnv, file: string): Promise<unknown> => {
      const { stdout } = await home.mcliWith(env, 'run', '-f', file, '--dry-run', '-o', 'json');
      return (JSON.parse(stdout) as { parentName?: string }).parentName;
    };
    const file = 'examples/hello-world.yaml';
    expect(await parentOf(inside, file)).toBe('sweep-abc123');
    expect(await parentOf({ ...inside, MOSAICML_PLATFORM: 'False' }, file)).toBeUndefined();
    const own = await home.file('child.yaml', `${cpuRun('true')}parent_name: other\n`);
    expect(await parentOf(inside, own)).toBe('other');
  });

  it('reports all problems of a file at once, with their places', async () => {
    const file = await home.file('bad.yaml', 'name: x\nimage: ba sh\ncompute:\n  gpus: -1\ncommand: true\n');
    const { code, stderr } = await home.mcli('run', '-f', file);
    expect(code).toBe(1);
    expect(stderr).toMatch(/bad\.yaml:2:8: /);
    expect(stderr).toMatch(/bad\.yaml:4:9: /);
  });
});

describe('looking', () => {
  it('describes a run while every worker is stopped', async () => {
    const run = await home.submit(cpuRun('echo done'));
    await home.untilStatus(run, 'COMPLETED');
    const workers = (await home.parts()).filter(({ name }) => /worker|agent/.test(name));
    for (const { pid } of workers) process.kill(pid, 'SIGSTOP');
    try {
      expect(await home.describe(run)).toMatchObject({ status: 'COMPLETED', cluster: 'r1z1', image: 'bash' });
    } finally {
      for (const { pid } of workers) process.kill(pid, 'SIGCONT');
    }
  });
});

function terminatingAt(run: Record<string, unknown>): string {
  const steps = run['lifecycle'] as { status: string; startedAt: string }[];
  return steps.find(({ status }) => status === 'TERMINATING')?.startedAt ?? '';
}
