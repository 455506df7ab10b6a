/**
 * `npm run bench:soak`: five minutes of steady logging on a local stack of its own, with a reader. Prints the memory of
 * the agent and of the reader every half minute: it must not grow with what went through.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { time } from './measure.ts';

const SOAK_SECS = Number(process.env['MCLI_BENCH_SOAK_SECS'] ?? 300);
const REPORT_MS = 30_000;
/** About what twenty chatty ranks print together. */
const LINES_PER_SEC = 5_000;
const NEWLINE = 10;

const mcli = path.resolve(import.meta.dirname, '../bin/mcli');
const home = await mkdtemp(path.join(tmpdir(), 'mcli-soak-'));
const env = { ...process.env, MCLI_HOME: home };
try {
  await time(mcli, ['up'], env);
  await soak();
} finally {
  await time(mcli, ['down'], env).catch((error: unknown) => console.error(error));
  await rm(home, { recursive: true, force: true });
}

async function soak(): Promise<void> {
  const lines = SOAK_SECS * LINES_PER_SEC;
  const second = `seq -f 'step %.0f loss=0.1234 lr=3.0e-4' $n $((n + ${LINES_PER_SEC - 1})); sleep 0.95`;
  const command = `for ((n = 0; n < ${lines}; n += ${LINES_PER_SEC})); do ${second}; done`;
  const file = path.join(home, 'soak.yaml');
  await writeFile(file, JSON.stringify({ name: 'soak', image: 'bash', compute: { gpus: 0 }, command }));
  const agent = await agentPid();
  console.log(`before: agent ${await residentMb(agent)} MB`);
  const reader = spawn(mcli, ['run', '-f', file], { env, stdio: ['ignore', 'pipe', 'ignore'] });
  let seen = 0;
  reader.stdout.on('data', (data: Buffer) => {
    for (let at = data.indexOf(NEWLINE); at !== -1; at = data.indexOf(NEWLINE, at + 1)) seen += 1;
  });
  const ended = once(reader, 'exit').then(() => true);
  const startedAt = performance.now();
  const report = async (): Promise<void> => {
    const secs = ((performance.now() - startedAt) / 1_000).toFixed(0);
    const [agentMb, readerMb] = await Promise.all([residentMb(agent), residentMb(reader.pid ?? 0)]);
    console.log(`${secs} s: ${seen} of ${lines} lines, agent ${agentMb} MB, reader ${readerMb} MB`);
  };
  const later = async (): Promise<boolean> => sleep(REPORT_MS, false, { ref: false });
  while (!(await Promise.race([ended, later()]))) await report();
  await report();
}

async function agentPid(): Promise<number> {
  const child = spawn(mcli, ['status', '-o', 'json'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  let json = '';
  for await (const data of child.stdout) json += String(data);
  const { parts } = JSON.parse(json) as { parts: { name: string; pid: number }[] };
  return parts.find(({ name }) => name.startsWith('agent-'))?.pid ?? 0;
}

async function residentMb(pid: number): Promise<string> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  const kb = /VmRSS:\s+(\d+)/.exec(status)?.[1];
  return kb === undefined ? '-' : (Number(kb) / 1_024).toFixed(0);
}
