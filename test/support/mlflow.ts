/** A real MLflow server from PyPI, and Python with its client library. */
import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { eventually } from './docker.ts';
import { freePort } from './nats.ts';
import { installPythonPackages } from './python-packages.ts';

/** A fresh machine compiles the packages first. */
const START_MS = 90_000;

export class TestMlflow {
  readonly url: string;
  readonly #packages: string;
  readonly #data: string;
  #process: ChildProcess | undefined;

  private constructor(packages: string, data: string, url: string) {
    this.#packages = packages;
    this.#data = data;
    this.url = url;
  }

  /** @param host to listen on */
  static async start(host = '127.0.0.1'): Promise<TestMlflow> {
    const packages = await installPythonPackages('mlflow-requirements.txt');
    const data = await mkdtemp(path.join(tmpdir(), 'mcli-test-mlflow-'));
    const server = new TestMlflow(packages, data, `http://${host}:${await freePort()}`);
    await server.#start();
    return server;
  }

  async #start(): Promise<void> {
    const { hostname, port } = new URL(this.url);
    const place = ['--host', hostname, '--port', port, '--allowed-hosts', '*', '--workers', '1'];
    const database = `sqlite:///${this.#data}/mlflow.db`;
    const stores = ['--backend-store-uri', database, '--artifacts-destination', `${this.#data}/artifacts`];
    this.#process = spawn('python3', ['-m', 'mlflow', 'server', ...place, ...stores], {
      cwd: this.#data,
      env: this.#environment({}),
      stdio: 'ignore',
      // A group of its own: the server is a child of what is started.
      detached: true,
    });
    const isUp = (): Promise<boolean> =>
      fetch(`${this.url}/health`).then(
        (answer) => answer.ok,
        () => false,
      );
    await eventually(isUp, (up) => up, START_MS);
  }

  async dispose(): Promise<void> {
    const running = this.#process;
    if (running?.pid !== undefined && running.exitCode === null) {
      process.kill(-running.pid, 'SIGKILL');
      await once(running, 'exit');
    }
    await rm(this.#data, { recursive: true, force: true });
  }

  async ask<T>(apiPath: string, body?: unknown): Promise<T> {
    const post = {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json' },
    };
    const answer = await fetch(`${this.url}/api/2.0/mlflow/${apiPath}`, body === undefined ? {} : post);
    if (!answer.ok) throw new Error(await answer.text());
    return (await answer.json()) as T;
  }

  async artifact(runId: string, file: string): Promise<string> {
    const query = new URLSearchParams({ path: file, run_id: runId });
    const answer = await fetch(`${this.url}/get-artifact?${query.toString()}`);
    return await answer.text();
  }

  /** Runs a program that may import mlflow, as a training does with these variables; answers with what it prints. */
  async python(program: string, variables: Readonly<Record<string, string>>): Promise<string> {
    const options = { cwd: this.#data, env: this.#environment(variables) };
    const { stdout } = await promisify(execFile)('python3', ['-c', program], options);
    return stdout;
  }

  #environment(variables: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
    return {
      PATH: process.env['PATH'],
      HOME: this.#data,
      PYTHONPATH: this.#packages,
      MLFLOW_DISABLE_TELEMETRY: 'true',
      GIT_PYTHON_REFRESH: 'quiet',
      ...variables,
    };
  }
}
