/** The built `mcli`, as a user calls it, on a local stack of its own. */
import { execFile, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { expect } from 'vitest';
import { NAMESPACE } from '../../core/naming.ts';

export interface Answer {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Part {
  readonly name: string;
  readonly pid: number;
  readonly address: string;
}

const root = path.resolve(import.meta.dirname, '../..');

export class TestHome {
  readonly path: string;

  private constructor(home: string) {
    this.path = home;
  }

  static up(...flags: readonly string[]): Promise<TestHome> {
    return TestHome.upWith({}, ...flags);
  }

  static async upWith(env: NodeJS.ProcessEnv, ...flags: readonly string[]): Promise<TestHome> {
    const home = new TestHome(await mkdtemp(path.join(tmpdir(), 'mcli-e2e-')));
    const answer = await home.mcliWith(env, 'up', ...flags);
    expect(answer.code, answer.stderr).toBe(0);
    return home;
  }

  async down(): Promise<void> {
    const runs = await this.mcli('get', 'runs', '-s', 'queued,starting,running', '-o', 'name');
    if (runs.stdout) await this.mcli('stop', 'run', '-y', ...runs.stdout.trim().split('\n'));
    await this.until(
      async () => (await this.mcli('get', 'runs', '-s', 'running', '-o', 'name')).stdout === '',
    );
    await this.mcli('down');
    await rm(this.path, { recursive: true, force: true });
  }

  mcli(...args: readonly string[]): Promise<Answer> {
    return this.mcliWith({}, ...args);
  }

  mcliWith(env: NodeJS.ProcessEnv, ...args: readonly string[]): Promise<Answer> {
    return new Promise((resolve) => {
      const child = execFile(
        process.execPath,
        [path.join(root, 'dist/mcli.js'), ...args],
        { cwd: root, env: { ...process.env, ...env, MCLI_HOME: this.path }, maxBuffer: 64 * 1024 * 1024 },
        (_, stdout, stderr) => resolve({ code: child.exitCode ?? -1, stdout, stderr }),
      );
      child.stdin?.end();
    });
  }

  /** A command that goes on; ends with `signal`, or by itself. */
  spawn(...args: readonly string[]) {
    return spawn(process.execPath, [path.join(root, 'dist/mcli.js'), ...args], {
      cwd: root,
      env: { ...process.env, MCLI_HOME: this.path },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  async file(name: string, content: string): Promise<string> {
    const file = path.join(this.path, name);
    await writeFile(file, content);
    return file;
  }

  /** Submits without following; answers with the name of the run. */
  async submit(content: string, ...flags: readonly string[]): Promise<string> {
    const file = await this.file('run.yaml', content);
    const { code, stderr } = await this.mcli('run', '-f', file, '--no-follow', ...flags);
    expect(code, stderr).toBe(0);
    return /Run (\S+) submitted/.exec(stderr)?.[1] ?? '';
  }

  async describe(run: string): Promise<Record<string, unknown>> {
    const { stdout } = await this.mcli('describe', 'run', run, '-o', 'json');
    return JSON.parse(stdout) as Record<string, unknown>;
  }

  async untilStatus(run: string, status: string): Promise<void> {
    await this.until(async () => (await this.describe(run))['status'] === status);
  }

  async until(holds: () => Promise<boolean>): Promise<void> {
    const deadline = Date.now() + 45_000;
    while (!(await holds())) {
      if (Date.now() > deadline) throw new Error('what the test waits for has not come true within 45 s');
      await setTimeout(300);
    }
  }

  /** As an administrator does it in Temporal's Web UI. */
  async terminate(workflowId: string): Promise<void> {
    const temporal = (await this.parts()).find(({ name }) => name === 'temporal');
    const connection = await Connection.connect({ address: temporal?.address ?? '' });
    const client = new Client({ connection, namespace: NAMESPACE });
    await client.workflow.getHandle(workflowId).terminate('by hand');
    await connection.close();
  }

  async parts(): Promise<Part[]> {
    const { stdout } = await this.mcli('status', '-o', 'json');
    return (JSON.parse(stdout) as { parts: Part[] }).parts;
  }
}
