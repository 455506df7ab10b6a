/** Logs from the program in the container to the reader's terminal, beside what Docker does by itself. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { containerName } from '../core/naming.ts';
import { summarise } from './measure.ts';
import type { Summary } from './measure.ts';

interface Stack {
  readonly mcli: string;
  readonly home: string;
  readonly env: NodeJS.ProcessEnv;
}

export interface LogFigures {
  /** Lines per second of a burst, from the first to the last at the reader. */
  readonly burst: { readonly docker: Summary; readonly mcli: Summary };
  /** Milliseconds from the program to the reader, at 20 lines per second. */
  readonly delay: { readonly docker: Summary; readonly mcli: Summary };
}

const BURST_LINES = 1_000_000;
const PACED_LINES = 300;

export async function measureLogs(stack: Stack, rounds: number): Promise<LogFigures> {
  const docker: number[] = [];
  const mcli: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const burst = `seq -f 'step %.0f loss=0.1234 lr=3.0e-4 tokens/s=12345' 1 ${BURST_LINES}; sleep 600`;
    await withRun(stack, burst, async (run) => {
      mcli.push(await linesPerSecond(run.child));
      // The same container, whose log Docker has whole by now.
      docker.push(await linesPerSecond(dockerLogs(run.name)));
    });
  }
  const paced = `echo ready; sleep 2; for i in {1..${PACED_LINES}}; do echo $EPOCHREALTIME; sleep 0.05; done; sleep 600`;
  const delay = await withRun(stack, paced, async (run) => {
    if (run.child.stdout) await once(run.child.stdout, 'readable');
    const [mcliMs, dockerMs] = await Promise.all([delays(run.child), delays(dockerLogs(run.name))]);
    return { docker: summarise(dockerMs), mcli: summarise(mcliMs) };
  });
  return { burst: { docker: summarise(docker), mcli: summarise(mcli) }, delay };
}

/** Follows a run while `measure` reads what it prints, and stops it then. */
async function withRun<T>(
  { mcli, home, env }: Stack,
  command: string,
  measure: (run: { readonly name: string; readonly child: ChildProcess }) => Promise<T>,
): Promise<T> {
  const file = path.join(home, 'logs.yaml');
  const run = { name: 'logs', image: 'bash', compute: { gpus: 0 }, command };
  await writeFile(file, JSON.stringify(run));
  const child = spawn(mcli, ['run', '-f', file], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = once(child, 'exit');
  const name = await submittedName(child);
  try {
    return await measure({ name, child });
  } finally {
    spawn(mcli, ['stop', 'run', name, '-y'], { env, stdio: 'ignore' });
    await ended;
  }
}

async function submittedName({ stderr }: ChildProcess): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let said = '';
  stderr?.on('data', (data: Buffer) => {
    said += data.toString();
    const name = /Run (\S+) submitted/.exec(said)?.[1];
    // Running: it has a container.
    if (name !== undefined && said.includes('Running on')) resolve(name);
  });
  stderr?.on('end', () => reject(new Error(`The run did not start: ${said}`)));
  return await promise;
}

function dockerLogs(run: string): ChildProcess {
  const name = containerName({ run, resumption: 0, rank: 0 });
  return spawn('docker', ['logs', '-f', name], { stdio: ['ignore', 'pipe', 'ignore'] });
}

/** Lines are counted, not decoded: the reader must not be what is measured. */
async function linesPerSecond({ stdout }: ChildProcess): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  let lines = 0;
  let start = 0;
  stdout?.on('data', (data: Buffer) => {
    start ||= performance.now();
    for (let at = data.indexOf(NEWLINE); at !== -1; at = data.indexOf(NEWLINE, at + 1)) lines += 1;
    if (lines >= BURST_LINES) resolve(lines / ((performance.now() - start) / 1_000));
  });
  stdout?.on('end', () => reject(new Error(`The log ended after ${lines} lines.`)));
  return await promise;
}

const NEWLINE = 10;

/** Every line but the first is the time at which it was printed, in seconds. */
async function delays(child: ChildProcess): Promise<number[]> {
  const values: number[] = [];
  if (!child.stdout) return values;
  for await (const line of createInterface({ input: child.stdout })) {
    const printedMs = Number(line) * 1_000;
    if (Number.isNaN(printedMs)) continue;
    values.push(performance.timeOrigin + performance.now() - printedMs);
    if (values.length === PACED_LINES) break;
  }
  return values;
}
