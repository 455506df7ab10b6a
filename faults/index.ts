/**
 * `npm run faults -- --runs N --seed S`: runs of all kinds on a stack of its own whose parts are killed, cut off and
 * stalled all the while; then proves from outside that nothing was lost and nothing doubled. `docs/faults.md` says what
 * it needs.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { carryOut } from './carry-out.ts';
import { check } from './check.ts';
import { Closing } from './closing.ts';
import { keepEvidence, keepLogs } from './keep-logs.ts';
import { readOptions } from './options.ts';
import type { Options } from './options.ts';
import { makePlan } from './plan.ts';
import { makeReport, renderReport } from './report.ts';
import { say } from './say.ts';
import { build } from './world.ts';

const INTERRUPTED = 130;

process.exitCode = await main(readOptions());
// Whatever still listens somewhere has nothing more to say.
process.exit();

async function main(options: Options): Promise<number> {
  const home = await mkdtemp(path.join(tmpdir(), 'mcli-faults-'));
  const closing = new Closing();
  if (!options.keep) closing.add(() => rm(home, { recursive: true, force: true }));
  const tell = async (problem: unknown): Promise<void> => {
    console.error(problem);
    console.error(`What the processes said: ${await keepLogs(home, options.seed)}`);
  };
  leaveCleanly(closing, tell);
  try {
    return await prove(options, { home, closing });
  } catch (error) {
    // Somebody wants it to end, which is why it fails.
    if (closing.hasBegun) return INTERRUPTED;
    await tell(error);
    return 1;
  } finally {
    await closing.all();
  }
}

/** Whatever goes wrong must not leave daemons and mounts behind. */
function leaveCleanly(closing: Closing, tell: (problem: unknown) => Promise<void>): void {
  const leave = async (code: number): Promise<void> => {
    await closing.all();
    process.exit(code);
  };
  const fail = async (problem: unknown): Promise<void> => {
    if (closing.hasBegun) console.error(problem);
    else await tell(problem).catch(() => undefined);
    await leave(1);
  };
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(name, () => void leave(INTERRUPTED));
  process.on('uncaughtException', (problem) => void fail(problem));
}

async function prove(
  { runs, seed, quick, kinds, json }: Options,
  { home, closing }: { readonly home: string; readonly closing: Closing },
): Promise<number> {
  const startedAt = Date.now();
  const plan = makePlan({ seed, runs, quick, kinds });
  say(`seed ${seed}: ${plan.runs.length} runs, ${plan.faults.length} faults, in ${home}`);
  const world = await build(home, closing);
  say('all is up');
  const evidence = await carryOut(plan, world, { seed, quick });
  const findings = check(evidence);
  const report = makeReport(evidence, findings, (Date.now() - startedAt) / 1000);
  console.log(renderReport(report, evidence));
  if (json !== undefined) await writeFile(json, `${JSON.stringify(report, null, 2)}\n`);
  if (findings.violations.length === 0) return 0;
  const kept = await keepLogs(home, seed);
  await keepEvidence(kept, evidence, findings.violations);
  console.log(`What the processes said: ${kept}`);
  return 1;
}
